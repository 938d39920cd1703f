"""How a process that computes begins."""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from restnet_tf.work import start


def test_no_collection_walks_what_stays() -> None:
    gc.collect()
    before = gc.get_freeze_count()
    with start.uncollected():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + 1000
    assert not {id(one) for one in kept} & {id(one) for one in gc.get_objects()}


def test_where_collecting_is_off_it_stays_off() -> None:
    gc.disable()
    try:
        with start.uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_process_has_made_since_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun a second time, it keeps nothing: what is garbage by then would stay to its end."""
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    before = gc.get_freeze_count()
    start.tensorflow()
    assert gc.get_freeze_count() == before


def test_what_is_optional_comes_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rarely_needed.py").write_text("ready = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(start, "_OPTIONAL", ("rarely_needed", "sys"))
    with start.spared():
        with pytest.raises(ImportError):
            importlib.import_module("rarely_needed")
        assert importlib.import_module("sys") is sys  # as what was there before
    assert importlib.import_module("rarely_needed").ready
    monkeypatch.delitem(sys.modules, "rarely_needed")
