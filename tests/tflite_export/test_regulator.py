"""A dial that holds a mean cost: on streams that change, at its ends, and where nothing can hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tflite_export.entries import Mark, Staging
from tflite_export.errors import TfliteError
from tflite_export.regulator import Regulator

TWO = Staging(
    ("small", "large"),
    "max",
    (0.7,),
    macs=(10.0, 100.0),
    latency=(1.0, 9.0),
    reach=(1.0, 0.3),
    curve=tuple(Mark((t,), (1.0, t**3)) for t in np.linspace(0, 1, 21)),
)
THREE = Staging(
    ("small", "middle", "large"),
    "max",
    (0.7, 0.5),
    macs=(10.0, 30.0, 100.0),
    latency=(1.0, 3.0, 9.0),
    reach=(1.0, 0.4, 0.2),
    curve=tuple(Mark((t, t / 2), (1.0, t**3, t**4)) for t in np.linspace(0, 1, 21)),
)
# Confidences u ** (1 / 3) lie under t as the curve says; those of the harder half are far lower.
EASY, HARD = 1 / 3, 1.0


def stream(*halves: tuple[float, int], stages: int = 2, seed: int = 0) -> np.ndarray:
    """Confidences ``(n, stages - 1)`` of images of these kinds, so many of each."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(size=(n, stages - 1)) ** power for power, n in halves])


def costs(cascade: Staging, regulator: Regulator, sure: np.ndarray, *, turned: bool = True) -> np.ndarray:
    """What each image costs; not ``turned``, the dial stays as it begins."""
    paid = []
    for image in sure:
        stage = next((n for n, t in enumerate(regulator.thresholds) if image[n] >= t), len(image))
        paid.append(sum(cascade.macs[: stage + 1]))
        if turned:
            regulator.observe(paid[-1])
    return np.array(paid)


def means(paid: np.ndarray, window: int) -> np.ndarray:
    return np.convolve(paid, np.full(window, 1 / window), "valid")


@pytest.mark.parametrize("cascade", [TWO, THREE])
@pytest.mark.parametrize("target", [15.0, 40.0, 75.0])
@pytest.mark.parametrize("halves", [(EASY, HARD), (HARD, EASY)])
def test_the_mean_is_held_through_a_change(cascade: Staging, target: float, halves: tuple[float, float]):
    """Of any window in a row, the first one and those over the change too; a dial that nobody turns misses it."""
    sure = stream(*((power, 3000) for power in halves), stages=len(cascade.stages))
    paid = costs(cascade, Regulator(cascade, cascade.macs, target), sure)
    assert np.abs(means(paid, 1000) / target - 1).max() < 0.05
    fixed = costs(cascade, Regulator(cascade, cascade.macs, target), sure, turned=False)
    assert np.abs(means(fixed, 1000) / target - 1).max() > 0.3


