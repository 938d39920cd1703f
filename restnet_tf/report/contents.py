"""What a report tells of a run: plain records, gathered elsewhere, which every format shows alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from restnet_tf.points.points import CONTROL, DOMINATED, STITCHED, OperatingPoint
from tflite_export.devices.measurements import Measurement

STITCH = "stitch"


@dataclass(frozen=True)
class RoutePart:
    """A stretch of a route: of an anchor by its role, or a stitch; ``macs`` is None where unknown."""

    role: str
    text: str
    macs: int | None
    note: str = ""


@dataclass(frozen=True)
class Candidate:
    """One way of stitching, cuts by index, and what became of it; ``kl`` in nats with the closed-form stitch."""

    name: str
    front: str
    large: int
    small: int
    macs: int
    cka: float | None
    r2: float | None
    kl: float | None
    status: str
    reason: str


@dataclass(frozen=True)
class Ladder:
    """KL to the large anchor on the rank split, in nats, by rung in the order climbed; ``rung`` is the one taken."""

    rung: str
    steps: Mapping[str, float]


@dataclass(frozen=True)
class Wording:
    """What the figures of a method's points are, in words.

    ``reopens``: whether its inputs can be loaded again to go on; ``climbs``: whether its stitches climb a ladder.
    """

    ran: str = "run in Keras"
    ranked: str = "on the rank split, which decides"
    loss: str = "KL"
    of: str = "to the large anchor's outputs"
    reopens: bool = True
    climbs: bool = True


COMPOSED = Wording(
    ran="run by the interpreter",
    ranked="in cross-validation on the few images, which decides",
    loss="log loss",
    of="of the labels",
    reopens=False,
    climbs=False,
)


@dataclass(frozen=True)
class Report:
    """All that a report shows of one run.

    ``run`` is the directory as the user names it, ``build`` the words of the command that built it, without its
    ``--out`` and empty where they were not kept, ``facts`` its settings and versions in words. ``anchors`` are names
    by role, the costliest first. ``cka`` is ``(large cuts, small cuts)``, empty where the family has others than a
    large and a small anchor; ``parts`` and ``ladders`` are by point, ``optimised`` the options of
    ``restnet-tf optimize`` by the point that they made; ``optimisable`` are those that it takes.
    """

    run: str
    title: str
    metric: str
    anchors: Mapping[str, str]
    facts: Mapping[str, str]
    command: str
    points: tuple[OperatingPoint, ...]
    build: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    cuts: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"large": (), "small": ()})
    cka: tuple[tuple[float, ...], ...] = ()
    pairs: tuple[Candidate, ...] = ()
    parts: Mapping[str, tuple[RoutePart, ...]] = field(default_factory=dict)
    ladders: Mapping[str, Ladder] = field(default_factory=dict)
    optimised: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optimisable: frozenset[str] = frozenset()
    method: Wording = Wording()

    @property
    def ordered(self) -> tuple[OperatingPoint, ...]:
        """The points as tables list them: by MACs, controls last."""
        return ordered(self.points)

    @property
    def words(self) -> dict[str, str]:
        """What stands for the names in braces of heads and sources."""
        return words(self.metric, self.method)


def words(metric: str, method: Wording) -> dict[str, str]:
    """What stands for the names in braces of heads and sources, of points of a method."""
    own = {"ran": method.ran, "ranked": method.ranked, "loss": method.loss, "of": method.of}
    return {"metric": metric, **own}


def ordered(points: tuple[OperatingPoint, ...]) -> tuple[OperatingPoint, ...]:
    """By MACs, controls last."""
    return tuple(sorted(points, key=lambda p: (p.kind == CONTROL, p.macs, p.name)))


def standing(point: OperatingPoint) -> str:
    """In a word: anchor, control, shipped or dominated."""
    return point.status if point.kind == STITCHED else point.kind


def aside(point: OperatingPoint) -> bool:
    """Whether a point is no member of the family that is shipped: shown, but dimmed."""
    return standing(point) in (CONTROL, DOMINATED)
