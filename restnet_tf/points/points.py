"""Operating points: what each costs and scores, and the file that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.records import Reason, RestnetError
from restnet_tf.schema import SCHEMA
from tflite_export import tail
from tflite_export.devices.records import Latency

# Units: flash and ram in bytes, latency in microseconds.
SOURCES = {
    "score": "run by the interpreter on the test split",
    "rank_score": "run by the interpreter on the rank split",
    "macs": "counted in the graph",
    "params": "counted in the graph",
    "flash": "size of the point's own file",
    "ram": "planned from the file",
    "latency": "measured on the building host, median",
    "mean_macs": "expected as the {many} of the rank split go on, counted in the graph",
    "mean_latency": "expected as the {many} of the rank split go on, measured on the building host",
}
ANCHOR, STITCHED, CONTROL, CASCADE = "anchor", "stitched", "control", "cascade"
DISTILLED = "distilled"  # the small anchor's architecture, taught by the large one
FROM_SCRATCH = "from-scratch"  # the rung of a control that was trained whole, from nothing
SHIPPED, DOMINATED = "shipped", "dominated"
FORMAT = 2


@dataclass(frozen=True)
class Score:
    """Which of n images are right (or as the large anchor has them), and the mean KL to that anchor.

    ``agreement`` is the share of images whose answer is the large anchor's, right or wrong.

    ``hits`` is a bit an image, in the order of the split, as hexadecimal digits: scores of the same
    images can be compared image by image. ``kl`` is None for files: quantised probabilities of zero
    have no finite one.
    """

    n: int
    hits: str
    kl: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        """Refuse (``ValueError``) a broken list of hits here, and not in the middle of a table."""
        if len(bytes.fromhex(self.hits)) != -(-self.n // 8):
            raise ValueError(f"{len(self.hits)} digits of hits are not those of {self.n} images")

    @classmethod
    def of(cls, right: np.ndarray, kl: float | None = None, agreement: float | None = None) -> Score:
        """From a boolean for each image."""
        return cls(len(right), np.packbits(right).tobytes().hex(), kl, agreement)

    @cached_property
    def right(self) -> np.ndarray:
        """A boolean for each image."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.hits), np.uint8), count=self.n).astype(bool)

    @property
    def value(self) -> float:
        """The share of right images, 0..1."""
        return float(self.right.mean())

    def lead(self, other: Score) -> tuple[float, float]:
        """By how much this share is higher on the same images, and the standard error of that (McNemar)."""
        only_this, only_other = np.sum(self.right & ~other.right), np.sum(other.right & ~self.right)
        return float(only_this - only_other) / self.n, sqrt(only_this + only_other) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        return Share(self.value, self.n).interval


@dataclass(frozen=True)
class Share:
    """A share of n images, 0..1."""

    value: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval (Wilson 1927)."""
        z = 1.959964
        centre = (self.value + z * z / (2 * self.n)) / (1 + z * z / self.n)
        half = z / (1 + z * z / self.n) * sqrt(self.value * (1 - self.value) / self.n + z * z / (4 * self.n**2))
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Setting:
    """One position of a cascade's dial: thresholds, the share of images that each stage runs on (0..1), the scores."""

    thresholds: tuple[float, ...]
    rank_reach: tuple[float, ...]
    test_reach: tuple[float, ...]
    rank: Score
    test: Score


@dataclass(frozen=True)
class Cascade:
    """What a cascade is made of: its stages' names, cheapest first, and what each adds where it runs, in MACs.

    A stage answers where its ``confidence`` is at or above its threshold; the last one always answers. The chosen
    thresholds and what they give on either split stand in the file of each precision (``Dial``) and, for the precision
    that decided, here. ``curve`` goes from never to always going on. ``resumes`` are the stages that go on from the
    front of the one before them. ``notches`` are the positions that were chosen, the cheapest on average first; the
    dial stands on the last one.
    """

    stages: tuple[str, ...]
    macs: tuple[int, ...]
    confidence: str
    thresholds: tuple[float, ...]
    rank_reach: tuple[float, ...]
    test_reach: tuple[float, ...]
    curve: tuple[Setting, ...] = ()
    resumes: tuple[str, ...] = ()
    notches: tuple[Setting, ...] = ()

    @property
    def resumed(self) -> bool:
        """Whether any stage goes on from the front of the one before it."""
        return bool(self.resumes)


@dataclass(frozen=True)
class Dial:
    """How a cascade's file is set and what that gives: thresholds, and the share of images that each stage runs on.

    ``latencies_us`` are medians on the building host where the first, the second ... stage answers; ``curve`` is the
    cascade's with this file's own thresholds.
    """

    thresholds: tuple[float, ...]
    rank_reach: tuple[float, ...]
    test_reach: tuple[float, ...]
    latencies_us: tuple[float, ...]
    curve: tuple[Setting, ...] = ()

    @property
    def mean_latency_us(self) -> float:
        """Of an image, as the images of the rank split go on."""
        return self.mean_us(self.rank_reach)

    def mean_us(self, reach: Sequence[float]) -> float:
        """Of an image, where each stage runs on such a share of them."""
        return mean_cost(np.diff(self.latencies_us, prepend=0.0), reach)


