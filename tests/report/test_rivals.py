"""What is said of networks that know less: of shipped points alone, and of the middle one of their twins."""

from __future__ import annotations

from dataclasses import replace

from measured_points import point, scored
from rich.console import Console

from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, FROM_SCRATCH, Rating
from restnet_tf.report import foretold, rivals, terminal

ONE, TWO = point("L1-S0", 5_000_000, 160), point("S0-L1", 7_000_000, 180)


def twins(of, *hits):
    return [
        replace(point(f"random-{of}-{i}", 5_000_000, count, CONTROL), status=CONTROL, twin_of=of)
        for i, count in enumerate(hits)
    ]


def test_shipped_routes_stand_beside_the_middle_one_of_their_twins():
    assert rivals.sentences([ONE, TWO], "accuracy") == []
    assert rivals.sentences([ONE, *twins("L1-S0", 20, 180, 30)], "accuracy") == [
        f"stitching pays: L1-S0 has {100 * ONE.test.value:.1f} % accuracy on the test split, behind random fronts"
        f" {100 * twins('L1-S0', 30)[0].test.value:.1f} %"
    ]
    both = rivals.sentences([ONE, TWO, *twins("L1-S0", 30), *twins("S0-L1", 40)], "accuracy")
    assert both[0].startswith("stitching pays: the 2 shipped routes have ")
    assert rivals.sentences([replace(ONE, status=DOMINATED), *twins("L1-S0", 20)], "accuracy") == []


def test_a_network_from_nothing_stands_beside_the_point_that_it_is_of():
    scratch = replace(point(FROM_SCRATCH, 7_000_000, 60, CONTROL), rung=FROM_SCRATCH, params=TWO.params)
    assert rivals.sentences([ONE, TWO, scratch], "accuracy") == [
        "trained from nothing with as much work, the network of S0-L1 has"
        f" {100 * scratch.test.value:.1f} % accuracy on the test split, less than the {100 * TWO.test.value:.1f} % of"
        " the point"
    ]
    better = replace(scratch, test=point("x", 1, 190).test)
    assert "no less than" in rivals.sentences([TWO, better], "accuracy")[0]
    assert rivals.sentences([ONE, scratch], "accuracy") == []


def test_points_with_weights_of_their_own_are_named_by_the_twins_that_they_beat():
    def scratch(of):
        return replace(point(f"scratch-{of}", 1, 10, CONTROL), status=CONTROL, rung=FROM_SCRATCH, twin_of=of)

    assert rivals.unshared([ONE, TWO, *twins("L1-S0", 20)]) == ""
    one = [ONE, TWO, *twins("L1-S0", 20), scratch("L1-S0")]
    told = (
        "L1-S0 shares none of its back's weights and beats both twins, behind a random front and trained from nothing"
    )
    assert rivals.unshared(one) == told
    assert rivals.unshared([*one, scratch("S0-L1")]).startswith("L1-S0, S0-L1 share none of their backs' weights and ")
    assert rivals.unshared([replace(ONE, status=DOMINATED), *one[1:]]) == ""
    with (console := Console(width=300)).capture() as captured:
        console.print(terminal.operating_points(one, "accuracy"))
    assert " ".join(captured.get().split()).startswith(f"Operating points (accuracy on 200 test images); {told} ")
    [sentence] = rivals.sentences(one, "accuracy")  # the twin from nothing is none behind a random front
    assert sentence.endswith(f"behind random fronts {100 * twins('L1-S0', 20)[0].test.value:.1f} %")


def test_what_the_test_split_puts_below_a_rival_of_no_more_cost_is_named():
    small = point("small", 1_000_000, 150, ANCHOR)
    assert rivals.beaten([small, ONE, TWO], "accuracy") == []
    low = replace(ONE, files={"int8": ONE.files["int8"]}, test=point("x", 1, 10).test)
    under = replace(low, files={"int8": replace(low.files["int8"], test=point("x", 1, 140).test)})
    lead, error = small.files["int8"].test.lead(under.files["int8"].test)
    assert rivals.beaten([small, under, TWO], "accuracy") == [  # by the files that both have, and not by Keras
        f"L1-S0 lies below small by {100 * lead:.1f} ± {100 * error:.1f} points of accuracy in int8"
    ]
    assert rivals.beaten([small, replace(under, status=DOMINATED)], "accuracy") == []
    assert rivals.beaten([replace(small, macs=6_000_000), under], "accuracy") == []  # it costs more
    scratch = replace(point("scratch", 5_000_000, 200, CONTROL, files={}), status=CONTROL)
    of_another = replace(scratch, twin_of="S0-L1")
    assert len(rivals.beaten([ONE, scratch], "accuracy")) == 1
    assert rivals.beaten([ONE, of_another], "accuracy") == []
    assert rivals.beaten([ONE, *twins("L1-S0", 20, 190, 30)], "accuracy") == []  # one of three was lucky
    assert len(rivals.beaten([ONE, *twins("L1-S0", 20, 190, 180)], "accuracy")) == 2  # in both of its files


def test_points_that_ship_for_their_memory_are_named():
    def rated(name, macs, right, flash, arena, **more):
        return point(name, macs, right, ratings={"int8": Rating(flash, arena, scored(right))}, **more)

    small = rated("small", 1_000_000, 150, 4_000, 1_700, kind=ANCHOR)
    low = rated("L1-S0", 5_000_000, 120, 5_000, 900)
    listed = "L1-S0 in int8 (arena 0.9 KB, small's 1.7 KB)"
    assert rivals.frugal([small, low]) == listed
    better = replace(low, ratings={"int8": replace(low.ratings["int8"], rank=scored(160))})
    assert rivals.frugal([small, better]) == ""  # it ships for what it answers
    assert rivals.frugal([replace(small, macs=6_000_000), low]) == ""  # what is better costs more
    assert rivals.frugal([small, replace(low, status=DOMINATED)]) == ""
    control = replace(small, name="twin", kind=CONTROL, status=CONTROL, macs=1, twin_of="L1-S0")
    assert rivals.frugal([control, low]) == ""  # nobody can have it
    both = rated("S0-L1", 2_000_000, 160, 7_000, 1_690)
    assert rivals.frugal([small, both, low]) == (
        "L1-S0 in int8 (flash 5.0 KB, S0-L1's 7.0 KB; arena 0.9 KB, S0-L1's 1.7 KB)"  # the best of two
    )
    many = [replace(low, name=f"L{i}-S0") for i in range(10)]
    assert rivals.frugal([small, *many]).endswith("L7-S0 in int8 (arena 0.9 KB, small's 1.7 KB), and 2 more")


def test_rankings_are_told_where_enough_was_tried():
    assert foretold.sentences(3, {}, None) == []
    [line] = foretold.sentences(24, {"CKA": 0.5, "chance": -0.25}, None)
    assert line.endswith("of 24 pairs that were tried (1 is best, 0 is chance): CKA +0.50, chance -0.25")
    assert foretold.sentences(0, {}, 0.75)[0].endswith(" of several (1 is best, 0 is chance): +0.75")
