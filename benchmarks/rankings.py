"""What foretells a stitch: ``python -m benchmarks.rankings --large L --small S --data D --out FOLDER``.

Tries pairs of cuts that chance drew, so that no ranking was chosen by, in closed form through the real backs, and says
how CKA, R2 and chance rank them (Spearman, as in every report) and what KL a shortlist by each would have come to.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from restnet_tf.progress import Silent
from restnet_tf.records import Plan
from restnet_tf.similarity import rankings
from restnet_tf.work import start

_INTERVALS = 4  # of cost, for each of which one is taken
_LISTED = (1, 3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Try the pairs, print what came."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("large", "small", "data", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--max-points", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args(arguments))
    start.tensorflow()
    seed = options["seed"]
    print(page(tried(**options), seed))


def tried(out: str, **options: object) -> tuple[Plan, ...]:
    """All pairs of cuts of two anchors, those that chance shortlisted with their KL."""
    from restnet_tf.methods.restnet import method, routes
    from restnet_tf.methods.restnet.options import Options

    asked = Options(rank_by=rankings.CHANCE, effort=0.001, controls=False, precision="float32")
    family = method.open(asked.replaced({**options, "out": Path(out)}), Silent())
    with family.run.opened(method.identity(family)):
        return routes.of(family).tried()


def page(plans: Sequence[Plan], seed: int) -> str:
    """What each ranking foretold and found, as Markdown."""
    count, told, _ = rankings.foretold(plans, seed)
    least = {listed: reached(plans, listed, seed) for listed in _LISTED}
    heads = (f"{count} pairs", "Spearman", *(f"least KL of the first {listed}" for listed in _LISTED))
    lines = [heads, ("---", *("---:" for _ in heads[1:]))]
    for by, name in rankings.SPOKEN.items():
        lines.append((name, f"{told.get(name, float('nan')):+.2f}", *(f"{each[by]:.3f}" for each in least.values())))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def reached(plans: Sequence[Plan], listed: int, seed: int) -> dict[str, float]:
    """By ranking, the KL of the best of its first ones in an interval of cost, the mean of all intervals."""
    every = [p for p in plans if p.kl is not None]
    ends = np.linspace(min(p.macs for p in every), max(p.macs for p in every) + 1, _INTERVALS + 1)
    groups = [[p for p in every if low <= p.macs < high] for low, high in pairwise(ends)]
    least = {}
    for by in rankings.RANKINGS:
        rank = rankings.ranks(every, by, seed)
        first = [sorted(group, key=lambda p: -rank[p.name])[:listed] for group in groups if group]
        least[by] = float(np.mean([min(p.kl or 0.0 for p in some) for some in first]))
    return least


if __name__ == "__main__":
    main()
