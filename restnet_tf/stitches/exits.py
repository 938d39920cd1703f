"""How much of a cut an exit reads: means of few large windows, not of the whole grid alone.

Where a thing is tells much in early layers. Of ResNet-56 on CIFAR-10, ridge to its logits on 4,096 images, accuracy
behind 9, 18 and 21 blocks: 42, 67 and 79 % by the mean of the grid, 63, 80 and 84 % by those of 4x4 windows.
"""

from __future__ import annotations

from math import prod

from restnet_tf.records import Layout

_SIDES = (4, 2)
# Of the closed form each image is one row: of more values than this too few images would be left to tell them apart.
_MOST = 512


def windows(source: Layout) -> tuple[int, int]:
    """Into how many windows ``(h, w)`` the grid of a cut is divided."""
    for side in _SIDES:
        if all(length % side == 0 for length in source.size) and source.channels * side**2 <= _MOST:
            return side, side
    return 1, 1


def read(source: Layout, target: Layout) -> int:
    """Values that a map reads at each place of a target: of an exit all of the windows, with class tokens."""
    return source.channels * (prod(windows(source)) + source.classes) if target.vector else source.channels
