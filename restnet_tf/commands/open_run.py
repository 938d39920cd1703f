"""A finished run, to be read: its points, files and measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from restnet_tf.commands import select as selecting
from restnet_tf.commands.select import Selection
from restnet_tf.points import points as operating_points
from restnet_tf.points.points import OperatingPoint
from restnet_tf.run.directory import Run
from tflite_export.devices import measurements as measured
from tflite_export.devices.measurements import Measurement


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run holds, as it was when it was opened.

    ``points`` are all of them, controls and dominated ones too (``status`` and ``reason`` say what became of each);
    ``metric`` is what their scores count; ``measurements`` what devices, interpreters and compilers said.
    """

    path: Path
    metric: str
    points: tuple[OperatingPoint, ...]
    measurements: tuple[Measurement, ...]

    @property
    def files(self) -> Mapping[tuple[str, str], Path]:
        """Where each ``.tflite`` lies, by the name of its point and its precision."""
        return {(p.name, precision): self.path / file.path for p in self.points for precision, file in p.files.items()}

    def select(self, budget: str) -> Selection:
        """The file that meets a budget and scores best on the rank split, as ``restnet_tf.select`` chooses it."""
        return selecting.select(self.path, budget)


def open_run(path: str | Path) -> FinishedRun:
    """Open the directory of a finished run to read it; nothing in it is changed.

    Raises ``RestnetError`` where it is no run, is not finished, or cannot be read.
    """
    run = Run(Path(path))
    meta, points = operating_points.read(run.points_path)
    return FinishedRun(run.path, str(meta["metric"]), points, tuple(measured.read(run.measurements_path)))
