"""Gates: which files are compared, which limits are broken, and what few images can tell."""

from __future__ import annotations

from dataclasses import replace

import finished
import numpy as np
import pytest

from restnet_tf.points.gate import Change, Gate, GateRun, compare
from restnet_tf.points.points import CASCADE, Cascade, Dial, OperatingPoint, Score
from restnet_tf.records import RestnetError
from tflite_export.budget import limits, parse
from tflite_export.devices.measurements import Measurement

OLD = GateRun("old", "accuracy", finished.POINTS, images="digits")


def changed(name: str, **figures: object) -> tuple[OperatingPoint, ...]:
    """The points, one of them with another file."""
    return tuple(
        replace(p, files={k: replace(f, **figures) for k, f in p.files.items()}) if p.name == name else p
        for p in finished.POINTS
    )


def gate(terms: str, points: tuple[OperatingPoint, ...] = finished.POINTS, old: GateRun = OLD, **more: object) -> Gate:
    return compare(replace(OLD, path="new", points=points), old, limits(terms), **more)


def of_small(comparison: Gate) -> Change:
    """The one change of the small anchor's file."""
    (change,) = [c for c in comparison.changes if c.pair.new.name == "small.float32"]
    return change


def test_a_run_holds_against_itself() -> None:
    comparison = gate("score>=-0, flash<=+0%, ram<=+0, macs<=+0, mean.macs<=+0, latency<=+0us, params<=+0")
    assert comparison.holds
    assert {c.pair.new.name for c in comparison.changes} == {"small.float32", "L1-S0.float32", "large.float32"}
    assert len(comparison.changes) == 7 * 3
    assert {c.value for c in comparison.changes} == {0}
    assert not any(c.unsure for c in comparison.changes)


@pytest.mark.parametrize(
    ("terms", "broken"),
    [
        ("flash<=+2%", False),
        ("flash<=+1.9%", True),
        ("flash<=+2KB", False),
        ("flash<=+1999", True),
        ("flash<=-1%", True),
        ("flash<=300KB", False),
        ("flash<=102KB", False),
        ("flash<=101KB", True),
    ],
)
def test_limits_hold_up_to_their_edge(terms: str, broken: bool) -> None:
    """Of a file of 100 KB that has 102 KB now."""
    comparison = gate(terms, changed("small", flash_bytes=102_000), names=("small",))
    assert [c.pair.new.name for c in comparison.broken] == ["small.float32"] * broken
    assert comparison.holds is not broken


def test_every_file_is_held_to_every_limit_and_the_nearest_is_told() -> None:
    comparison = gate("flash<=+2%, ram<=+5%", changed("L1-S0", flash_bytes=330_000, arena_bytes=76_000))
    (change,) = comparison.broken
    assert (change.pair.new.name, change.old, change.new) == ("L1-S0.float32", 300_000, 330_000)
    assert change.value == pytest.approx(0.1)
    assert [(c.limit.name, c.pair.new.name) for c in comparison.nearest] == [("ram", "L1-S0.float32")]


def scores(right: np.ndarray) -> tuple[OperatingPoint, ...]:
    return changed("small", test=Score.of(right))


def test_the_same_images_are_compared_one_by_one() -> None:
    """150 of 200 images lose four and win one: 1.5 points, to within the noise of five images."""
    before = np.arange(200) < 148
    right = before.copy()
    right[:4], right[199] = False, True
    comparison = gate("score>=-1", scores(right))
    change = of_small(comparison)
    assert comparison.paired
    assert (change.old, change.new, change.value) == (74, 72.5, pytest.approx(-1.5))
    assert change.spread == pytest.approx((-1.5 - 196 * 5**0.5 / 200, -1.5 + 196 * 5**0.5 / 200), abs=1e-3)
    assert comparison.broken == (change,)
    assert change.unsure


