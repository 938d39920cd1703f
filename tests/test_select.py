"""Budgets: what is understood, what they choose, and what is said where nothing fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import select
from benchmarks.points import ANCHOR, CONTROL, DOMINATED, STITCHED, File, OperatingPoint, Score
from benchmarks.records import BenchError
from tflite_export.budget import parse


def scored(n: int, right: int, kl: float | None = None) -> Score:
    """The first ``right`` of n images are right."""
    return Score.of(np.arange(n) < right, kl)


def file(flash: int = 1000, right: int = 50, arena: int = 500, latency: float = 100.0) -> File:
    return File(
        "f", "0" * 64, flash, arena, scored(100, right), scored(100, 0), latency, latency, (latency,), 1, "tool"
    )


def point(name: str, macs: int, kind: str = STITCHED, **files: File) -> OperatingPoint:
    score = scored(100, 50, 0.1)
    return OperatingPoint(name, kind, "route", macs, macs * 2, score, score, files=files or {"float32": file()})


FAMILY = (
    point("small", 10, ANCHOR, float32=file(4000, 60), int8=file(1000, 58, latency=40)),
    point("p", 50, float32=file(8000, 80), int8=file(2000, 79, latency=70)),
    point("large", 100, ANCHOR, float32=file(16000, 90, latency=300), int8=file(4000, 89)),
)


def chosen(text: str, points: tuple[OperatingPoint, ...] = FAMILY) -> tuple[str, str]:
    choice = select.select(points, parse(text))
    return choice.point.name, choice.precision


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("macs<=1M", ("large", "float32")),
        ("macs<=99", ("p", "float32")),
        ("macs<=50", ("p", "float32")),
        ("macs<=49", ("small", "float32")),
        ("flash<=4KB", ("large", "int8")),
        ("flash<=3999", ("p", "int8")),
        ("params<=30", ("small", "float32")),
        ("latency<=70us", ("p", "int8")),
        ("latency<=69us", ("small", "int8")),
        ("macs<=99, flash<=1999", ("small", "int8")),
        ("ram<=500", ("large", "float32")),
    ],
)
def test_best_that_fits(budget, expected):
    assert chosen(budget) == expected


def test_the_rank_split_decides_not_the_test_split():
    better_on_test = replace(FAMILY[0].files["float32"], test=scored(100, 100))
    points = (replace(FAMILY[0], files={"float32": better_on_test}), FAMILY[2])
    assert chosen("macs<=1M", points)[0] == "large"


def test_ties_go_to_the_cheaper_then_to_the_smaller_file():
    points = (point("dear", 20), point("cheap", 10, float32=file(), int8=file(300)), point("mid", 15))
    assert chosen("macs<=1M", points) == ("cheap", "int8")


@pytest.mark.parametrize("excluded", [{"kind": CONTROL}, {"status": DOMINATED}])
def test_controls_and_dominated_points_are_never_chosen(excluded):
    best = replace(point("best", 1, float32=file(1, 100)), **excluded)
    assert chosen("macs<=1M", (*FAMILY, best))[0] == "large"
    with pytest.raises(BenchError, match=r"ships no \.tflite file"):
        chosen("macs<=1M", (best,))


def test_a_point_without_files_is_no_choice():
    assert chosen("macs<=1M", (replace(FAMILY[2], files={}), FAMILY[1])) == ("p", "float32")


def test_nearest_miss_is_told_with_how_much():
    with pytest.raises(BenchError) as caught:
        chosen("flash<=800B")
    assert str(caught.value) == (
        "no point meets the budget; the nearest, small int8, misses flash<=800B (it has 1 KB, 25% over)"
    )


def test_every_missed_term_is_told():
    with pytest.raises(BenchError) as caught:
        chosen("macs<=5, latency<=20us, ram<=1KB")
    assert str(caught.value).endswith("misses macs<=5 (it has 10, 100% over), latency<=20us (it has 40 us, 100% over)")


def test_a_limit_of_zero():
    with pytest.raises(BenchError, match="inf% over"):
        chosen("macs<=0")


def test_exceeded_looks_only_at_what_it_is_given():
    terms = parse("macs<=30M, params<=1K, flash<=1KB")
    assert select.exceeded(terms, macs=30_000_000, params=1000) == ""
    assert select.exceeded(terms, macs=31_000_000, params=1000) == "over the budget macs<=30M: 31 M"
    assert select.exceeded(terms, macs=31_000_000, params=2000).count("over the budget") == 2
    assert select.exceeded((), macs=10**12) == ""
