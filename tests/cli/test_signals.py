"""Every command on signals speaks of examples: nobody who sent vibration is told of images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import signals
from console import ask

pytestmark = pytest.mark.slow

OF_PHOTOS = re.compile(r"\b(images?|photos?|pixels?)\b", re.IGNORECASE)
QUICK = ("--effort", "0.001", "--precision", "float32", "--anyway")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signals")
    signals.archive(path / "data.npz", 360)
    signals.network(8, 2, seed=1).save(path / "large.keras")
    signals.network(4, 1, seed=2).save(path / "small.keras")
    return path


def said(*words: object) -> str:
    answer = ask(*words)
    assert answer.code == 0, answer.err
    told = answer.out + answer.err
    assert not OF_PHOTOS.findall(told), "\n".join(line for line in told.splitlines() if OF_PHOTOS.search(line))
    return told


def test_a_build_its_choice_and_its_report(folder: Path) -> None:
    run, models = folder / "run", ("--large", folder / "large.keras", "--small", folder / "small.keras")
    words = (*models, "--data", folder / "data.npz", "--out", run, "--max-points", "1", "--no-controls", "--ship-all")
    assert "labelled examples right" in said("build", *words, *QUICK)
    assert "test examples" in said("select", run, "--budget", "macs<=1G")
    assert "54 test examples" in said("verify", run, "--precision", "float32")
    said("report", run)
    text = re.sub(r"\S*/\S*", "", (run / "report.md").read_text(encoding="utf-8"))
    assert not OF_PHOTOS.findall(text)


def test_cascades_and_composed_nets(folder: Path) -> None:
    models = (folder / "small.keras", folder / "large.keras")
    data = ("--data", folder / "data.npz")
    said("cascade", *models, *data, "--out", folder / "joined", "--precision", "float32", "--anyway")
    pool = [word for model in models for word in ("--pool", model)]
    limits = ("--least", "-1", "--least-overall", "0", "--images", "24", "--nets", "2")
    told = said("compose", *pool, *data, "--out", folder / "nets", "--pool-dir", folder / "pool", *limits)
    assert "24 examples of 3 classes to compose" in told


def test_what_is_refused(folder: Path) -> None:
    few = signals.archive(folder / "few.npz", 15)
    answer = ask("cascade", folder / "small.keras", folder / "large.keras", "--data", few, "--out", folder / "none")
    assert "few.npz: 15 examples; at least 16 are needed" in answer.err
