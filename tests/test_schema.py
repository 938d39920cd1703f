"""Records as JSON: what is written is read, by any values, and what is wrong is named by its path."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restnet_tf.methods.stitchnet.findings import NetRecord, SearchFile
from restnet_tf.methods.stitchnet.fragments import Member
from restnet_tf.points.points import File, OperatingPoint, Rating, Score
from restnet_tf.records import FACTS, Cut, Excess, Piece, Plan, Reason, Tally
from restnet_tf.run.directory import RunRecord
from restnet_tf.run.plans_file import PlansFile
from restnet_tf.schema import SCHEMA
from tflite_export.devices import measurements
from tflite_export.devices.measurements import KINDS, UNITS, Measurement, MeasurementsFile
from tflite_export.schema import Schema, SchemaError

WORDS, COUNTS = st.text(max_size=8), st.integers(0, 10**12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
FACT = {
    "text": st.text(min_size=1, max_size=8),
    "rival": st.text(min_size=1, max_size=8),
    "source": WORDS,
    "target": WORDS,
    "figure": st.sampled_from(("cka", "r2")),
    "counts": st.tuples(COUNTS, COUNTS),
    "count": COUNTS,
    "limit": NUMBERS,
    "excess": st.lists(st.builds(Excess, WORDS, WORDS, st.none() | NUMBERS), min_size=1, max_size=2).map(tuple),
}
SIZES = st.none() | st.tuples(st.tuples(COUNTS, COUNTS), st.tuples(COUNTS, COUNTS))


@st.composite
def reasons(draw: st.DrawFn) -> Reason:
    code = draw(st.sampled_from(sorted(FACTS)))
    sizes = draw(SIZES) if code == "resolutions" else None
    return Reason(code, sizes=sizes, **{name: draw(FACT[name]) for name in FACTS[code]})


def tuples(one: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(one, max_size=3).map(tuple)


PIECES = st.builds(Piece, WORDS, st.none() | WORDS, st.none() | WORDS)
PLANS = st.builds(
    Plan,
    WORDS,
    tuples(PIECES),
    COUNTS,
    COUNTS,
    NUMBERS,
    NUMBERS,
    st.none() | NUMBERS,
    st.sampled_from(("candidate", "chosen", "rejected")),
    st.none() | reasons(),
    tuples(COUNTS),
)
SCORES = st.builds(
    Score.of,
    st.lists(st.booleans(), min_size=1, max_size=20).map(np.array),
    st.none() | NUMBERS,
    st.none() | NUMBERS,
)
RECORDS: dict[Any, st.SearchStrategy[Any]] = {
    PlansFile: st.builds(PlansFile, tuples(PLANS)),
    RunRecord: st.builds(
        RunRecord,
        st.just(4),
        st.dictionaries(WORDS, WORDS | COUNTS | st.lists(WORDS)),
        st.dictionaries(WORDS, WORDS),
        st.none() | st.dictionaries(WORDS, WORDS | st.none()),
    ),
    OperatingPoint: st.builds(
        OperatingPoint,
        rank=SCORES,
        test=SCORES,
        reason=st.none() | reasons(),
        files=st.dictionaries(
            WORDS, st.builds(File, rank=SCORES, test=SCORES, latency_repeats_us=tuples(NUMBERS)), max_size=2
        ),
        ratings=st.dictionaries(WORDS, st.builds(Rating, rank=SCORES, reason=st.none() | reasons()), max_size=2),
    ),
    Member: st.builds(
        Member,
        WORDS,
        WORDS,
        st.tuples(COUNTS, COUNTS, COUNTS),
        tuples(st.builds(Cut, clamp=st.tuples(st.none() | NUMBERS, st.none() | NUMBERS))),
        st.builds(Cut),
    ),
    SearchFile: st.builds(
        SearchFile,
        tuples(st.builds(NetRecord, refused=st.none() | reasons(), loss=st.none() | NUMBERS)),
        st.just(()),
        tuples(st.builds(Tally, reasons(), COUNTS)),
    ),
    MeasurementsFile: st.builds(
        MeasurementsFile,
        tuples(
            st.builds(
                Measurement,
                figure=st.sampled_from(sorted(UNITS)),
                kind=st.sampled_from(sorted(KINDS)),
                value=NUMBERS,
                repeats=tuples(NUMBERS),
            )
        ),
    ),
}


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_what_is_written_is_read(kind: Any):
    schema = measurements.SCHEMA if kind is MeasurementsFile else SCHEMA

    @given(RECORDS[kind])
    def round_trip(record: Any) -> None:
        content = json.loads(schema.text(record))
        again = schema.read(kind, content)
        # NaN is no equal of itself, and words are compared as they were meant.
        assert repr(again) == repr(record) or again == record
        assert json.loads(schema.text(again)) == content

    round_trip()


def test_what_json_lacks_is_null_and_comes_back():
    plan = Plan("a", (), 1, 2, float("nan"), float("nan"))
    content = json.loads(SCHEMA.text(plan))
    assert (content["cka"], content["r2"], content["kl"]) == (None, None, None)
    assert repr(SCHEMA.read(Plan, content)) == repr(plan)


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        (Reason("dominated", rival="L0-S0"), {"code": "dominated", "rival": "L0-S0"}),
        (Reason.note("I say so"), "I say so"),
        (None, None),
    ],
)
def test_a_reason_is_kept_as_its_facts_and_a_persons_words_as_they_are(reason: Reason | None, content: Any):
    plan = Plan("a", (), 1, 2, 0.5, 0.5, reason=reason)
    assert json.loads(SCHEMA.text(plan))["reason"] == content
    assert SCHEMA.read(Plan, SCHEMA.plain(plan)) == plan


def test_an_empty_reason_is_none():
    assert SCHEMA.read(Plan, SCHEMA.plain(Plan("a", (), 1, 2, 0.5, 0.5)) | {"reason": ""}).reason is None


# --- what does not fit ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """Of every kind of value."""

    name: str
    count: int
    share: float = 0.5
    sure: bool = True
    pair: tuple[int, str] = (1, "a")
    limit: float | None = None


@dataclass(frozen=True)
class Tree:
    """Leaves in a list and by name."""

    leaves: tuple[Leaf, ...]
    by_name: dict[str, Leaf]


TREE = Tree((Leaf("a", 1), Leaf("b", 2, pair=(2, "b"), limit=1.5)), {"c": Leaf("c", 3)})
PLAIN = Schema()


def test_a_tree_comes_back():
    assert PLAIN.read(Tree, json.loads(PLAIN.text(TREE))) == TREE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["leaves"][1].update(name=7), "leaves[1].name: expected str, found 7"),
        (lambda c: c["leaves"][0].update(count="7"), "leaves[0].count: expected int, found '7'"),
        (lambda c: c["leaves"][0].update(count=True), "leaves[0].count: expected int, found True"),
        (lambda c: c["leaves"][0].update(count=1.0), "leaves[0].count: expected int, found 1.0"),
        (lambda c: c["leaves"][0].update(share="x"), "leaves[0].share: expected float, found 'x'"),
        (lambda c: c["leaves"][0].update(share=None), "leaves[0].share: expected float, found None"),
        (lambda c: c["leaves"][0].update(sure=1), "leaves[0].sure: expected bool, found 1"),
        (lambda c: c["leaves"][0].update(limit="x"), "leaves[0].limit: expected float, found 'x'"),
        (lambda c: c["leaves"][0].update(pair=[1]), "leaves[0].pair: expected 2 values, found [1]"),
        (lambda c: c["leaves"][0].update(pair=[1, 2]), "leaves[0].pair[1]: expected str, found 2"),
        (lambda c: c["leaves"][0].pop("name"), "leaves[0].name: missing"),
        (lambda c: c["leaves"][0].update(colour=1), "leaves[0]: a field 'colour' that nothing knows"),
        (lambda c: c["leaves"].append(3), "leaves[2]: expected an object, found 3"),
        (lambda c: c.update(leaves="abc"), "leaves: expected a list, found 'abc'"),
        (lambda c: c.update(by_name=[]), "by_name: expected an object, found []"),
        (lambda c: c["by_name"]["c"].update(count=None), "by_name['c'].count: expected int, found None"),
        (lambda c: c.pop("leaves"), "leaves: missing"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(change: Callable[[Any], object], message: str):
    content = json.loads(PLAIN.text(TREE))
    change(content)
    with pytest.raises(SchemaError) as error:
        PLAIN.read(Tree, content)
    assert str(error.value) == message


@pytest.mark.parametrize("content", [3, None, "a", []])
def test_a_file_of_something_else_is_told(content: Any):
    with pytest.raises(SchemaError, match=r"^expected an object, found "):
        PLAIN.read(Tree, content)


def test_a_record_that_refuses_itself_is_named():
    content = SCHEMA.plain(Score(1, "80"))
    with pytest.raises(SchemaError, match=r"^points\[0\]: 4 digits of hits are not those of 1 images$"):
        SCHEMA.read(tuple[Score, ...], [content | {"hits": "8000"}], "points")
    assert SCHEMA.read(Score, content) == Score(1, "80")
