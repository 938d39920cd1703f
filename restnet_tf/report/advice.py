"""What to do next with a run: only what figures of the run itself bear out, and those figures."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from restnet_tf.points import select
from restnet_tf.points.points import ANCHOR, SHIPPED, STITCHED, OperatingPoint, Score
from restnet_tf.points.select import Choice
from restnet_tf.report import figures, losses, units
from restnet_tf.report.contents import Report
from restnet_tf.report.figure import Figure, Line
from tflite_export.budget import parse
from tflite_export.devices import devices

# Interpreters and compilers that need nothing plugged in; the extra that brings them.
_WITHOUT_HARDWARE = ("tflm", "ethos-u55-128")
_EXTRA = "mcu"
_FLOAT, _INTEGER, _FINER = losses.FLOAT, "int8", "int16x8"
_NOISE = 2.0  # standard errors of a paired difference
_QAT = "--qat"
_WORTH = 0.01  # of the score: what training behind rounding is for
_SPARED = 0.1  # of an update: less is not worth a training


@dataclass(frozen=True)
class Basis:
    """A figure of the run that an advice rests on: of a point, or of its file in a precision."""

    point: str
    precision: str
    label: str
    text: str

    @property
    def subject(self) -> str:
        """What it is of, in words."""
        return f"{self.point} {self.precision}".strip()


@dataclass(frozen=True)
class Advice:
    """What to do, the words of its command, the reason and the figures that bear it out."""

    what: str
    words: tuple[str, ...]
    reason: str
    basis: tuple[Basis, ...]

    @property
    def command(self) -> str:
        """For a shell."""
        return shlex.join(("restnet-tf", *self.words))

    @property
    def why(self) -> str:
        """The reason as a sentence, and the figures that it rests on."""
        by_subject: dict[str, list[str]] = {}
        for basis in self.basis:
            by_subject.setdefault(basis.subject, []).append(f"{basis.label} {basis.text}")
        figures = "; ".join(f"{subject}: {', '.join(texts)}" for subject, texts in by_subject.items())
        return f"{self.reason} ({figures})."


def of(report: Report) -> tuple[Advice, ...]:
    """All that the run's figures bear out, in the order that one would do it in."""
    return (*_selected(report), *_benched(report), *_quantised(report), *_verified(report), *_optimised(report))


def budget(points: Iterable[OperatingPoint]) -> tuple[str, Choice] | None:
    """A limit on MACs that a shipped point between the anchors meets (or an anchor where there is none), and the
    file that it selects; None where no file is shipped. Where there are cascades, it limits the mean."""
    points = tuple(points)
    files = select.choices(points)
    between = [c for c in files if c.point.kind != ANCHOR] or files
    if not between:
        return None
    costs = sorted({ceil(c.point.mean_macs) for c in between})
    term = "mean.macs" if any(c.point.cascade for c in between) else "macs"
    limit = f"{term}<={_rounded_up(costs[(len(costs) - 1) // 2])}"
    return limit, select.select(points, parse(limit))


