"""Budgets in words: ``"macs<=30M, tflm.arena<=64KB"`` -> limits in base units; and those of a gate, on changes too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from tflite_export.errors import TfliteError

# What a budget may limit, by the kind of its unit: counts, bytes, microseconds.
UNITS = {"macs": "count", "params": "count", "flash": "bytes", "ram": "bytes", "latency": "time"}
# What it may limit of a named device, as in tflm.arena: the figures that devices, interpreters and compilers report.
DEVICE_UNITS = {
    "latency": "time",  # microseconds
    "arena": "bytes",
    "head": "bytes",
    "tail": "bytes",
    "sram": "bytes",
    "flash": "bytes",
    "memory": "bytes",  # peak resident memory of a process, or DRAM
    "cycles": "count",
    "instructions": "count",  # of an emulator, which has no cycles
    "difference": "count",  # the largest of any output from the reference's, in steps of its scale
}
# Before a figure: what an image costs in the mean, where not all cost the same; the bare name is the worst case.
MEAN = "mean."
# What has one: what running costs, of the run itself and of a device.
MEANS = ("macs", "latency")
DEVICE_MEANS = ("latency", "cycles")
# What a gate may limit beside these: the share of right answers, in percent, and its change in points of that.
SCORE = "score"
# How a gate's limit is meant: as the figure itself, or as its change by an amount or by a share of what it was.
FIGURE, AMOUNT, SHARE = "figure", "amount", "share"
_SCALES: dict[str, dict[str, float]] = {
    "count": {"": 1, "K": 1e3, "M": 1e6, "G": 1e9},
    "bytes": {"": 1, "B": 1, "KB": 1e3, "KIB": 1024, "MB": 1e6, "MIB": 1024**2},
    "time": {"US": 1, "MS": 1e3, "S": 1e6},
    "points": {"": 1},
}
_NAME, _NUMBER = r"([a-z0-9.:_\-]+)", r"([0-9]*\.?[0-9]+(?:e[0-9]+)?)"
_TERM = re.compile(rf"{_NAME}\s*<=?\s*{_NUMBER}\s*([a-z]*)", re.IGNORECASE)
_LIMIT = re.compile(rf"{_NAME}\s*([<>])=?\s*([+-]?)\s*{_NUMBER}\s*([a-z]*|%)", re.IGNORECASE)


@dataclass(frozen=True)
class Term:
    """One limit of a budget, in the figure's base unit (counts, bytes, microseconds)."""

    name: str
    limit: float
    text: str

    @property
    def device(self) -> str:
        """The device whose figure it limits; empty for what the run itself knows."""
        return device_of(self.name)

    @property
    def figure(self) -> str:
        """What it limits, without the device."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Limit(Term):
    """One limit of a gate, on a figure or on its change (``FIGURE``, ``AMOUNT``, ``SHARE``).

    In base units, of a share as 0.02 for 2 %, of a score in points. Scores are limited from below, costs from above.
    """

    change: str = FIGURE

    @property
    def lowest(self) -> bool:
        """Whether less than the limit breaks it, and not more."""
        return self.name == SCORE


def device_of(name: str) -> str:
    """The device of a term's name, as tflm in tflm.arena; empty for what the run itself knows."""
    return name.removeprefix(MEAN).rpartition(".")[0]


def parse(text: str) -> tuple[Term, ...]:
    """Terms of a budget; raises ``TfliteError`` naming the term that is not understood."""
    terms = [_term(part) for part in _parts(text)]
    if not terms:
        raise TfliteError(f"the budget {text!r} is empty; {_known()}")
    return tuple(terms)


def limits(text: str) -> tuple[Limit, ...]:
    """Limits of a gate, as in ``"score>=-0.5, flash<=+2%, latency<=+1ms, ram<=64KB"``.

    A sign stands before a change, in the figure's unit or in ``%`` of what it was; without one the figure itself is
    limited. Raises ``TfliteError`` naming the limit that is not understood.
    """
    read = [_limit(part) for part in _parts(text)]
    if not read:
        raise TfliteError(f"the limits {text!r} are empty; {_limited()}")
    return tuple(read)


def over(terms: tuple[Term, ...], figures: Mapping[str, float]) -> dict[Term, float]:
    """The terms that figures miss, with the share by which they are over."""
    limited = {term: figures[term.name] for term in terms}
    return {
        term: value / term.limit - 1 if term.limit else float("inf")
        for term, value in limited.items()
        if value > term.limit
    }


