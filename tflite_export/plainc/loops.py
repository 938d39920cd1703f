"""Nested loops over two arrays at once, in as few of them as their steps allow."""

from __future__ import annotations

from collections.abc import Sequence

from tflite_export.errors import TfliteError

Loop = tuple[int, int, int]  # how often, and how far each array moves on, in numbers


def nested(counts: Sequence[int], own: Sequence[int], other: Sequence[int], most: int, what: str) -> list[Loop]:
    """The loops, outermost first: those that go on where the one inside ends are one.

    Raises TfliteError where they are more than ``most``; ``what`` begins the sentence: "a copy of (2, 3) takes".
    """
    loops: list[Loop] = []
    for count, step, second in zip(counts, own, other, strict=True):
        if count == 1:
            continue
        if loops and loops[-1][1] == count * step and loops[-1][2] == count * second:
            loops[-1] = loops[-1][0] * count, step, second
        else:
            loops.append((count, step, second))
    if len(loops) > most:
        raise TfliteError(f"{what} {len(loops)} nested loops; {most} are there")
    return loops
