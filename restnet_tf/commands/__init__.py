"""What each command does, callable from Python; the same file names as in ``cli``."""
