"""What cascades save, as rows of a table: ``python -m benchmarks.dials RUN RUN ...``.

A row for each position of a dial that a run has chosen, on the test split: the score with its 95 % interval, how many
images go on, the mean and the worst cost, and the line between the anchors at the same mean (its lead over that line
with the standard error, image by image). Below them what is saved against the dearest model where a point is lost at
most: at the position that the rank split chooses for that, and at the one that the test split would have chosen.
Such a choice by scores is led astray by the noise of the split that makes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CASCADE, SHIPPED, OperatingPoint, Share, mean_cost
from restnet_tf.records import RestnetError

_LOSS = 0.01
_HEAD = "| point | % of n | goes on, % | mean MMACs | worst | chord | above it | of the large, % |"


@dataclass(frozen=True)
class DialPosition:
    """A cascade somewhere on its dial: its scores on either split, and its mean cost on the test split, in MACs."""

    point: OperatingPoint
    rank: float
    test: float
    rank_macs: float
    test_macs: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, read, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    for run in parser.parse_args(arguments).runs:
        try:
            meta, listed = points.read(run / "points.json")
        except RestnetError as error:
            raise SystemExit(str(error)) from None
        print(f"\n{run}: {meta['metric']}\n{_HEAD}\n|{'---|' * _HEAD.count(' |')}")
        anchors = sorted((p for p in listed if p.kind == ANCHOR), key=lambda p: p.macs)
        there = [p for p in listed if p.kind == CASCADE and p.status == SHIPPED]
        for point in (*anchors, *(turned for p in there for turned in points.turned(p))):
            print(_row(point, anchors))
        _say_saved("chosen positions", _positions(there, chosen=True), anchors[-1])
        _say_saved("all positions", _positions(there), anchors[-1])


def lead(point: OperatingPoint, anchors: Sequence[OperatingPoint]) -> tuple[float, float, float]:
    """The chord at a point's mean cost, by how much the point lies above it, and the standard error of that, 0..1.

    The chord is what one gets who flips a coin for each image between the two anchors that the cost lies between.
    """
    after = next((i for i, a in enumerate(anchors) if a.macs >= point.test_mean_macs), len(anchors) - 1)
    one, other = anchors[max(after - 1, 0)], anchors[after]
    share = np.clip((point.test_mean_macs - one.macs) / max(other.macs - one.macs, 1), 0, 1)
    line = (1 - share) * one.test.right + share * other.test.right
    ahead = point.test.right - line
    return float(line.mean()), float(ahead.mean()), float(ahead.std() / np.sqrt(len(ahead)))


def _row(point: OperatingPoint, anchors: Sequence[OperatingPoint]) -> str:
    low, high = point.test.interval
    cells = [point.name, f"{100 * point.test.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"]
    if point.cascade is None:
        cells += ["", f"{point.macs / 1e6:.4g}", f"{point.macs / 1e6:.4g}", "", ""]
    else:
        shares = [Share(share, point.test.n) for share in point.cascade.test_reach[1:]]
        onward = ", ".join(
            f"{100 * s.value:.0f} [{100 * s.interval[0]:.0f}, {100 * s.interval[1]:.0f}]" for s in shares
        )
        chord, ahead, error = (100 * value for value in lead(point, anchors))
        mean, worst = (f"{macs / 1e6:.4g}" for macs in (point.test_mean_macs, point.macs))
        cells += [onward, mean, worst, f"{chord:.1f}", f"{ahead:+.1f} ± {error:.1f}"]
    return f"| {' | '.join(cells)} | {100 * point.test_mean_macs / anchors[-1].macs:.0f} |"


def _positions(cascades: Sequence[OperatingPoint], chosen: bool = False) -> list[DialPosition]:
    """All that the dials are known at, or those that were chosen."""
    return [
        DialPosition(
            point,
            setting.rank.value,
            setting.test.value,
            mean_cost(point.cascade.macs, setting.rank_reach),
            mean_cost(point.cascade.macs, setting.test_reach),
        )
        for point in cascades
        if point.cascade is not None
        for setting in (point.cascade.notches if chosen else point.cascade.curve)
    ]


def _say_saved(which: str, positions: Sequence[DialPosition], large: OperatingPoint) -> None:
    for who, value, cost in (
        ("rank", lambda p: p.rank, lambda p: p.rank_macs),
        ("test", lambda p: p.test, lambda p: p.test_macs),
    ):
        within = [p for p in positions if value(p) >= getattr(large, who).value - _LOSS]
        if within:
            best = min(within, key=cost)
            print(
                f"of {which} the cheapest within a point on {who}: {best.point.name} saves"
                f" {100 * (1 - best.test_macs / large.macs):.0f} % and has {100 * best.test:.1f} %,"
                f" {100 * (best.test - large.test.value):+.1f} points"
            )


if __name__ == "__main__":
    main()
