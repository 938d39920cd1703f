"""What is said of a family: sentences, whether none of its points is shipped, one, or several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from measured_points import point

from restnet_tf.points import select
from restnet_tf.points.points import ANCHOR, CONTROL, DISTILLED, DOMINATED
from restnet_tf.records import Reason
from restnet_tf.report import summary
from tflite_export.budget import parse

SMALL, LARGE = point("small", 1_000_000, 120, ANCHOR), point("large", 9_000_000, 180, ANCHOR)
ONE, TWO = point("L1-S0", 5_000_000, 160), point("S0-L1", 7_000_000, 160)
BEATEN = point("L2-S0", 6_000_000, 130, status=DOMINATED)
NOWHERE = Path("no such run")
META = {"metric": "accuracy", "training_macs": 2 * 10**12, "distilling_macs": 3 * 10**11}
SEARCH = {
    "metric": "accuracy",
    "anchors": {"A": "one", "B": "two"},
    "nets": 1,
    "ended": [{"reason": {"code": "too_deep", "count": 16}, "count": 3}],
    "correlation": {"loss": (0.5, 0.25)},
    "folded": {},
    "new_in_pool": ["one"],
}


def told(*points):
    return summary.family(NOWHERE, META, points)


@pytest.mark.parametrize(
    ("between", "first"),
    [
        ((), "no point between the anchors is shipped: none was fitted; the anchors are what is shipped"),
        (
            (BEATEN,),
            "no point between the anchors is shipped: the one that was fitted is beaten by what costs no more;"
            " the anchors are what is shipped",
        ),
        (
            (BEATEN, replace(BEATEN, name="L3-S0")),
            "no point between the anchors is shipped: each of the 2 that were fitted is beaten by what costs no more;"
            " the anchors are what is shipped",
        ),
        ((ONE,), "1 point between the anchors is shipped: L1-S0"),
        ((ONE, BEATEN), "1 point between the anchors is shipped, of 2 that were fitted: L1-S0"),
        ((ONE, TWO, BEATEN), "2 points between the anchors are shipped, of 3 that were fitted: L1-S0, S0-L1"),
    ],
)
def test_what_is_shipped_is_a_sentence(between, first):
    assert told(SMALL, LARGE, *between)[0] == first


def test_many_points_are_counted_not_listed():
    many = [replace(ONE, name=f"P{i}") for i in range(30)]
    assert told(SMALL, LARGE, *many)[0] == "30 points between the anchors are shipped"


def test_the_chord_is_spoken_of_where_points_are_shipped_alone():
    assert not [line for line in told(SMALL, LARGE, BEATEN) if "chord" in line]
    assert (
        "its accuracy lies 5.0 points above the chord between the anchors on the test split, 5.0 points above it on the"
        " rank split" in told(SMALL, LARGE, ONE)
    )
    on_and_below = replace(ONE, test=point("", 1, 150).test, rank=point("", 1, 146).rank)
    assert (
        "its accuracy lies on the chord between the anchors on the test split, 2.0 points below it on the rank split"
        in told(SMALL, LARGE, on_and_below)
    )
    assert any(line.startswith("on average their accuracy") for line in told(SMALL, LARGE, ONE, TWO))


@pytest.mark.parametrize(
    ("rivals", "line"),
    [
        (("small", "L1-S0", "large"), "2 by the anchors and 1 by other points between the anchors"),
        (("small",), "1 by the anchors"),
        (("L1-S0",), "1 by other points between the anchors"),
        (("random-L2-S0",), "1 by their own twins behind random fronts"),
    ],
)
def test_what_beats_the_others_is_counted(rivals, line):
    others = [replace(BEATEN, name=f"P{i}", reason=Reason("dominated", rival=r)) for i, r in enumerate(rivals)]
    twin = point("random-L2-S0", 6_000_000, 130, CONTROL, status=CONTROL)
    assert told(SMALL, LARGE, ONE, *others, twin)[1] == f"not shipped, as they are beaten at no more cost: {line}"


def test_what_distilling_is_worth_is_told_beside_the_stitches():
    taught = point("small*", 1_000_000, 150, DISTILLED)
    beaten = replace(BEATEN, reason=Reason("dominated", rival="small*"))
    lines = told(SMALL, LARGE, taught, ONE, TWO, beaten)
    assert "not shipped, as they are beaten at no more cost: 1 by the small anchor distilled" in lines
    assert (
        "distil the small anchor: small* costs no more than 1 of the 3 points between the anchors and does as well or"
        " better" in lines
    )
    assert told(SMALL, LARGE, taught, beaten)[0].endswith("; the anchors and small* are what is shipped")
    assert (
        "small* costs no more than each of the 2 points between the anchors"
        in told(SMALL, LARGE, taught, beaten, replace(beaten, name="L3-S0"))[2]
    )
    none = "distilling the small anchor gives small*, which beats none of the points between the anchors"
    assert none in told(SMALL, LARGE, taught, ONE)
    useless = replace(taught, status=DOMINATED)
    assert "distilling the small anchor gains nothing that 200 rank images could tell" in told(SMALL, LARGE, useless)


def test_training_is_told_also_where_there_was_none():
    assert told(SMALL, LARGE, ONE)[-1] == (
        "the build took 2T MACs with all statistics, trials, validations and rivals; distilling the small anchor took"
        " 0.3T of them"
    )
    alone = summary.family(NOWHERE, META | {"distilling_macs": 0}, (SMALL, LARGE, ONE))[-1]
    assert alone.endswith("validations and rivals")
    nothing = META | {"training_macs": 0, "distilling_macs": 0}
    assert summary.family(NOWHERE, nothing, (SMALL, LARGE, ONE))[-1].startswith("nothing was trained")


@pytest.mark.parametrize(("between", "choice"), [((), "small"), ((BEATEN,), "small"), ((ONE, TWO, BEATEN), "L1-S0")])
def test_the_command_to_go_on_with_works(between, choice):
    everyone = (SMALL, LARGE, *between)
    command, limit, _ = summary.following(Path("runs/a b"), everyone).split('"')
    assert command == "next: restnet-tf select 'runs/a b' --budget "
    assert select.select(everyone, parse(limit)).point.name == choice


def test_what_won_is_told_beside_the_costliest_anchor():
    told = ["in short: L1-S0.int8 has 80.0 % accuracy on the test split, large 90.0 %, at 56 % of its MACs"]
    assert summary.in_short((SMALL, LARGE, ONE, TWO, BEATEN), "accuracy") == told
    assert summary.in_short((SMALL, LARGE), "accuracy") == []


def test_no_choice_is_told_where_there_is_no_file():
    assert summary.following(Path("r"), [replace(SMALL, files={})]) == "next: restnet-tf report r"


def test_files_are_named_that_are_there(tmp_path):
    (tmp_path / "tflite").mkdir()
    for name in ("elastic.int8.tflite", "elastic.float32.tflite", "points.json", ".lock"):
        (tmp_path / name).touch()
    lines = summary.family(tmp_path, META, (SMALL, LARGE, ONE))
    assert lines[1] == f"files in {tmp_path}: tflite/, elastic.*.tflite, points.json"


def test_a_composition_is_told_beside_its_members():
    lines = summary.composed(NOWHERE, SEARCH, (SMALL, LARGE, ONE), {"pool": 9.0, "search": 2.4})
    assert lines[:2] == ["1 net composed of 2 members", "1 composed net is shipped: L1-S0"]
    assert (
        "of least log loss: L1-S0 (the way of L1-S0), 5M MACs: 80.0 % in cross-validation, 80.0 % [73.9, 85.0] of 200"
        " test images" in lines
    )
    assert any(line.startswith("  best member within its MACs: small") for line in lines)
    assert any(line.startswith("best member of all: ") for line in lines)
    assert "paths that ended for deeper than 16 fragments: 3" in lines
    assert "overall score and validation log loss of 1 net: Pearson +0.50, Spearman +0.25" in lines
    assert lines[-1] == (
        "seconds: pool 9, search 2; 2 from the images to the files beside the pool's; 1 member was new to the pool,"
        " which the next user's net does not wait for"
    )


def test_a_composition_without_a_net_is_a_sentence_too():
    lines = summary.composed(NOWHERE, SEARCH | {"nets": 0, "new_in_pool": []}, (SMALL, LARGE), {"pool": 1.0})
    assert lines[1] == "no composed net is shipped: none was kept; the members are what is shipped"
    assert lines[2].startswith("best member: ")
    assert "every member was in the pool already" in lines[-1]
