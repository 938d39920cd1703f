"""How many images training runs at once, so that what their values take stays within the memory that it may have."""

from __future__ import annotations

LEAST = 16  # norms and steps of fewer would suit no network
BYTES = 4 * 2**30  # of a batch; networks of CIFAR's size are far below
_BYTES_A_VALUE = 8  # forwards and backwards


def most(values: int) -> int:
    """Images whose ``values`` each (``costs.held``) fit into it, though they be none."""
    return BYTES // (_BYTES_A_VALUE * max(1, values))


def size(wanted: int, values: int) -> int:
    """Images of a batch: as many as are ``wanted`` and fit into it, though no fewer than ``LEAST``."""
    return max(LEAST, min(wanted, most(values)))


def held(images: int, values: int) -> int:
    """Bytes that so many images take in training, of so many ``values`` each."""
    return _BYTES_A_VALUE * images * values
