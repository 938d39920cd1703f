"""How a file holds the channels of a tensor: centred, and those with outliers as several of smaller values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

# Of a file's metadata: the holdings of its cuts by name, and under the input's name that of features that it takes.
HOLDINGS = "restnet_tf.holdings"


@dataclass(frozen=True)
class Holding:
    """A channel with a factor k of ``factors`` ``(c,)`` is held as k * k channels of a k-th each.

    Their squares sum up to that of the channel, so a norm along the channels stays what it was.
    """

    factors: tuple[int, ...]
    centred: bool = False

    @property
    def plain(self) -> bool:
        """Whether the channels are held as they are."""
        return not self.centred and set(self.factors) == {1}

    @property
    def copies(self) -> np.ndarray:
        """The channel that each held one is of ``(c',)``."""
        return np.repeat(np.arange(len(self.factors)), np.square(self.factors))

    @property
    def writes(self) -> np.ndarray:
        """``(c, c')``: what is held of the channels."""
        held = self._shares()
        return held - held.mean(axis=0) if self.centred else held

    @property
    def reads(self) -> np.ndarray:
        """``(c', c)``: the channels of what is held; a mean that was taken away stays away."""
        return self._shares().T.copy()

    def _shares(self) -> np.ndarray:
        copies = self.copies
        held = np.zeros((len(self.factors), len(copies)))
        held[copies, np.arange(len(copies))] = 1 / np.asarray(self.factors, float)[copies]
        return held


def holdings_note(holdings: Mapping[str, Holding]) -> bytes:
    """Holdings as a file's metadata."""
    return json.dumps(
        {name: asdict(holding) for name, holding in sorted(holdings.items())}, separators=(",", ":")
    ).encode()


def holdings_in(note: bytes) -> dict[str, Holding]:
    """Holdings of a file's metadata."""
    return {name: Holding(tuple(holding["factors"]), holding["centred"]) for name, holding in json.loads(note).items()}
