"""Which configuration each step of a joint training draws, and which are not drawn any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

import numpy as np

from restnet_tf.points import front

_GROUPS = 8  # of cost


def endless(alive: Sequence[int], macs: Sequence[int], sampling: str, seed: Sequence[int]) -> Iterator[int]:
    """Indices of ``alive`` configurations: all of them equally often, or all intervals of ``cost`` (SN-Netv2).

    Drawn in rounds, without putting back: short training would else miss some.
    """
    rng = np.random.default_rng(seed)
    groups = [[i] for i in alive]
    if sampling == "cost":
        low = min(macs[i] for i in alive)
        width = max(1, max(macs[i] for i in alive) - low)
        groups = [[] for _ in range(_GROUPS)]
        for i in alive:
            groups[min(_GROUPS - 1, (macs[i] - low) * _GROUPS // width)].append(i)
        groups = [group for group in groups if group]
    while True:
        for at in rng.permutation(len(groups)):
            yield int(rng.choice(groups[at]))


def hopeful(
    alive: Sequence[int], macs: Sequence[int], kls: Sequence[float], rivals: Sequence[tuple[int, float]]
) -> list[int]:
    """Those that are drawn on: without the worse half of what another, or a rival, of no more MACs beats in KL.

    Half a time, and not all at once: what starts badly may still come (successive halving; Jamieson and
    Talwalkar 2016). ``rivals`` are the anchors, as MACs and KL.
    """
    everyone = [*((macs[i], kls[i]) for i in alive), *rivals]

    def behind(i: int) -> float:
        better = front.rivals((macs[i], kls[i]), everyone, itemgetter(0), lambda one, other: one[1] < other[1])
        return kls[i] - min((kl for _, kl in better), default=np.inf)

    beaten = sorted((i for i in alive if behind(i) > 0), key=lambda i: (-behind(i), i))
    out = set(beaten[: len(beaten) // 2])
    return [i for i in alive if i not in out]
