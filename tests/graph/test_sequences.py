"""1-D networks: their cuts, the stitches between them, their tuned norms and their files."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from signals import CLASSES, STEPS, network, signals

from restnet_tf.anchors import zoo
from restnet_tf.graph import costs, cuts, norms
from restnet_tf.records import Anchor, RestnetError, Stitch
from restnet_tf.stitches import stitch
from tflite_export import convert, link, verify

X, _ = signals(16)
WIDE = (-np.inf, np.inf)


@pytest.fixture(scope="module")
def anchor(tmp_path_factory: pytest.TempPathFactory) -> Anchor:
    path = tmp_path_factory.mktemp("anchors") / "waves.keras"
    network().save(path)
    return zoo.load(path)


@pytest.fixture(scope="module")
def compiled(anchor: Anchor) -> link.Object:
    tensors = {c.name: cuts.tensor(anchor.model, c.name) for c in cuts.find(anchor.model) if c.kind != "vector"}
    return link.Object(convert.compile_object(anchor.model, tensors, "float32", None, limits=WIDE))


def test_blocks_over_time_end_in_cuts(anchor: Anchor) -> None:
    found = cuts.find(anchor.model)
    assert [(c.name, c.shape, c.grid, c.clamp) for c in found if c.kind == "tokens"] == [
        ("out1", (32, 8), (32, 1), (0.0, None)),
        ("pool1", (16, 8), (16, 1), (0.0, None)),
        ("out2", (16, 16), (16, 1), (0.0, None)),
        ("pool2", (8, 16), (8, 1), (0.0, None)),
    ]
    assert anchor.input_shape == (STEPS, 2)


def test_macs_of_convolutions_over_time_are_counted(anchor: Anchor) -> None:
    first = 32 * (5 * 2 + 3 * 2 * 8)
    second = 16 * (5 * 8 + 3 * 8 * 16)
    assert costs.macs(costs.nodes(anchor.model)) == first + second + 16 * CLASSES


def test_a_network_parted_at_a_cut_gives_what_it_gave(anchor: Anchor) -> None:
    front, back = cuts.front(anchor, "pool1"), cuts.back(anchor, "pool1")
    assert np.allclose(back(front(X)), anchor.model(X), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target"), [("out1", "pool1"), ("pool2", "pool1"), ("pool1", "out2")], ids=["pool", "resize", "same"]
)
def test_steps_in_time_are_resampled(anchor: Anchor, compiled: link.Object, source: str, target: str) -> None:
    ends = {c.name: c for c in cuts.find(anchor.model)}
    a, b = ends[source], ends[target]
    assert stitch.compatible(a, b) is None
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(a.shape[-1], b.shape[-1])).astype(np.float32)
    fitted = Stitch(kernel, rng.normal(size=b.shape[-1]).astype(np.float32), a.layout, b.layout, b.clamp)
    features = np.asarray(cuts.front(anchor, source)(X))
    assert np.allclose(stitch.build(fitted)(features), stitch.applied(fitted, features), atol=1e-4)
    route = link.Route(compiled, source, stitch.pipeline(fitted), compiled, target)
    scores = verify.run(link.variant(route, precision="float32"), [X]).scores
    whole = cuts.back(anchor, target)(stitch.applied(fitted, features))
    assert np.allclose(scores, whole, atol=1e-4)


@pytest.mark.slow
def test_integers_are_calibrated_on_the_data(anchor: Anchor) -> None:
    content = convert.convert(anchor.model, "int8", [X], limits=WIDE)
    scale, zero = verify_input(content)
    assert scale == pytest.approx((X.max() - X.min()) / 255, rel=0.02)
    assert -128 + (0 - X.min()) / scale == pytest.approx(zero, abs=1)
    scores = verify.run(content, [X]).scores
    assert np.mean(scores.argmax(1) == np.argmax(anchor.model(X), axis=1)) > 0.8


def verify_input(content: bytes) -> tuple[float, int]:
    tensor = link.Object(content).graph.inputs[0]
    return float(tensor.scales[0]), int(tensor.zero_points[0])


@pytest.mark.slow
def test_tuned_norms_over_time_are_told_by_the_weights_of_the_file(anchor: Anchor, compiled: link.Object) -> None:
    before = cuts.back(anchor, "pool1")
    after = keras.models.clone_model(before)
    after.set_weights(before.get_weights())
    for layer in after.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(layer.gamma * 1.25)
    folds = norms.refolded(before, after)
    assert [np.unique(fold.ratio.round(5)).tolist() for fold in folds] == [[1.25], [1.25]]
    cut = next(c for c in cuts.find(anchor.model) if c.name == "pool1")
    same = Stitch(np.eye(8, dtype=np.float32), np.zeros(8, np.float32), cut.layout, cut.layout, cut.clamp)
    route = link.Route(compiled, "pool1", stitch.pipeline(same), compiled, "pool1", folds)
    scores = verify.run(link.variant(route, precision="float32"), [X]).scores
    assert np.allclose(scores, after(cuts.front(anchor, "pool1")(X)), atol=1e-4)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "Bidirectional"])
def test_recurrent_layers_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    image = keras.Input((STEPS, 2))
    layer = keras.layers.Bidirectional(keras.layers.GRU(4)) if kind == "Bidirectional" else None
    layer = layer or getattr(keras.layers, kind)(4, name="memory")
    keras.Model(image, keras.layers.Dense(3)(layer(image))).save(tmp_path / "m.keras")
    with pytest.raises(RestnetError, match=rf"\({kind}\), a recurrent layer") as error:
        zoo.load(tmp_path / "m.keras")
    assert "\n" not in str(error.value)
