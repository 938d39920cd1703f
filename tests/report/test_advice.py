"""Advice: only what the run's figures bear out, each with those figures, and commands that work on that run."""

from __future__ import annotations

from dataclasses import replace

import click
import pytest
from measured_points import cascade, file, point, scored

from restnet_tf.cli.main import main
from restnet_tf.points import select
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, Rating
from restnet_tf.report import advice
from restnet_tf.report.contents import COMPOSED, Report
from tflite_export.budget import parse
from tflite_export.devices.measurements import Measurement

SMALL, LARGE = point("small", 1_000_000, 120, ANCHOR), point("large", 9_000_000, 180, ANCHOR)
ONE, TWO = point("L1-S0", 5_012_345, 160), point("S0-L1", 7_000_000, 165)
BUILD = ("build", "--large", "a b.keras", "--small", "small.keras", "--data", "digits")
REPORT = Report(
    "runs/a run", "l + s", "accuracy", {"large": "l", "small": "s"}, {}, "build", (SMALL, ONE, TWO, LARGE), BUILD
)
MEASURED = Measurement("L1-S0", "int8", "tflm", "arena", 4096.0, "interpreter", "TFLM", "ab" * 32)
PRUNED = replace(ONE, name="L1-S0.prune50", origin="L1-S0", rank=scored(175, kl=0.1), macs=5_000_000)
OPTIONS = {PRUNED.name: ("--prune", "0.5")}


def commands(report: Report) -> list[str]:
    return [step.words[0] for step in advice.of(report)]


def losing(right: int, p=ONE):
    """The point with an int8 file of so many right answers."""
    return replace(p, files={"float32": file(160), "int8": file(right)})


def with_points(*points, **more) -> Report:
    return replace(REPORT, points=points, **more)


LOSES = with_points(SMALL, losing(120), LARGE)
BETTER = with_points(SMALL, ONE, TWO, PRUNED, LARGE, optimised=OPTIONS, optimisable=frozenset(("L1-S0", "S0-L1")))
DIFFERS = with_points(SMALL, replace(ONE, files={"float32": file(160, test=scored(150))}), LARGE)


@pytest.mark.parametrize("report", [REPORT, LOSES, BETTER, DIFFERS, replace(LOSES, build=(*BUILD, "--recalibrate"))])
def test_commands_are_understood_and_rest_on_figures(report):
    steps = advice.of(report)
    assert steps
    for step in steps:
        name, *words = step.words
        context: click.Context = main.commands[name].make_context(name, list(words))  # refuses what it does not know
        assert context.params
        assert step.basis
        assert all(basis.text in step.why and basis.subject in step.why for basis in step.basis)
        assert {basis.point for basis in step.basis} <= {p.name for p in report.points}
        assert step.command.startswith(f"restnet-tf {name}")


@pytest.mark.parametrize(
    ("between", "name"),
    [((ONE, TWO), "L1-S0"), ((ONE,), "L1-S0"), ((), "small"), ((replace(ONE, status=DOMINATED, files={}),), "small")],
)
def test_the_budget_is_one_that_a_shipped_point_meets(between, name):
    step = advice.of(with_points(SMALL, *between, LARGE))[0]
    choice = select.select((SMALL, *between, LARGE), parse(step.words[-1]))
    assert (step.words[0], choice.point.name) == ("select", name)
    assert step.basis[0].point == name


@pytest.mark.parametrize("macs", [1, 999, 131_488, 1_011_520, 1_011_521, 999_999_999, 7_654_321_987])
def test_the_limit_is_rounded_up(macs):
    limit, choice = advice.budget([replace(SMALL, macs=macs)])
    assert choice.point.name == "small"
    assert macs <= parse(limit)[0].limit <= macs * 1.001 + 1


def test_where_there_are_cascades_the_budget_limits_the_mean():
    family = (SMALL, ONE, cascade(SMALL, LARGE, (0.25, 0.9)), LARGE)
    step = advice.of(with_points(*family))[0]
    assert step.words[-1] == "mean.macs<=5.013M"
    assert select.select(family, parse(step.words[-1])).point.name == "L1-S0"
    assert [basis.label for basis in step.basis] == ["mean MMACs", "worst MMACs", "rank split", "flash"]


def test_a_run_without_files_has_no_advice():
    bare = tuple(replace(p, files={}) for p in REPORT.points)
    assert advice.of(with_points(*bare)) == ()
    assert advice.budget(bare) is None


def test_devices_are_named_that_have_not_measured():
    assert [s.words[-1] for s in advice.of(REPORT) if s.words[0] == "bench"] == ["tflm", "ethos-u55-128"]
    known = replace(REPORT, measurements=(MEASURED,))
    assert [s.words[-1] for s in advice.of(known) if s.words[0] == "bench"] == ["ethos-u55-128"]
    floats = tuple(replace(p, files={"float16": file()}) for p in REPORT.points)
    assert "bench" not in commands(with_points(*floats))


