"""Devices: what each takes, how files are exported to it and measured on it."""
