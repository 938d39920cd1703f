"""What moves numbers without changing them, as copies of blocks; and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Tensor
from tflite_export.plainc.factors import scale, zero_point
from tflite_export.plainc.layers import Alias, CLayer, Constant, axes, numbers, operand, operands, option
from tflite_export.plainc.loops import nested

_DIMENSIONS = 5
_BITS = 10  # behind the point of where a bilinear sample lies


def same(operator: Operator) -> list[Alias | CLayer]:
    """RESHAPE, EXPAND_DIMS and SQUEEZE."""
    return [Alias(operands(operator)[0], operator.outputs[0])]


def transpose(operator: Operator) -> list[CLayer]:
    """TRANSPOSE."""
    x, y = operands(operator)[0], operator.outputs[0]
    steps, order = _strides(x.shape), axes(operator, 1, len(x.shape))
    return [_copy(x, y, y.shape, [steps[axis] for axis in order], _strides(y.shape))]


def concatenation(operator: Operator) -> list[CLayer]:
    """CONCATENATION of operands that are quantised alike; raises TfliteError for others."""
    y = operator.outputs[0]
    if option(operator, "fusedActivationFunction"):
        raise TfliteError("CONCATENATION has a fused activation")
    axis, steps = option(operator, "axis") % len(y.shape), _strides(y.shape)
    layers, behind = [], 0
    for x in operands(operator):
        _check_scale(operator, x, y)
        layers.append(_copy(x, y, x.shape, _strides(x.shape), steps, out_first=behind * steps[axis]))
        behind += x.shape[axis]
    return layers


def split(operator: Operator) -> list[CLayer]:
    """SPLIT and SPLIT_V."""
    place = 0 if operator.name == "SPLIT" else 2
    x = operands(operator)[1 - place if place == 0 else 0]
    axis, steps = numbers(operator, place)[0] % len(x.shape), _strides(x.shape)
    layers, behind = [], 0
    for y in operator.outputs:
        layers.append(_copy(x, y, y.shape, steps, _strides(y.shape), in_first=behind * steps[axis]))
        behind += y.shape[axis]
    return layers


def cut(operator: Operator) -> list[CLayer]:
    """SLICE."""
    x, y = operands(operator)[0], operator.outputs[0]
    steps = _strides(x.shape)
    first = sum(begin * step for begin, step in zip(numbers(operator, 1), steps, strict=True))
    return [_copy(x, y, y.shape, steps, _strides(y.shape), in_first=first)]


def strided(operator: Operator) -> list[CLayer]:
    """STRIDED_SLICE; raises TfliteError for masks of new axes and ellipses."""
    x, y = operands(operator)[0], operator.outputs[0]
    if option(operator, "ellipsisMask") or option(operator, "newAxisMask"):
        raise TfliteError("STRIDED_SLICE has a mask of new axes or an ellipsis")
    begins, ends, gaps = (numbers(operator, place) for place in (1, 2, 3))
    masks = [option(operator, f"{side}Mask") for side in ("begin", "end", "shrinkAxis")]
    steps, first, counts, moves = _strides(x.shape), 0, [], []
    for axis, size in enumerate(x.shape):
        begin, end = (None if masks[n] >> axis & 1 else side[axis] for n, side in enumerate((begins, ends)))
        shrunk = masks[2] >> axis & 1
        taken = (
            range(size)[begins[axis] : (begins[axis] + 1) or None] if shrunk else range(size)[begin : end : gaps[axis]]
        )
        first += taken.start * steps[axis]
        counts.append(len(taken))
        moves.append(taken.step * steps[axis])
    return [_copy(x, y, counts, moves, _strides(counts), in_first=first)]


def gather(operator: Operator) -> list[CLayer]:
    """GATHER of constant places along one axis, a copy for each run of them."""
    x, y = operands(operator)[0], operator.outputs[0]
    axis, places = option(operator, "axis") % len(x.shape), numbers(operator, 1)
    if option(operator, "batchDims"):
        raise TfliteError("GATHER has batch dimensions")
    shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
    steps, out = _strides(x.shape), _strides(shape)
    layers, behind = [], 0
    for start, count, gap in _runs([place % x.shape[axis] for place in places]):
        counts = [*shape[:axis], count, *shape[axis + 1 :]]
        moves = [*steps[:axis], gap * steps[axis], *steps[axis + 1 :]]
        layers.append(_copy(x, y, counts, moves, out, in_first=start * steps[axis], out_first=behind * out[axis]))
        behind += count
    return layers


def pad(operator: Operator) -> list[CLayer]:
    """PAD and PADV2."""
    x, y = operands(operator)[0], operator.outputs[0]
    value = numbers(operator, 2)[0] if operator.name == "PADV2" else zero_point(y)
    before, steps = numbers(operator, 1)[::2], _strides(y.shape)
    first = sum(count * step for count, step in zip(before, steps, strict=True))
    fill = CLayer("fill", {"count": prod(y.shape), "value": value}, (), y)
    return [fill, _copy(x, y, x.shape, _strides(x.shape), steps, out_first=first)]


def nearest(operator: Operator) -> list[CLayer]:
    """RESIZE_NEAREST_NEIGHBOR by whole factors; raises TfliteError for others."""
    x, y = operands(operator)[0], operator.outputs[0]
    _, in_h, in_w, c = x.shape
    _, out_h, out_w, _ = y.shape
    centred = bool(option(operator, "halfPixelCenters", False))
    if option(operator, "alignCorners", False) or any(a % b and b % a for a, b in ((in_h, out_h), (in_w, out_w))):
        raise TfliteError(
            f"RESIZE_NEAREST_NEIGHBOR goes from {in_h}x{in_w} to {out_h}x{out_w}; whole factors are needed"
        )
    down = [max(1, a // b) for a, b in ((in_h, out_h), (in_w, out_w))]
    up = [max(1, b // a) for a, b in ((in_h, out_h), (in_w, out_w))]
    counts = (out_h // up[0], up[0], out_w // up[1], up[1], c)
    moves = (down[0] * in_w * c, 0, down[1] * c, 0, 1)
    first = (down[0] // 2 * in_w + down[1] // 2) * c if centred else 0
    return [_copy(x, y, counts, moves, _strides(counts), in_first=first)]


def bilinear(operator: Operator) -> list[CLayer]:
    """RESIZE_BILINEAR."""
    x, y = operands(operator)[0], operator.outputs[0]
    aligned, centred = (bool(option(operator, name, False)) for name in ("alignCorners", "halfPixelCenters"))
    rows, columns = (_samples(x.shape[axis], y.shape[axis], aligned, centred) for axis in (1, 2))
    record = {
        "in_w": x.shape[2],
        "channels": x.shape[3],
        "out_h": y.shape[1],
        "out_w": y.shape[2],
        "row": Constant("int16_t", rows),
        "column": Constant("int16_t", columns),
    }
    return [CLayer("bilinear", record, (x,), y)]


def _samples(size: int, count: int, aligned: bool, centred: bool) -> np.ndarray:
    """For each number of a result the one below, the one above, and how far between, in 1/1024."""
    one = 1 << _BITS
    if aligned and count > 1:
        step = (one * (size - 1) + (count - 1) // 2) // (count - 1)
    else:
        step = (one * size + count // 2) // count
    places = np.arange(count) * step + (step // 2 - one // 2 if centred else 0)
    low = np.maximum(np.trunc(places / one).astype(int), 0)
    high = np.minimum(np.trunc((places + one - 1) / one).astype(int), size - 1)
    return np.stack([low, high, places - one * low], 1).reshape(-1).astype(np.int16)


def _copy(
    x: Tensor,
    y: Tensor,
    counts: Sequence[int],
    moves: Sequence[int],
    out: Sequence[int],
    in_first: int = 0,
    out_first: int = 0,
) -> CLayer:
    """A copy of a block, in as few loops as it takes; steps are in numbers, outermost first."""
    loops = nested(counts, moves, out, _DIMENSIONS, f"a copy of {tuple(counts)} takes")
    padded = [(1, 1, 1)] * (_DIMENSIONS - len(loops)) + loops
    steps = dict(zip(("count", "in_step", "out_step"), zip(*padded, strict=True), strict=True))
    record = {"count": steps["count"], "in_first": in_first, "out_first": out_first} | steps
    shift = _shift(padded, in_first, out_first), x.nbytes
    return CLayer("copy", record, (operand(x),), y, shift=shift, keeps=prod(counts) < prod(y.shape))


def _shift(loops: Sequence[tuple[int, int, int]], in_first: int, out_first: int) -> int:
    """How far before its operand a copy must begin, so that no block is written over what a later one still reads."""
    block = loops[-1][0] if loops[-1][1:] == (1, 1) else 1
    outer = loops[:-1] if block > 1 else loops
    reads, writes = (
        first + reduce(np.add.outer, [np.arange(loop[0]) * loop[side] for loop in outer]).reshape(-1)
        for side, first in ((1, in_first), (2, out_first))
    )
    needed = np.minimum.accumulate(reads[::-1])[::-1]
    return max(0, int((writes + block - needed).max()))


def _strides(shape: Sequence[int]) -> list[int]:
    return [int(step) for step in np.cumprod([1, *shape[:0:-1]])[::-1]]


def _runs(places: Sequence[int]) -> list[tuple[int, int, int]]:
    """Start, count and gap of each run of evenly spaced places."""
    runs: list[tuple[int, int, int]] = []
    for place in places:
        start, count, gap = runs[-1] if runs else (0, 0, 0)
        if count and (count == 1 or place == start + count * gap):
            runs[-1] = start, count + 1, place - start if count == 1 else gap
        else:
            runs.append((place, 1, 1))
    return runs


def _check_scale(operator: Operator, x: Tensor, y: Tensor) -> None:
    if (scale(x), zero_point(x)) != (scale(y), zero_point(y)):
        raise TfliteError(f"{operator.name} joins {x.name!r}, which is quantised otherwise than the result")
