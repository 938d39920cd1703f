"""Figures of devices: what is kept, what is replaced, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tflite_export.devices.measurements import Measurement, merged, read, to_json
from tflite_export.errors import TfliteError

ARENA = Measurement("L1-S0", "int8", "tflm", "arena", 2048.0, "interpreter", "tflite-micro 0", "ab" * 32)
LATENCY = replace(ARENA, device="host", figure="latency", value=2.0, repeats=(1.0, 2.0, 3.0))


def test_they_come_back_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "measurements.json").write_text(json.dumps(to_json([ARENA, LATENCY])))
    assert read(tmp_path / "measurements.json") == (ARENA, LATENCY)
    assert read(tmp_path / "nothing.json") == ()


def test_a_new_figure_replaces_the_old_one_of_the_same_file_alone() -> None:
    newer, other = replace(ARENA, value=4096.0), replace(ARENA, point="large")
    assert merged([LATENCY, ARENA, other], [newer]) == (LATENCY, newer, other)


@pytest.mark.parametrize("change", [{"figure": "speed"}, {"kind": "guess"}])
def test_figures_that_nobody_knows_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(TfliteError, match=f"{next(iter(change.values()))}.*known are latency"):
        replace(ARENA, **change)


def test_the_path_to_a_broken_field_is_told(tmp_path: Path) -> None:
    content = to_json([ARENA, LATENCY])
    content["measurements"][1]["repeats"][2] = "slow"
    (tmp_path / "m.json").write_text(json.dumps(content))
    with pytest.raises(TfliteError, match=r"measurements\[1\]\.repeats\[2\]: expected float, found 'slow'"):
        read(tmp_path / "m.json")


@pytest.mark.parametrize("text", ["", "[]", '{"measurements": [{"point": "a"}]}', '{"measurements": 3}'])
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(TfliteError, match="not a list of measurements"):
        read(tmp_path / "m.json")
