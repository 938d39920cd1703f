"""Builds, compositions, cascades and what verifies them: the same to the byte however many workers there are.

All are done in turns by one process, two, four, and a cluster of this machine, in folders of the same path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import paths
import pytest

from restnet_tf import methods
from restnet_tf.commands import build, verify
from restnet_tf.family import opening
from restnet_tf.family.options import Options
from restnet_tf.progress import Silent
from restnet_tf.work import connection, processes, sources
from restnet_tf.work.connection import RunFiles
from restnet_tf.work.tasks import Executor
from tflite_export.devices import host

pytestmark = pytest.mark.slow

PLACES = ("1", "2", "4", "local")
VERIFIED = PLACES[:2]
CLOCKED = ("times.json", "seconds.json")  # where the time went
QUICK = {"effort": 0.0005, "precision": "float32", "controls": False, "anyway": True, "ship_all": True}


def inputs(folder: Path) -> None:
    """Two anchors, and labelled images."""
    for role, anchor in networks.pair(1, convolutions=1)[0].items():
        anchor.model.save(folder / f"{role}.keras")
    np.savez(folder / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)


def works(folder: Path, colours: Path) -> dict[str, Options]:
    """What is built, by method."""
    data = str(folder / "data.npz")
    small, large = (str(folder / f"{name}.keras") for name in ("small", "large"))
    asked: dict[str, dict[str, Any]] = {
        "restnet": QUICK | {"large": large, "small": small, "max_points": 2, "fine_tune": "norm"},
        # Joint training is one task: more steps of it show no more.
        "snnet": QUICK | {"anchor": (small, large), "effort": 0.0001},
        "stitchnet": {"pool": (small, large), "images": 18, "pool_dir": folder / "made" / "pool", "nets": 8}
        | {"least": -1.0, "least_overall": 0.0, "anyway": True},
        "cascade": {"models": tuple(str(colours / name) for name in ("small.keras", "large.int8.tflite"))},
    }
    data_of = dict.fromkeys(asked, data) | {"cascade": str(colours / "data.npz")}
    return {
        name: replace(methods.options(name)(), data=data_of[name], out=folder / "made" / name, **options)
        for name, options in asked.items()
    }


def built(name: str, options: Options, execute: Executor) -> None:
    """A finished run, as its command leaves it."""
    method = methods.named(name)
    work = method.open(options, Silent(), execute)
    method.check(work)
    with work.run.opened(method.identity(work), opening.kept(name, options)):
        method.build(work)
        work.run.drop_caches()
    sources.forget()


def verified(path: Path, execute: Executor) -> str:
    """What comes of its files."""
    with build.resumed(path, Silent(), execute) as (method, work):
        checks = verify.check(work, method.references(work), ["float32", "int8"], 20)
    return verify.as_json(checks)


@contextmanager
def workers(place: str, folder: Path) -> Iterator[Executor]:
    if place != "local":
        with processes.executor(int(place)) as execute:
            yield execute
        return
    with connection.executor("local", 2, RunFiles(folder), Silent()) as execute:
        yield execute


@pytest.fixture(scope="module")
def folder(once: paths.Once, colours: Path) -> Path:
    """A folder for each place, with its runs and what verifying these said."""

    def fill(folder: Path) -> None:
        inputs(folder)
        with pytest.MonkeyPatch.context() as patch:
            # A clock that stands still: latencies are the only figures that no two builds share.
            patch.setattr(
                host, "_rounds", lambda opened, fed, count, dials=None: {turn: [9.0] * count for turn in opened}
            )
            for place in PLACES:
                with workers(place, folder / "made") as execute:
                    for name, options in works(folder, colours).items():
                        built(name, options, execute)
                    if place in VERIFIED:
                        (folder / "made" / "checks").write_text(verified(folder / "made" / "cascade", execute))
                (folder / "made").rename(folder / place)

    pytest.importorskip("distributed", reason="no distributed")
    return once("equal bytes", fill)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in CLOCKED
    }


@pytest.mark.parametrize("name", ["restnet", "snnet", "stitchnet", "cascade", "pool"])
def test_every_file_is_the_same_wherever_it_was_made(folder: Path, name: str) -> None:
    one, *others = (content(folder / place / name) for place in PLACES)
    assert len(one) >= 4
    assert [sorted(other) for other in others] == [sorted(one)] * len(others)
    for place, other in zip(PLACES[1:], others, strict=True):
        assert [(place, path) for path in one if one[path] != other[path]] == []


def test_what_verifying_says_is_the_same_wherever_it_is_done(folder: Path) -> None:
    one, other = (json.loads((folder / place / "checks").read_text()) for place in VERIFIED)
    assert all(one[kind] for kind in ("networks", "originals", "cascades"))
    assert one == other
