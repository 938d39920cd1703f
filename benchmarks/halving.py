"""What successive halving gives: ``python -m benchmarks.halving --large L --small S --data D --out FOLDER``.

Fits the same family twice with the same work: as a build does (``fitting.stints``: two candidates a point, the worse
dropped after a tenth, what cannot reach its rival given up), and with an equal share for the best plan in each interval
of cost. Both stop at ``norm``, so that no point takes more. Holds the two against each other image by image.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from restnet_tf.fitting import stints
from restnet_tf.fitting.stints import Contest, Standings, Stint
from restnet_tf.points import front
from restnet_tf.points.points import ANCHOR, STITCHED, OperatingPoint
from restnet_tf.report import units
from restnet_tf.work import start

WAYS = ("halving", "equal shares")
SPLITS = ("rank", "test")


class EqualShares(Contest):
    """Every entrant has its share, whatever comes of it."""

    def rounds(self, standings: Standings) -> Iterator[Mapping[str, Stint]]:
        """One, of all."""
        yield {e.name: Stint(e.first) for e in self.entrants}


@dataclass(frozen=True)
class BuiltFamily:
    """The points of a build, anchors among them, and the MACs that all of it took."""

    points: tuple[OperatingPoint, ...]
    spent: float

    @property
    def fitted(self) -> list[OperatingPoint]:
        """The networks with stitches, the cheapest first."""
        return sorted((p for p in self.points if p.kind == STITCHED), key=lambda p: p.macs)

    def within(self, macs: float) -> OperatingPoint:
        """What a user takes for so much: the network nearest to the large anchor on the rank split."""
        offered = [p for p in self.points if p.kind in (ANCHOR, STITCHED) and p.macs <= macs]
        return min(offered, key=lambda p: (-p.rank.value, p.rank.kl or 0.0, p.macs))


@dataclass(frozen=True)
class PairedDifference:
    """By how much one is ahead of the other on the same images, and the standard error of that; shares of them."""

    value: float
    error: float

    @classmethod
    def of(cls, own: np.ndarray, other: np.ndarray) -> PairedDifference:
        """From a figure an image for both, ``(n,)``."""
        apart = own - other
        return cls(float(apart.mean()), float(apart.std()) / sqrt(len(apart)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Build both, print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("large", "small", "data", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--effort", type=float, default=0.1)
    parser.add_argument("--max-points", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args(arguments))
    start.tensorflow()
    folder = Path(options.pop("out"))
    print(page(*(built(way, folder / way.replace(" ", "-"), **options) for way in WAYS)))


def built(way: str, out: Path, **options: Any) -> BuiltFamily:
    """A family whose work is shared out in one of both ways."""
    from restnet_tf.commands import api
    from restnet_tf.methods.restnet import method
    from restnet_tf.points import points

    with ExitStack() as patched:
        if way != WAYS[0]:
            patched.enter_context(mock.patch.object(method, "Contest", EqualShares))
            patched.enter_context(mock.patch.object(stints, "CANDIDATES", 1))
        done = api.build(out=out, fine_tune="norm", precision="float32", cascades=0, controls=False, **options)
    meta, listed = points.read(done.path / "points.json")
    return BuiltFamily(listed, meta["training_macs"])


def page(halving: BuiltFamily, equal: BuiltFamily) -> str:
    """The comparison as Markdown."""
    rows = [
        ("points fitted", *(str(len(f.fitted)) for f in (halving, equal))),
        ("MACs of all, T", *(f"{f.spent / 1e12:.2f}" for f in (halving, equal))),
        *(_mean(split, halving, equal) for split in SPLITS),
        *(_scores(split, halving, equal) for split in SPLITS),
        *(_offered(split, halving, equal) for split in SPLITS),
        ("above the chord, test, points", *(f"{100 * _above(f):+.1f}" for f in (halving, equal))),
    ]
    head = ("", *WAYS, "apart")
    lines = [head, ("---", *("---:" for _ in head[1:])), *((*row, "")[: len(head)] for row in rows)]
    each = [f"- {way}: {', '.join(map(_told, f.fitted))}" for way, f in zip(WAYS, (halving, equal), strict=True)]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *each])


def _mean(split: str, *families: BuiltFamily) -> tuple[str, ...]:
    """KL to the large anchor, of a point in the mean."""
    kls = [float(np.mean([getattr(p, split).kl for p in f.fitted])) for f in families]
    return f"KL of a point, {split}", *(f"{kl:.3f}" for kl in kls), f"{kls[0] - kls[1]:+.3f}"


def _scores(split: str, *families: BuiltFamily) -> tuple[str, ...]:
    own, other = (np.mean([getattr(p, split).right for p in f.fitted], axis=0) for f in families)
    return f"right of a point, {split}, %", *_percents(own, other)


def _offered(split: str, *families: BuiltFamily) -> tuple[str, ...]:
    """What the best network within a budget has right, over all budgets at which either family gains a network."""
    budgets = sorted(p.macs for f in families for p in f.fitted)
    own, other = (np.mean([getattr(f.within(macs), split).right for macs in budgets], axis=0) for f in families)
    return f"right of the best within a budget, {split}, %", *_percents(own, other)


def _percents(own: np.ndarray, other: np.ndarray) -> tuple[str, str, str]:
    lead = PairedDifference.of(own, other)
    apart = f"{100 * lead.value:+.2f} ± {100 * lead.error:.2f}"
    return f"{100 * own.mean():.1f}", f"{100 * other.mean():.1f}", apart


def _above(family: BuiltFamily) -> float:
    """All fitted points from the chord, shipped or not."""
    leads = [p.test.value - front.chord(family.points, p.macs) for p in family.fitted]
    return float(np.mean(leads))


def _told(point: OperatingPoint) -> str:
    return f"{point.name} {point.macs / 1e6:.1f}M MACs {units.SCORE.phrase(point.test)}"


if __name__ == "__main__":
    main()
