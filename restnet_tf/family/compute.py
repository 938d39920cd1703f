"""What effort buys: how many views are trained on, how many images try a stitch out, how much work a rung gets.

Training compute is counted in MACs and work (``ladder.RungResult``), not seconds, so that the same build gives the same
result on any machine; two server cores do about 6e10 a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from restnet_tf.family.family import Family
from restnet_tf.fitting import ladder

FINE_TUNES: dict[str, tuple[str, ...]] = {
    "stitch": ("stitch",),
    "norm": ("stitch", "norm"),
    "relu": ("stitch", "norm", "relu"),
    "back": ("stitch", "norm", "back"),
    "auto": ("stitch", "norm", "relu", "back"),
}
STATISTICS_IMAGES = 1024
VIEW_BATCH = 64
CACHE_BYTES = 8 * 2**30
_VIEW_MACS = 3.0e12
_VIEWS_PER_IMAGE = 8
_RUNG_WORK = {"stitch": 0.7e12, "norm": 4.8e12, "relu": 0.7e12, "back": 2.7e12}
_LEAST_IMAGES = 1_000  # that a stitch is trained on
# Untrained stitches are told apart by few images: their KLs differ by more than their errors.
_TRIAL_MACS, _MIN_TRIAL_IMAGES = 2.0e12, 32


def views(family: Family) -> int:
    """How many views of the fit images are trained on: bounded by compute, and by disk."""
    macs = sum(c.macs for c in family.costs.values())
    widest = max(np.prod(c.shape) for cut_list in family.cut_lists.values() for c in cut_list)
    on_disk = CACHE_BYTES // int(2 * widest * family.settings.max_points)
    most = min(_VIEWS_PER_IMAGE * len(family.data.fit), int(family.settings.effort * _VIEW_MACS / macs))
    return max(VIEW_BATCH, min(most, on_disk))


def trial_images(family: Family, macs: int) -> int:
    """How many rank images try out closed-form stitches that together cost ``macs`` an image."""
    return min(len(family.data.rank), max(_MIN_TRIAL_IMAGES, int(_TRIAL_MACS / max(1, macs))))


def rungs(fine_tune: str, effort: float, back: Any) -> dict[str, int]:
    """The ladder of a ``FINE_TUNES`` word behind a ``back``, with the work of each rung.

    Large backs would leave the stitch too few images of its small share: it gets some of the norms'.
    """
    shares = {rung: _RUNG_WORK[rung] * effort for rung in FINE_TUNES[fine_tune]}
    least = min(2 * _LEAST_IMAGES * ladder.work(back), (shares["stitch"] + shares.get("norm", 0)) / 2)
    lent = max(0.0, least - shares["stitch"])
    shares["stitch"] += lent
    if "norm" in shares:
        shares["norm"] -= lent
    return {rung: int(share) for rung, share in shares.items()}
