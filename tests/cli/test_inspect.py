"""What restnet-tf inspect lists, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from console import BAD, anchors, ask, refused

from restnet_tf.graph import cuts


def test_an_example_is_understood(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask("inspect", "MobileNetV2:alpha=0.35,input=96", "--weights", "none", "--json")
    assert len(json.loads(answer.out)["cuts"]) > 10


def test_inspect_lists_the_cuts(inputs: Path) -> None:
    answer = ask("inspect", inputs / "small.keras")
    assert answer.code == 0, answer
    for cut in cuts.find(anchors()["small"].model):
        row = next(line for line in answer.out.splitlines() if f" {cut.name} " in line)
        assert "x".join(map(str, cut.shape)) in row
        assert f"{cut.params_after:,}" in row


def test_the_option_that_weights_are_told_is_one_that_inspect_takes(inputs: Path, tmp_path: Path) -> None:
    path = tmp_path / "of.weights.h5"
    anchors()["small"].model.save_weights(path)
    assert "inspect" in refused("inspect", path)
    assert "--arch" in refused("inspect", path)
    assert "--arch " in ask("inspect", "--help").out


def test_inspect_gives_json(inputs: Path) -> None:
    answer = ask("inspect", inputs / "small.keras", "--json")
    content = json.loads(answer.out)
    assert content["anchor"] == "small"
    expected = cuts.find(anchors()["small"].model)
    assert [c["name"] for c in content["cuts"]] == [c.name for c in expected]
    first = content["cuts"][0]
    assert (first["shape"], first["macs_before"]) == (list(expected[0].shape), expected[0].macs_before)


@pytest.mark.parametrize(
    ("make", "words"), [(v[1], v[2]) for k, v in BAD.items() if v[0] != "data" and "missing" not in k]
)
def test_inspect_refuses_the_same_models(tmp_path: Path, make: Any, words: str) -> None:
    assert re.search(words, refused("inspect", make(tmp_path)))


def test_inspect_of_what_is_not_there_says_what_would_work(tmp_path: Path) -> None:
    assert re.search(r"gone\.keras", refused("inspect", tmp_path / "gone.keras"))
    assert re.search(r"MobileNetV2", refused("inspect", "MobileNetV22"))
