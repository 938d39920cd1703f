"""The page that walks through a build names what there is."""

from __future__ import annotations

import importlib
import re
from typing import Any

import paths
import pytest

PAGE = (paths.ROOT / "docs" / "walk.md").read_text()
NAMES = sorted(set(re.findall(r"`((?:restnet_tf|tflite_export)(?:\.\w+)+)`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:restnet_tf|tflite_export|tests)/[\w/.]*)`", PAGE)))


def found(name: str) -> Any:
    """What a dotted name stands for: a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise AssertionError(f"no module of {name}")


def test_the_page_is_read() -> None:
    assert len(NAMES) > 30
    assert len(FILES) > 5


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert found(name) is not None


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_there(file: str) -> None:
    assert (paths.ROOT / file).exists()


def test_hops_go_down_the_house() -> None:
    """From room to room as the table has them: a hop out of a room goes to one below, or back to one that was left."""
    hops = re.findall(r"^\| \d+ \| `([\w.]+)`", PAGE, re.M)
    assert len(hops) > 15
    rooms = [name.split(".")[1] for name in hops if name.startswith("restnet_tf.")]
    order = ["cli", "commands", "methods", "family", "work", "run"]
    assert rooms[0] == "cli"
    assert rooms[-1] == "cli"
    assert set(rooms) <= set(order)
    # Down a step at a time at first: nothing is called from two storeys above but what returns there.
    firsts = [rooms.index(room) for room in order]
    assert firsts == sorted(firsts)
