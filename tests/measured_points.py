"""Operating points with figures of their own, for tests of what is told and chosen of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from restnet_tf.points.points import CASCADE, STITCHED, Cascade, Dial, File, OperatingPoint, Score, Setting


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


def cascade(
    small: OperatingPoint, large: OperatingPoint, goes_on: tuple[float, ...] = (0.25,), **more: Any
) -> OperatingPoint:
    """Two stages, ``goes_on`` of the rank images at each chosen position; of the test images a fifth more go on.

    Right answers grow with the root of the share that goes on, so that the dial lies above the chord.
    """
    macs, low, high = (small.macs, large.macs), small.test.value, large.test.value

    def setting(share: float) -> Setting:
        reach = ((1.0, share), (1.0, min(1.0, 1.2 * share)))
        value = round(200 * (low + (high - low) * share**0.5)) / 200
        return Setting((1.01 if share == 1 else share,), *reach, scored(round(200 * value)), scored(round(200 * value)))

    curve, notches = tuple(setting(i / 8) for i in range(9)), tuple(map(setting, goes_on))
    last = notches[-1]
    own = Cascade((small.name, large.name), macs, "max", last.thresholds, last.rank_reach, last.test_reach, curve)
    dial = Dial(last.thresholds, last.rank_reach, last.test_reach, (100.0, 900.0), curve)
    right = round(200 * last.test.value)
    figures: dict[str, Any] = {"rank": last.rank, "test": last.test}
    figures["files"] = {p: replace(file(right, latency=900.0), dial=dial) for p in ("float32", "int8")}
    figures["cascade"] = replace(own, notches=notches)
    return point(f"{small.name}>{large.name}", sum(macs), kind=CASCADE, **{**figures, **more})
