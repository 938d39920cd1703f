"""What a report tells of a run: plain records, gathered elsewhere, which every format shows alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from restnet_tf.points.points import CASCADE, CONTROL, DISTILLED, DOMINATED, SHIPPED, STITCHED, OperatingPoint
from restnet_tf.words import sentence
from tflite_export.devices.measurements import Measurement

STITCH, STAGE = "stitch", "stage"


@dataclass(frozen=True)
class RoutePart:
    """A stretch of a route: of an anchor by its role, a stitch, or a stitched stage; ``macs`` is None where unknown.

    ``reach`` is the share of images that it runs on.
    """

    role: str
    text: str
    macs: int | None
    note: str = ""
    reach: float = 1.0


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
    one: str = "image"  # what an input is called

    @property
    def many(self) -> str:
        """What inputs are called."""
        return f"{self.one}s"


_BY_FILE = "run by the interpreter"
COMPOSED = Wording(
    ran=_BY_FILE,
    ranked="in cross-validation on the few {many}, which decides",
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
    ``restnet-tf optimize`` by the point that they made; ``optimisable`` are those that it takes; ``sent`` are
    the bytes that an update to these takes, by point and precision (``restnet_tf.family.sent``). ``examples`` are
    pictures of images, as PNG, by the cascade that they go through.
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
    sent: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    examples: Mapping[str, bytes] = field(default_factory=dict)
    method: Wording = Wording()

    @property
    def ordered(self) -> tuple[OperatingPoint, ...]:
        """The points as tables list them: by mean MACs, controls last."""
        return ordered(self.points)

    @property
    def words(self) -> dict[str, str]:
        """What stands for the names in braces of heads and sources."""
        return words(self.metric, self.method, self.points)


def words(metric: str, method: Wording, points: Iterable[OperatingPoint]) -> dict[str, str]:
    """What stands for the names in braces of heads and sources, of points of a method.

    Where there are cascades, a cost is the mean or the worst case, and says which.
    """
    ranked = method.ranked.format(many=method.many)
    own = {"ranked": ranked, "loss": method.loss, "of": method.of, "one": method.one, "many": method.many}
    cascading = any(p.cascade for p in points)
    ran = f"{method.ran} (cascades by the interpreter)" if cascading and method.ran != _BY_FILE else method.ran
    return {"metric": metric, "worst": "worst " if cascading else "", "ran": ran, **own}


def ordered(points: tuple[OperatingPoint, ...]) -> tuple[OperatingPoint, ...]:
    """By mean MACs, controls last."""
    return tuple(sorted(points, key=lambda p: (p.kind == CONTROL, p.mean_macs, p.name)))


def standing(point: OperatingPoint, precision: str = "") -> str:
    """In a word: anchor, cascade, control, shipped or dominated; on the front of a precision, or on any."""
    decided = point.kind in (STITCHED, DISTILLED) or (point.kind == CASCADE and point.status != SHIPPED)
    if not decided:
        return point.kind
    return (SHIPPED if point.ships(precision) else DOMINATED) if precision and point.ratings else point.status


def place(point: OperatingPoint) -> str:
    """Its standing, and on which fronts it is where it is not on all of them: ``shipped in int8``."""
    there = [name for name in point.ratings if standing(point, name) == SHIPPED]
    return standing(point) + (f" in {', '.join(there)}" if 0 < len(there) < len(point.ratings) else "")


def why_not(point: OperatingPoint) -> str:
    """Why a point is not shipped, or not in some precisions; empty where it is in all."""
    given = {name: sentence(rating.reason) for name, rating in point.ratings.items() if rating.reason}
    if not given or (len(given) == len(point.ratings) and len(set(given.values())) == 1):
        return sentence(point.reason)
    every = {text: [name for name, one in given.items() if one == text] for text in given.values()}
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in every.items())


def aside(point: OperatingPoint, precision: str = "") -> bool:
    """Whether a point, or its file in a precision, is not shipped: shown, but dimmed."""
    return standing(point, precision) in (CONTROL, DOMINATED)
