"""Scores, domination, the chord, and the file that holds the points."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from restnet_tf import words
from restnet_tf.points import front, metadata, points
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
    Score,
    Setting,
)
from restnet_tf.records import Reason, RestnetError
from tflite_export import entries


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
        (point("r", 40, 81, 0.3), DOMINATED),  # one more right, whatever the KL
        (point("r", 40, 80, 0.3), DOMINATED),  # as many right for less
        (point("r", 50, 80, 0.3), SHIPPED),  # no better, and further from the large anchor
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


def test_an_elastic_file_tells_of_a_cascade_in_its_precision():
    """In the words that the runtime reads; the file's own thresholds, not those of the precision that decided."""
    scores = {right: Score.of(np.arange(10) < right) for right in (8, 9)}
    turns = ((0.6, 0.1, scores[8]), (0.9, 0.6, scores[9]))
    settings = tuple(Setting((t,), (1.0, r), (1.0, r), s, s) for t, r, s in turns)
    dial = Dial((0.8,), (1.0, 0.25), (1.0, 0.3), (10.0, 9.5), settings)
    made_of = Cascade(("small", "large"), (10, 100), "max", (0.7,), (1.0, 0.2), (1.0, 0.4))
    files = {"int8": replace(FILE, dial=dial)}
    cascade = replace(point("small>large", 110, 80, kind=CASCADE), cascade=made_of, files=files)
    anchor = replace(ANCHORS[0], files={"int8": FILE})
    notes = json.loads(
        json.dumps(metadata.elastic([anchor, cascade], "int8", {"metric": "accuracy", "class_names": ["a"]}))
    )
    alone, both = (entries.described(entry) for entry in notes["points"])
    assert (alone.cascade, alone.mean, alone.costs["mean.macs"]) == (None, {}, 10)
    assert (both.macs, both.mean) == (110, {"macs": 35, "latency": 10.0 - 0.25 * 0.5})
    assert both.cascade is not None
    assert (both.cascade.stages, both.cascade.confidence) == (("small", "large"), "max")
    assert (both.cascade.thresholds, both.cascade.reach) == ((0.8,), (1.0, 0.25))
    assert (both.cascade.macs, both.cascade.latency) == ((10, 100), (10.0, 0.0))  # no stage takes less than nothing
    assert [(m.thresholds, m.reach, m.score) for m in both.cascade.curve] == [
        ((0.6,), (1.0, 0.1), 0.8),
        ((0.9,), (1.0, 0.6), 0.9),
    ]
    assert {"mean_macs", "mean_latency"} < set(notes["sources"])
