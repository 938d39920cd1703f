"""What a build will take: figures that follow what is asked for, a line for people, no start without room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest

from restnet_tf import atomic
from restnet_tf.family import compute, forecast
from restnet_tf.family.family import Family
from restnet_tf.family.forecast import Forecast
from restnet_tf.fitting import ladder
from restnet_tf.graph import costs
from restnet_tf.methods.restnet import method, outlook
from restnet_tf.methods.restnet.options import Options
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family[Any]:
    folder = tmp_path_factory.mktemp("family")
    for role, anchor in networks.pair(convolutions=1)[0].items():
        anchor.model.save(folder / f"{role}.keras")
    np.savez(folder / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)
    inputs = {name: str(folder / f"{name}.keras") for name in ("large", "small")}
    options = Options(**inputs, data=str(folder / "data.npz"), max_points=4, out=folder / "run", anyway=True)
    return method.open(options, Silent())


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            Forecast(4.1, 9.04e8, 1.24e6),
            "about 10 seconds here, 0.9 GB of memory a process, 1.2 MB of disk in runs/x",
        ),
        (
            Forecast(720, 3.1e9, 1.2e9),
            "about 12 minutes here, 3.1 GB of memory a process, 1.2 GB of disk in runs/x",
        ),
        (
            Forecast(9000, 3.1e9, 1.2e9),
            "about 2.5 hours here, 3.1 GB of memory a process, 1.2 GB of disk in runs/x",
        ),
    ],
)
def test_a_line_for_people(given: Forecast, line: str) -> None:
    assert given.told(Path("runs/x")) == line


def test_a_machine_of_half_the_pace_takes_twice_as_long(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = []
    for pace in (6e10, 3e10):
        monkeypatch.setattr(forecast, "pace", lambda family, pace=pace: pace)
        seconds.append(forecast.of(family, 10**12).seconds)
    assert seconds[1] == pytest.approx(2 * seconds[0])
    assert seconds[0] > 5 * 10**12 / 6e10


def test_every_point_takes_its_share_and_so_does_each_of_its_twins(family: Any) -> None:
    more, less = (forecast.work(family, share) for share in (3 * 10**12, 2 * 10**12))  # too much for three seeds
    assert more - less == pytest.approx((4 + 1 + 2) * 10**12)
    alone = replace(family, settings=replace(family.settings, controls=False))
    assert forecast.work(family, 10**12) - forecast.work(alone, 10**12) >= 2 * 10**12


def test_what_is_in_closed_form_takes_no_room_to_train(family: Any) -> None:
    assert forecast.of(family, 0, 1e10).memory < forecast.of(family, 10**12, 1e10).memory
    bare = replace(family.options, data=None)
    assert outlook.share(family, bare) == 0 < outlook.share(family, family.options)


def test_less_work_is_trained_in_smaller_batches_which_take_less_memory(family: Any) -> None:
    large = family.anchors["large"].model
    held = costs.held(costs.nodes(large))
    assert [ladder.room(large, work) for work in (1e15, 0)] == [8 * 128 * held, 8 * 16 * held]
    quick = replace(family, settings=replace(family.settings, effort=1e-6))
    assert forecast.memory(quick) < forecast.memory(family)


def test_the_pace_of_this_machine_is_one_that_a_machine_may_have(family: Any) -> None:
    assert 1e6 < forecast.pace(family) < 1e15


def test_disk_and_memory_grow_with_what_is_kept(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = forecast.of(family, 10**12)
    monkeypatch.setattr(compute, "views", lambda family: 10**6)
    after = forecast.of(family, 10**12)
    # Of each view an image of 8x8x3 in half precision, the logits of two anchors, and features of two at the least.
    assert after.disk - before.disk > 0.9e6 * (2 * 8 * 8 * 3 + 2 * 4 * networks.CLASSES)
    assert after.memory == before.memory > 5e8


def test_each_object_of_integers_keeps_the_floats_that_it_was_made_of(family: Any) -> None:
    def disk(*precisions: str) -> float:
        return forecast.of(replace(family, settings=replace(family.settings, precisions=precisions)), 10**12).disk

    weights = sum(c.params for c in family.costs.values())
    assert disk("float32", "int8") - disk("float32") == disk("int8", "int16x8") - disk("int8") == 4 * weights
    assert disk("int8", "mixed") == disk("int8")  # which is made of it


def test_what_the_machine_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "free_memory", lambda: int(2e9))
    monkeypatch.setattr(atomic, "room", lambda folder: (int(5e9), Path("/")))
    assert Forecast(1, 1.9e9, 4.9e9).lacking(tmp_path) == ""
    assert Forecast(1, 2.1e9, 4e9).lacking(tmp_path) == "only 2.0 GB of memory are free"
    both = "only 5.0 GB of disk are free at / and 2.0 GB of memory are free"
    assert Forecast(1, 2.1e9, 6e9).lacking(tmp_path) == both
    monkeypatch.setattr(atomic, "free_memory", lambda: None)
    assert Forecast(1, 2.1e9, 4e9).lacking(tmp_path) == ""


def test_free_memory_is_some() -> None:
    free = atomic.free_memory()
    assert free is None or free > 1e6


def test_a_build_without_room_is_refused_before_any_work(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "views", lambda family: 10**14)
    with pytest.raises(RestnetError, match=r"^no room for the cache: \d+\.\d GB needed, .* free at "):
        method.check(family)
    assert not family.run.path.exists()
