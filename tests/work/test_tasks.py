"""Work as tasks: what a task is given travels to another process, and the same bytes come of it there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import networks
import numpy as np
import pytest
from stages import Stages

from restnet_tf.family import caches
from restnet_tf.methods.restnet import method
from restnet_tf.methods.restnet.options import Options
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from restnet_tf.work import processes, sources, tasks
from restnet_tf.work.sources import AnchorSource, DataSource, ModelSource
from restnet_tf.work.tasks import Task


def doubled(number: int, progress: tasks.Progress) -> int:
    progress(1, 1)
    return 2 * number


def test_results_come_in_the_order_of_the_tasks_and_one_title_is_one_stage() -> None:
    report = Stages()
    work = [Task("first", doubled, 1), Task("first", doubled, 3), Task("second", doubled, 2)]
    assert list(tasks.serially(work, report)) == [2, 6, 4]
    assert report.stages == ["first", "second"]


def test_what_has_changed_is_refused() -> None:
    with pytest.raises(RestnetError, match=r"digits has changed: its hash is .*, the run began with feed"):
        sources.data(DataSource("digits", 0, "feed"))


@pytest.mark.slow
def test_an_anchor_that_has_changed_is_refused() -> None:
    spec = "MobileNetV2:alpha=0.35,input=32,classes=3"
    with pytest.raises(RestnetError, match=r"MobileNetV2.* has changed"):
        sources.anchor(AnchorSource(ModelSource(spec, "none"), "feed"))


@pytest.mark.slow
def test_another_process_finds_the_heads_that_were_fitted(tmp_path: Path) -> None:
    """Anchors of three classes, images of four: each gets a new classifier, which the run keeps."""
    for role, anchor in networks.pair(1, convolutions=1)[0].items():
        anchor.model.save(tmp_path / f"{role}.keras")
    np.savez(tmp_path / "data.npz", x=networks.images(120), y=np.arange(120) % 4)
    inputs = {name: str(tmp_path / f"{name}.keras") for name in ("large", "small")}
    family = method.open(
        Options(**inputs, data=str(tmp_path / "data.npz"), out=tmp_path / "run", anyway=True), Silent()
    )
    assert len(family.heads) == 2
    with family.run.opened({}):
        for head in family.heads:
            family.run.save_head(head)
        sources.forget()
        for role, anchor in family.anchors.items():
            again = sources.anchor(family.sources[role])
            assert (again.sha256, again.classes) == (anchor.sha256, 4)
        assert sources.data(family.images).sha256 == family.data.sha256
    sources.forget()


@pytest.mark.slow
def test_one_process_and_two_come_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics, trials, features in pieces, fits in both halves, compilations and answers of a whole small build."""
    monkeypatch.setattr(caches, "_PIECE_WORK", 1)
    for role, anchor in networks.pair(1, convolutions=1)[0].items():
        anchor.model.save(tmp_path / f"{role}.keras")
    np.savez(tmp_path / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)
    inputs = {name: str(tmp_path / f"{name}.keras") for name in ("large", "small")}
    quick = Options(
        **inputs,
        data=str(tmp_path / "data.npz"),
        **{
            "effort": 0.001,
            "max_points": 2,
            "precision": "float32,int8",
            "fine_tune": "back",
            "controls": False,
            "anyway": True,
        },
    )
    runs = []
    for jobs in (1, 2):
        with processes.executor(jobs) as execute:
            family = method.open(replace(quick, out=tmp_path / str(jobs)), Silent(), execute=execute)
            with family.run.opened({}):
                method.build(family)
            runs.append(family.run.path)
    sources.forget()
    one, other = ({p.relative_to(run): p.read_bytes() for p in content(run)} for run in runs)
    assert len(one) > 8
    assert set(one) == set(other)
    assert [str(name) for name in one if one[name] != other[name]] == []


def content(run: Path) -> list[Path]:
    """The files of a run that do not hold latencies of this host, or the time of day."""
    names = ("stitches/*", "objects/*", "tflite/*", "similarity.npz", "plans.json", "cache/*/*.npy")
    return sorted(path for pattern in names for path in run.glob(pattern))
