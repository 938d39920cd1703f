"""A gate: how much worse the files of a run may be than those of an earlier one, and which limits they break."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from math import hypot, isfinite, sqrt

from restnet_tf.points import select
from restnet_tf.points.points import OperatingPoint, Score
from restnet_tf.points.select import Choice
from restnet_tf.records import RestnetError
from tflite_export.budget import AMOUNT, FIGURE, MEAN, SCORE, Limit, Term
from tflite_export.devices.measurements import Measurement

_LATENCY = "latency"
_BEST = "best"  # what a budget chooses, whatever it is called
_Z = 1.959964  # of a 95 % interval
_ROUNDING = 1e-9  # of a figure: what binary fractions lose is no change


@dataclass(frozen=True)
class GateRun:
    """A finished run to be compared.

    ``images`` stands for all its images and ``test`` for its test images alone, each empty where nobody noted it;
    ``elastic`` are the bytes of its elastic files, by precision; ``many`` is what inputs are called.
    """

    path: str
    metric: str
    points: tuple[OperatingPoint, ...]
    measured: tuple[Measurement, ...] = ()
    images: str = ""
    elastic: Mapping[str, int] = field(default_factory=dict)
    many: str = "images"
    test: str = ""


@dataclass(frozen=True)
class GateFile:
    """A file with the figures that limits may name; an elastic one has its size alone, and is of no ``choice``."""

    name: str
    figures: Mapping[str, float]
    choice: Choice | None = None

    @classmethod
    def of(cls, choice: Choice) -> GateFile:
        """Of a point; a score is in percent, and what is no number is not there."""
        figures = {**choice.figures, SCORE: 100 * choice.file.test.value}
        return cls(choice.name, {name: value for name, value in figures.items() if isfinite(value)}, choice)

    @property
    def test(self) -> Score | None:
        """Its score on the test split."""
        return None if self.choice is None else self.choice.file.test

    def spread(self, figure: str) -> tuple[float, float] | None:
        """Between what the median of a latency's repeats lies, in microseconds; None of what was not repeated.

        The 95 % interval of order statistics: it knows of no other machine, and of no other load.
        """
        if self.choice is None or figure.removeprefix(MEAN) != _LATENCY:
            return None
        repeats = sorted(self.choice.file.latency_repeats_us)
        summed = figure != _LATENCY and self.choice.file.dial is not None
        if summed or not repeats:
            return None
        count = len(repeats)
        below = max(0, int(count / 2 - _Z * sqrt(count) / 2))
        return repeats[below], repeats[count - 1 - below]


@dataclass(frozen=True)
class Pair:
    """A file and the one that it is compared with."""

    new: GateFile
    old: GateFile

    @property
    def rerouted(self) -> bool:
        """Whether other bytes are described otherwise under one name: it may be another network."""
        new, old = self.new.choice, self.old.choice
        if new is None or old is None or new.point.name != old.point.name:
            return False
        return new.point.route != old.point.route and new.file.sha256 != old.file.sha256

    @property
    def tools(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """What measured the latencies and with how many threads, before and now, where these differ."""
        if self.new.choice is None or self.old.choice is None:
            return None
        old, new = ((file.tool, file.threads) for file in (self.old.choice.file, self.new.choice.file))
        return None if old == new else (old, new)


@dataclass(frozen=True)
class Change:
    """What became of one figure of one file, under one limit.

    ``old`` is None where the limit is on the figure itself and the earlier run lacks it. ``spread`` is where ``value``
    may lie for want of images, or of repeats of a measurement (95 %); None of what is exact.
    """

    pair: Pair
    limit: Limit
    old: float | None
    new: float
    spread: tuple[float, float] | None = None

    @property
    def value(self) -> float:
        """What is limited: the figure itself, its change, or that as a share of what it was."""
        return _value(self.limit, self.old, self.new)

    @property
    def margin(self) -> float:
        """By how much the limit holds, in its own measure; negative where it is broken."""
        return self._margin(self.value)

    @property
    def holds(self) -> bool:
        """Whether the limit holds, by the figures as they are."""
        return self._within(self.value)

    @property
    def unsure(self) -> bool:
        """Whether images or repeats are too few to tell the verdict from chance."""
        return self.spread is not None and {self._within(end) for end in self.spread} != {self.holds}

    def _within(self, value: float) -> bool:
        return self._margin(value) >= -_ROUNDING * max(1.0, abs(value))

    def _margin(self, value: float) -> float:
        return value - self.limit.limit if self.limit.lowest else self.limit.limit - value


@dataclass(frozen=True)
class Unknown:
    """A figure that is limited and that a run lacks of some files."""

    limit: Limit
    run: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Gate:
    """What a comparison came to.

    ``paired``: both runs have the same test images, and scores are compared image by image. ``gone`` and ``added`` are
    files that the earlier run alone has, and those that the later one alone has.
    """

    new: GateRun
    old: GateRun
    pairs: tuple[Pair, ...]
    changes: tuple[Change, ...]
    unknown: tuple[Unknown, ...]
    paired: bool
    gone: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @cached_property
    def broken(self) -> tuple[Change, ...]:
        """Where a limit is broken."""
        return tuple(change for change in self.changes if not change.holds)

    @property
    def holds(self) -> bool:
        """Whether every limit is known to hold."""
        return not self.broken and not self.unknown

    @property
    def nearest(self) -> tuple[Change, ...]:
        """Of each limit that holds everywhere, where it holds by the least."""
        broken = {change.limit for change in self.broken}
        rest: dict[Limit, list[Change]] = {}
        for change in self.changes:
            if change.limit not in broken:
                rest.setdefault(change.limit, []).append(change)
        return tuple(min(changes, key=lambda c: c.margin) for changes in rest.values())


def compare(
    new: GateRun,
    old: GateRun,
    limits: Sequence[Limit],
    *,
    budget: Sequence[Term] = (),
    names: Sequence[str] = (),
) -> Gate:
    """Hold every file that both runs ship, and their elastic files, against limits.

    With a ``budget`` the best file of each run within it instead; with ``names``, as ``large`` or ``large.int8``,
    those alone. Choices are by the rank split and scores are those of the test split. Raises ``RestnetError`` where
    there is nothing to compare: no file of both, a name that is not shipped, a budget that a run does not meet, scores
    that count different things.
    """
    if new.metric != old.metric and any(limit.name == SCORE for limit in limits):
        raise RestnetError(
            f"scores of {new.path} are {new.metric} and those of {old.path} {old.metric}, which cannot be compared;"
            f" leave {SCORE} out"
        )
    files, earlier = ({_BEST: GateFile.of(_best(run, budget))} if budget else _files(run, names) for run in (new, old))
    pairs = tuple(Pair(file, earlier[name]) for name, file in files.items() if name in earlier)
    if all(pair.new.choice is None for pair in pairs):
        raise RestnetError(
            f"no file of {new.path} has the name of one of {old.path};"
            ' compare the best of each instead: --budget "flash<=100MB", or what you have room for'
        )
    paired = _same_images(new, old) and _counts(new) == _counts(old)
    changes = tuple(
        Change(
            pair, limit, pair.old.figures.get(limit.name), pair.new.figures[limit.name], _spread(pair, limit, paired)
        )
        for limit in limits
        for pair in pairs
        if not _lacking(pair, limit)
    )
    gone, added = _beside(earlier, files), _beside(files, earlier)
    return Gate(new, old, pairs, changes, _unknown(new, old, pairs, limits), paired, gone, added)


def _best(run: GateRun, budget: Sequence[Term]) -> Choice:
    try:
        return select.select(run.points, budget, run.measured, run.path)
    except RestnetError as error:
        raise RestnetError(f"{run.path}: {error}") from None


def _files(run: GateRun, names: Sequence[str]) -> dict[str, GateFile]:
    """By name what a run ships, those that are named or all with the elastic files; in the order of its merits."""
    shipped = select.choices(run.points, run.measured)
    for name in names:
        if not any(name in (choice.name, choice.point.name) for choice in shipped):
            listed = ", ".join(sorted(choice.name for choice in shipped))
            raise RestnetError(f"{run.path} ships no {name}; it ships {listed or 'no file at all'}")
    files = [GateFile.of(c) for c in shipped if not names or c.name in names or c.point.name in names]
    if not names:
        files += [GateFile(f"elastic.{name}", {"flash": float(size)}) for name, size in sorted(run.elastic.items())]
    return {file.name: file for file in files}


def _beside(files: Iterable[str], others: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in files if name not in others))


def _same_images(new: GateRun, old: GateRun) -> bool:
    """Whether both are known to test on the same images; runs that trained on others may."""
    noted = ((new.test, old.test), (new.images, old.images))
    return any(now and now == before for now, before in noted)


def _counts(run: GateRun) -> set[int]:
    return {point.test.n for point in run.points}


def _sides(pair: Pair, limit: Limit) -> tuple[GateFile, ...]:
    """The files that a limit reads."""
    return (pair.new,) if limit.change == FIGURE else (pair.new, pair.old)


def _lacking(pair: Pair, limit: Limit) -> tuple[GateFile, ...]:
    """The files of a pair that lack what a limit reads."""
    return tuple(file for file in _sides(pair, limit) if limit.name not in file.figures)


def _unknown(new: GateRun, old: GateRun, pairs: Sequence[Pair], limits: Sequence[Limit]) -> tuple[Unknown, ...]:
    """What would have to be measured: in one run what the other has, in any what nothing has.

    What a device has of neither file, as of floats where it takes integers alone, is nothing to compare.
    """
    points = [pair for pair in pairs if pair.new.choice is not None]
    gaps = []
    for limit in limits:
        nowhere = all(_lacking(pair, limit) for pair in points)
        for pair in points:
            lacking = _lacking(pair, limit)
            anywhere = limit.name in {*pair.new.figures, *pair.old.figures}
            if anywhere or nowhere:
                gaps += [(limit, (new if file is pair.new else old).path, file.name) for file in lacking]
    gaps.sort(key=lambda gap: (limits.index(gap[0]), gap[1]))
    return tuple(
        Unknown(limit, run, tuple(name for *_, name in files))
        for (limit, run), files in groupby(gaps, key=lambda gap: gap[:2])
    )


def _value(limit: Limit, old: float | None, new: float) -> float:
    if limit.change == FIGURE or old is None:
        return new
    if limit.change == AMOUNT:
        return new - old
    return new / old - 1 if old else float("inf") if new else 0.0


def _spread(pair: Pair, limit: Limit, paired: bool) -> tuple[float, float] | None:
    """Where the value may lie, lowest first."""
    if limit.name == SCORE and pair.new.test and pair.old.test:
        low, high = _score_spread(pair.new.test, pair.old.test, limit, paired)
        return 100 * low, 100 * high
    new, old = pair.new.spread(limit.name), pair.old.spread(limit.name)
    if new is None or old is None:
        return None
    return _value(limit, old[1], new[0]), _value(limit, old[0], new[1])


def _score_spread(new: Score, old: Score, limit: Limit, paired: bool) -> tuple[float, float]:
    """Shares 0..1: of the score itself, of the difference on the same images, or on others (Newcombe 1998)."""
    if limit.change == FIGURE:
        return new.interval
    if paired:
        lead, error = new.lead(old)
        return lead - _Z * error, lead + _Z * error
    lead = new.value - old.value
    (low, high), (old_low, old_high) = new.interval, old.interval
    return lead - hypot(new.value - low, old_high - old.value), lead + hypot(high - new.value, old.value - old_low)
