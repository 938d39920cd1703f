"""What long work says while it runs; the command line draws it."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Hears of stages, of how far one is, and of what is worth a line."""

    def stage(self, title: str) -> None:
        """A stage begins."""

    def progress(self, done: int, total: int) -> None:
        """So much of the stage is done."""

    def say(self, line: str) -> None:
        """A result or a warning."""


class Silent:
    """A reporter that keeps what was said and draws nothing."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, title: str) -> None:
        """Ignore it."""

    def progress(self, done: int, total: int) -> None:
        """Ignore it."""

    def say(self, line: str) -> None:
        """Keep it."""
        self.lines.append(line)
