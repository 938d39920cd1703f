"""Counts of what tensors hold, however wide they turn out to be, and the ranges that rules make of them."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import operators
import pytest

from tflite_export.flatbuffer import Model, Subgraph, schema, write
from tflite_export.spreads import (
    CLIPPINGS,
    MIN_MAX,
    Range,
    Spread,
    least_error,
    note,
    noted_ranges,
    percentile,
    whole,
)

RNG = np.random.default_rng(0)
BELL = RNG.normal(0, 1, 200_000).astype(np.float32)


def spread(*parts: np.ndarray) -> Spread:
    return reduce(Spread.counting, [np.asarray(part, np.float32) for part in parts], Spread())


def loss(values: np.ndarray, of: Range) -> float:
    """The mean squared error of eight bits over a range, by rounding the values themselves."""
    low, high = min(of.low, 0), max(of.high, 0)
    step = (high - low) / 255
    zero = round(-low / step)
    integers = np.clip(np.round(values / step) + zero, 0, 255)
    return float(np.mean(np.square((integers - zero) * step - values)))


def test_counts_stay_whole_where_values_come_to_lie_beyond():
    """Narrow values first, wide ones last: the same bins as of both at once, and none is lost."""
    narrow, wide = BELL * 1e-3, np.float32([-700, 300])
    late, early = spread(narrow, wide), spread(wide, narrow)
    assert late.counts.sum() == early.counts.sum() == len(BELL) + 2
    assert (late.reach, late.low, late.high) == (early.reach, -700, 300)
    assert late.reach == 1024
    for counts in (late.counts, early.counts):  # of the two bins beside zero the nearest values may take either
        assert counts[[0, 1296, 5296, -1]].tolist() == [0, 1, 1, 0]
        assert counts[4095:4097].sum() == len(BELL)


def test_values_beside_are_not_counted():
    one = Spread().counting(BELL).beside(np.float32([-80, 90]))
    assert (one.low, one.high, one.counts.sum()) == (-80, 90, len(BELL))
    assert one.counting(np.zeros(1, np.float32)).reach == 128


@pytest.mark.parametrize("share", [0.9999, 0.999])
def test_percentiles_are_those_of_the_values(share: float):
    of = percentile(spread(BELL[:70_000], BELL[70_000:]), share)
    np.testing.assert_allclose([of.low, of.high], np.quantile(BELL, [1 - share, share]), atol=0.03)


def test_few_values_lose_none():
    few = spread(BELL[:5000])
    assert percentile(few, 0.9999) == whole(few) == Range(float(BELL[:5000].min()), float(BELL[:5000].max()))


def test_what_begins_at_zero_still_does():
    of = percentile(spread(np.maximum(BELL, 0), np.float32([40, 40])), 0.9999)
    assert of.low == 0
    assert 3 < of.high < 5


def test_the_least_error_is_less_than_that_of_other_rules_and_of_ranges_around():
    values = np.concatenate([BELL, [37.0, -22.0]]).astype(np.float32)
    one = spread(values)
    chosen = least_error(one)
    assert -22 < chosen.low < -3
    assert 3 < chosen.high < 37
    errors = {name: loss(values, rule(one)) for name, rule in CLIPPINGS.items()}
    assert errors["mse"] == min(errors.values()) < 0.7 * errors[MIN_MAX]
    near = [Range(chosen.low * a, chosen.high * b) for a in (0.8, 1, 1.25) for b in (0.8, 1, 1.25)]
    assert loss(values, chosen) < 1.03 * min(loss(values, of) for of in near)


def test_no_rule_widens_or_leaves_what_has_no_width():
    for values in (np.zeros(9), np.full(9, 3.5), -BELL[:50], np.abs(BELL)):
        one = spread(values)
        for rule in CLIPPINGS.values():
            of = rule(one)
            assert one.low <= of.low <= of.high <= one.high


def test_noted_ranges_are_equal_where_files_are():
    """A last bit of one end is enough for another file."""
    x, y = (operators.tensor("FLOAT32", name=name) for name in "xy")
    for tensor in (x, y):
        ends = np.zeros(1, np.float32), np.ones(1, np.float32)
        tensor.table.quantization = schema().QuantizationParametersT(min=ends[0], max=ends[1])
    model = Model([Subgraph([operators.operator("RELU", [x], y)], [x], [y], [x, y])])
    bell = spread(BELL)
    others = [replace(bell, high=float(np.nextafter(np.float32(bell.high), 9))), replace(bell, low=bell.low - 1)]
    seen = []
    for held in ([bell, bell], *([bell, other] for other in others), *([other, bell] for other in others), [bell] * 2):
        note(model, held, whole)
        seen.append((noted_ranges(model), write(model)))
    assert len({ranges for ranges, _ in seen}) == len({content for _, content in seen}) == len(set(seen)) == 5
