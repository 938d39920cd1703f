"""Operating points with figures of their own, for tests of what is told and chosen of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from restnet_tf.points.points import STITCHED, File, OperatingPoint, Score


def scored(right: int, n: int = 200, kl: float | None = None) -> Score:
    """The first ``right`` of n images are right."""
    return Score.of(np.arange(n) < right, kl)


def file(right: int = 100, flash: int = 1000, arena: int = 500, latency: float = 100.0, **more: Any) -> File:
    figures = {"test": scored(right), "path": "tflite/a file.tflite", **more}
    return File(
        sha256="ab" * 32,
        flash_bytes=flash,
        arena_bytes=arena,
        rank=scored(right),
        latency_median_us=latency,
        latency_p90_us=latency + 5,
        latency_repeats_us=(latency,),
        threads=1,
        tool="LiteRT 2.3",
        **figures,
    )


def point(name: str, macs: int, right: int = 100, kind: str = STITCHED, **more: Any) -> OperatingPoint:
    figures: dict[str, Any] = {"rank": scored(right, kl=0.1), "test": scored(right, kl=0.1)}
    figures |= {"files": {"float32": file(right), "int8": file(right, flash=300)}}
    return OperatingPoint(name, kind, f"the way of {name}", macs, 10 * macs, **{**figures, **more})