@pytest.mark.parametrize("window", [500, 3000])
@pytest.mark.parametrize("tolerance", [0.05, 0.2])
def test_no_stream_breaks_the_bound(window: int, tolerance: float):
    """Images that are unsure when the dial is high and sure when it is low, in blocks as long as it hurts."""
    target, regulator, paid = 40.0, Regulator(TWO, TWO.macs, 40.0, window=window, tolerance=tolerance), []
    for n in range(4 * window):
        (threshold,) = regulator.thresholds
        sure = (n // (window // 2)) % 2
        paid.append(TWO.macs[0] + TWO.macs[1] * (sure < threshold))
        regulator.observe(paid[-1])
    assert np.abs(means(np.array(paid), window) / target - 1).max() <= tolerance


def test_a_longer_window_is_steadier():
    def spread(window: int) -> float:
        regulator, seen = Regulator(TWO, TWO.macs, 40.0, window=window), []
        for image in stream((EASY, 3000)):
            seen.append(regulator.thresholds[0])
            regulator.observe(10.0 + 100.0 * (image[0] < seen[-1]))
        return float(np.std(seen[1000:]))

    assert spread(4000) < 0.6 * spread(500)


def test_it_begins_where_the_file_says_that_the_target_is():
    assert Regulator(TWO, TWO.macs, 10 + 100 * 0.5**3).thresholds == pytest.approx((0.5,), abs=1e-9)
    assert Regulator(THREE, THREE.macs, 10 + 30 * 0.5**3 + 100 * 0.5**4).thresholds == pytest.approx((0.5, 0.25))
    bare = replace(TWO, curve=())
    assert Regulator(bare, bare.macs, 10 + 100 * 0.3).thresholds == pytest.approx((0.7,))


def test_at_its_ends_a_stage_always_or_never_answers():
    assert Regulator(THREE, THREE.macs, 10.0).thresholds == (0.0, 0.0)
    assert min(Regulator(THREE, THREE.macs, 140.0).thresholds) > 1
    assert max(Regulator(THREE, THREE.macs, 139.9).thresholds) <= 1


def test_thresholds_never_fall_along_the_dial():
    crooked = replace(THREE, curve=(*THREE.curve, Mark((0.1, 0.9), (1.0, 0.5, 0.3))))
    track = [Regulator(crooked, crooked.macs, target).thresholds for target in np.linspace(10, 140, 200)]
    assert (np.diff(track, axis=0) >= 0).all()


@pytest.mark.parametrize(("cost", "far", "back"), [(60.0, -1.0, 10.0), (20.0, 2.0, 110.0)])
def test_what_is_owed_beyond_the_dial_is_forgotten(cost: float, far: float, back: float):
    """A device on which nothing is cheap enough for a while, or dear enough, owes little when that is over."""
    regulator = Regulator(TWO, TWO.macs, 40.0)
    for _ in range(5000):
        regulator.observe(cost)
    assert regulator.position == far
    after = 0
    while not 0 < regulator.position < 1:
        regulator.observe(back)
        after += 1
    assert after < 100


def test_a_stall_is_made_up():
    """Its cost is in the mean like any other."""
    regulator, paid = Regulator(TWO, TWO.macs, 40.0), []
    for n, image in enumerate(stream((EASY, 2000))):
        paid.append(10.0 + 100.0 * (image[0] < regulator.thresholds[0]) + 400.0 * (n % 100 == 50))
        regulator.observe(paid[-1])
    assert np.abs(means(np.array(paid), 1000) / 40.0 - 1).max() < 0.05


@pytest.mark.parametrize(
    ("target", "options", "reason"),
    [
        (9.0, {}, "a mean of 9 cannot be held: by these costs of the stages it is 10 where the first one always"),
        (111.0, {}, "a mean of 111 cannot be held: .*, and 110 where all run"),
        (float("nan"), {}, "a mean of nan cannot be held"),
        (40.0, {"window": 99}, "window=99 is too short to hold a mean of 40 within 5%; give 100 or more"),
        (40.0, {"window": 0}, "give at least 1 image"),
        (40.0, {"tolerance": 0.0}, "a share under 1"),
        (40.0, {"tolerance": float("nan")}, "a share under 1"),
    ],
)
def test_what_cannot_be_held_is_refused(target: float, options: dict[str, Any], reason: str):
    with pytest.raises(TfliteError, match=reason):
        Regulator(TWO, TWO.macs, target, **options)
    assert Regulator(TWO, TWO.macs, 40.0, window=100).gain == pytest.approx(1)


@pytest.mark.parametrize("added", [(10.0,), (10.0, 0.0), (10.0, -1.0), (10.0, float("inf")), (1.0, 2.0, 3.0)])
def test_costs_that_are_none_are_refused(added: Sequence[float]):
    with pytest.raises(TfliteError, match="are no costs of 2 stages; give what each adds"):
        Regulator(TWO, added, 5.0)
    with pytest.raises(TfliteError, match="give a number of 0 or more"):
        Regulator(TWO, TWO.macs, 40.0).observe(-1.0)
    with pytest.raises(TfliteError, match="give a number of 0 or more"):
        Regulator(TWO, TWO.macs, 40.0).observe(float("nan"))
