"""What ``--mixed`` means: how much slower than int8 a mixed file may be, or maps of an earlier run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from restnet_tf.records import RestnetError
from tflite_export.mixed import maps, sensitivity, widening
from tflite_export.precision import MIXED

_MOST = 100.0
MAP = ".json"


@dataclass(frozen=True)
class Mixing:
    """A limit on the latency, as a multiple of int8's; ``maps`` is a folder with maps of anchors, which stand."""

    limit: float = sensitivity.LIMIT
    maps: Path | None = None

    def given(self, role: str) -> Path | None:
        """The map of an anchor that the user gave; None where there is none."""
        path = None if self.maps is None else self.maps / f"{role}{MAP}"
        return path if path is not None and path.is_file() else None

    def told(self, role: str, path: Path) -> str:
        """What the map of an anchor decides, in a line; of one that was given nobody has measured what it says."""
        given, decided = self.given(role), maps.load(path)
        return f"{role} {MIXED}: {decided.told if given is None else f'{decided.chosen}, as {given} says'}"

    @property
    def word(self) -> str:
        """What files are made by: another word, and they are made anew."""
        if self.maps is None:
            return f"within {self.limit:g}"
        digest = hashlib.sha256()
        for path in _maps(self.maps):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return f"by maps {digest.hexdigest()[:16]}"


def parse(text: str) -> Mixing:
    """What a user wrote: nothing, a multiple of int8's latency, or a folder of maps; raises ``RestnetError``."""
    if not text:
        return Mixing()
    try:
        limit = float(text.removesuffix("x"))
    except ValueError:
        folder = Path(text).expanduser()
        if not folder.is_dir() or not _maps(folder):
            raise RestnetError(
                f"--mixed {text} is neither a multiple of int8's latency, as 1.3, nor a folder of maps, as a run's"
                " folder mixed is"
            ) from None
        return Mixing(maps=folder)
    if not 1 <= limit <= _MOST:
        raise RestnetError(f"--mixed {text} is out of range; write a multiple of int8's latency of 1 to {_MOST:g}")
    return Mixing(limit)


def title(role: str, given: Path | None) -> str:
    """What a stage says of itself: where no map is given, what deciding one takes."""
    cost = f", at most {sensitivity.RUNS} runs of {sensitivity.SEARCHED} inputs to see what 16 bits are worth"
    return f"compiling {role} to {MIXED}{'' if given else cost}"


def alike(content: bytes, paths: Iterable[Path]) -> bytes:
    """An int8 file of the same layers with the operators in sixteen bits that these maps name, those that are there."""
    names = [name for path in paths if path.exists() for name in maps.load(path).wide]
    return widening.widened(content, widening.present(content, names))


def _maps(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{MAP}") if path.is_file())
