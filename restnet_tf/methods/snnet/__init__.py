"""SN-Net: all stitches between neighbouring anchors, trained together."""