def amount(name: str, value: float) -> str:
    """A figure with its unit, as a person reads it; ``name`` may be that of a device's figure, or the figure."""
    kind = (UNITS | DEVICE_UNITS | {SCORE: "points"})[name.rpartition(".")[2]]
    scales = _SCALES[kind]
    fitting = [(scale, unit) for unit, scale in scales.items() if "I" not in unit and value >= scale]
    scale, unit = max(fitting, default=(1, "US" if kind == "time" else ""))
    return f"{value / scale:.3g} {unit.lower() if kind == 'time' else unit}".strip()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _term(text: str) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise TfliteError(f"budget term {text!r} is not understood; write name<=number with a unit; {_known()}")
    name = _checked(match[1].lower(), "budget term", _known())
    return Term(name, _base(name, match[2], match[3], text), text)


def _limit(text: str) -> Limit:
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise TfliteError(f"limit {text!r} is not understood; {_limited()}")
    name, direction, sign, number, unit = match[1].lower(), *match.groups()[1:]
    if name != SCORE:
        _checked(name, "limit", _limited())
    if direction != (">" if name == SCORE else "<"):
        right = f"{name}{'>' if name == SCORE else '<'}="
        raise TfliteError(f"{text!r}: {name} may not become {'lower' if name == SCORE else 'higher'}; write {right}...")
    if name == SCORE:
        _check_score(text, sign, number, unit)
    elif unit == "%" and not sign:
        raise TfliteError(f"{text!r}: a share is that of what it was; write {name}<=+{number}%")
    value = float(number) / 100 if unit == "%" else _base(name, number, unit, text)
    change = FIGURE if not sign else SHARE if unit == "%" else AMOUNT
    return Limit(name, -value if sign == "-" else value, text, change)


def _check_score(text: str, sign: str, number: str, unit: str) -> None:
    """Scores are in percent and their changes in points of it, so that a percentage could mean two things."""
    if unit == "%":
        meant = "in points" if sign else "in percent"
        raise TfliteError(f"{text!r}: {SCORE} is {meant} without a unit; write {SCORE}>={sign}{number}")
    if not sign and 0 < float(number) <= 1:
        raise TfliteError(f"{text!r}: {SCORE} is in percent; write {SCORE}>={100 * float(number):g}")


def _checked(name: str, word: str, advice: str) -> str:
    """The name of a figure; raises ``TfliteError`` where there is none such."""
    bare = name.removeprefix(MEAN)
    device, _, figure = bare.rpartition(".")
    if figure not in (DEVICE_UNITS if device else UNITS):
        near = get_close_matches(figure, DEVICE_UNITS if device else UNITS, 1)
        meant = f"did you mean {name.removesuffix(figure)}{near[0]}? " if near else ""
        raise TfliteError(f"unknown {word} {name!r}; {meant}{advice}")
    if bare != name and figure not in (DEVICE_MEANS if device else MEANS):
        raise TfliteError(f"{name} is no {word}: {figure} is the same for every image; write {bare}; {_means()}")
    return name


def _base(name: str, number: str, unit: str, text: str) -> float:
    """A number in the base unit of a figure."""
    device, _, figure = name.removeprefix(MEAN).rpartition(".")
    scales = _SCALES[(DEVICE_UNITS if device else UNITS | {SCORE: "points"})[figure]]
    if unit.upper() not in scales:
        units = ", ".join(u or "none" for u in scales)
        raise TfliteError(f"{text!r}: {name} has no unit {unit!r}; units: {units}")
    return float(number) * scales[unit.upper()]


def _limited() -> str:
    return (
        f"write {SCORE}>=-0.5 (points), flash<=+2% (of what it was), latency<=+1ms, or ram<=64KB without a sign for the"
        f" figure itself; figures are: {SCORE}, {', '.join(UNITS)}; and of a device: {', '.join(DEVICE_UNITS)}"
    )


def _known() -> str:
    return (
        f"terms are: {', '.join(UNITS)}; for example macs<=30M, flash<=500KB, ram<=128KB, latency<=10ms;"
        f" and of a device: {', '.join(DEVICE_UNITS)}; for example tflm.arena<=64KB; {_means()}"
    )


def _means() -> str:
    names = [*(MEAN + name for name in MEANS), *(f"{MEAN}DEVICE.{name}" for name in DEVICE_MEANS)]
    return f"means of all images are {', '.join(names)}"
