"""Where tensors lie in the arena of plain C, whose kernels work pixel by pixel, in order.

A result may therefore begin a little before the operand that nothing reads any more and grow into what was read
already: of a 3x3 convolution at stride 1 it keeps a row and two pixels away from it. Or it begins a little behind the
operand's beginning, and the kernel goes from the last pixel to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tflite_export.memory import LiveRange

_ALIGNMENT = 4
# By what tensors are placed one after the other, the largest key first; what comes to the smallest arena is taken.
_ORDERS: tuple[Callable[[int, LiveRange], tuple[int, ...]], ...] = (
    lambda number, item: (item.size, number),
    lambda number, item: (item.size, -number),
    lambda number, item: (number,),
    lambda number, item: (-number,),
)
# By result and operand, as places in the list of ranges: how far before the operand's beginning, or behind it, the
# result must begin at least (``CLayer.shift``).
Shifts = Mapping[tuple[int, int], tuple[int, int]]


def plan(live: Sequence[LiveRange], shifts: Shifts) -> tuple[tuple[int, ...], int]:
    """Offsets in the order of the ranges, and the arena's size in bytes."""
    tried = [_placed(live, shifts, order) for order in _ORDERS]
    return min(tried, key=lambda one: one[1])


def _placed(
    live: Sequence[LiveRange], shifts: Shifts, order: Callable[[int, LiveRange], tuple[int, ...]]
) -> tuple[tuple[int, ...], int]:
    offsets: dict[int, int] = {}
    for number in sorted(range(len(live)), key=lambda n: order(n, live[n]), reverse=True):
        others = [other for other in offsets if _together(live[number], live[other])]
        offsets[number] = _lowest([_forbidden(number, other, offsets[other], live, shifts) for other in others])
    ends = (offset + _aligned(live[number].size) for number, offset in offsets.items())
    return tuple(offsets[number] for number in range(len(live))), max(ends, default=0)


def _forbidden(number: int, other: int, place: int, live: Sequence[LiveRange], shifts: Shifts) -> tuple[int, int]:
    """Between which offsets, both left out, a tensor must not begin for one that lies at a place."""
    before, behind = _aligned(live[number].size), _aligned(live[other].size)
    if (number, other) in shifts:
        less, more = shifts[number, other]
        before, behind = min(before, _aligned(less)), min(behind, _aligned(more))
    if (other, number) in shifts:
        less, more = shifts[other, number]
        before, behind = min(before, _aligned(more)), min(behind, _aligned(less))
    return place - before, place + behind


def _lowest(forbidden: Sequence[tuple[int, int]]) -> int:
    candidates = sorted({0, *(high for _, high in forbidden)})
    return next(c for c in candidates if not any(low < c < high for low, high in forbidden))


def _together(one: LiveRange, other: LiveRange) -> bool:
    return one.first <= other.last and other.first <= one.last


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
