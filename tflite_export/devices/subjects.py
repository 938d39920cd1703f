"""Files that a device is to measure, how it is to do so, and what it found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tflite_export import cascades
from tflite_export.devices.measurements import Measurement
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Operator, read
from tflite_export.inputs import PHOTOS, InputKind

_GRID = 5  # random values along a side, between which images are interpolated


@dataclass(frozen=True)
class Subject:
    """A file of a run: the bytes of one point in one precision."""

    point: str
    precision: str
    content: bytes = field(repr=False)
    kind: InputKind = PHOTOS  # what it takes

    @cached_property
    def sha256(self) -> str:
        """Of the bytes, which is how figures are told from those of another build's file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        """As the file is called, without ``.tflite``."""
        return cascades.in_files(f"{self.point}.{self.precision}")

    def measured(
        self,
        device: str,
        figures: Mapping[str, float],
        *,
        kind: str,
        tool: str,
        repeats: Mapping[str, tuple[float, ...]] | None = None,
    ) -> tuple[Measurement, ...]:
        """Records of figures, by name; ``repeats`` for those that have any."""
        kept = repeats or {}
        return tuple(
            Measurement(
                self.point, self.precision, device, name, float(value), kind, tool, self.sha256, kept.get(name, ())
            )
            for name, value in figures.items()
        )


@dataclass(frozen=True)
class DeviceOptions:
    """What a user may ask of the devices; each takes what concerns it.

    ``examples`` gives so many real inputs ``(n, h, w, c)`` or ``(n, t, c)`` of a shape; None where there are none.
    """

    threads: int = 1
    xnnpack: bool = True
    repeats: int = 50
    binary: Path | None = None
    serials: tuple[str, ...] = ()
    log: Path | None = None
    lan: bool = False
    port: int = 0  # any that is free
    browsers: int = 1
    wait: int = 600  # seconds
    examples: Callable[[tuple[int, ...], int], np.ndarray] | None = None


@dataclass(frozen=True)
class Findings:
    """What a device says: figures, what is odd about them, why files have none, and what its user has to know."""

    measurements: tuple[Measurement, ...] = ()
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class DeviceError(TfliteError):
    """A device cannot work at all; the message begins with its name."""


def tried(subject: Subject, one: Callable[[Subject], Findings]) -> Findings:
    """What one file gives; a file that fails is a failure of that file alone."""
    try:
        return one(subject)
    except TfliteError as error:
        return Findings(failures=(f"{subject.name}: {error}",))


def opened(subject: Subject) -> Model:
    """The file as objects; raises ``TfliteError`` for one with several signatures, or subgraphs but of a cascade."""
    model = read(subject.content)
    count = max(len(model.signatures), len(model.subgraphs))
    if count > 1 and not cascades.holds_one(model):
        raise TfliteError(f"it has {count} signatures or subgraphs; give a point's own file, not an elastic one")
    return model


def is_weight_only(subject: Subject) -> bool:
    """Whether an operator reads float activations and integer weights, or weights of half precision."""
    return any(_mixed(operator) for operator in _operators(subject))


def is_float(subject: Subject) -> bool:
    """Whether any operator computes in float between its input and its output."""
    return any(
        operator.name not in ("QUANTIZE", "DEQUANTIZE") and any(t.type.startswith("FLOAT") for t in operator.outputs)
        for operator in _operators(subject)
    )


def smooth_images(shape: tuple[int, ...], n: int, seed: int = 0, kind: InputKind = PHOTOS) -> np.ndarray:
    """Seeded random inputs ``(n, h, w, c)`` or ``(n, t, c)`` float32 of a kind's range, smooth as photographs are.

    Noise from pixel to pixel would be averaged out by the first layers, and show little of the rest.
    """
    *sides, c = shape
    grid = np.random.default_rng(seed).uniform(kind.low, kind.high, (n, *[_GRID] * len(sides), c))
    if len(sides) == 1:
        return np.einsum("ti,nic->ntc", _interpolation(sides[0]), grid).astype(np.float32)
    down, across = (_interpolation(size) for size in sides)
    return np.einsum("hi,nijc,wj->nhwc", down, grid, across).astype(np.float32)


def _operators(subject: Subject) -> Iterator[Operator]:
    for graph in opened(subject).subgraphs:
        yield from graph.operators


def _interpolation(size: int) -> np.ndarray:
    at = np.linspace(0, _GRID - 1, size)[:, None]
    return np.maximum(0.0, 1.0 - np.abs(at - np.arange(_GRID)))


def _mixed(operator: Operator) -> bool:
    operands = [tensor for tensor in operator.inputs if tensor is not None]
    if operator.name == "DEQUANTIZE":
        return any(t.constant or t.type == "FLOAT16" for t in operands)
    floats = any(t.type == "FLOAT32" and not t.constant for t in operands)
    return floats and any(t.constant and t.type in ("INT8", "INT4", "FLOAT16") for t in operands)