def test_a_loss_beyond_noise_is_sure_and_so_is_none() -> None:
    assert not of_small(gate("score>=-1", scores(np.arange(200) < 100))).unsure
    same = of_small(gate("score>=-1"))
    assert same.holds
    assert same.spread == (0, 0)


@pytest.mark.parametrize("old", [replace(OLD, images=""), replace(OLD, images="other digits")])
def test_other_images_have_the_noise_of_both(old: GateRun) -> None:
    comparison = gate("score>=-1", scores(np.arange(200) < 148), old)
    low, high = of_small(comparison).spread or (0, 0)
    assert not comparison.paired
    assert -9.5 < low < -8
    assert high == pytest.approx(-low)
    assert of_small(comparison).unsure


def test_runs_of_other_training_images_are_compared_on_the_same_test_images() -> None:
    old, new = (GateRun("run", "accuracy", finished.POINTS, images=images, test="t") for images in ("few", "more"))
    read = limits("score>=-1")
    assert compare(new, old, read).paired
    assert not compare(replace(new, test="other"), old, read).paired
    assert not compare(replace(new, test=""), replace(old, test=""), read).paired


def test_a_score_itself_has_its_own_interval() -> None:
    change = of_small(gate("score>=70"))
    assert change.spread == pytest.approx([100 * end for end in finished.score(148).interval])
    assert (change.holds, change.unsure) == (True, True)
    assert not of_small(gate("score>=60")).unsure


def test_a_latency_is_told_with_its_repeats() -> None:
    slower = changed("small", latency_median_us=10.4, latency_repeats_us=(10.0, 10.3, 10.4, 10.5, 12.0))
    change = of_small(gate("latency<=+3%", slower))
    assert (change.holds, change.unsure) == (False, True)
    assert change.spread == pytest.approx((0.0, 0.2))
    assert not of_small(gate("latency<=+50%", slower)).unsure


def test_elastic_files_are_compared_by_their_size() -> None:
    old, new = replace(OLD, elastic={"float32": 1000, "int8": 300}), {"float32": 1100}
    comparison = compare(replace(OLD, elastic=new), old, limits("flash<=+5%, score>=-1"))
    (change,) = comparison.broken
    assert (change.pair.new.name, change.value) == ("elastic.float32", pytest.approx(0.1))
    assert (comparison.gone, comparison.unknown) == (("elastic.int8",), ())


def test_files_of_one_run_alone_are_named() -> None:
    comparison = gate("flash<=+0%", (*finished.POINTS[1:], finished.point("L9-S9", "stitched", 5_000_000, 190)))
    assert comparison.holds
    assert (comparison.gone, comparison.added) == (("small.float32",), ("L9-S9.float32",))


def test_a_budget_compares_the_best_of_each_run() -> None:
    """L1-S0 is too large for it by now, and the small anchor stands in."""
    comparison = gate("score>=-20", changed("L1-S0", flash_bytes=500_000), budget=parse("flash<=400KB"))
    (change,) = comparison.changes
    assert (change.pair.old.name, change.pair.new.name) == ("L1-S0.float32", "small.float32")
    assert change.value == pytest.approx(-15)
    assert comparison.gone == comparison.added == ()
    with pytest.raises(RestnetError, match="new: no point meets the budget; the nearest, small float32, misses flash"):
        gate("score>=-20", budget=parse("flash<=1KB"))


@pytest.mark.parametrize("name", ["large", "large.float32"])
def test_a_point_alone_is_compared(name: str) -> None:
    (change,) = gate("flash<=+0%", names=(name,)).changes
    assert change.pair.new.name == "large.float32"


def test_what_is_not_shipped_is_refused() -> None:
    with pytest.raises(RestnetError, match=r"new ships no L2-S1; it ships L1-S0\.float32, large\.float32, small\."):
        gate("flash<=+0%", names=("large", "L2-S1"))
    with pytest.raises(RestnetError, match="old ships no L9"):
        gate("flash<=+0%", (finished.point("L9", "stitched", 5, 190),), names=("L9",))
    with pytest.raises(RestnetError, match="no file of new has the name of one of old; compare the best of each"):
        gate("flash<=+0%", (finished.point("L9", "stitched", 5, 190),))