def _rounded_up(count: int) -> str:
    """With four digits or as it is, in millions or thousands where it has them; never less than the count."""
    unit = 10 ** max(0, len(str(count)) - 4)
    up = -(-count // unit) * unit
    for scale, letter in ((1e6, "M"), (1e3, "K")):
        if up >= scale:
            return f"{up / scale:.10g}{letter}"
    return str(up)


def _selected(report: Report) -> Iterator[Advice]:
    best = budget(report.points)
    if best is not None:
        limit, choice = best
        yield Advice(
            "Choose a file for a device",
            ("select", report.run, "--budget", limit),
            f"Within this budget {choice.name} is the best on the rank split",
            _bases(report, choice.point, choice.precision, ("mean_macs", "macs", "interpreter_rank_score", "flash")),
        )


def _benched(report: Report) -> Iterator[Advice]:
    """Devices that take files of the run and have measured none of them."""
    measured = {m.device for m in report.measurements}
    shipped = select.choices(report.points)
    for device in _WITHOUT_HARDWARE:
        taken = [c for c in shipped if c.precision in devices.named(device).tried]
        if device not in measured and taken:
            largest = max(taken, key=lambda c: c.file.arena_bytes)
            yield Advice(
                f"Run the files on {device} (needs the extra {_EXTRA})",
                ("bench", report.run, "--device", device),
                "Nothing has been measured there yet, the arena is planned from the files",
                _bases(report, largest.point, largest.precision, ("arena_planned",)),
            )


def _quantised(report: Report) -> Iterator[Advice]:
    """Another calibration, or else a finer precision, where integers lose more on the rank split than noise would."""
    losing = [p for p in _between(report) if _loses(losses.rank(p, _FLOAT), losses.rank(p, _INTEGER))]
    if losing and report.method.reopens and report.build:
        yield from _finer(report, losing[0])  # one build does it for all points


def _loses(exact: Score | None, integers: Score | None) -> bool:
    if exact is None or integers is None:
        return False
    lead, error = exact.lead(integers)
    return lead > _NOISE * error


def _finer(report: Report, point: OperatingPoint) -> Iterator[Advice]:
    score = ("interpreter_rank_score",)
    basis = (*_bases(report, point, _FLOAT, score), *_bases(report, point, _INTEGER, score))
    reason = f"{_INTEGER} loses more on the rank split than noise would"
    if "--recalibrate" not in report.build:
        words = (*report.build, "--recalibrate", "--out", f"{report.run}-recalibrated")
        yield Advice("Calibrate the backs on what their stitches deliver", words, reason, basis)
    elif _FINER not in losses.precisions(point):
        precisions = ",".join([*losses.precisions(point), _FINER])
        words = (*report.build, "--precision", precisions, "--out", f"{report.run}-{_FINER}")
        yield Advice("Take finer activations", words, reason, basis)


def _verified(report: Report) -> Iterator[Advice]:
    """Where a file answers otherwise than the network that it was made of."""
    if not (report.method.reopens and report.build):
        return
    for point in report.points:
        file = point.files.get(_FLOAT)
        if file is not None and file.test.hits != point.test.hits:
            yield Advice(
                "Hold every file against TensorFlow's own conversion",
                ("verify", report.run, "--precision", _FLOAT),
                "A file has other answers right than the network has in Keras",
                (
                    *_bases(report, point, "", ("keras_test_score",)),
                    *_bases(report, point, _FLOAT, ("interpreter_test_score",)),
                ),
            )
            return


@dataclass(frozen=True)
class Improvement:
    """What ``restnet-tf optimize`` did to a point for the better, and the figures that show it."""

    what: str
    basis: tuple[Basis, ...]


def _optimised(report: Report) -> Iterator[Advice]:
    """What made one point of the run better at no more cost, for another one that can be optimised."""
    points = {p.name: p for p in report.points}
    for name, options in report.optimised.items():
        after = points.get(name)
        before = points.get(after.origin) if after else None
        gain = None if before is None or after is None else _gain(report, before, after, options)
        if before is None or after is None or gain is None:
            continue
        origins = {
            points[other].origin for other, same in report.optimised.items() if same == options and other in points
        }
        for point in _between(report):
            if point.name in report.optimisable - origins and (_QAT not in options or _needs_integers(point)):
                yield Advice(
                    f"Do to {point.name} what was done to {before.name} (needs the extra tfmot)",
                    ("optimize", report.run, "--point", point.name, *options),
                    gain.what,
                    gain.basis,
                )
                return


def _gain(report: Report, before: OperatingPoint, after: OperatingPoint, options: Sequence[str]) -> Improvement | None:
    """What was gained, by more than noise; None where nothing was."""
    if _QAT in options:
        return _integer_gain(before, after)
    if _better(after, before):
        basis = tuple(b for p in (before, after) for b in _bases(report, p, "", ("keras_rank_score", "macs")))
        return Improvement(f"{after.name} is better than {before.name} at no more cost", basis)
    return _lighter(report, before, after)


def _integer_gain(before: OperatingPoint, after: OperatingPoint) -> Improvement | None:
    """More right answers of the int8 file, of a point that had lost some by its integers."""
    was, now = losses.rank(before, _INTEGER), losses.rank(after, _INTEGER)
    if was is None or now is None or not _loses(now, was):
        return None
    scores = ((before, was), (after, now))
    basis = tuple(Basis(p.name, _INTEGER, "rank split", f"{100 * score.value:.1f} %") for p, score in scores)
    return Improvement(f"The {_INTEGER} file of {after.name} answers better than that of {before.name}", basis)


def _needs_integers(point: OperatingPoint) -> bool:
    """Whether a point loses more than a point of its score in int8."""
    exact, integers = losses.rank(point, _FLOAT), losses.rank(point, _INTEGER)
    return exact is not None and integers is not None and exact.lead(integers)[0] > _WORTH


def _lighter(report: Report, before: OperatingPoint, after: OperatingPoint) -> Improvement | None:
    """A smaller update, of a point that answers as well as before in that precision."""
    for precision in _precisions_sent(report, before, after):
        was, now = (report.sent[p.name][precision]["update_packed"] for p in (before, after))
        scores = losses.rank(before, precision), losses.rank(after, precision)
        if scores[0] and scores[1] and scores[0].lead(scores[1])[0] <= 0 and now <= (1 - _SPARED) * was:
            sizes = ((before, was), (after, now))
            basis = tuple(Basis(p.name, precision, "update behind gzip", f"{size:,} bytes") for p, size in sizes)
            return Improvement(f"An update to {after.name} sends less, and no answer is lost", basis)
    return None


def _precisions_sent(report: Report, before: OperatingPoint, after: OperatingPoint) -> list[str]:
    return [p for p in report.sent.get(after.name, {}) if p in report.sent.get(before.name, {})]


def _better(after: OperatingPoint, before: OperatingPoint) -> bool:
    """By more than noise on the rank split, at no more MACs and in no larger a file."""
    lead, error = after.rank.lead(before.rank)
    smaller = all(after.files[p].flash_bytes <= before.files[p].flash_bytes for p in before.files if p in after.files)
    return lead > error and after.macs <= before.macs and smaller


def _between(report: Report) -> list[OperatingPoint]:
    return [p for p in report.ordered if p.kind == STITCHED and p.status == SHIPPED]


def _bases(report: Report, point: OperatingPoint, precision: str, names: Sequence[str]) -> tuple[Basis, ...]:
    """Figures of the one list, by name, of a point or its file; without those that the run does not tell."""
    line = Line(point, report.points, precision)
    listed = {figure.name: figure for figure in figures.FIGURES}
    there = [listed[name] for name in names if not units.absent(listed[name].read(line))]
    return tuple(_basis(line, figures.spoken(figure, report.words)) for figure in there)


def _basis(line: Line, figure: Figure) -> Basis:
    return Basis(line.point.name, line.precision, figure.bare, figure.unit.phrase(figure.read(line)))
