"""The small network that train builds for any data of one shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from signals import STEPS, archive, signals

from restnet_tf.anchors import separable, training, zoo
from restnet_tf.anchors.applications import parse
from restnet_tf.data import splits
from restnet_tf.data.splits import Data
from restnet_tf.graph import cuts
from restnet_tf.records import RestnetError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return splits.load(str(archive(tmp_path_factory.mktemp("data") / "waves.npz")))


def test_it_learns_signals_and_comes_back_from_its_file(data: Data, tmp_path: Path) -> None:
    anchor = separable.anchor(parse("DSCNN:width=8,blocks=1"), data)
    assert anchor.input_shape == (STEPS, 2)
    training.train(anchor, data, epochs=40, rate=0.01, seed=0)
    assert training.accuracy(anchor, data.test) > 0.8
    (tmp_path / "dscnn.keras").write_bytes(training.as_file(anchor.model))
    loaded = zoo.load(tmp_path / "dscnn.keras")
    x = signals(4)[0]
    assert np.allclose(loaded.model(x), anchor.model(x), atol=1e-6)
    assert [cut.grid for cut in cuts.find(loaded.model) if cut.kind == "tokens"] == [(16, 1)] * 2


def test_it_starts_alike_whatever_the_unit_of_the_values(data: Data, tmp_path: Path) -> None:
    x, y = signals(96)
    np.savez(tmp_path / "micro.npz", x=x * 1e-6, y=y, class_names=np.asarray(data.class_names))
    small = splits.load(f"values:{tmp_path / 'micro.npz'}")
    spec = parse("DSCNN:width=8,blocks=1")
    kernels = [separable.anchor(spec, one).model.get_layer("stem").kernel.numpy() for one in (data, small)]
    assert np.allclose(kernels[1] * 1e-6, kernels[0], rtol=0.1)


def test_grids_have_convolutions_over_both_sides(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 50, (40, 12, 10, 2))
    np.savez(tmp_path / "g.npz", x=x, y=np.arange(40) % 2)
    anchor = separable.anchor(parse("DSCNN:width=4,blocks=2"), splits.load(str(tmp_path / "g.npz")))
    assert anchor.input_shape == (12, 10, 2)
    assert anchor.classes == 2


@pytest.mark.parametrize(
    ("arch", "reason"), [("DSCNN:depth=2", "takes no depth; it takes width, blocks"), ("DSCNN:width=0", "width=0")]
)
def test_options_that_it_does_not_have(data: Data, arch: str, reason: str) -> None:
    with pytest.raises(RestnetError, match=reason):
        separable.anchor(parse(arch), data)
