"""The one way from fitted stitches to scored, linked, measured, shipped points, for all methods."""
