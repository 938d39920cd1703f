"""The file of a search: all scores come back, and what is broken is named."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from restnet_tf.methods.stitchnet import findings
from restnet_tf.methods.stitchnet.fragments import Fragment
from restnet_tf.methods.stitchnet.search import Link, Net, SearchResult
from restnet_tf.records import Cut, Excess, Reason, RestnetError

CUT = Cut("a", 0, "grid", (2, 2, 3), (0.0, None), 5, 0, 5, 0)
POOL = {"A": (Fragment("A", 0, None, CUT, 5, 5, False), Fragment("A", 1, CUT, CUT, 5, 5, True))}
NET = Net((Link(POOL["A"][0]), Link(POOL["A"][1], 0.5, 0.25)), 0.5, 10, 10, 0.75, 0.5, 0.25, (True, False))
OVER = Reason("over_budget", excess=(Excess("macs<=1", "macs", 10),))
RESULT = SearchResult([NET, replace(NET, loss=inf)], [replace(NET, refused=OVER)])
RESULT.ended.update({OVER.kind: 2, Reason("low_score", limit=0.5): 1})


def test_they_come_back_with_losses_that_are_infinite(tmp_path: Path):
    findings.write(tmp_path / "A.json", RESULT)
    again = findings.read(tmp_path / "A.json", POOL)
    assert again == RESULT
    assert isinstance(again.ended, Counter)
    assert "Infinity" not in (tmp_path / "A.json").read_text()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("links", [["A", "0", 1.0, None]], r"nets\[0\]\.links\[0\]\[1\]: expected int, found '0'"),
        ("links", [["B", 0, 1.0, None]], "'B'"),
        ("refused", {"code": "ugly"}, r"nets\[0\]\.refused: no reason has the code 'ugly'"),
    ],
)
def test_a_broken_file_is_told_with_what_to_do(tmp_path: Path, key: str, value: object, message: str):
    findings.write(tmp_path / "A.json", RESULT)
    content = json.loads((tmp_path / "A.json").read_text())
    content["nets"][0][key] = value
    (tmp_path / "A.json").write_text(json.dumps(content))
    with pytest.raises(RestnetError, match=rf"A\.json cannot be read: {message}.*; delete it and compose again"):
        findings.read(tmp_path / "A.json", POOL)
