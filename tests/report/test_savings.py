"""What is said of cascades: only what the figures of the run bear out, whether none is shipped, one or several."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measured_points import cascade, point, scored
from rich.console import Console

from restnet_tf.points.points import ANCHOR, DOMINATED, OperatingPoint
from restnet_tf.report import savings, terminal

SMALL, LARGE = point("small", 1_000_000, 120, ANCHOR), point("large", 9_000_000, 180, ANCHOR)
STATIC = (SMALL, LARGE)
ONE = cascade(SMALL, LARGE, (0.25,))  # 150 of 200 right, a quarter goes on
TWO = cascade(SMALL, LARGE, (0.25, 0.9))


def tried(*rights: tuple[int, int], shares: tuple[float, ...] = (0.25, 0.5, 0.9)) -> OperatingPoint:
    """With so many of 200 images right on the rank and the test split at each position."""
    of = cascade(SMALL, LARGE, shares)
    told = zip(of.cascade.notches, rights, strict=True)
    notches = tuple(replace(notch, rank=scored(rank), test=scored(test)) for notch, (rank, test) in told)
    return replace(of, cascade=replace(of.cascade, notches=notches))


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
    line = said(*STATIC, tried((180, 178), (180, 180), (180, 184)))[1]
    assert line.startswith(
        "small>large with 30 % going on has the accuracy of large, within the noise of 200 test images, at 41 %"
    )
    assert line.endswith("-1.0 ± 1.4 points image by image")
    assert "has a higher accuracy than large" in said(*STATIC, tried((180, 190), shares=(0.25,)))[1]


def test_a_loss_that_the_noise_hides_is_not_said_to_be_none():
    line = said(*STATIC, tried((177, 177), shares=(0.25,)))[1]
    assert line.startswith(
        "small>large with 30 % going on has a lower accuracy than large, by less than the noise of 200 test images, at"
    )
    assert line.endswith("-1.5 ± 1.7 points image by image")


def test_the_chord_is_that_at_the_mean_cost_of_the_same_split():
    # On the test split 30 % go on: (1 + 0.3 * 9 - 1) / 8 of the way from 60 % to 90 %; 25 % on the rank split.
    assert said(*STATIC, ONE)[2] == (
        "its accuracy lies 4.9 points above the chord at equal mean MACs on the test split, 6.6 points above it on the"
        " rank split"
    )
    assert said(*STATIC, TWO)[2].startswith("on average the cascades' accuracy lies ")


@pytest.mark.parametrize(
    ("of", "share"),
    [
        (tried((180, 170), (180, 180), (180, 180)), 30),
        (tried((179, 170), (180, 180), (180, 180)), 30),  # half a point less, and no more by one standard error
        (tried((178, 180), (180, 170), (180, 180)), 60),  # a point less, but for noise
        (tried((170, 180), (170, 180), (190, 180)), None),  # what goes on nearly always saves nothing
        (tried((170, 180), (170, 180), (170, 180)), None),
    ],
)
def test_what_is_saved_is_decided_on_the_rank_split(of, share):
    lines = savings.saved((*STATIC, of), "accuracy")
    assert [line.partition(" with ")[2].partition(" ")[0] for line in lines] == ([] if share is None else [str(share)])


def test_what_is_saved_is_told_of_the_test_split():
    (line,) = savings.saved((*STATIC, tried((180, 170), shares=(0.25,))), "accuracy")
    assert line == (
        "set for a loss of one point at most on 200 rank images, small>large with 30 % going on saves 59 % of the MACs"
        " of large on average over 200 test images, where it loses 5.0 points of accuracy: 85.0 % [79.4, 89.3] against"
        " 90.0 % [85.1, 93.4]"
    )
    assert "it gains 1.0 points" in savings.saved((*STATIC, tried((180, 182), shares=(0.25,))), "accuracy")[0]
    same = savings.saved((*STATIC, tried((180, 180), shares=(0.25,))), "accuracy")[0]
    assert "where its accuracy is the same: " in same


def test_the_table_has_each_position_between_its_stages():
    lines = terminal.cascades((*STATIC, TWO), "accuracy")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert [row[0] for row in rows] == ["small", "small>large", "large", "small>large"]
    assert [row[3] for row in rows] == ["", "30.0 [24.1, 36.7]", "", "100.0 [98.1, 100.0]"]
    assert [row[5:] for row in rows] == [
        ["1.00", "1.00", "1.00"], ["3.70", "3.25", "10.0"], ["9.00", "9.00", "9.00"], ["10.0", "9.10", "10.0"],
    ]  # fmt: skip
    assert lines[0] == "Cascades (accuracy on 200 test images; set on 200 of the rank split)"
    family = (*STATIC, tried((180, 180), shares=(0.25,)))
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


def test_no_word_of_images_where_inputs_are_none():
    lines = [
        *savings.sentences((*STATIC, ONE), "accuracy", "examples"),
        *savings.saved((*STATIC, ONE), "accuracy", "examples"),
    ]
    lines += terminal.cascades((*STATIC, ONE), "accuracy", "example")
    console = Console(width=200)
    with console.capture() as capture:
        console.print(terminal.operating_points((*STATIC, ONE), "accuracy", one="example"))
    text = " ".join([*lines, capture.get()])
    assert "test examples" in text
    assert "image" not in text
