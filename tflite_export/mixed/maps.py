"""Which operators of a network compute in sixteen bits, and what that was decided by: a file that a person may edit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflite_export.errors import TfliteError
from tflite_export.schema import Schema, SchemaError

_SCHEMA = Schema()
ABOUT = "wide says which groups have activations of sixteen bits; change it and pass the folder of this file: --mixed"


@dataclass(frozen=True)
class Trial:
    """A file on the images: its mean KL to the float network in nats, and the least CPU time of a run."""

    kl: float
    latency_ms: float


@dataclass(frozen=True)
class MapGroup:
    """Operators, as what they give is called; ``alone`` is the int8 file with these wide, where that was measured."""

    name: str
    wide: bool
    operators: tuple[str, ...]
    alone: Trial | None = None


@dataclass(frozen=True)
class Map:
    """The groups of a network; ``limit`` is what the file may take of int8's latency, ``images`` how many were run.

    ``int8`` and ``mixed`` are the files without and with all wide groups, as the map was decided.
    """

    groups: tuple[MapGroup, ...]
    limit: float
    images: int
    int8: Trial
    mixed: Trial
    about: str = ABOUT

    @property
    def wide(self) -> tuple[str, ...]:
        """The operators that compute in sixteen bits."""
        return tuple(name for group in self.groups if group.wide for name in group.operators)

    @property
    def told(self) -> str:
        """What was decided, in a line."""
        chosen = [group.name for group in self.groups if group.wide]
        if not chosen:
            return "no operator is worth sixteen bits within the limit, so mixed equals int8"
        before, after = self.int8, self.mixed
        return (
            f"{len(chosen)} of {len(self.groups)} groups in sixteen bits ({', '.join(chosen)}):"
            f" KL to float {before.kl:.3g} -> {after.kl:.3g},"
            f" {after.latency_ms / before.latency_ms:.2f}x the CPU time of int8 on {self.images} images"
        )


def text(decided: Map) -> bytes:
    """A map as a file."""
    return _SCHEMA.text(decided)


def load(path: Path) -> Map:
    """A map from its file; raises TfliteError for what is none."""
    try:
        return _SCHEMA.load(Map, path)
    except (OSError, SchemaError, ValueError) as error:
        raise TfliteError(f"{path} is no map of a mixed file: {error}") from None
