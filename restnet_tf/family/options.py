"""What a user may ask of every method; a default stands here, or in the options of the method, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

# What an option may name that lies on a disk: a model (a file, or a name that is none), data, or one path.
MODEL, DATA, PATH = ({"names": kind} for kind in ("model", "data", "path"))
# The same of one model among several: ROLE=PATH.
PATH_OF_ROLE = {"names": "path of a role"}
# An option that a run gains later, by another command than the one that made it.
GAINED = {"gained": True}


@dataclass(frozen=True)
class Options:
    """What a user asked for, in words; ``reported`` are the inputs of a run that its report tells, in this order."""

    reported: ClassVar[tuple[str, ...]] = ("seed", "budget")

    data: str | None = field(default=None, metadata=DATA)
    weights: str = field(default="imagenet", metadata=PATH)
    weights_dir: Path | None = field(default=None, metadata=PATH)
    out: Path | None = None
    budget: str = ""
    precision: str = "float32,int8"
    max_points: int | None = None
    cascades: int = 4
    seed: int = 0
    # Points that have files whatever they score (restnet-tf link --point).
    also: tuple[str, ...] = field(default=(), metadata=GAINED)

    @property
    def incomplete(self) -> str:
        """What has to be given beside; empty where nothing is missing."""
        return ""

    def replaced(self, values: Mapping[str, Any]) -> Self:
        """These options with others from a file, where a path is text and a tuple a list.

        Raises ``RestnetError`` for a name that is none of them.
        """
        from restnet_tf.records import RestnetError  # and NumPy, which a command's help does not wait for

        names = {f.name: f for f in fields(self)}
        if unknown := sorted(set(values) - set(names)):
            raise RestnetError(f"there is no option {unknown[0]}; there are {', '.join(names)}")
        current = {name: getattr(self, name) for name in names}
        return type(self)(**current | {name: _typed(str(names[name].type), value) for name, value in values.items()})


@dataclass(frozen=True)
class BuildOptions(Options):
    """What ``restnet-tf build`` takes whatever the method."""

    order: str | None = None  # None: the method's own
    effort: float | None = None  # None: 1, or enough for the demo
    plans: Path | None = field(default=None, metadata=PATH)
    ship_all: bool = False
    max_elastic: str = ""
    converter: str = "link"
    recalibrate: bool = False
    uint8_input: bool = False
    lower: str = ""
    mixed: str = field(default="", metadata=PATH)  # a folder, or a number
    controls: bool = True
    anyway: bool = False  # though the models answer no better than chance


def _typed(kind: str, value: Any) -> Any:
    if value is not None and kind.startswith("Path"):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
