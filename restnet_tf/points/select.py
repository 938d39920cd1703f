"""Budgets: ``"macs<=30M, tflm.arena<=64KB"`` -> the best operating point that fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from restnet_tf.points import stage_sums
from restnet_tf.points.points import CONTROL, SOURCES, File, OperatingPoint, mean_cost
from restnet_tf.points.stage_sums import StageSum, is_of
from restnet_tf.records import Excess, Reason, RestnetError
from tflite_export.budget import DEVICE_MEANS, MEAN, Term, amount, device_of, over
from tflite_export.devices import devices
from tflite_export.devices.measurements import Measurement


@dataclass(frozen=True)
class BudgetFigure:
    """What a budget term reads: the figure of a point in one precision."""

    of: Callable[[OperatingPoint, File], float]
    source: str


def _mean_macs(point: OperatingPoint, file: File) -> float:
    """As images go on by the thresholds of this file."""
    if point.cascade is None or file.dial is None:
        return point.mean_macs
    return mean_cost(point.cascade.macs, file.dial.rank_reach)


# The bare name is the worst case.
FIGURES = {
    "macs": BudgetFigure(lambda p, f: p.macs, SOURCES["macs"]),
    "params": BudgetFigure(lambda p, f: p.params, SOURCES["params"]),
    "flash": BudgetFigure(lambda p, f: f.flash_bytes, SOURCES["flash"]),
    "ram": BudgetFigure(lambda p, f: f.arena_bytes, SOURCES["ram"]),
    "latency": BudgetFigure(lambda p, f: f.latency_median_us, SOURCES["latency"]),
    "mean.macs": BudgetFigure(_mean_macs, SOURCES["mean_macs"]),
    "mean.latency": BudgetFigure(lambda p, f: f.mean_latency_us, SOURCES["mean_latency"]),
}


@dataclass(frozen=True)
class Choice:
    """The point that a budget selects and the precision of its file.

    ``measured`` is what devices say of that file, and ``sums`` what they say of a cascade's stages; ``unknown`` names
    the files that would do better but that a device of the budget has not measured.
    """

    point: OperatingPoint
    precision: str
    measured: tuple[Measurement, ...] = ()
    unknown: tuple[str, ...] = ()
    sums: tuple[StageSum, ...] = ()

    @property
    def file(self) -> File:
        """The file to flash."""
        return self.point.files[self.precision]

    @property
    def name(self) -> str:
        """Of the point and the precision, as in ``large.int8``."""
        return f"{self.point.name}.{self.precision}"

    @property
    def merit(self) -> tuple[float, float, float, float]:
        """What it is chosen by: the rank split, then the cheaper on average and at worst, then the smaller."""
        return self.file.rank.value, -_mean_macs(self.point, self.file), -self.point.macs, -self.file.flash_bytes

    @property
    def figures(self) -> dict[str, float]:
        """What a budget may limit, by term; the host's latency is the run's own until a bench has another."""
        own = {name: figure.of(self.point, self.file) for name, figure in FIGURES.items()}
        host = {"host.latency": own["latency"], "mean.host.latency": own["mean.latency"]}
        return own | host | self._summed | self._benched

    @property
    def _summed(self) -> dict[str, float]:
        """By term what devices say of the stages."""
        sums = {f"{s.device}.{s.figure}".lower(): s for s in self.sums}
        return {name: s.worst for name, s in sums.items()} | {MEAN + name: s.mean for name, s in sums.items()}

    @property
    def _benched(self) -> dict[str, float]:
        """By term what devices say of the file; the mean of what always costs the same is that."""
        every = {f"{m.device}.{m.figure}".lower(): m for m in self.measured}
        same = {} if self.point.cascade else {MEAN + n: m for n, m in every.items() if m.figure in DEVICE_MEANS}
        return {name: m.value for name, m in (every | same).items()}


def choices(
    points: Iterable[OperatingPoint], measured: Iterable[Measurement] = (), *, dials: bool = False
) -> list[Choice]:
    """Every shipped file, the best by its merit first, with what devices say of these very bytes.

    ``dials``: those of cascades at every position of their dial that is known. A budget takes the first one that it
    allows; of equals the first of the record.
    """
    points, measured = tuple(points), tuple(measured)
    by_name = {point.name: point for point in points}
    files = [
        Choice(
            point,
            precision,
            tuple(m for m in measured if m.precision == precision and is_of(m, point)),
            sums=stage_sums.of(point, precision, by_name, measured),
        )
        for point in points
        if point.kind != CONTROL
        for precision in sorted(point.files)
        if point.ships(precision)
        for point in (_turns(point, precision) if dials else (point,))
    ]
    return sorted(files, key=lambda choice: choice.merit, reverse=True)


def _turns(point: OperatingPoint, precision: str) -> Iterator[OperatingPoint]:
    """A point as its file stands, and a cascade with the dial of its file at every position that is known."""
    file = point.files[precision]
    settings = file.dial.curve if file.dial else ()
    for turned in dict.fromkeys((file, *map(file.turned, settings))):
        yield replace(point, files={**point.files, precision: turned})


def select(
    points: Iterable[OperatingPoint], terms: Iterable[Term], measured: Iterable[Measurement] = (), run: object = "RUN"
) -> Choice:
    """The shipped file that meets every term and does best on the rank split; ties go to the cheaper.

    Of a cascade every position of its dial is weighed: the file's ``dial`` stands where the budget wants it.
    The test split has no say: it only reports. A file that a device of the budget has not measured is not
    chosen. Raises ``RestnetError`` where none fits: what the nearest misses, and by how much; and for a device
    that nobody knows or that has measured nothing of the run, with the command that would.
    """
    terms = tuple(terms)
    ranked = choices(points, measured, dials=True)
    if not ranked:
        raise RestnetError("the run ships no .tflite file to choose from")
    lacking = unmeasured(ranked, terms)
    if lacking:
        raise RestnetError(
            f"{', '.join(lacking)} of no file of {run} is known; {commands(lacking, run)} would measure it"
        )
    measurable = [c for c in ranked if all(t.name in c.figures for t in terms)]
    rest = [c for c in ranked if c not in measurable and not over(_terms_of(terms, c), c.figures)]
    best = next((c for c in measurable if not over(terms, c.figures)), None)
    if best is not None:
        return replace(best, unknown=tuple(sorted({c.name for c in rest if c.merit > best.merit})))
    if not measurable:
        raise RestnetError(f"no file of {run} has all figures of the budget; {commands([t.name for t in terms], run)}")
    nearest = min(measurable, key=lambda c: max(over(terms, c.figures).values()))
    missed = ", ".join(
        f"{term.text} (it has {amount(term.name, nearest.figures[term.name])}, {share:.0%} over)"
        for term, share in over(terms, nearest.figures).items()
    )
    untried = f"; not measured there: {', '.join(sorted({c.name for c in rest}))}" if rest else ""
    raise RestnetError(
        f"no point meets the budget; the nearest, {nearest.point.name} {nearest.precision}, misses {missed}{untried}"
    )


def waiting(points: Iterable[OperatingPoint], terms: Iterable[Term], measured: Iterable[Measurement] = ()) -> list[str]:
    """Terms of devices that have not measured any shipped file; raises ``RestnetError`` for unknown devices."""
    return unmeasured(choices(points, measured), tuple(terms))


def unmeasured(ranked: Sequence[Choice], terms: Sequence[Term]) -> list[str]:
    """Terms of devices of which no file has the figure; raises ``RestnetError`` for a device that nobody knows."""
    devices.check(term.device for term in terms if term.device)
    return [term.name for term in terms if ranked and not any(term.name in c.figures for c in ranked)]


def commands(names: Iterable[str], run: object) -> str:
    """The command that measures what terms of devices limit."""
    limited = [device for name in names if (device := device_of(name))]
    names_of_devices = dict.fromkeys(devices.command(device) for device in limited)
    return f"restnet-tf bench {run} {' '.join(f'--device {name}' for name in names_of_devices)}"


def exceeded(terms: Iterable[Term], **figures: float) -> Reason | None:
    """Which of the terms these figures miss; None where they miss none. Other terms are passed over."""
    missed = tuple(
        Excess(t.text, t.name, figures[t.name]) for t in terms if t.name in figures and figures[t.name] > t.limit
    )
    return Reason("over_budget", excess=missed) if missed else None


def _terms_of(terms: Iterable[Term], choice: Choice) -> tuple[Term, ...]:
    return tuple(term for term in terms if term.name in choice.figures)
