"""How a process that computes begins."""

from __future__ import annotations

import gc
import sys
from types import ModuleType

import pytest

from restnet_tf.work import start


def test_no_collection_walks_what_stays() -> None:
    gc.collect()
    before = gc.get_freeze_count()
    with start.lasting():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + 1000
    assert not {id(one) for one in kept} & {id(one) for one in gc.get_objects()}


def test_where_collecting_is_off_it_stays_off() -> None:
    gc.disable()
    try:
        with start.lasting():
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
