"""ReStNet: similarity picks the stitching point between two anchors, each stitch is fitted on its own."""
