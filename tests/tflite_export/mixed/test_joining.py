"""Which groups of a mixed file join, and in which order: by what each brings and takes, within the limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tflite_export.mixed import sensitivity
from tflite_export.mixed.groups import OperatorGroup
from tflite_export.mixed.sensitivity import _Measured

INT8 = _Measured(np.linspace(0.9, 1.1, 16), 10.0)
# What a group takes away of the KL, and how many milliseconds it adds.
GROUPS = {"floats": (0.5, -6.0), "dense 1/2": (0.2, 8.0), "dense 2/2": (0.2, 5.0), "noise": (0.0, 1.0)}


def joined(most_ms: float, effects: dict[str, tuple[float, float]]) -> tuple[list[str], _Measured]:
    def measured(chosen: Sequence[OperatorGroup], most: float) -> _Measured:
        gains, costs = zip(*(effects[group.name] for group in chosen), strict=True)
        latency = INT8.latency_ms + sum(costs)
        return _Measured(INT8.kl - sum(gains) if latency <= most else np.empty(0), latency)

    tried = [OperatorGroup(name, (name,)) for name in effects]
    alone = {group.name: measured((group,), most_ms) for group in tried}
    chosen, best = sensitivity._joined(tried, alone, INT8, most_ms, measured)[-1]
    return [group.name for group in chosen], best


def test_what_alone_is_too_slow_joins_where_others_leave_room_the_quickest_first():
    names, best = joined(13.0, GROUPS)
    assert names == ["floats", "dense 2/2"]
    assert best.latency_ms == 9.0
    assert best.kl.mean() == pytest.approx(0.3)


def test_nothing_that_is_too_slow_joins_where_none_leaves_room():
    assert joined(13.0, {**GROUPS, "floats": (0.5, 0.0)})[0] == ["floats"]


def test_all_join_that_the_limit_has_room_for():
    assert joined(17.0, GROUPS)[0] == ["floats", "dense 2/2", "dense 1/2"]


def test_the_file_that_keeps_most_answers_is_taken_and_of_equal_ones_the_nearest():
    few, many, far = (_Measured(share * INT8.kl, 9.0, kept) for share, kept in ((0.1, 13), (0.5, 14), (0.8, 14)))
    steps = [([OperatorGroup(name, (name,))], one) for name, one in (("far", far), ("many", many), ("few", few))]
    assert sensitivity._best([([], INT8), *steps]) == steps[1]
    assert sensitivity._best([([], INT8), steps[2]]) == steps[2]
    as_int8 = ([OperatorGroup("as int8", ())], _Measured(0.99 * INT8.kl, 10.0, 16))
    assert sensitivity._best([([], INT8), as_int8]) == ([], INT8)  # whatever it keeps, it is no nearer
