"""Folders, archives and names -> three disjoint splits of images."""
