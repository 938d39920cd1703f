"""What a file says of its operating points: their figures and, of a cascade, its stages and its dial.

Needs nothing but Python, so that it can go to a device with the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tflite_export import budget
from tflite_export.errors import TfliteError

# Thresholds at which a stage never goes on and always: confidences are 0 at the least and 1 at most.
NEVER, ALWAYS = 0.0, 2.0


@dataclass(frozen=True)
class Mark:
    """A mark on a cascade's dial: k - 1 thresholds, and the share of images that each of k stages runs on."""

    thresholds: tuple[float, ...]
    reach: tuple[float, ...]
    score: float | None = None


@dataclass(frozen=True)
class Staging:
    """A cascade as its file describes it; the figures are those of validation images.

    A stage answers where its ``confidence`` is at or above its threshold, and the last one always answers. ``macs``
    and ``latency`` (microseconds; empty where the file does not say) are what each stage adds where it runs,
    ``reach`` the share of images that it runs on at the chosen ``thresholds``. ``curve`` leads from never to always
    going on.
    """

    stages: tuple[str, ...]
    confidence: str
    thresholds: tuple[float, ...]
    macs: tuple[float, ...]
    latency: tuple[float, ...]
    reach: tuple[float, ...]
    curve: tuple[Mark, ...] = ()

    @property
    def settings(self) -> tuple[Mark, ...]:
        """What is known between the ends of the dial: the curve, or the chosen thresholds alone."""
        return self.curve or (Mark(self.thresholds, self.reach),)


@dataclass(frozen=True)
class Point:
    """One operating point as the file describes it.

    ``figures`` are by the names that a budget uses: counts, bytes, microseconds; where a figure comes
    from stands in ``ElasticModel.sources``. ``score``, 0..1, is that on test images, None where it was
    not measured; ``rank_score``, on validation images, decides between points where the file has it.

    The figures of a ``cascade`` are its worst case, where all stages run; ``mean`` has what an image costs in the
    mean, as validation images go on.
    """

    name: str
    route: str
    score: float | None
    figures: dict[str, float] = field(default_factory=dict)
    rank_score: float | None = None
    mean: dict[str, float] = field(default_factory=dict)
    cascade: Staging | None = None

    @property
    def costs(self) -> dict[str, float]:
        """All that a budget may limit; what always costs the same has that for its mean."""
        same = {name: self.figures[name] for name in budget.MEANS if name in self.figures}
        means = self.mean if self.cascade else same
        return self.figures | {budget.MEAN + name: value for name, value in means.items()}

    @property
    def merit(self) -> float:
        """What points are chosen by."""
        return self.rank_score or self.score or 0.0

    @property
    def macs(self) -> float | None:
        """Multiplications with additions of one image; None where the file does not say."""
        return self.figures.get("macs")

    @property
    def params(self) -> float | None:
        """Count of weights; None where the file does not say."""
        return self.figures.get("params")

    @property
    def flash(self) -> float | None:
        """Bytes of the point's own file; None where the file does not say."""
        return self.figures.get("flash")

    @property
    def ram(self) -> float | None:
        """Bytes of the arena, planned; None where the file does not say."""
        return self.figures.get("ram")

    @property
    def latency(self) -> float | None:
        """Microseconds on the host that made the file; None where the file does not say."""
        return self.figures.get("latency")


def described(entry: dict[str, Any]) -> Point:
    """A point of a file's notes; raises TfliteError for what is none."""
    try:
        figures = {name: float(entry[name]) for name in budget.UNITS if entry.get(name) is not None}
        score, rank = (None if entry.get(k) is None else float(entry[k]) for k in ("score", "rank_score"))
        means = {n: float(entry[f"mean_{n}"]) for n in budget.MEANS if entry.get(f"mean_{n}") is not None}
        cascade = None if entry.get("cascade") is None else _staging(entry["cascade"])
        return Point(entry["name"], entry.get("route", ""), score, figures, rank, means, cascade)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"a point in the file is not understood: {error}") from None


def _staging(entry: Any) -> Staging:
    """A cascade of a point's entry; raises ``ValueError`` that names the field that does not fit."""
    if not isinstance(entry, Mapping):
        raise ValueError(f"cascade: an object belongs here, not {entry!r}")
    stages, confidence = entry.get("stages"), entry.get("confidence")
    if not isinstance(stages, list) or len(stages) < 2 or not all(isinstance(name, str) for name in stages):
        raise ValueError(f"cascade.stages: two names or more belong here, not {stages!r}")
    if not isinstance(confidence, str):
        raise ValueError(f"cascade.confidence: a name belongs here, not {confidence!r}")
    chosen = _mark(entry, len(stages), "cascade")
    macs = _numbers(entry, "macs", len(stages), "cascade")
    latency = _numbers(entry, "latency", len(stages), "cascade") if entry.get("latency") else ()
    curve = entry.get("curve") or []
    if not isinstance(curve, list):
        raise ValueError(f"cascade.curve: a list belongs here, not {curve!r}")
    marks = tuple(_mark(one, len(stages), f"cascade.curve[{n}]") for n, one in enumerate(curve))
    return Staging(tuple(stages), confidence, chosen.thresholds, macs, latency, chosen.reach, marks)


def _mark(entry: Any, stages: int, at: str) -> Mark:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{at}: an object belongs here, not {entry!r}")
    thresholds, reach = _numbers(entry, "thresholds", stages - 1, at), _numbers(entry, "reach", stages, at)
    if reach[0] != 1 or any(later > earlier for earlier, later in pairwise(reach)):
        raise ValueError(f"{at}.reach: shares from 1 down belong here, not {list(reach)}")
    score = entry.get("score")
    return Mark(thresholds, reach, None if score is None else float(score))


def _numbers(entry: Mapping[str, Any], name: str, count: int, at: str) -> tuple[float, ...]:
    """So many numbers of a field, each 0 or more."""
    values = entry.get(name)
    fitting = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count
    if not fitting or not all(_is_amount(value) for value in values or ()):
        raise ValueError(f"{at}.{name}: {count} numbers of 0 or more belong here, not {values!r}")
    return tuple(float(value) for value in values or ())


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
