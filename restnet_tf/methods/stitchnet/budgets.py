"""Budgets inside a search: what no net that begins with some fragments can be within."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from restnet_tf.methods.stitchnet import search
from restnet_tf.methods.stitchnet.fragments import Fragment
from restnet_tf.points import select
from restnet_tf.records import Reason
from tflite_export.fragment import Floor, flash, floor

if TYPE_CHECKING:
    from tflite_export.budget import Term
    from tflite_export.link import Object

# Limits that a file of any precision may meet.
_OF_FILES = ("flash", "ram")


class Budget:
    """What of a budget can be told of a net that is not complete: its costs can only rise from there."""

    def __init__(
        self, terms: tuple[Term, ...], precisions: Sequence[str], objects: Callable[[str, str], Object]
    ) -> None:
        """``objects`` gives a member, by its role, in a precision."""
        self._terms, self._precisions, self._objects = terms, precisions, objects
        self._floors: dict[tuple[tuple[str, int], bool, str], Floor] = {}

    def refuse(self, parts: Sequence[Fragment], macs: int, params: int) -> Reason | None:
        """Why no net that begins with these fragments can be within the budget; None where one may."""
        reason = select.exceeded(self._terms, macs=macs, params=params)
        if reason or not any(term.name in _OF_FILES for term in self._terms):
            return reason
        missed = [self._of_files(parts, precision) for precision in self._precisions]
        return missed[0] if all(missed) else None

    def _of_files(self, parts: Sequence[Fragment], precision: str) -> Reason | None:
        joined = [None, *parts[:-1]]
        floors = [
            self._floor(part, before is not None and not search.follows(before, part), precision)
            for before, part in zip(joined, parts, strict=True)
        ]
        return select.exceeded(self._terms, flash=flash(floors), ram=max(f.arena for f in floors))

    def _floor(self, part: Fragment, stitched: bool, precision: str) -> Floor:
        key = part.key, stitched, precision
        if key not in self._floors:
            start = part.start.name if part.start else None
            whole = self._objects(part.member, precision)
            self._floors[key] = floor(whole, start, part.stop.name, stitched=stitched)
        return self._floors[key]
