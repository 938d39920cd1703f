"""The errors that a user may see: one base for all, one of each package."""

from __future__ import annotations


class DomainError(Exception):
    """Something the user gave cannot be used; the message says what, why and what would work."""


class TfliteError(DomainError):
    """A network or a file cannot be used as asked; the message says what, why and what would work.

    ``log`` holds all that TensorFlow's converter printed and raised, where it was what failed;
    the message itself is one line.
    """

    def __init__(self, message: str, log: str = "") -> None:
        """Hold the one-line message and the converter's full text."""
        super().__init__(message)
        self.log = log


class UnsharedError(TfliteError):
    """What a route tuned cannot be told from an object's weights: it needs a back of its own."""
