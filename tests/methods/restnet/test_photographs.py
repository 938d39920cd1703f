"""Two anchors and no images: what is built on crops of photographs, and what is said where weights are missing."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import networks
import numpy as np
import pytest
from sklearn import datasets

from restnet_tf.commands import build
from restnet_tf.data import photographs, splits
from restnet_tf.fitting.results import CLOSED_FORM
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points import points
from restnet_tf.points.points import STITCHED
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run


def test_crops_are_the_same_every_time_and_no_two_splits_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = splits.load("photographs")
    assert [len(s) for s in (data.fit, data.rank, data.test)] == [160, 64, 64]
    assert not data.labelled
    assert {s.images.shape for s in (data.fit, data.rank, data.test)} == {(224, 224, 3)}
    monkeypatch.setattr(photographs, "SIDE", 16)
    one, other = photographs.arrays(), photographs.arrays()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_no_split_sees_a_column_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a photograph whose values are its columns."""
    image = np.tile(np.arange(250, dtype=np.uint8)[None, :, None], (100, 1, 3))
    monkeypatch.setattr(datasets, "load_sample_images", lambda: SimpleNamespace(images=[image]))
    monkeypatch.setattr(photographs, "SIDE", 8)
    columns = [(x.min(), x.max()) for x in photographs.arrays().values()]
    assert all(last <= first for (_, last), (first, _) in pairwise(columns))


@pytest.mark.slow
def test_anchors_alone_are_stitched_in_closed_form_and_said_to_be(tmp_path: Path) -> None:
    for role, anchor in networks.pair(2, convolutions=1)[0].items():
        anchor.model.save(tmp_path / f"{role}.keras")
    files = {role: str(tmp_path / f"{role}.keras") for role in ("large", "small")}
    quick = Options(**files, out=tmp_path / "run", max_points=2, precision="float32", cascades=0, ship_all=True)
    report = Silent()
    done = build.build("restnet", quick, report)
    meta, listed = points.read(tmp_path / "run" / "points.json")
    stitched = [p for p in listed if p.kind == STITCHED]
    assert len(stitched) == 2
    assert (meta["metric"], meta["data"]) == ("agreement", "photographs")
    run = Run(tmp_path / "run")
    assert {fit.rung for p in stitched if (fit := run.load_fitted(p.name))} == {CLOSED_FORM}
    assert all((run.path / file.path).exists() for p in stitched for file in p.files.values())
    assert done.summary.count("no images were given") == 1
    assert "--data" in done.summary
    again = build.build("restnet", quick, report)  # finished: it is only opened
    assert again.points == done.points


@pytest.mark.slow
def test_weights_that_are_nowhere_are_named_together_before_images_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from keras.src.utils import file_utils

    def no_network(*_: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(file_utils, "urlretrieve", no_network)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(splits, "load", lambda *_, **__: pytest.fail("images were read"))
    options = Options(large="MobileNetV2", small="MobileNetV2:alpha=0.35", out=tmp_path / "run")
    with pytest.raises(RestnetError) as caught:
        build.build("restnet", options, Silent())
    assert re.search(r"put mobilenet_v2_\S+_1\.0_224\.h5 and mobilenet_v2_\S+_0\.35_224\.h5 into", str(caught.value))
    assert not (tmp_path / "run").exists()
