"""What restnet-tf similarity writes, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from console import anchors, ask, build, few, refused
from PIL import Image

from restnet_tf.graph import cuts


def test_similarity_too_says_where_it_cannot_write(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = refused("similarity", *build(inputs, tmp_path / "file" / "map")[1:])
    assert re.search(r"cannot write to .*file: .*file is no folder; give another --out", said)


@pytest.mark.slow
def test_similarity_writes_a_picture_and_the_matrix(inputs: Path, tmp_path: Path) -> None:
    answer = ask("similarity", *build(inputs, tmp_path / "deep" / "map.v1")[1:])
    assert answer.code == 0, answer
    assert answer.out.count("\n") == 1
    files = tmp_path / "deep" / "map.v1.png", tmp_path / "deep" / "map.v1.npz"
    assert all(str(path) in answer.out for path in files)
    assert sorted(files) == sorted((tmp_path / "deep").iterdir())
    with Image.open(files[0]) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100
    lists = {role: cuts.find(anchor.model) for role, anchor in anchors().items()}
    with np.load(files[1]) as arrays:
        assert arrays["large"].tolist() == [c.name for c in lists["large"]]
        assert arrays["small"].tolist() == [c.name for c in lists["small"]]
        assert arrays["cka"].shape == (len(lists["large"]), len(lists["small"]))
        assert np.isfinite(arrays["cka"]).all()
        assert arrays["cka"].max() <= 1 + 1e-9


def test_similarity_of_bad_input_leaves_nothing(inputs: Path, tmp_path: Path) -> None:
    bad = few(tmp_path / "few.npz")
    assert "15 images" in refused("similarity", *build(inputs, tmp_path / "out" / "map", data=bad)[1:])
    assert not (tmp_path / "out").exists()
    answer = ask("similarity", "--data", "digits", "--small", inputs / "small.keras", "--out", tmp_path / "out" / "m")
    assert answer.code == 1
    assert answer.complaint.endswith("no large anchor was named; give --large a name or a file")
