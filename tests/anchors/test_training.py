"""`restnet-tf train` and a family between two Vision Transformers that it trained, as a user gets them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from restnet_tf.anchors import training, zoo
from restnet_tf.cli.main import main
from restnet_tf.data import splits
from restnet_tf.graph import batches, costs, cuts
from restnet_tf.records import Anchor
from tflite_export.runtime import ElasticModel

LARGE = "ViT:input=8,patch=2,width=24,depth=2,heads=2"
SMALL = "ViT:input=8,patch=4,width=16,depth=1,heads=2,pooling=mean"


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(scope="module")
def anchors(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("anchors")
    for name, arch in (("large", LARGE), ("small", SMALL)):
        out = folder / f"{name}.keras"
        result = run("train", arch, "--data", "digits", "--out", str(out), "--epochs", "4", "--rate", "3e-3")
        assert result.exit_code == 0, result.output
        assert f"wrote {out}" in result.output
        assert "next: restnet-tf build" in result.output
    return {name: folder / f"{name}.keras" for name in ("large", "small")}


@pytest.mark.slow
def test_a_trained_anchor_has_learnt_and_says_how_much(anchors):
    digits = splits.load("digits", seed=0)
    for path in anchors.values():
        anchor = zoo.load(str(path))
        assert (anchor.input_shape, anchor.classes) == ((8, 8, 3), 10)
        assert training.accuracy(anchor, digits.test) > 0.3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_anchor(anchors, tmp_path):
    again = tmp_path / "again.keras"
    arguments = ("--data", "digits", "--out", str(again), "--epochs", "4", "--rate", "3e-3")
    assert run("train", SMALL, *arguments).exit_code == 0
    assert zoo.load(str(again)).sha256 == zoo.load(str(anchors["small"])).sha256


@pytest.mark.slow
def test_a_family_between_two_unlike_transformers(anchors, tmp_path):
    """Of other widths, depths and token grids, and with a class token in one alone."""
    out, data = tmp_path / "run", tmp_path / "some.npz"
    test = splits.load("digits").test
    images = np.asarray(next(iter(test.head(150).batches((8, 8, 1), 150))))
    np.savez(data, x=images.astype(np.uint8), y=test.labels[:150])
    result = run(
        "build", "--large", str(anchors["large"]), "--small", str(anchors["small"]), "--data", str(data), "--out",
        str(out), "--effort", "0.005", "--max-points", "2", "--ship-all", "--lower", "gelu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "matched" in result.output
    assert "without gelu: " in result.output
    found = json.loads((out / "points.json").read_text())["points"]
    stitched = [p for p in found if p["kind"] == "stitched"]
    assert len(stitched) == 2
    assert all(set(p["files"]) == {"float32", "int8"} for p in stitched)
    model = ElasticModel(out / "elastic.float32.tflite")
    static = {p.name for p in model.points if p.cascade is None}
    assert static == {"large", "small", "small*", *(p["name"] for p in stitched)}
    image = np.repeat(images[0], 3, axis=-1)
    for point in model.points:
        assert model.run(image, point=point.name).sum() == pytest.approx(1, abs=1e-4)
    kinds = {c.kind for path in anchors.values() for c in cuts.find(zoo.load(str(path)).model)}
    assert kinds == {"grid", "tokens", "vector"} or kinds == {"grid", "tokens"}


@pytest.mark.parametrize(
    ("arch", "source", "out", "said"),
    [
        (SMALL, "digits", "x.h5", "written as a .keras file"),
        ("ViTe", "digits", "x.keras", "neither a file nor a model"),
        (f"{SMALL},classes=3", "digits", "x.keras", "tells 3 classes apart, but digits has 10"),
        ("ViT:input=8,patch=3", "digits", "x.keras", "do not divide into patches of 3x3"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path, arch, source, out, said):
    result = run("train", arch, "--data", source, "--out", str(tmp_path / out), "--epochs", "1")
    assert result.exit_code == 1
    assert said in result.output
    assert not list(tmp_path.iterdir())


def test_images_without_labels_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8))
    arguments = ("--data", str(tmp_path / "x.npz"), "--out", str(tmp_path / "x.keras"), "--epochs", "1")
    result = run("train", f"{SMALL},classes=3", *arguments)
    assert result.exit_code == 1
    assert "no labels to train on" in result.output


def linear() -> Anchor:
    """An anchor whose step is traced in a blink."""
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    logits = keras.layers.Dense(10)(pooled)
    return Anchor("linear", keras.Model(image, keras.layers.Softmax()(logits)), logits, pooled, None, "linear")


def test_a_large_network_is_trained_on_fewer_images_at_once(monkeypatch):
    images, steps = splits.load("digits", seed=0), []
    few = replace(images, fit=images.fit.head(100))
    untrained = linear()
    values = costs.held(costs.nodes(untrained.model))
    for at_once in (50, 1000):
        monkeypatch.setattr(batches, "BYTES", batches.held(at_once, values))
        training.train(untrained, few, epochs=1, rate=1e-3, seed=0, progress=lambda done, total: steps.append(total))
    assert steps == [2, 2, 2, 2]
    monkeypatch.setattr(batches, "BYTES", 1)
    training.train(untrained, few, epochs=1, rate=1e-3, seed=0, progress=lambda done, total: steps.append(total))
    assert steps[-1] == -(-100 // batches.LEAST)
