"""How each paper combines the parts."""
