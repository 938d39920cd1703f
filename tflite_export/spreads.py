"""What values a tensor takes, and the range that each rule makes of them.

Eight bits give a tensor 255 steps, so one value far from all others makes every step coarser.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from tflite_export.flatbuffer import Model, Operator, Subgraph, only

# Half of them for values below zero. A power of two, as its pairs are joined where values come to lie beyond.
_BINS = 8192
_LEAST_REACH = 2.0**-40
_STEPS = 255
# By what each end is multiplied in search of the least squared error.
_SHRUNK = np.geomspace(1.0, 0.05, 48)
# The least that a function gives, whatever the images.
_LEAST = {"GELU": -0.16997121, "HARD_SWISH": -0.375}


@dataclass(frozen=True)
class Range:
    """The least and the greatest value that a tensor's integers stand for."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Spread:
    """What values a tensor took: the least, the greatest, and ``counts`` in equal bins over ``-reach..reach``."""

    low: float = np.inf
    high: float = -np.inf
    reach: float = _LEAST_REACH
    counts: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, np.int64), repr=False)

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2 * self.reach / _BINS

    def beside(self, values: np.ndarray) -> Spread:
        """With the least and the greatest of more values, which are not counted."""
        return replace(self, low=min(self.low, float(values.min())), high=max(self.high, float(values.max())))

    def counting(self, values: np.ndarray) -> Spread:
        """With more values."""
        wide = self.beside(values)._reaching()
        places = values.ravel() * np.float32(1 / wide.width) + np.float32(_BINS // 2)
        places = np.minimum(places.astype(np.int32), _BINS - 1)
        return replace(wide, counts=wide.counts + np.bincount(places, minlength=_BINS))

    def _reaching(self) -> Spread:
        reach, counts, furthest = self.reach, self.counts, max(-self.low, self.high)
        if furthest <= reach:
            return self
        empty = not counts.any()
        while furthest > reach:
            counts = counts if empty else np.pad(counts.reshape(-1, 2).sum(1), _BINS // 4)
            reach *= 2
        return replace(self, reach=reach, counts=counts)


# Below it a function gives less than a hundredth of any value that it reads: nothing, at the steps of eight bits.
# Swish is a factor of its own sigmoid. GELU is none of these: DeiT-Tiny did not gain (docs/results/quantisers.md).
_FLOORS = {"HARD_SWISH": -3.0, "LOGISTIC": -7.0}

# Where a function's values lie, whatever the images.
_NATURAL = {"SOFTMAX": Range(0.0, 1.0), "LOGISTIC": Range(0.0, 1.0), "TANH": Range(-1.0, 1.0)}

Rule = Callable[[Spread], Range]


def whole(spread: Spread) -> Range:
    """From the least to the greatest value."""
    return Range(spread.low, spread.high)


def roomy(spread: Spread) -> Range:
    """Twice as far as the least and the greatest value; to 1 where all values were 0: a step has a size."""
    low, high = 2 * spread.low, 2 * spread.high
    return Range(low, high) if low < 0 or high > 0 else Range(low, 1.0)


def percentile(spread: Spread, share: float) -> Range:
    """Without the outermost values on each side, as many as are beyond ``share`` of all, to the width of a bin."""
    beyond = int(spread.counts.sum() * (1 - share))
    if not beyond:
        return whole(spread)
    first = int(np.searchsorted(spread.counts.cumsum(), beyond, side="right"))
    last = _BINS - int(np.searchsorted(spread.counts[::-1].cumsum(), beyond, side="right"))
    low, high = (place * spread.width - spread.reach for place in (first, last))
    return Range(max(low, spread.low), min(high, spread.high))


def least_error(spread: Spread) -> Range:
    """Where the squared error of clipping and of rounding to eight bits together is least (MSE)."""
    full = np.flatnonzero(spread.counts)
    values, counts = (full + 0.5) * spread.width - spread.reach, spread.counts[full].astype(np.float64)
    chosen = whole(spread)
    for _ in range(2):  # one end after the other, and again
        highs = [replace(chosen, high=chosen.high * part) for part in _SHRUNK] if chosen.high > 0 else [chosen]
        chosen = min(highs, key=partial(_error, values, counts))
        lows = [replace(chosen, low=chosen.low * part) for part in _SHRUNK] if chosen.low < 0 else [chosen]
        chosen = min(lows, key=partial(_error, values, counts))
    return chosen


def _error(values: np.ndarray, counts: np.ndarray, of: Range) -> float:
    """The squared error of rising values, so many of each."""
    low, high = min(of.low, 0.0), max(of.high, 0.0)  # zero has an integer of its own
    squares = counts * (((high - low) / _STEPS) ** 2 / 12)  # of rounding, and beyond either end of clipping
    first, last = values.searchsorted(low), values.searchsorted(high, "right")
    squares[:first] = counts[:first] * np.square(values[:first] - low)
    squares[last:] = counts[last:] * np.square(values[last:] - high)
    return float(squares.sum())


MIN_MAX = "min-max"
CLIPPINGS: dict[str, Rule] = {
    MIN_MAX: whole,
    "p99.9999": partial(percentile, share=0.999999),
    "p99.999": partial(percentile, share=0.99999),
    "p99.99": partial(percentile, share=0.9999),
    "mse": least_error,
}


def note(model: Model, spreads: Sequence[Spread | None], rule: Rule, *, floors: bool = True) -> None:
    """Note in a float file the range that a rule makes of each tensor, where TensorFlow's calibrator notes it.

    ``floors``: in which what only swish or hard swish reads goes no further down than they heed.
    """
    graph = only(model)
    makers = {id(t): op.name for op in graph.operators for t in op.outputs}
    least = _floors(graph) if floors else {}
    for tensor, spread in zip(graph.tensors, spreads, strict=True):
        noted = tensor.table.quantization
        if spread is None or noted is None or noted.min is None:
            continue
        of = _natural(makers[id(tensor)], rule(spread)) if id(tensor) in makers else whole(spread)
        low = least.get(id(tensor), of.low)
        of = replace(of, low=max(of.low, low)) if of.high > low else of
        noted.min, noted.max = np.array([of.low], np.float32), np.array([of.high], np.float32)


def noted_ranges(model: Model) -> bytes:
    """What is noted of all tensors, to the bit."""
    noted = (t.table.quantization for t in only(model).tensors)
    ends = (end for one in noted if one is not None and one.min is not None for end in (one.min, one.max))
    return b"".join(np.asarray(end).tobytes() for end in ends)


def note_own(model: Model, network: Model, makers: Collection[str]) -> bool:
    """Note in an int8 file the ranges, as its float file does, of what operators with steps of their own give.

    Whether it has any.
    """
    own = [op.outputs[0] for op in only(model).operators if op.name in makers]
    ranges = {t.name: t.table.quantization for t in only(network).tensors} if own else {}
    for tensor in own:
        noted = ranges.get(tensor.name)
        if noted is not None:
            record = tensor.table.quantization
            record.min, record.max = noted.min, noted.max
    return bool(own)


def _floors(graph: Subgraph) -> dict[int, float]:
    """By ``id`` the tensors that nothing but these functions reads, and the least value that they heed."""
    readers: dict[int, list[Operator]] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            readers.setdefault(id(tensor), []).append(operator)
    ends = {id(t) for t in graph.outputs}
    return {
        key: _FLOORS[function.name]
        for key, behind in readers.items()
        if key not in ends and (function := _activation(behind)) is not None
    }


def _activation(readers: Sequence[Operator]) -> Operator | None:
    """The function that alone reads a tensor; of a swish the sigmoid, whose one factor the tensor itself is."""
    functions = [op for op in readers if op.name in _FLOORS]
    others = [op for op in readers if op.name not in _FLOORS]
    if len(functions) != 1:
        return None
    (function,) = functions
    if function.name != "LOGISTIC":
        return None if others else function
    swish = [op for op in others if op.name == "MUL" and any(t is function.outputs[0] for t in op.inputs)]
    return function if len(others) == len(swish) == 1 else None


def _natural(maker: str, of: Range) -> Range:
    """A range as the operator that makes the tensor has it of itself."""
    if maker in _NATURAL:
        return _NATURAL[maker]
    if maker in _LEAST and of.low < 0:
        return replace(of, low=_LEAST[maker])
    return of
