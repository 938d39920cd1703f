"""What it costs to hold a mean: ``python -m benchmarks.mean_cost FILE --data D --target 47 [--point NAME]``.

Runs every stage of a cascade in FILE (its own ``.tflite`` or an elastic one) on the test images of D and on harder
copies of them, which are noisy. Then draws a stream of them that becomes harder half-way, several times, and turns
the dial in three ways: not at all, by a ``MeanCostController``, and by an oracle that knows of each half the one
threshold (of each stage) whose mean is the target. Targets are in millions of MACs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restnet_tf.data import splits
from tflite_export.confidence import CONFIDENCES
from tflite_export.entries import ALWAYS, NEVER, Staging
from tflite_export.regulator import Regulator
from tflite_export.runtime import ElasticModel

_TOLERANCE = 0.05


@dataclass(frozen=True)
class Drawn:
    """Images by what the stages make of them: how sure ``(n, k - 1)``, and whether each is right ``(n, k)``."""

    sure: np.ndarray
    right: np.ndarray

    def at(self, places: np.ndarray) -> Drawn:
        """Those at some places, in that order."""
        return Drawn(self.sure[places], self.right[places])


@dataclass(frozen=True)
class Passed:
    """A stream that has passed: what each image cost, in MACs, and whether its answer was right."""

    costs: np.ndarray
    right: np.ndarray


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run the stages, draw the streams, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--point")
    parser.add_argument("--target", type=float, nargs="+", required=True, help="millions of MACs an image")
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--images", type=int, default=3000, help="of each half")
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--noise", type=float, default=8.0, help="of the harder copies, standard deviation of 255")
    options = parser.parse_args(arguments)
    model = ElasticModel(options.file)
    names = [p.name for p in model.points if p.cascade]
    point = model.switch(options.point or next(iter(names), ""))
    if point.cascade is None:
        raise SystemExit(f"{point.name} is no cascade; {options.file} has {', '.join(names) or 'none'}")
    test = splits.load(options.data).test
    images = np.concatenate(list(test.batches(model.input_shape(), 64)))
    easy, hard = _drawn(model, images, test.labels), _drawn(model, _noisy(images, options.noise), test.labels)
    print(f"{point.name} in {options.file}, {len(images)} test images of {options.data}")
    print(f"  accuracy of its stages {_shares(easy.right)}, on the harder copies {_shares(hard.right)}")
    print(f"  {options.streams} streams of {options.images} and {options.images} images, window {options.window}")
    for target in options.target:
        _compare(point.cascade, (easy, hard), 1e6 * target, options)


def _noisy(images: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.float32)


def _drawn(model: ElasticModel, images: np.ndarray, labels: np.ndarray | None) -> Drawn:
    """What each stage answers, by dials that let it alone answer; without labels the last stage is right."""
    cascade = model.point.cascade
    assert cascade is not None
    behind = len(cascade.stages) - 1
    dials = [((ALWAYS,) * stage + (NEVER,) * behind)[:behind] for stage in range(behind + 1)]
    scores = np.array([[model.run(image, thresholds=dial) for dial in dials] for image in images])
    answers = scores.argmax(axis=2)
    truth = answers[:, -1] if labels is None else labels
    sure = [CONFIDENCES[cascade.confidence].of(scores[:, stage]) for stage in range(behind)]
    return Drawn(np.stack(sure, axis=1), answers == truth[:, None])


def _compare(cascade: Staging, pools: tuple[Drawn, Drawn], target: float, options: argparse.Namespace) -> None:
    ways: dict[str, list[Passed]] = {"fixed thresholds": [], "held by the controller": [], "an oracle": []}
    for seed in range(options.streams):
        rng = np.random.default_rng(seed)
        halves = [pool.at(rng.integers(0, len(pool.right), options.images)) for pool in pools]
        regulator = Regulator(cascade, cascade.macs, target, window=options.window, tolerance=_TOLERANCE)
        both = Drawn(*(np.concatenate([getattr(h, part) for h in halves]) for part in ("sure", "right")))
        ways["fixed thresholds"].append(_at(cascade, both, regulator.thresholds))
        ways["held by the controller"].append(_held(cascade, both, regulator))
        best = [_best(cascade, half, target) for half in halves]
        ways["an oracle"].append(
            Passed(*(np.concatenate([getattr(h, part) for h in best]) for part in ("costs", "right")))
        )
    print(f"target {target / 1e6:g} MMACs   first half      second half     worst window  within 5 % after the change")
    for name, streams in ways.items():
        print(f"  {name:<23}", *_line(streams, target, options))


def _line(streams: Sequence[Passed], target: float, options: argparse.Namespace) -> list[str]:
    n = options.images
    words = []
    for half in (slice(0, n), slice(n, None)):
        mean = np.mean([s.costs[half] for s in streams]) / 1e6
        words.append(f"{mean:6.1f} {np.mean([s.right[half] for s in streams]):6.1%}  ")
    kernel = np.full(options.window, 1 / options.window)
    worst = max(np.abs(np.convolve(s.costs, kernel, "valid") / target - 1).max() for s in streams)
    settled = [_settled(s.costs[n:], target) for s in streams]
    after = f"{int(np.median(settled))} images (median), {max(settled)} at most" if max(settled) < n else "never"
    return [*words, f"{worst:6.1%}       ", after]


def _settled(costs: np.ndarray, target: float) -> int:
    """After how many images their mean stays within the tolerance of the target."""
    means = np.cumsum(costs) / np.arange(1, len(costs) + 1)
    outside = np.flatnonzero(np.abs(means / target - 1) > _TOLERANCE)
    return int(outside[-1]) + 2 if len(outside) else 1


def _held(cascade: Staging, images: Drawn, regulator: Regulator) -> Passed:
    totals, costs, right = np.cumsum(cascade.macs), [], []
    for sure, answers in zip(images.sure, images.right, strict=True):
        enough = sure >= np.array(regulator.thresholds, np.float32)
        stage = int(enough.argmax()) if enough.any() else len(sure)
        costs.append(totals[stage])
        right.append(answers[stage])
        regulator.observe(totals[stage])
    return Passed(np.array(costs), np.array(right))


def _best(cascade: Staging, images: Drawn, target: float) -> Passed:
    """By the place of the dial, the same for all images, whose mean is nearest to the target."""
    low, high = cascade.macs[0], sum(cascade.macs)
    places = [Regulator(cascade, cascade.macs, t, window=10**9).thresholds for t in np.linspace(low, high, 400)]
    streams = [_at(cascade, images, place) for place in places]
    return min(streams, key=lambda s: abs(s.costs.mean() - target))


def _at(cascade: Staging, images: Drawn, thresholds: Sequence[float]) -> Passed:
    """By thresholds that nobody turns."""
    enough = np.column_stack([images.sure >= np.array(thresholds, np.float32), np.ones(len(images.sure), bool)])
    stage = enough.argmax(axis=1)
    return Passed(np.cumsum(cascade.macs)[stage], images.right[np.arange(len(stage)), stage])


def _shares(right: np.ndarray) -> str:
    return ", ".join(f"{share:.1%}" for share in right.mean(axis=0))


if __name__ == "__main__":
    main()
