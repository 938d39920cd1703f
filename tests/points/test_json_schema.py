"""The schema of points.json: as committed it is that of the records, takes all that is written, and refuses the rest.

That runs of each method are as it says, the tests that build such runs tell (``points_schema.faults_of``).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import finished
import jsonschema
import paths
import points_schema
import pytest
from hypothesis import given
from test_schema import RECORDS

from restnet_tf.points import json_schema, points
from restnet_tf.points.points import OperatingPoint
from restnet_tf.records import Reason

META = {"metric": "accuracy", "anchors": {"large": "l"}, "data": "d"}


def content(*listed: OperatingPoint) -> Any:
    return json.loads(json.dumps(points.to_json(listed, META)))


def test_the_committed_schema_is_that_of_the_records() -> None:
    """Else write it anew: python docs/schema.py."""
    spec = importlib.util.spec_from_file_location("schema_of_docs", paths.ROOT / "docs" / "schema.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert points_schema.FILE.read_text() == script.text()
    jsonschema.Draft202012Validator.check_schema(json_schema.points_file())


@given(RECORDS[OperatingPoint])
def test_whatever_is_written_fits(point: OperatingPoint) -> None:
    assert points_schema.faults(content(point)) == []


def test_points_of_runs_fit(tmp_path: Path) -> None:
    run = finished.written(tmp_path, **{name: value for name, value in META.items() if name != "metric"})
    assert points_schema.faults_of(run) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c.update(format=1), "$.format"),
        (lambda c: c.pop("metric"), "$: 'metric'"),
        (lambda c: c["points"][0].pop("macs"), "$.points[0]: 'macs'"),
        (lambda c: c["points"][0].update(macs="3"), "$.points[0].macs"),
        (lambda c: c["points"][0].update(colour=1), "$.points[0]"),
        (lambda c: c["points"][0]["rank"].update(n=None), "$.points[0].rank.n"),
        (lambda c: c["points"][0]["files"]["float32"].update(flash_bytes=0.5), "$.points[0].files.float32.flash_bytes"),
        (lambda c: c["points"][0].update(reason={"code": "ugly"}), "$.points[0].reason"),
    ],
)
def test_what_is_wrong_does_not_fit(change: Callable[[Any], object], fault: str) -> None:
    whole = content(finished.POINTS[0])
    assert points_schema.faults(whole) == []
    change(whole)
    assert [one for one in points_schema.faults(whole) if one.startswith(fault)]


def test_a_reason_is_a_record_or_words() -> None:
    for reason in (Reason("dominated", rival="a"), Reason.note("I say so"), None):
        assert points_schema.faults(content(finished.point("a", "stitched", 10**6, 5, reason=reason))) == []


def test_what_no_json_holds_is_no_field() -> None:
    with pytest.raises(TypeError, match=r"points\.json holds no <class 'complex'>"):
        json_schema._of(complex, {})
