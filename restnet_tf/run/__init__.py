"""The run directory: its steps, its lock, its files; the only place that names paths in it."""
