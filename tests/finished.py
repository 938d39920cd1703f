"""The directory of a finished run, with points as a build writes them; built in code, for the tests to share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, File, OperatingPoint, Score
from restnet_tf.run.directory import Run


def score(right: int, kl: float | None = None) -> Score:
    return Score.of(np.arange(200) < right, kl)


def file(path: str, flash: int, right: int, latency: float) -> File:
    times = (latency, latency)
    return File(path, "0" * 64, flash, flash // 4, score(right), score(right - 2), latency, latency, times, 1, "LiteRT")


def point(name: str, kind: str, macs: int, right: int, **more: Any) -> OperatingPoint:
    files = {"float32": file(f"tflite/{name}.float32.tflite", macs // 10, right, macs / 1e5)}
    figures = {"rank": score(right, 0.1), "test": score(right - 2, 0.1), "files": files}
    return OperatingPoint(name, kind, f"the way of {name}", macs, macs // 100, **{**figures, **more})


POINTS = (
    point("small", ANCHOR, 1_000_000, 150),
    point("L1-S0", "stitched", 3_000_000, 180),
    point("L2-S1", "stitched", 4_000_000, 170, status=DOMINATED, files={}),
    point("large", ANCHOR, 9_000_000, 195),
    point("distilled", CONTROL, 1_000_000, 199, status=CONTROL, files={}),
)


def written(
    path: Path, family: tuple[OperatingPoint, ...] = POINTS, inputs: Mapping[str, Any] | None = None, **meta: Any
) -> Path:
    """A run directory that holds points; their files themselves are not in it. With ``inputs`` its record is."""
    run = Run(path)
    run.create()
    if inputs is not None:
        with run.opened(inputs):
            pass
    run.write_json(run.points_path, points.to_json(family, {"metric": "accuracy", **meta}))
    return path
