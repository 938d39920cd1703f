"""Budgets: what is understood, what they choose, and what is said where nothing fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from restnet_tf import words
from restnet_tf.points import select
from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    CONTROL,
    DOMINATED,
    SHIPPED,
    STITCHED,
    Cascade,
    Dial,
    File,
    OperatingPoint,
    Rating,
    Score,
)
from restnet_tf.records import RestnetError
from tflite_export.budget import parse
from tflite_export.devices.measurements import Measurement
from tflite_export.errors import TfliteError


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
    with pytest.raises(RestnetError, match=r"ships no \.tflite file"):
        chosen("macs<=1M", (best,))


def test_a_file_is_no_choice_where_its_point_is_shipped_in_another_precision_alone():
    best = point("best", 1, float32=file(1, 100), int8=file(1, 100))
    there, out = (Rating(1, 1, best.rank, status) for status in (SHIPPED, DOMINATED))
    assert chosen("macs<=1M", (*FAMILY, replace(best, ratings={"float32": out, "int8": there}))) == ("best", "int8")
    assert chosen("macs<=1M", (*FAMILY, replace(best, ratings={"int8": there}))) == ("best", "int8")


def test_a_point_without_files_is_no_choice():
    assert chosen("macs<=1M", (replace(FAMILY[2], files={}), FAMILY[1])) == ("p", "float32")


def test_nearest_miss_is_told_with_how_much():
    with pytest.raises(RestnetError) as caught:
        chosen("flash<=800B")
    assert str(caught.value) == (
        "no point meets the budget; the nearest, small int8, misses flash<=800B (it has 1 KB, 25% over)"
    )


def test_every_missed_term_is_told():
    with pytest.raises(RestnetError) as caught:
        chosen("macs<=5, latency<=20us, ram<=1KB")
    assert str(caught.value).endswith("misses macs<=5 (it has 10, 100% over), latency<=20us (it has 40 us, 100% over)")


def test_a_limit_of_zero():
    with pytest.raises(RestnetError, match="inf% over"):
        chosen("macs<=0")


def test_exceeded_looks_only_at_what_it_is_given():
    terms = parse("macs<=30M, params<=1K, flash<=1KB")
    assert select.exceeded(terms, macs=30_000_000, params=1000) is None
    assert words.sentence(select.exceeded(terms, macs=31_000_000, params=1000)) == "over the budget macs<=30M: 31 M"
    assert words.sentence(select.exceeded(terms, macs=31_000_000, params=2000)).count("over the budget") == 2
    assert select.exceeded((), macs=10**12) is None


# ---- figures of devices --------------------------------------------------------------------------


def said(point: str, precision: str, name: str, value: float, sha256: str = "0" * 64) -> Measurement:
    device, _, figure = name.rpartition(".")
    return Measurement(point, precision, device, figure, value, "interpreter", "tool", sha256)


ARENAS = (
    said("small", "int8", "tflm.arena", 1000),
    said("p", "int8", "tflm.arena", 2000),
    said("large", "int8", "tflm.arena", 3000),
)


def by_device(text: str, measured: tuple[Measurement, ...] = ARENAS) -> tuple[str, str]:
    choice = select.select(FAMILY, parse(text), measured, "runs/x")
    return choice.point.name, choice.precision


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("tflm.arena<=3KB", ("large", "int8")),
        ("tflm.arena<=2.9KB", ("p", "int8")),
        ("TFLM.arena<=1999", ("small", "int8")),
        ("tflm.arena<=3KB, flash<=2KB", ("p", "int8")),
        ("tflm.arena<=3KB, host.latency<=99us", ("p", "int8")),
    ],
)
def test_a_device_decides_among_the_files_it_has_measured(budget, expected):
    assert by_device(budget) == expected


def test_files_that_score_higher_but_were_not_measured_are_named():
    choice = select.select(FAMILY, parse("tflm.arena<=2KB, macs<=99"), ARENAS)
    assert (choice.name, choice.unknown) == ("p.int8", ("p.float32",))
    assert select.select(FAMILY, parse("tflm.arena<=2KB"), ARENAS).unknown == ("large.float32", "p.float32")
    assert select.select(FAMILY, parse("macs<=99"), ARENAS).unknown == ()


def test_the_hosts_latency_is_the_runs_own_until_a_bench_has_another():
    assert by_device("host.latency<=69us", ()) == ("small", "int8")
    slower = tuple(said("small", p, "host.latency", 500) for p in ("int8", "float32"))
    faster = (said("p", "int8", "host.latency", 30),)
    assert by_device("host.latency<=69us", (*slower, *faster)) == ("p", "int8")


def test_a_device_that_measured_nothing_is_told_with_the_command():
    with pytest.raises(RestnetError) as caught:
        by_device("tflm.arena<=1KB, ethos-u55-128.cycles<=1M, android:AB12.latency<=1ms")
    assert str(caught.value) == (
        "ethos-u55-128.cycles, android:ab12.latency of no file of runs/x is known;"
        " restnet-tf bench runs/x --device ethos-u55-128 --device android would measure it"
    )


def test_figures_of_other_bytes_do_not_count():
    with pytest.raises(RestnetError, match=r"tflm\.arena of no file of runs/x is known"):
        by_device("tflm.arena<=1MB", (said("p", "int8", "tflm.arena", 1, "1" * 64),))


def test_devices_that_measured_different_files_fit_together_nowhere():
    with pytest.raises(RestnetError, match="no file of runs/x has all figures of the budget; restnet-tf bench runs/x"):
        by_device("tflm.arena<=1MB, coral:b.latency<=1s", (*ARENAS, said("p", "float32", "coral:b.latency", 1)))


def test_the_nearest_miss_counts_devices_and_names_what_was_not_measured():
    with pytest.raises(RestnetError) as caught:
        by_device("tflm.arena<=800, macs<=20")
    assert str(caught.value) == (
        "no point meets the budget; the nearest, small int8, misses tflm.arena<=800 (it has 1 KB, 25% over);"
        " not measured there: small.float32"
    )


@pytest.mark.parametrize("name", ["tpu", "android", "tflm:x", "mcu", "ethos-u55-100"])
def test_a_device_that_nobody_knows_is_refused_with_those_that_are_known(name):
    with pytest.raises(
        TfliteError, match=rf"unknown device '{name}' in the budget; known are host, tflm, ethos-u55-32"
    ):
        by_device(f"{name}.latency<=1s")


def test_devices_reject_no_plan_and_wait_for_their_bench():
    terms = parse("tflm.arena<=1, macs<=1K")
    assert select.exceeded(terms, macs=1000, params=1) is None
    assert select.waiting(FAMILY, terms) == ["tflm.arena"]
    assert select.waiting(FAMILY, terms, ARENAS) == []
    assert select.waiting(FAMILY, parse("host.latency<=1us")) == []


# ---- cascades ------------------------------------------------------------------------------------

DIAL = Dial((0.8,), (1.0, 0.3), (1.0, 0.4), (40.0, 360.0))


def joined(macs: tuple[int, int] = (10, 100), **files: File) -> OperatingPoint:
    made_of = Cascade(("small", "large"), macs, "max", (0.8,), (1.0, 0.2), (1.0, 0.4))
    files = files or {p: replace(file(9000, 95, latency=360), dial=DIAL) for p in ("float32", "int8")}
    return replace(point("small>large", sum(macs), CASCADE, **files), cascade=made_of)


WITH_CASCADE = (*FAMILY, joined())


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("macs<=110", "small>large"),
        ("macs<=109", "large"),
        ("mean.macs<=40, macs<=200", "small>large"),
        ("mean.macs<=40, macs<=109", "small"),  # the other cost rules it out
        ("mean.macs<=39", "small"),  # as this file's images go on, not as the deciding one's
        ("mean.macs<=50, macs<=100", "p"),  # what always costs the same has that for its mean
        ("mean.latency<=136us, latency<=360us", "small>large"),
        ("latency<=359us", "large"),
        ("mean.host.latency<=136us, flash<=9KB", "small>large"),
        ("mean.host.latency<=135us, flash<=8KB", "large"),
    ],
)
def test_a_budget_tells_the_worst_case_from_the_mean(budget: str, expected: str):
    assert chosen(budget, WITH_CASCADE)[0] == expected


def test_a_missed_mean_is_told_with_how_much():
    with pytest.raises(RestnetError) as caught:
        chosen("mean.macs<=5, mean.latency<=1s", WITH_CASCADE)
    assert str(caught.value).endswith("misses mean.macs<=5 (it has 10, 100% over)")


CYCLES = tuple(
    said(name, p, "ethos-u55-128.cycles", value)
    for p, name, value in (("int8", "small", 100), ("int8", "large", 900), ("float32", "large", 5000))
)


def figures_of(measured: tuple[Measurement, ...], precision: str = "int8", family=WITH_CASCADE) -> dict[str, float]:
    (choice,) = (c for c in select.choices(family, measured) if c.name == f"small>large.{precision}")
    return {name: value for name, value in choice.figures.items() if "ethos" in name}


def test_a_device_that_takes_no_cascade_has_the_sums_of_its_stages():
    assert figures_of(CYCLES) == {"ethos-u55-128.cycles": 1000, "mean.ethos-u55-128.cycles": 100 + 0.3 * 900}
    assert figures_of(CYCLES, "float32") == {}  # not all stages of it
    (total,) = next(c for c in select.choices(WITH_CASCADE, CYCLES) if c.name == "small>large.int8").sums
    assert (total.kind, total.tool) == ("interpreter", "tool")
    choice = select.select(WITH_CASCADE, parse("mean.ethos-u55-128.cycles<=400"), CYCLES)
    assert choice.name == "small>large.int8"
    assert select.select(WITH_CASCADE, parse("ethos-u55-128.cycles<=999"), CYCLES).name == "large.int8"


def test_what_a_device_says_of_the_cascade_itself_comes_before_the_sum():
    own = said("small>large", "int8", "ethos-u55-128.cycles", 1100)
    assert figures_of((*CYCLES, own)) == {"ethos-u55-128.cycles": 1100, "mean.ethos-u55-128.cycles": 370}
    assert figures_of((own,)) == {"ethos-u55-128.cycles": 1100}


def test_stages_may_have_a_precision_each():
    mixed = joined(**{"int8>float32": replace(file(9000, 95), dial=DIAL)})
    assert figures_of(CYCLES, "int8>float32", (*FAMILY, mixed))["ethos-u55-128.cycles"] == 5100


@pytest.mark.parametrize("change", [{"tool": "another"}, {"sha256": "1" * 64}, {"figure": "sram"}])
def test_only_what_goes_together_is_summed(change: dict[str, str]):
    assert figures_of((CYCLES[0], replace(CYCLES[1], **change))) == {}


def test_the_host_runs_the_cascade_itself():
    said_of_stages = tuple(said(name, "int8", "host.latency", 7) for name in ("small", "large"))
    (choice,) = (c for c in select.choices(WITH_CASCADE, said_of_stages) if c.name == "small>large.int8")
    assert (choice.sums, choice.figures["host.latency"], choice.figures["mean.host.latency"]) == ((), 360, 136)
    (alone,) = (c for c in select.choices(WITH_CASCADE, said_of_stages) if c.name == "small.int8")
    assert alone.figures["mean.host.latency"] == 7


def test_a_mean_that_no_device_can_tell_is_named_with_the_command():
    with pytest.raises(RestnetError) as caught:
        by_device("mean.ethos-u55-128.cycles<=1M", ())
    assert str(caught.value) == (
        "mean.ethos-u55-128.cycles of no file of runs/x is known;"
        " restnet-tf bench runs/x --device ethos-u55-128 would measure it"
    )
    with pytest.raises(TfliteError, match="unknown device 'tpu' in the budget"):
        by_device("mean.tpu.latency<=1s")


def test_a_mean_prunes_no_plan():
    """A point over it may still be a stage."""
    assert select.exceeded(parse("mean.macs<=1"), macs=1000, params=1) is None
