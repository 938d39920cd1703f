"""Which channels of a stream are split: those that reach so much further than the rest that all share their steps."""

from __future__ import annotations

import numpy as np

# Of a stream's channels: how many more splitting may make of it.
_MORE = 1 / 12
# What one more channel has to take from the ranges of a stream's tensors, on average.
_GAIN = 1e-3


def factors(peaks: np.ndarray) -> tuple[int, ...]:
    """The factor of each channel, 1 for most, of the greatest values ``(tensors, c)`` that calibration met.

    Step by step the channel is split further that narrows the tensors most for what that adds to their width.
    """
    channels = peaks.shape[1]
    room, chosen = int(channels * _MORE), np.ones(channels, int)
    peaks = peaks[peaks.max(axis=1) > 0]
    while len(peaks):
        held = np.log(np.maximum(peaks / chosen, 1e-30))
        costs = 2 * chosen + 1
        gains = np.array([_narrowed(held, chosen, c) if costs[c] <= room else 0 for c in range(channels)]) / costs
        best = int(gains.argmax())
        if gains[best] < _GAIN:
            break
        room -= int(costs[best])
        chosen[best] += 1
    return tuple(chosen.tolist())


def _narrowed(held: np.ndarray, chosen: np.ndarray, channel: int) -> float:
    """By how much, as a logarithm, the tensors' ranges shrink where one channel is split further."""
    widest = held.max(axis=1)
    top = held[:, channel] >= widest
    if not top.any():
        return 0.0
    less = held.copy()
    less[:, channel] += np.log(chosen[channel] / (chosen[channel] + 1))
    return float((widest - less.max(axis=1)).mean())
