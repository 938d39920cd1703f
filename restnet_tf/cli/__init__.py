"""The command line: parses, calls one function of ``commands``, prints."""
