"""Exact rewrites of a Keras network before its conversion to eight bits, which hold the twin better."""