@dataclass(frozen=True)
class File:
    """A ``.tflite`` of a point, with what was measured on it. Times in microseconds, sizes in bytes.

    The latency of a cascade is its worst case, where all stages run; ``dial`` has the rest.
    """

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
    dial: Dial | None = None

    def turned(self, setting: Setting) -> File:
        """The same file with its dial elsewhere; raises ``ValueError`` for one without a dial."""
        if self.dial is None:
            raise ValueError(f"{self.path} has no dial")
        dial = replace(
            self.dial,
            thresholds=setting.thresholds,
            rank_reach=setting.rank_reach,
            test_reach=setting.test_reach,
        )
        return replace(self, rank=setting.rank, test=setting.test, dial=dial)

    @property
    def mean_latency_us(self) -> float:
        """Of an image, as those of the rank split go on; the latency itself of what always costs the same."""
        return self.latency_median_us if self.dial is None else self.dial.mean_latency_us

    @property
    def test_mean_latency_us(self) -> float:
        """Of an image, as those of the test split went on."""
        return self.latency_median_us if self.dial is None else self.dial.mean_us(self.dial.test_reach)


@dataclass(frozen=True)
class Rating:
    """What a point's file in one precision costs, planned, and scores on the rank split; and what follows from that.

    It stays where the file is not shipped and is gone: what is added to a run later is decided beside it.
    """

    flash_bytes: int
    arena_bytes: int
    rank: Score
    status: str = SHIPPED
    reason: Reason | None = None

    @classmethod
    def of(cls, file: File) -> Rating:
        """Of a file that is there, before anything beats it."""
        return cls(file.flash_bytes, file.arena_bytes, file.rank)


@dataclass(frozen=True)
class OperatingPoint:
    """A network of the family, an anchor, a control or a cascade, with its figures.

    ``macs`` of a cascade are its worst case. ``origin`` names the point that this one was optimised from; empty where
    a build made it. ``twin_of`` names the point whose route a control has, behind a front that has learned nothing.
    ``ratings`` are by precision: the point is shipped where it is in any of them.
    """

    name: str
    kind: str  # ANCHOR, STITCHED, DISTILLED, CONTROL or CASCADE
    route: str
    macs: int
    params: int
    rank: Score
    test: Score
    rung: str = ""
    unshared_params: int = 0
    status: str = SHIPPED
    reason: Reason | None = None
    files: Mapping[str, File] = field(default_factory=dict)
    origin: str = ""
    cascade: Cascade | None = None
    twin_of: str = ""
    ratings: Mapping[str, Rating] = field(default_factory=dict)

    def ships(self, precision: str) -> bool:
        """Whether its file in a precision is worth having; as the point itself, where nothing was decided of files."""
        if not self.ratings:
            return self.status == SHIPPED
        return precision in self.ratings and self.ratings[precision].status == SHIPPED

    @property
    def mean_macs(self) -> float:
        """Of an image, as those of the rank split go on."""
        return self.macs if self.cascade is None else mean_cost(self.cascade.macs, self.cascade.rank_reach)

    @property
    def test_mean_macs(self) -> float:
        """Of an image, as those of the test split went on."""
        return self.macs if self.cascade is None else mean_cost(self.cascade.macs, self.cascade.test_reach)


def turned(point: OperatingPoint) -> tuple[OperatingPoint, ...]:
    """A cascade once for each notch of its dial, with that one's scores and costs; any other point as it is."""
    cascade = point.cascade
    if cascade is None or not cascade.notches:
        return (point,)
    return tuple(
        replace(
            point,
            rank=notch.rank,
            test=notch.test,
            cascade=replace(
                cascade, thresholds=notch.thresholds, rank_reach=notch.rank_reach, test_reach=notch.test_reach
            ),
        )
        for notch in cascade.notches
    )


def mean_cost(costs: Iterable[float], reach: Iterable[float]) -> float:
    """Of what stages add where they run, and the share of images that each runs on."""
    return float(sum(cost * share for cost, share in zip(costs, reach, strict=True)))


def record(path: str, content: bytes, took: Latency, rank: Score, test: Score) -> File:
    """A file of a point with what is known of it: its scores and times, its size, and its arena as it is planned."""
    return File(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        flash_bytes=len(content),
        arena_bytes=arena(content),
        rank=rank,
        test=test,
        latency_median_us=took.median_us,
        latency_p90_us=took.p90_us,
        latency_repeats_us=took.repeats_us,
        threads=took.threads,
        tool=took.tool,
    )


def arena(content: bytes) -> int:
    """Bytes of a file's arena, as it is planned from the file: enough for any Cortex-M and either kernels."""
    return tail.arena(content).size


def to_json(points: Iterable[OperatingPoint], meta: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``points.json``."""
    return {"format": FORMAT, **meta, "points": SCHEMA.plain(list(points))}


def read(path: Path) -> tuple[dict[str, Any], tuple[OperatingPoint, ...]]:
    """``points.json`` as its meta data and points; raises ``RestnetError`` where it is not one."""
    try:
        content = SCHEMA.load(dict[str, Any], path)
        points = SCHEMA.read(tuple[OperatingPoint, ...], content.pop("points"), "points")
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise RestnetError(
                f"{path} is missing: there is no folder {path.parent}; name the one that a build wrote"
            ) from None
        if not (path.parent / "run.json").is_file() and any(path.parent.iterdir()):
            inside = sorted(run.parent.name for run in path.parent.glob("*/points.json"))
            named = f", as {path.parent / inside[0]}" if inside else ""
            raise RestnetError(f"{path} is missing: {path.parent} is no run; name the folder of one{named}") from None
        raise RestnetError(f"{path} is missing: the build has not finished; run it again to resume") from None
    except KeyError:
        raise RestnetError(f"{path} is not a list of operating points: points: missing") from None
    except (OSError, ValueError) as error:
        raise RestnetError(f"{path} is not a list of operating points: {error}") from None
    return content, points


def content(run: Path, file: File) -> bytes:
    """A point's file as it was measured; raises ``RestnetError`` where it is gone, or another."""
    path = run / file.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RestnetError(f"cannot read {path}: {error.strerror}; build the run again") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise RestnetError(f"{path} is not the file that points.json describes; build the run again")
    return content
