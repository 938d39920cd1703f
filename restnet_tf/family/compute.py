"""What effort buys: how many views are trained on, how many images try a stitch out (for rungs see ``rungs.budgets``).

Training compute is counted in MACs and work (``results.RungResult``), not seconds, so that the same build gives the
same result on any machine; two server cores do about 6e10 a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from restnet_tf.family.family import Family, Prospect
from restnet_tf.records import Piece, Plan

STATISTICS_IMAGES = 1024
VIEW_BATCH = 64
CACHE_BYTES = 8 * 2**30
_VIEW_MACS = 3.0e12
_VIEWS_PER_IMAGE = 8
# Untrained stitches are told apart by few images: their KLs differ by more than their errors.
_TRIAL_MACS, _MIN_TRIAL_IMAGES = 2.0e12, 32


def views(family: Prospect) -> int:
    """How many views of the fit images are trained on: bounded by compute, and by disk."""
    macs = sum(c.macs for c in family.costs.values())
    widest = max(np.prod(c.shape) for cut_list in family.cut_lists.values() for c in cut_list)
    on_disk = CACHE_BYTES // int(2 * widest * family.settings.max_points)
    most = min(_VIEWS_PER_IMAGE * len(family.data.fit), int(family.settings.effort * _VIEW_MACS / macs))
    return max(VIEW_BATCH, min(most, on_disk))


def statistics_macs(family: Family) -> int:
    """MACs of the pass over the images that closed-form stitches are solved from."""
    return min(STATISTICS_IMAGES, len(family.data.fit)) * sum(c.macs for c in family.costs.values())


def prepared_macs(family: Family, plans: Sequence[Plan]) -> int:
    """MACs beside the fits of points: statistics, trials of those plans that have a loss, features of all views, and
    the training of candidates that were dropped.
    """
    anchors = sum(c.macs for c in family.costs.values())
    tried = [p for p in plans if p.kl is not None]
    backs = sum(p.macs - before(family, p.route[0]) for p in tried)
    trials = trial_images(family, sum(p.macs for p in tried)) * (anchors + backs) if tried else 0
    dropped = sum(p.reason.count or 0 for p in plans if p.reason is not None and p.reason.code == "halved")
    return statistics_macs(family) + trials + views(family) * anchors + dropped


def before(family: Family, front: Piece) -> int:
    """MACs of a front, from the image to its cut."""
    return next(c.macs_before for c in family.cut_lists[front.anchor] if c.name == front.stop)


def trial_images(family: Prospect, macs: int) -> int:
    """How many rank images try out closed-form stitches that together cost ``macs`` an image."""
    return min(len(family.data.rank), max(_MIN_TRIAL_IMAGES, int(_TRIAL_MACS / max(1, macs))))
