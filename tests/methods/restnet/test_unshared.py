"""A build by ``auto``: what stays behind its rival gets weights of its own, and twins say whether they pay."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest

from restnet_tf.commands.build import build
from restnet_tf.fitting.stints import Contest
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points import front, points
from restnet_tf.points.points import STITCHED
from restnet_tf.progress import Silent
from restnet_tf.run.directory import Run

pytestmark = pytest.mark.slow


def test_a_point_behind_its_rival_is_trained_whole_and_so_are_its_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role, (widths, blocks, seed) in {"large": ((6, 10), 2, 7), "small": ((4, 6), 1, 5)}.items():
        networks.anchor(widths, blocks, convolutions=1, seed=seed, name=role).model.save(tmp_path / f"{role}.keras")
    np.savez(tmp_path / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)
    # So far ahead is the rival of each that none can reach it; nothing is given up for that.
    monkeypatch.setattr(Contest, "_nearest", lambda self, standing: dict.fromkeys(standing, 1e-9))
    monkeypatch.setattr(Contest, "_reach", lambda self, kl: float("inf"))
    # Whatever this small net scores, it is held against its twins.
    monkeypatch.setattr(front, "_beaten", lambda contender, family: None)
    names = {role: str(tmp_path / f"{role}.keras") for role in ("large", "small")}
    options = Options(
        **names,
        data=str(tmp_path / "data.npz"),
        out=tmp_path / "run",
        effort=0.001,
        max_points=2,
        cascades=0,
        precision="float32",
        anyway=True,
    )
    build("restnet", options, Silent())
    run, listed = Run(tmp_path / "run"), points.read(tmp_path / "run" / "points.json")[1]
    rungs = {p.name: fit.shares for p in listed if (fit := run.load_fitted(p.name)) is not None}
    [behind] = [p for p in listed if p.kind == STITCHED and "back" in rungs[p.name]]  # it did not come ahead: no other
    twins = [p for p in listed if p.twin_of == behind.name]
    assert all("back" in rungs[p.name] for p in front.behind_random(twins))
    assert len(front.behind_random(twins)) == 3
    assert len(front.from_nothing(twins)) == (behind.rung == "back")
