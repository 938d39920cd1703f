"""What a device is exported: points' files in, the files that one flashes or ships out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tflite_export import cascades
from tflite_export.carray import Several
from tflite_export.devices.rules import Rules, refusals
from tflite_export.errors import TfliteError
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.kernels import EVERY, Kernels


@dataclass(frozen=True)
class PointFile:
    """The file of a point in one precision; ``several`` where it is an array of more than one point.

    ``origins`` are the hashes of the run's own files, one a point in it, by which figures of it are told.
    """

    name: str
    precision: str
    content: bytes = field(repr=False)
    several: Several | None = None
    origins: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """What its files are called."""
        return cascades.in_files(f"{self.name}.{self.precision}")

    @property
    def networks(self) -> tuple[bytes, ...]:
        """The files of one network that it is made up of."""
        return self.several.networks if self.several else (self.content,)


@dataclass(frozen=True)
class StageLoop:
    """A cascade of which a device is given the stages, since it takes no IF: the host compares between them.

    ``stages`` are names of points, cheapest first; ``repeated_macs`` what runs twice where it goes on, since a
    stage begins with the front of the one before but has no file that goes on from there.
    """

    name: str
    precision: str
    stages: tuple[str, ...]
    confidence: str
    thresholds: tuple[float, ...]
    repeated_macs: int = 0

    @property
    def stem(self) -> str:
        """What its files are called."""
        return cascades.in_files(f"{self.name}.{self.precision}")

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Point and precision of each stage's file; a shorter list of precisions repeats its last."""
        parts = self.precision.split(cascades.GOES_ON)
        return tuple((name, parts[min(n, len(parts) - 1)]) for n, name in enumerate(self.stages))


def _no_samples(shape: tuple[int, ...], count: int) -> None:
    return None


@dataclass(frozen=True)
class Parcel:
    """What is to be exported of a run, by name: points that the device takes, and the classes of their scores.

    ``loops`` are cascades whose stages are among the points. ``elastic`` is the file of all points, None where one was
    asked for alone or there is no such file. ``kind`` says what the points take; for ``builds`` the stated arenas
    suffice. ``every``: these are all of the run's shipped points. ``samples`` gives inputs ``(n, *shape)`` float32 of
    the run's own data, None where they are not at hand.
    """

    run: str
    points: tuple[PointFile, ...]
    labels: tuple[str, ...]
    elastic: Path | None = None
    loops: tuple[StageLoop, ...] = ()
    kind: InputKind = PHOTOS
    builds: tuple[Kernels, ...] = EVERY
    every: bool = False
    samples: Callable[[tuple[int, ...], int], np.ndarray | None] = _no_samples


@dataclass(frozen=True)
class Export:
    """Files by name, what is known of them, and what to do next (``{out}`` stands for their folder)."""

    files: Mapping[str, bytes]
    remarks: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class Verdict:
    """A point's file as the device is given it, or the reasons for which it takes none."""

    point: PointFile | None
    reasons: tuple[str, ...] = ()


def _as_it_is(point: PointFile) -> PointFile:
    return point


def _nothing_needed() -> None:
    return None


@dataclass(frozen=True)
class Together:
    """A way to join points in one array: those of an elastic file's content, named in order, in one precision.

    ``loops`` says whether cascades go with them, as stages and code that compares.
    """

    join: Callable[[bytes, Sequence[str], str], PointFile]
    loops: bool


@dataclass(frozen=True)
class Target:
    """How files are exported to a device: its rules, and functions from files to files.

    ``prepare`` compiles or tries a point's file that the rules allow, ``check`` sees to the programs that this takes;
    both raise TfliteError. ``together`` are its ways to join points in one array, by name. ``kernels`` says whether
    its arena depends on what firmware is built with.
    """

    rules: Rules
    export: Callable[[Parcel], Export]
    prepare: Callable[[PointFile], PointFile] = _as_it_is
    check: Callable[[], None] = _nothing_needed
    together: Mapping[str, Together] = field(default_factory=dict)
    kernels: bool = False


def loop_remarks(parcel: Parcel, code: str) -> tuple[str, ...]:
    """What there is to know of cascades that a host compares, by which code; nothing where there are none."""
    repeated = (
        f"{loop.name}: the front that its stages share runs twice where it goes on, {loop.repeated_macs:,} MACs more"
        for loop in parcel.loops
        if loop.repeated_macs
    )
    return (f"cascades come as their stages; {code} runs them until one is sure", *repeated) if parcel.loops else ()


def judged(point: PointFile, target: Target) -> Verdict:
    """Whether a target takes a point's file, and as what.

    Raises TfliteError for an unknown precision and bytes that are no ``.tflite`` file.
    """
    reasons = [str(r) for content in point.networks for r in refusals(content, target.rules, point.precision)]
    if reasons:
        return Verdict(None, tuple(dict.fromkeys(reasons)))
    try:
        return Verdict(target.prepare(point))
    except TfliteError as error:
        return Verdict(None, (str(error),))
