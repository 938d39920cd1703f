"""What is said of cascades: only what the figures of the run bear out, whether none is shipped, one or several."""

from __future__ import annotations

from dataclasses import replace

from measured_points import cascade, point, scored
from rich.console import Console

from restnet_tf.points.points import ANCHOR, DOMINATED, OperatingPoint
from restnet_tf.report import savings, terminal

SMALL, LARGE = point("small", 1_000_000, 120, ANCHOR), point("large", 9_000_000, 180, ANCHOR)
STATIC = (SMALL, LARGE)
ONE = cascade(SMALL, LARGE, (0.25,))  # 150 of 200 right, a quarter goes on
TWO = cascade(SMALL, LARGE, (0.25, 0.9))


def said(*points: OperatingPoint) -> list[str]:
    return savings.sentences(points, "accuracy")


def test_a_run_without_cascades_says_nothing():
    assert said(*STATIC) == []
    assert terminal.cascades(STATIC, "accuracy") == []


def test_cascades_that_are_not_shipped_are_counted_alone():
    beaten = replace(ONE, status=DOMINATED)
    assert said(*STATIC, beaten) == ["no cascade is shipped: what costs no more on average does as well as each of 1"]
    assert said(*STATIC, ONE, beaten)[0] == "1 cascade is shipped, of 2 that were weighed: small>large"
    assert terminal.cascades((*STATIC, beaten), "accuracy") == []


def test_a_cascade_that_is_worse_is_not_said_to_be_as_good():
    line = said(*STATIC, ONE)[1]
    assert line.startswith(
        "small>large with 30 % going on has a lower accuracy than large on 200 test images, at 41 % of its MACs on"
        " average and 111 % at worst: 75.0 % [68.6, 80.5] against 90.0 % [85.1, 93.4], -15.0 ± 5.4 points"
    )


def test_of_those_that_do_as_well_the_cheapest_is_told_with_its_noise():
    good = cascade(SMALL, LARGE, (0.25, 0.5, 0.9))
    told = zip(good.cascade.notches, (178, 180, 184), strict=True)
    notches = [replace(n, rank=scored(180), test=scored(right)) for n, right in told]
    good = replace(good, cascade=replace(good.cascade, notches=tuple(notches)))
    line = said(*STATIC, good)[1]
    assert line.startswith(
        "small>large with 30 % going on has the accuracy of large, within the noise of 200 test images, at 41 %"
    )
    assert line.endswith("-1.0 ± 1.4 points image by image")
    better = replace(good, cascade=replace(good.cascade, notches=(replace(notches[0], test=scored(190)),)))
    assert "has a higher accuracy than large" in said(*STATIC, better)[1]


def test_the_chord_is_that_at_the_mean_cost_of_the_same_split():
    # On the test split 30 % go on: (1 + 0.3 * 9 - 1) / 8 of the way from 60 % to 90 %; 25 % on the rank split.
    assert said(*STATIC, ONE)[2] == (
        "its accuracy lies 4.9 points above the chord at equal mean MACs on the test split, 6.6 points above it on the"
        " rank split"
    )
    assert said(*STATIC, TWO)[2].startswith("on average the cascades' accuracy lies ")


def within_a_point(of: OperatingPoint, share: float) -> OperatingPoint:
    """Where so many rank images go on, and nowhere else, a cascade has the large network's answers on them."""
    own = of.cascade
    curve = [replace(s, rank_score=0.895 if s.rank_reach[1] == share else 0.5) for s in own.curve]
    notches = [replace(n, rank=scored(179 if n.rank_reach[1] == share else 100)) for n in own.notches]
    return replace(of, cascade=replace(own, curve=tuple(curve), notches=tuple(notches)))


def test_what_is_saved_is_set_on_the_rank_split_and_told_of_the_test_split():
    """At a position that was chosen; where none loses a point at most, at another one."""
    saves = "small>large with 60 % going on saves 29 % of the MACs of large on average over 200 test images, where"
    chosen = within_a_point(cascade(SMALL, LARGE, (0.25, 0.5)), 0.5)
    assert saves in said(*STATIC, chosen)[-1]
    sooner = (replace(chosen.cascade.curve[2], rank_score=0.9), *chosen.cascade.curve)
    assert saves in said(*STATIC, replace(chosen, cascade=replace(chosen.cascade, curve=sooner)))[-1]
    assert saves in said(*STATIC, within_a_point(ONE, 0.5))[-1]


def test_what_saves_nothing_is_not_told():
    assert not [line for line in said(*STATIC, within_a_point(ONE, 1.0)) if "saves" in line]


def test_a_loss_on_the_test_split_is_told():
    lucky = replace(ONE.cascade.notches[0], rank=scored(178), test=scored(170))
    of = replace(ONE, cascade=replace(ONE.cascade, notches=(lucky,)))
    assert said(*STATIC, of)[-1] == (
        "set for a loss of one point at most on 200 rank images, small>large with 30 % going on saves 59 % of the MACs"
        " of large on average over 200 test images, where it loses 5.0 points of accuracy: 85.0 % [79.4, 89.3] against"
        " 90.0 % [85.1, 93.4]"
    )
    same = replace(of, cascade=replace(of.cascade, notches=(replace(lucky, test=scored(180)),)))
    assert "where its accuracy is the same: " in said(*STATIC, same)[-1]
    none = replace(of, cascade=replace(of.cascade, curve=(), notches=(replace(lucky, rank=scored(170)),)))
    assert not [line for line in said(*STATIC, none) if "saves" in line]


def test_the_table_has_each_position_between_its_stages():
    lines = terminal.cascades((*STATIC, TWO), "accuracy")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert [row[0] for row in rows] == ["small", "small>large", "large", "small>large"]
    assert [row[3] for row in rows] == ["", "30.0 [24.1, 36.7]", "", "100.0 [98.1, 100.0]"]
    assert [row[5:] for row in rows] == [
        ["1.00", "1.00", "1.00"], ["3.70", "3.25", "10.0"], ["9.00", "9.00", "9.00"], ["10.0", "9.10", "10.0"],
    ]  # fmt: skip
    assert lines[0] == "Cascades (accuracy on 200 test images; set on 200 of the rank split)"
    family = (*STATIC, within_a_point(TWO, 0.25))
    assert terminal.cascades(family, "accuracy")[-1] == savings.saved(family, "accuracy")[0]


def printed(*points: OperatingPoint) -> str:
    with (console := Console(width=300)).capture() as captured:
        console.print(terminal.operating_points(points, "accuracy"))
    return captured.get()


def test_costs_say_which_they_are_where_there_are_cascades_alone():
    assert "mean MMACs" not in printed(*STATIC)
    assert "worst" not in printed(*STATIC)
    table = printed(*STATIC, ONE)
    assert "mean MMACs" in table
    assert "worst MMACs" in table
    assert next(line for line in table.splitlines() if "small>large" in line).split("│")[2].strip() == "cascade"
