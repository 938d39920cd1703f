"""Scores, domination, the chord, and the file that holds the points."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from restnet_tf import words
from restnet_tf.points import front, points
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, SHIPPED, STITCHED, File, OperatingPoint, Score
from restnet_tf.records import Reason, RestnetError


def scored(n: int, right: int, kl: float | None = None) -> Score:
    """The first ``right`` of n images are right."""
    return Score.of(np.arange(n) < right, kl)


FILE = File("a.tflite", "ab" * 32, 1000, 500, scored(50, 40), scored(70, 60), 12.5, 13.0, (12.0, 12.5, 13.0), 1, "tool")


def point(
    name: str, macs: int, right: int, kl: float | None = 0.1, kind: str = STITCHED, test: int = 50
) -> OperatingPoint:
    score = scored(100, right, kl)
    return OperatingPoint(name, kind, "route", macs, macs // 10, score, scored(100, test, kl))


def statuses(*given: OperatingPoint) -> dict[str, str]:
    return {p.name: p.status for p in front.decide(given)}


ANCHORS = (point("small", 10, 70, 0.5, ANCHOR), point("large", 100, 90, 0.0, ANCHOR))


@pytest.mark.parametrize(
    ("right", "n", "interval"),
    [
        (50, 100, (0.4038, 0.5962)),  # Wilson's own form, worked by hand at z = 1.959964
        (0, 10, (0.0, 0.2775)),
        (10, 10, (0.7225, 1.0)),
        (81, 263, (0.2553, 0.3662)),  # Newcombe 1998, table I
    ],
)
def test_wilson_interval(right, n, interval):
    assert scored(n, right).interval == pytest.approx(interval, abs=1e-4)
    assert scored(n, right).value == right / n


def test_a_point_between_the_anchors_is_shipped():
    assert statuses(*ANCHORS, point("p", 50, 80, 0.2))["p"] == SHIPPED


def test_the_rival_that_is_named_is_the_cheapest():
    rivals = point("dear", 40, 85, 0.1), point("cheap", 30, 84, 0.1), point("middle", 35, 85, 0.1)
    decided = {p.name: p for p in front.decide((*ANCHORS, *rivals, point("p", 50, 80, 0.2)))}
    assert decided["p"].reason == Reason("dominated", rival="cheap")


@pytest.mark.parametrize(
    ("rival", "status"),
    [
        (point("r", 40, 85, 0.1), DOMINATED),  # cheaper and better
        (point("r", 50, 80, 0.1), DOMINATED),  # equal but for the KL
        (point("r", 40, 85, 0.3), DOMINATED),  # better by more than the error, whatever the KL
        (point("r", 40, 80, 0.3), SHIPPED),  # no better, and further from the large anchor
        (point("r", 40, 79, 0.1), SHIPPED),  # nearer, but fewer right
        (point("r", 51, 85, 0.1), SHIPPED),  # dearer
        (point("r", 40, 85, 0.1, CONTROL), SHIPPED),  # no member of the family
    ],
)
def test_what_dominates(rival, status):
    decided = front.decide((*ANCHORS, point("p", 50, 80, 0.2), rival))
    assert {p.name: p.status for p in decided}["p"] == status
    if status == DOMINATED:
        assert "r costs no more" in words.sentence(next(p.reason for p in decided if p.name == "p"))


def test_an_anchor_dominates_but_is_never_dominated():
    anchors = (point("small", 10, 95, 0.0, ANCHOR), point("large", 100, 90, 0.1, ANCHOR))
    assert statuses(*anchors, point("p", 50, 80, 0.2)) == {"small": SHIPPED, "large": SHIPPED, "p": DOMINATED}


def test_of_two_equal_points_one_stays():
    assert statuses(*ANCHORS, point("b", 50, 80), point("a", 50, 80)) == {
        "small": SHIPPED, "large": SHIPPED, "a": SHIPPED, "b": DOMINATED,
    }  # fmt: skip


def test_the_test_split_has_no_say():
    worse = point("p", 50, 80, 0.2, test=1)
    better = replace(worse, test=scored(100, 100, 0.0))
    assert statuses(*ANCHORS, worse) == statuses(*ANCHORS, better)


def test_the_given_points_keep_their_order_and_are_not_changed():
    given = (point("p", 50, 60, 0.9), *ANCHORS)
    assert [p.name for p in front.decide(given)] == ["p", "small", "large"]
    assert given[0].status == SHIPPED


def test_chord_runs_through_the_anchors():
    anchors = (point("small", 10, 1, kind=ANCHOR, test=40), point("large", 110, 1, kind=ANCHOR, test=90))
    control = point("c", 60, 1, kind=CONTROL, test=5)
    assert [front.chord((*anchors, control), macs) for macs in (10, 60, 110)] == pytest.approx([0.4, 0.65, 0.9])


def test_round_trip(tmp_path):
    worse = replace(point("p", 50, 80, None), files={"int8": FILE}, status=DOMINATED)
    reasons = Reason.note("because"), Reason("dominated", rival="small"), None
    given = (*ANCHORS, *(replace(worse, reason=reason, origin="q") for reason in reasons))
    path = tmp_path / "points.json"
    path.write_text(json.dumps(points.to_json(given, {"metric": "accuracy"})))
    meta, found = points.read(path)
    assert meta == {"format": 2, "metric": "accuracy"}
    assert found == given


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"points": [{}]}', '{"points": 3}', '{"points": [{"name": 1}]}'])
def test_what_is_no_list_of_points(tmp_path, text):
    path = tmp_path / "points.json"
    path.write_text(text)
    with pytest.raises(RestnetError, match="is not a list of operating points"):
        points.read(path)


def test_an_unfinished_build_is_told(tmp_path):
    with pytest.raises(RestnetError, match="has not finished; run it again"):
        points.read(tmp_path / "points.json")