def test_scores_that_count_other_things_are_refused() -> None:
    old = replace(OLD, metric="agreement")
    with pytest.raises(RestnetError, match=r"scores of new are accuracy and those of old agreement.*; leave score out"):
        gate("flash<=+1%, score>=-1", old=old)
    assert gate("flash<=+1%", old=old).holds


def arena(point: str, value: float) -> Measurement:
    return Measurement(point, "float32", "tflm", "arena", value, "interpreter", "TFLM", "0" * 64)


def test_a_figure_that_one_run_lacks_breaks_the_gate() -> None:
    new = replace(OLD, path="new", measured=(arena("small", 1000), arena("large", 5000)))
    old = replace(OLD, measured=(arena("small", 1000),))
    comparison = compare(new, old, limits("tflm.arena<=+1%"))
    assert [(gap.run, gap.files) for gap in comparison.unknown] == [("old", ("large.float32",))]
    assert not comparison.holds
    assert of_small(comparison).holds
    # What neither has of a file is nothing to compare, and a limit on the figure itself asks nothing of the old run.
    assert compare(old, old, limits("tflm.arena<=+1%")).holds
    assert compare(new, old, limits("tflm.arena<=5KB")).holds
    (gap,) = compare(old, new, limits("tflm.arena<=5KB")).unknown
    assert gap.files == ("large.float32",)


def test_a_figure_that_nothing_has_breaks_the_gate() -> None:
    runs = {gap.run: len(gap.files) for gap in gate("tflm.arena<=+1%").unknown}
    assert runs == {"new": 3, "old": 3}
    broken = changed("small", latency_median_us=float("nan"))
    assert [gap.files for gap in gate("latency<=+1%", broken).unknown] == [("small.float32",)]


def test_a_cascade_is_compared_by_its_mean() -> None:
    def run(deferral: float) -> tuple[OperatingPoint, ...]:
        dial = Dial((0.8,), (1.0, deferral), (1.0, deferral), (10.0, 100.0))
        file = replace(finished.file("c", 10**6, 190, 100.0), dial=dial)
        made_of = Cascade(("small", "large"), (10**6, 9 * 10**6), "max", (0.8,), (1.0, deferral), (1.0, deferral))
        cascade = finished.point("small>large", CASCADE, 10**7, 190, cascade=made_of, files={"float32": file})
        return (*finished.POINTS, cascade)

    comparison = gate("mean.latency<=+5%, mean.macs<=+5%, latency<=+0us", run(0.3), replace(OLD, points=run(0.2)))
    assert {(c.pair.new.name, c.limit.name) for c in comparison.broken} == {
        ("small>large.float32", "mean.latency"),
        ("small>large.float32", "mean.macs"),
    }
    assert {c.spread for c in comparison.broken} == {None}


def test_another_description_of_other_bytes_is_told() -> None:
    others = [replace(p, route="another way") for p in changed("L1-S0", sha256="1" * 64)]
    comparison = gate("macs<=+0", tuple(others))
    assert [pair.new.name for pair in comparison.pairs if pair.rerouted] == ["L1-S0.float32"]
    (pair,) = gate("macs<=+9M", tuple(others), budget=parse("flash<=400KB")).pairs
    assert pair.rerouted
    (pair,) = gate("macs<=+9M", tuple(others[:2]), budget=parse("flash<=1MB")).pairs
    assert not pair.rerouted


def test_scores_of_another_number_of_images_are_not_paired() -> None:
    few = tuple(replace(p, test=Score.of(np.ones(100, bool))) for p in scores(np.ones(100, bool)))
    comparison = gate("score>=-1", few)
    assert not comparison.paired
    assert of_small(comparison).value == pytest.approx(26)
