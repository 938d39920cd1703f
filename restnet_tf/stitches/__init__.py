"""Stitches: the layers between two cuts, their closed form, and the variants they make."""
