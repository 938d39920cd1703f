"""Operating points: what each costs and scores, and which of them are worth shipping."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import sqrt
from pathlib import Path
from typing import Any

from benchmarks.records import BenchError

ANCHOR, STITCHED, CONTROL = "anchor", "stitched", "control"
SHIPPED, DOMINATED = "shipped", "dominated"


@dataclass(frozen=True)
class Score:
    """How many of n images are right (or as the large anchor has them), and the mean KL to that anchor.

    ``kl`` is None for files: quantised probabilities of zero have no finite one.
    """

    n: int
    right: int
    kl: float | None = None

    @property
    def value(self) -> float:
        """The share, 0..1."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share (Wilson 1927)."""
        z = 1.959964
        centre = (self.value + z * z / (2 * self.n)) / (1 + z * z / self.n)
        half = z / (1 + z * z / self.n) * sqrt(self.value * (1 - self.value) / self.n + z * z / (4 * self.n**2))
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class File:
    """A ``.tflite`` of a point, with what was measured on it. Times in microseconds, sizes in bytes."""

    path: str
    sha256: str
    flash_bytes: int
    arena_bytes: int  # planned from the file
    rank: Score  # both run by the interpreter
    test: Score
    latency_median_us: float
    latency_p90_us: float
    latency_repeats_us: tuple[float, ...]
    threads: int
    tool: str


@dataclass(frozen=True)
class OperatingPoint:
    """A network of the family, an anchor or a control, with its figures."""

    name: str
    kind: str  # ANCHOR, STITCHED or CONTROL
    route: str
    macs: int
    params: int
    rank: Score
    test: Score
    rung: str = ""
    unshared_params: int = 0
    status: str = SHIPPED
    reason: str = ""
    files: Mapping[str, File] = field(default_factory=dict)


def decide(points: Iterable[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """Every point with its status: anchors and stitched points on the Pareto front are shipped.

    A stitched point is dominated where one that costs no more MACs is no worse on the rank split, by
    accuracy and by KL to the large anchor alike, and an anchor is always shipped. The test split has
    no say.
    """
    points = tuple(points)
    family = [p for p in points if p.kind != CONTROL]
    decided = []
    for point in points:
        rivals = [p for p in family if p is not point and _beats(p, point)] if point.kind == STITCHED else []
        if rivals:
            best = min(rivals, key=lambda p: (p.macs, p.name))
            point = replace(point, status=DOMINATED, reason=f"{best.name} costs no more and does no worse")
        decided.append(point)
    return tuple(decided)


def chord(points: Iterable[OperatingPoint], macs: int) -> float:
    """Test accuracy on the straight line between the two anchors at a cost; 0..1."""
    small, large = sorted((p for p in points if p.kind == ANCHOR), key=lambda p: p.macs)
    along = (macs - small.macs) / (large.macs - small.macs)
    return small.test.value + along * (large.test.value - small.test.value)


def to_json(points: Iterable[OperatingPoint], meta: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``points.json``."""
    return {"format": 1, **meta, "points": [asdict(p) for p in points]}


def read(path: Path) -> tuple[dict[str, Any], tuple[OperatingPoint, ...]]:
    """``points.json`` as its meta data and points; raises ``BenchError`` where it is not one."""
    try:
        content = json.loads(path.read_text())
        points = tuple(_point(entry) for entry in content.pop("points"))
    except FileNotFoundError:
        raise BenchError(f"{path} is missing: the build has not finished; run it again to resume") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is not a list of operating points: {error}") from None
    return content, points


def _beats(rival: OperatingPoint, point: OperatingPoint) -> bool:
    if (rival.macs, rival.rank) == (point.macs, point.rank):
        return rival.name < point.name
    nearer = (rival.rank.kl or 0.0) <= (point.rank.kl or 0.0)
    return rival.macs <= point.macs and rival.rank.value >= point.rank.value and nearer


def _point(entry: dict[str, Any]) -> OperatingPoint:
    files = {
        precision: File(
            **{
                **f,
                "rank": Score(**f["rank"]),
                "test": Score(**f["test"]),
                "latency_repeats_us": tuple(f["latency_repeats_us"]),
            }
        )
        for precision, f in entry["files"].items()
    }
    return OperatingPoint(**{**entry, "rank": Score(**entry["rank"]), "test": Score(**entry["test"]), "files": files})
