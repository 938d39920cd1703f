"""Which operators of a network compute in more than eight bits, and what decided that: a file to read and edit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflite_export.errors import TfliteError
from tflite_export.schema import Schema, SchemaError

_SCHEMA = Schema()
ABOUT = "wide says which groups have more than eight bits; change it and pass the folder of this file: --mixed"


@dataclass(frozen=True)
class WidthTrial:
    """A file on the images: its mean KL to the float network in nats, and the least CPU time of a run.

    ``kl`` is None of a file that takes longer than it may.
    """

    kl: float | None
    latency_ms: float


@dataclass(frozen=True)
class MapGroup:
    """Operators, as what they give is called; ``alone`` is the int8 file with these wide, where that was measured."""

    name: str
    wide: bool
    operators: tuple[str, ...]
    alone: WidthTrial | None = None


@dataclass(frozen=True)
class WidthMap:
    """The groups of a network; ``limit`` is what the file may take of int8's latency, ``images`` how many were run.

    ``int8`` and ``mixed`` are the files without and with all wide groups, as the map was decided.
    """

    groups: tuple[MapGroup, ...]
    limit: float
    images: int
    int8: WidthTrial
    mixed: WidthTrial
    about: str = ABOUT

    @property
    def wide(self) -> tuple[str, ...]:
        """The operators that compute in more than eight bits."""
        return tuple(name for group in self.groups if group.wide for name in group.operators)

    @property
    def chosen(self) -> str:
        """Which groups are wide, in words."""
        names = [group.name for group in self.groups if group.wide]
        many = f"{len(names)} of {len(self.groups)} groups"
        return f"{many} in more than eight bits ({', '.join(names) or 'so it equals int8'})"

    @property
    def told(self) -> str:
        """What was decided, in a line."""
        if not self.wide:
            return "no operator is worth more than eight bits within the limit, so mixed equals int8"
        times = self.mixed.latency_ms / self.int8.latency_ms
        nearer = f"KL to float {self.int8.kl} -> {self.mixed.kl}"
        return f"{self.chosen}: {nearer}, {times:.2f}x the CPU time of int8 on {self.images} images"


def text(decided: WidthMap) -> bytes:
    """A map as a file."""
    return _SCHEMA.text(decided)


def load(path: Path) -> WidthMap:
    """A map from its file; raises TfliteError for what is none."""
    try:
        return _SCHEMA.load(WidthMap, path)
    except (OSError, SchemaError, ValueError) as error:
        raise TfliteError(f"{path} is no map of a mixed file: {error}") from None
