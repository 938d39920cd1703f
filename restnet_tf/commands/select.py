"""From a finished run and a budget to the file to flash, and what is known of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restnet_tf.points import points
from restnet_tf.points import select as selecting
from restnet_tf.points.points import File, OperatingPoint, Share
from restnet_tf.points.select import Choice
from restnet_tf.points.stage_sums import StageSum
from restnet_tf.run.directory import Run
from tflite_export import budget as budgets
from tflite_export.cascades import threshold_key
from tflite_export.confidence import CONFIDENCES
from tflite_export.devices import measurements
from tflite_export.devices.measurements import Measurement
from tflite_export.inputs import noted


@dataclass(frozen=True)
class Selection:
    """The file of a run that a budget selects; ``metric`` says what its scores count."""

    run: Path
    metric: str
    choice: Choice
    many: str = "images"  # what inputs are called

    @property
    def point(self) -> OperatingPoint:
        """The operating point that the file is of."""
        return self.choice.point

    @property
    def precision(self) -> str:
        """The file's precision, as in ``int8``."""
        return self.choice.precision

    @property
    def file(self) -> File:
        """The file with its scores and figures."""
        return self.choice.file

    @property
    def path(self) -> Path:
        """Where the ``.tflite`` lies."""
        return self.run / self.file.path

    @property
    def measured(self) -> tuple[Measurement, ...]:
        """What devices say of the file."""
        return self.choice.measured

    @property
    def better(self) -> tuple[str, ...]:
        """Files that the budget's devices have not measured, though they score higher."""
        return self.choice.unknown


def select(run: str | Path, budget: str) -> Selection:
    """Choose the shipped file of a finished run that meets a budget and scores best on the rank split.

    ``budget`` is terms by commas, as in ``"macs<=30M, flash<=500KB, latency<=10ms, tflm.arena<=64KB"``: counts,
    bytes, seconds; ``DEVICE.FIGURE`` limits what a device has measured, ``mean.`` before MACs, latencies and cycles
    what an image of a cascade costs in the mean. Ties go to the cheaper file. Raises
    ``RestnetError`` where nothing meets it (the error names what the nearest misses), where no device has measured
    what it limits, and where the run is not finished; ``TfliteError`` for a term that is not understood.
    """
    terms, directory = budgets.parse(budget), Run(Path(run))
    meta, candidates = points.read(directory.points_path)
    measured = measurements.read(directory.measurements_path)
    choice = selecting.select(candidates, terms, measured, directory.path)
    return Selection(directory.path, str(meta["metric"]), choice, noted(meta).many)


def as_json(selection: Selection) -> str:
    """The point, the precision and the file, as JSON; of a cascade its thresholds too."""
    content: dict[str, Any] = {
        "point": selection.point.name,
        "precision": selection.precision,
        "file": str(selection.path),
    }
    if selection.file.dial is not None:
        content |= {"thresholds": list(selection.file.dial.thresholds)}
    return json.dumps(content, indent=1)


def lines(selection: Selection) -> list[str]:
    """What was chosen and all that is known of it, each figure with its source."""
    point, file = selection.point, selection.file
    low, high = (100 * share for share in file.test.interval)
    score = f"{100 * file.test.value:.1f} % [{low:.1f}, {high:.1f}] of {file.test.n} test {selection.many}"
    unmeasured = [f"  not measured there, though they score higher: {', '.join(selection.better)}"]
    return [
        f"{point.name} {selection.precision}: {point.route}",
        f"  {selection.metric} {score}",
        *_dial(point, file, selection.many),
        *(
            _figure(name, figure.of(point, file), figure.source.format(many=selection.many))
            for name, figure in selecting.FIGURES.items()
            if point.cascade or not name.startswith(budgets.MEAN)
        ),
        *(
            _figure(f"{m.device}.{m.figure}", m.value, f"{measurements.KINDS[m.kind]}, {m.tool}")
            for m in selection.measured
        ),
        *(line for total in selection.choice.sums for line in _summed(total, selection.measured, selection.many)),
        f"  file {selection.path}",
        *(unmeasured if selection.better else []),
    ]


def _dial(point: OperatingPoint, file: File, many: str) -> list[str]:
    """How a cascade is set, and on what share of the test split each stage goes on."""
    if point.cascade is None or file.dial is None:
        return []
    dial, stages, n = file.dial, point.cascade.stages, file.test.n
    lines = []
    for number, (stage, threshold, reach) in enumerate(zip(stages, dial.thresholds, dial.test_reach[1:], strict=False)):
        low, high = (100 * end for end in Share(reach, n).interval)
        share = f"{100 * reach:.1f} % [{low:.1f}, {high:.1f}] of {n} test {many}"
        key, confidence = threshold_key(number), CONFIDENCES[point.cascade.confidence].words
        lines.append(f"  set {key} to {threshold:.6g}: {stage} goes on where its {confidence} is under it, for {share}")
    return lines


def _summed(total: StageSum, measured: Sequence[Measurement], many: str) -> list[str]:
    """What a device makes of the stages, and of all of them where it has not measured the cascade."""
    name, source = f"{total.device}.{total.figure}", f"{measurements.KINDS[total.kind]}, {total.tool}"
    worst = _figure(name, total.worst, f"summed over stages; {source}")
    mean = _figure(budgets.MEAN + name, total.mean, f"summed over stages as rank {many} go on; {source}")
    return [mean] if any((m.device, m.figure) == (total.device, total.figure) for m in measured) else [worst, mean]


def _figure(name: str, value: float, source: str) -> str:
    return f"  {name} {budgets.amount(name, value)} ({source})"
