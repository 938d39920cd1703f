"""CKA and the one-pass statistics of all pairs of cuts."""
