"""Keras' families by name, each built once for all that is asked of it: ends, folded preprocessing, cuts."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from networks import Ends, checked_ends, forward

from restnet_tf.anchors import applications, preprocess, zoo
from restnet_tf.graph import cuts
from restnet_tf.records import Anchor

pytestmark = pytest.mark.slow
SIDE = 32
LEAST_SIDES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
# Options that make layers smaller leave the graph as it is.
FAMILIES = {
    "ConvNeXtTiny": "classes=10",
    "DenseNet121": "classes=10",
    "EfficientNetB0": "classes=10",
    "EfficientNetV2B0": "classes=10",
    "InceptionResNetV2": "classes=10",
    "InceptionV3": "classes=10",
    "MobileNet": "alpha=0.25",
    "MobileNetV2": "alpha=0.35",
    "MobileNetV3Small": "classes=10",
    "NASNetMobile": "classes=10",
    "ResNet50": "classes=10",
    "ResNet50V2": "classes=10",
    "VGG16": "classes=10",
    "VGG19": "classes=10",
    "Xception": "classes=10",
}
MODES = {"DenseNet121": "imagenet", "MobileNet": "-1to1", "MobileNetV2": "-1to1", "ResNet50": "caffe"}
EVERY_CUT = ("MobileNet", "MobileNetV2", "MobileNetV3Small", "VGG16")


@dataclass(frozen=True)
class Family:
    """An anchor of random weights by its name, two images, and what it gives for them."""

    spec: applications.Spec
    anchor: Anchor
    x: np.ndarray
    ends: Ends


def built(name: str, options: str) -> Family:
    side = LEAST_SIDES.get(name, SIDE)
    text = f"{name}:{options},input={side}"
    anchor = zoo.load(text, weights="none")
    x = np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype(np.float32)
    return Family(applications.parse(text), anchor, x, checked_ends(anchor, x))


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    """Tests of one family come one after another, and no other is held meanwhile."""
    return built(request.param, FAMILIES[request.param])


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_every_family_loads_with_logits_and_features(family: Family) -> None:
    logits, features, _ = family.ends
    assert logits.shape[1] == family.spec.options.get("classes", 1000)
    assert features.ndim == 2


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_front_then_back_is_the_whole(family: Family) -> None:
    """At every cut of small families, at a spread of them of large ones."""
    whole, (logits, features, _) = family.anchor, family.ends
    # Two images get two answers, so a back that gives both depends on what it is given.
    assert np.isfinite(features).all()
    assert not np.array_equal(features[0], features[1])
    found = [cut.name for cut in cuts.find(keras.Model(whole.model.inputs[0], whole.features))]
    spread = len(found) if family.spec.base in EVERY_CUT else 4
    for i in sorted({round(i) for i in np.linspace(0, len(found) - 1, spread)}):
        middle = forward(cuts.front(whole, found[i]), family.x)
        back = cuts.back(whole, found[i], [whole.logits, whole.features])
        assert len(back.inputs) == 1, found[i]
        given = back(middle, training=False)
        np.testing.assert_array_equal(given[0], logits, err_msg=found[i])
        np.testing.assert_array_equal(given[1], features, err_msg=found[i])


@pytest.mark.parametrize("family", MODES, indirect=True)
def test_folding_equals_preprocessing_before_the_bare_model(family: Family) -> None:
    check_folding(family, MODES[family.spec.base])


def test_a_family_without_preprocessing_has_nothing_folded() -> None:
    check_folding(built("MobileNetV3Small", "minimalistic=True"), "none")


def check_folding(family: Family, mode: str) -> None:
    spec, anchor, x = family.spec, family.anchor, family.x
    build = getattr(keras.applications, spec.base)
    options = {key: value for key, value in spec.options.items() if key != "input"}
    bare = build(weights=None, input_shape=x.shape[1:], **options)
    ours = [layer for layer in anchor.model.layers if layer.weights and layer.name != "preprocess"]
    theirs = [layer for layer in bare.layers if layer.weights]
    for one, other in zip(theirs, ours, strict=True):
        one.set_weights(other.get_weights())
    module = sys.modules[build.__module__]
    assert preprocess.FAMILY_MODES[build.__module__.rpartition(".")[2]] == mode
    prepared = module.preprocess_input(x.copy())
    np.testing.assert_allclose(family.ends.answers, forward(bare, prepared), rtol=0, atol=1e-6)
    # Random networks hardly look at their input; their first convolution does.
    front = first_convolution(bare)
    expected = forward(front, prepared)
    np.testing.assert_allclose(forward(first_convolution(anchor.model), x), expected, rtol=1e-5, atol=1e-5)
    if mode != "none":
        assert np.abs(forward(front, x) - expected).max() > 0.1


def first_convolution(model: keras.Model) -> keras.Model:
    ops = [op for op in model.layers if isinstance(op, keras.layers.Conv2D) and op.name != "preprocess"]
    return keras.Model(model.inputs[0], ops[0].output)
