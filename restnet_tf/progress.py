"""What long work says while it runs; the command line draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Running:
    """A task that a worker is at: for so many seconds, in a process of so many bytes (0: nobody can tell).

    ``worker`` is what people call it: a process and its number, or a worker of a cluster.
    """

    title: str
    worker: str
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Crew:
    """Tasks that were begun together: how many are done of all, and what the workers are at, the slowest first.

    ``workers`` are all that there are, whether they are at a task or not.
    """

    done: int
    total: int
    workers: int
    running: tuple[Running, ...]


class Reporter(Protocol):
    """Hears of stages, of how far one is, of who works, and of what is worth a line."""

    def stage(self, title: str) -> None:
        """A stage begins."""

    def progress(self, done: int, total: int) -> None:
        """So much of the stage is done."""

    def crew(self, crew: Crew) -> None:
        """What several workers are at."""

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

    def crew(self, crew: Crew) -> None:
        """Ignore it."""

    def say(self, line: str) -> None:
        """Keep it."""
        self.lines.append(line)