def test_a_precision_that_loses_more_than_noise_is_told():
    assert "build" not in commands(with_points(SMALL, losing(158), LARGE))
    step = next(s for s in advice.of(LOSES) if s.words[0] == "build")
    assert step.words == (*BUILD, "--recalibrate", "--out", "runs/a run-recalibrated")
    assert [b.text for b in step.basis] == ["80.0 %", "60.0 %"]
    again = next(s for s in advice.of(replace(LOSES, build=(*BUILD, "--recalibrate"))) if s.words[0] == "build")
    assert again.words[-4:] == ("--precision", "float32,int8,int16x8", "--out", "runs/a run-int16x8")
    assert "build" not in commands(replace(LOSES, build=()))
    assert "build" not in commands(replace(LOSES, method=COMPOSED))
    assert "build" not in commands(with_points(SMALL, losing(120, replace(ONE, status=DOMINATED)), LARGE))


def test_files_are_to_be_verified_where_they_answer_otherwise():
    assert "verify" not in commands(REPORT)
    assert "verify" in commands(DIFFERS)
    assert "verify" not in commands(replace(DIFFERS, build=()))
    assert "verify" not in commands(replace(DIFFERS, method=COMPOSED))


@pytest.mark.parametrize(
    "worse",
    [
        {"optimised": {}},
        {"points": (SMALL, ONE, TWO, replace(PRUNED, rank=scored(150)), LARGE)},
        {"points": (SMALL, ONE, TWO, replace(PRUNED, macs=5_100_000), LARGE)},
        {"points": (SMALL, ONE, TWO, replace(PRUNED, files={"float32": file(flash=1001)}), LARGE)},
        {"optimisable": frozenset()},
        {"points": (SMALL, ONE, PRUNED, LARGE)},
        {"points": (SMALL, ONE, TWO, LARGE)},
    ],
)
def test_optimising_is_advised_where_it_made_a_point_better_alone(worse):
    step = next(s for s in advice.of(BETTER) if s.words[0] == "optimize")
    assert step.words == ("optimize", "runs/a run", "--point", "S0-L1", "--prune", "0.5")
    assert {b.point for b in step.basis} == {"L1-S0", "L1-S0.prune50"}
    assert "optimize" not in commands(replace(BETTER, **worse))


def integers(p, right: int):
    """The point with a rating of its int8 file of so many right answers beside a float32 one of 160."""
    return replace(p, ratings={"float32": Rating.of(file(160)), "int8": Rating.of(file(right))}, files={})


TRAINED = replace(integers(ONE, 158), name="L1-S0.qat", origin="L1-S0", status=DOMINATED)
BEHIND = with_points(
    SMALL,
    integers(ONE, 120),
    losing(150, TWO),
    TRAINED,
    LARGE,
    optimised={TRAINED.name: ("--qat",)},
    optimisable=frozenset(("L1-S0", "S0-L1")),
)


def test_training_behind_rounding_is_advised_where_it_won_back_answers_and_some_are_lost():
    step = next(s for s in advice.of(BEHIND) if s.words[0] == "optimize")
    assert step.words == ("optimize", "runs/a run", "--point", "S0-L1", "--qat")
    assert [b.text for b in step.basis] == ["60.0 %", "79.0 %"]
    assert "int8" in step.why
    for trained, other in ((integers(TRAINED, 121), losing(150, TWO)), (TRAINED, losing(159, TWO))):
        points = (SMALL, integers(ONE, 120), other, replace(trained, name=TRAINED.name, origin="L1-S0"), LARGE)
        assert "optimize" not in commands(replace(BEHIND, points=points))


def updates(before: int, after: int) -> dict:
    sizes = {"L1-S0": before, PRUNED.name: after}
    return {name: {"float32": {"update_packed": size}} for name, size in sizes.items()}


@pytest.mark.parametrize(
    ("sent", "right", "advised"),
    [((1000, 500), 160, True), ((1000, 950), 160, False), ((1000, 500), 159, False), (None, 160, False)],
)
def test_a_smaller_update_is_advised_where_no_answer_was_lost(sent, right, advised):
    lighter = replace(PRUNED, rank=ONE.rank, files={"float32": file(right)})
    report = replace(BETTER, points=(SMALL, ONE, TWO, lighter, LARGE), sent=updates(*sent) if sent else {})
    steps = [s for s in advice.of(report) if s.words[0] == "optimize"]
    assert bool(steps) == advised
    if steps:
        assert [b.text for b in steps[0].basis] == ["1,000 bytes", "500 bytes"]


def test_a_control_is_never_what_is_advised():
    best = replace(point("distilled", 500_000, 190), kind=CONTROL, status=CONTROL)
    assert all(b.point != "distilled" for s in advice.of(with_points(SMALL, ONE, best, LARGE)) for b in s.basis)
