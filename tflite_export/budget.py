"""Budgets in words: ``"macs<=30M, tflm.arena<=64KB"`` -> limits in base units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

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
_SCALES: dict[str, dict[str, float]] = {
    "count": {"": 1, "K": 1e3, "M": 1e6, "G": 1e9},
    "bytes": {"": 1, "B": 1, "KB": 1e3, "KIB": 1024, "MB": 1e6, "MIB": 1024**2},
    "time": {"US": 1, "MS": 1e3, "S": 1e6},
}


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


def device_of(name: str) -> str:
    """The device of a term's name, as tflm in tflm.arena; empty for what the run itself knows."""
    return name.removeprefix(MEAN).rpartition(".")[0]


def parse(text: str) -> tuple[Term, ...]:
    """Terms of a budget; raises ``TfliteError`` naming the term that is not understood."""
    terms = [_term(part.strip()) for part in text.split(",") if part.strip()]
    if not terms:
        raise TfliteError(f"the budget {text!r} is empty; {_known()}")
    return tuple(terms)


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
    kind = (UNITS | DEVICE_UNITS)[name.rpartition(".")[2]]
    scales = _SCALES[kind]
    fitting = [(scale, unit) for unit, scale in scales.items() if "I" not in unit and value >= scale]
    scale, unit = max(fitting, default=(1, "US" if kind == "time" else ""))
    return f"{value / scale:.3g} {unit.lower() if kind == 'time' else unit}".strip()


def _term(text: str) -> Term:
    match = re.fullmatch(r"([a-z0-9.:_\-]+)\s*<=?\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]*)", text, re.IGNORECASE)
    if match is None:
        raise TfliteError(f"budget term {text!r} is not understood; write name<=number with a unit; {_known()}")
    name, number, unit = match[1].lower(), float(match[2]), match[3].upper()
    bare = name.removeprefix(MEAN)
    device, _, figure = bare.rpartition(".")
    if figure not in (DEVICE_UNITS if device else UNITS):
        raise TfliteError(f"unknown budget term {name!r}; {_known()}")
    if bare != name and figure not in (DEVICE_MEANS if device else MEANS):
        raise TfliteError(f"{name} is no budget term: {figure} is the same for every image; write {bare}; {_means()}")
    scales = _SCALES[DEVICE_UNITS[figure] if device else UNITS[figure]]
    if unit not in scales:
        units = ", ".join(u or "none" for u in scales)
        raise TfliteError(f"{text!r}: {name} has no unit {match[3]!r}; units: {units}")
    return Term(name, number * scales[unit], text)


def _known() -> str:
    return (
        f"terms are: {', '.join(UNITS)}; for example macs<=30M, flash<=500KB, ram<=128KB, latency<=10ms;"
        f" and of a device: {', '.join(DEVICE_UNITS)}; for example tflm.arena<=64KB; {_means()}"
    )


def _means() -> str:
    names = [*(MEAN + name for name in MEANS), *(f"{MEAN}DEVICE.{name}" for name in DEVICE_MEANS)]
    return f"means of all images are {', '.join(names)}"
