"""What precisions take from points is told by the run's own figures, and so is what does not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from measured_points import cascade, file, point, scored

from restnet_tf.points import front
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, OperatingPoint, Rating
from restnet_tf.records import Reason
from restnet_tf.report import contents, losses, pagedata, summary


def rated(name: str, macs: int = 30, **rights: int) -> OperatingPoint:
    """Of 200 rank images so many are right in each precision; nothing has a file."""
    ratings = {precision: Rating(1000, 500, scored(right)) for precision, right in rights.items()}
    return point(name, macs, files={}, ratings=ratings)


def test_points_that_lose_more_than_two_points_are_named() -> None:
    listed = front.decide(
        (rated("A", float32=150, int8=140), rated("B", float32=150, int8=146), rated("C", float32=130, int8=160))
    )
    assert [(one.point, one.precision, one.share) for one in losses.much(listed)] == [("A", "int8", 0.05)]
    said = losses.sentences(listed, "accuracy")
    assert said == [
        "int8 takes more than two points of accuracy on the rank split: A (5.0); shipped in int8 without such a loss: C"
    ]


def test_what_helps_is_what_the_run_has_tried() -> None:
    helped = rated("A", float32=150, int8=140, int16x8=149), rated("B", float32=150, int8=120, int16x8=150)
    (said,) = losses.sentences(helped, "accuracy")
    assert said.endswith("A (5.0), B (15.0); int16x8 takes no more than two from any of them")
    partly = helped[0], rated("B", float32=150, int8=120, int16x8=140)
    rest = [one.split("; ")[1:] for one in losses.sentences(partly, "accuracy")]
    assert rest == [[], ["shipped in int16x8 without such a loss: A"]]


def test_a_file_that_is_there_counts_as_it_is_and_controls_and_cascades_do_not() -> None:
    small, large = point("small", 10, 120, ANCHOR), point("large", 100, 180, ANCHOR)
    files = {"float32": file(150), "int8": file(100)}
    lossy = point("L1-S0", 30, files=files)
    assert [one.point for one in losses.much((small, large, lossy))] == ["L1-S0"]
    joined = replace(cascade(small, large), files=files)
    assert losses.much((joined, replace(lossy, kind=CONTROL))) == ()
    assert losses.much((point("int8 alone", 30, files={"int8": file(10)}),)) == ()


def test_the_summary_tells_fronts_apart_where_they_differ() -> None:
    one, other = rated("A", 30, float32=150, int8=100), rated("B", 40, float32=140, int8=140)
    told = summary._fronts(front.decide((one, other)))
    assert told == ["each precision has a front of its own, by the scores of its files: float32: A; int8: A, B"]
    assert summary._fronts(front.decide((one,))) == []
    assert summary._fronts((point("old", 30),)) == []


def test_a_point_says_where_it_is_shipped_and_why_not_elsewhere() -> None:
    one, other = front.decide((rated("A", 30, float32=150, int8=100), rated("B", 40, float32=140, int8=140)))
    assert (contents.place(one), contents.why_not(one)) == ("shipped", "")
    assert contents.place(other) == "shipped in int8"
    assert contents.why_not(other) == "float32: A costs no more and does no worse"
    assert [contents.standing(other, name) for name in ("float32", "int8")] == [DOMINATED, "shipped"]
    assert [contents.aside(other, name) for name in ("", "float32", "int8")] == [False, True, False]
    _, nowhere = front.decide((one, rated("C", 40, float32=140, int8=90)))
    assert (contents.place(nowhere), contents.why_not(nowhere)) == ("dominated", "A costs no more and does no worse")
    old = point("old", 30, status=DOMINATED, reason=Reason("dominated", rival="small"))
    assert (contents.place(old), contents.why_not(old)) == ("dominated", "small costs no more and does no worse")


def test_the_page_draws_a_point_by_the_front_of_the_precision() -> None:
    small, *rest = (
        point("small", 10, 50, ANCHOR),
        rated("A", 30, float32=150, int8=100),
        rated("B", 40, float32=140, int8=140),
    )
    family = front.decide((small, *rest))
    every: Any = SimpleNamespace(points=family)
    drawn = {p.name: pagedata._point(p, (), every) for p in family}
    assert drawn["B"]["fronts"] == {
        "float32": {"standing": "dominated", "reason": "A costs no more and does no worse"},
        "int8": {"standing": "shipped", "reason": ""},
    }
    assert (drawn["B"]["standing"], drawn["B"]["shipped"]) == ("shipped", True)
    assert drawn["small"]["fronts"] == {}  # of a run that an older version made
