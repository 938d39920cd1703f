"""A family of one network, from end to end: paths that leave blocks out, their files, plans edited by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import networks
import numpy as np
import paths
import pytest

from restnet_tf.anchors import zoo
from restnet_tf.commands import build as job
from restnet_tf.data import splits
from restnet_tf.fitting.loss import kl_divergence
from restnet_tf.graph import cuts
from restnet_tf.methods.restnet import jumps
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, STITCHED
from restnet_tf.progress import Silent
from restnet_tf.records import Plan, RestnetError
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.stitches import variant
from tflite_export.runtime import ElasticModel

pytestmark = pytest.mark.slow

QUICK = Options(effort=0.001, max_points=2, ship_all=True)


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="session")
def options(once: paths.Once) -> Options:
    """A network of three classes and its images; it ends in logits, so that no exit competes with its paths."""

    def fill(folder: Path) -> None:
        anchor = networks.anchor((6, 10), 3, convolutions=1, seed=16, name="large")
        keras.Model(anchor.model.inputs, anchor.logits, name="large").save(folder / "large.keras")
        np.savez(folder / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)

    folder = once("network alone", fill)
    return replace(QUICK, anyway=True, large=str(folder / "large.keras"), data=str(folder / "data.npz"))


@pytest.fixture(scope="session")
def finished(options: Options, once: paths.Once) -> Path:
    def fill(folder: Path) -> None:
        report = Listening()
        done = job.build("restnet", replace(options, out=folder / "run"), report)
        (folder / "said").write_text("\n".join([*report.said, done.summary]))

    return once("run of a network alone", fill) / "run"


def test_paths_are_tried_and_the_best_of_each_cost_are_built(finished: Path, options: Options):
    listed = plans_file.read_plans(finished / "plans.json")
    chosen = [p for p in listed if p.status == "chosen"]
    assert len(chosen) == 2
    assert any(len(p.route) > 2 for p in chosen)
    assert all(p.reason for p in listed if p.status == "rejected")
    for p in listed:
        assert (p.kl is not None) or p.reason
        assert p.kl is None or len(p.route) > 2 or p.kl == p.estimate
    _, made = points.read(finished / "points.json")
    assert {p.name: p.kind for p in made} == {"large": ANCHOR, **{p.name: STITCHED for p in chosen}}
    said = (finished.parent / "said").read_text()
    assert "Spearman correlation of" in said
    assert "shorter path" in said
    assert "chord" not in said


def test_the_kl_of_a_plan_is_that_of_its_network(finished: Path, options: Options):
    """Its fit begins at the same closed form, on all of the rank images."""
    anchor = zoo.load(str(options.large))
    x = np.concatenate([np.asarray(b) for b in splits.load(str(options.data)).rank.batches((8, 8, 3), 64)])
    logits = cuts.between(anchor.model, anchor.model.inputs[0], anchor.logits)
    for p in plans_file.read_plans(finished / "plans.json"):
        if p.status == "chosen":
            fitted = Run(finished).load_fitted(p.name)
            assert fitted is not None
            assert p.kl == pytest.approx(fitted.closed_form_kl, rel=1e-2, abs=1e-6)
            model = variant.assemble(p, {"large": anchor}, *fitted.stitches, logits=True)
            kl = np.mean(kl_divergence(networks.forward(logits, x), networks.forward(model, x)))
            assert float(kl) == pytest.approx(fitted.kl, rel=1e-2, abs=1e-6)


def test_one_file_holds_all_paths_in_hardly_more_than_the_network(finished: Path, options: Options):
    anchor = zoo.load(str(options.large))
    x = networks.images(4, seed=7).astype(np.float32)
    elastic = ElasticModel(finished / "elastic.float32.tflite")
    for p in plans_file.read_plans(finished / "plans.json"):
        if p.status == "chosen":
            fitted = Run(finished).load_fitted(p.name)
            assert fitted is not None
            expected = networks.forward(variant.assemble(p, {"large": anchor}, *fitted.stitches), x)
            elastic.switch(p.name)
            np.testing.assert_allclose(np.concatenate([elastic.run(one)[None] for one in x]), expected, atol=1e-4)
    weights = 4 * anchor.model.count_params()
    alone = (finished / "tflite" / "large.float32.tflite").stat().st_size
    assert (finished / "elastic.float32.tflite").stat().st_size - alone < weights


@pytest.fixture(scope="session")
def both(options: Options, once: paths.Once) -> Path:
    """With a small anchor, paths inside the large one are candidates too."""

    def fill(folder: Path) -> None:
        networks.anchor((4, 6), 1, convolutions=1, seed=2, name="small").model.save(folder / "small.keras")
        small = replace(options, small=str(folder / "small.keras"), jumps=True, precision="float32", max_points=3)
        job.build("restnet", replace(small, out=folder / "run"), Silent())

    return once("run with jumps", fill) / "run"


def test_paths_stand_beside_stitches(both: Path):
    listed = plans_file.read_plans(both / "plans.json")
    within = [p for p in listed if jumps.inside(p)]
    assert within
    assert len(within) < len(listed)
    _, made = points.read(both / "points.json")
    cheapest, dearest = sorted(p.macs for p in made if p.kind == ANCHOR)
    for at in range(3):
        interval = [p for p in listed if _tried(p) and at <= 3 * (p.macs - cheapest) / (dearest - cheapest) < at + 1]
        assert not interval or min(interval, key=lambda p: p.kl or 0.0).status == "chosen"
    assert any(not jumps.between(p) for p in listed if p.status == "chosen")  # with other jumps than the one between
    assert all(p.files for p in made if p.kind == STITCHED)


def _tried(p: Plan) -> bool:
    """Whether it was a candidate to the end."""
    return p.status == "chosen" or (p.reason is not None and p.reason.code == "higher_kl")


def test_a_path_by_hand(finished: Path, options: Options, tmp_path: Path):
    places = {"large": cuts.places(zoo.load(str(options.large)))}
    path = tuple((("large", i), ("large", j)) for i, j in ((0, 1), (2, 3), (4, 6)))
    listed = plans_file.read_plans(finished / "plans.json")
    mine = replace(listed[0], name="mine", route=tuple(jumps.pieces(path, places)), status="chosen")
    plans_file.write_plans(tmp_path / "plans.json", [mine])
    done = job.build("restnet", replace(options, out=tmp_path / "run", plans=tmp_path / "plans.json"), Silent())
    assert {p.name for p in done.points} == {"large", "mine"}


def test_a_network_without_two_cuts_of_a_shape(options: Options, tmp_path: Path):
    layers = keras.layers
    x = image = keras.Input((8, 8, 3))
    for width in (4, 6, 8):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
    scores = layers.Dense(networks.CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    keras.Model(image, scores).save(tmp_path / "large.keras")
    with pytest.raises(RestnetError, match="nothing can be left out of large: no two of its 4 cuts have"):
        job.build("restnet", replace(options, large=str(tmp_path / "large.keras"), out=tmp_path / "run"), Silent())
