"""A route as one model: front, stitch, back; what is tuned is a copy; the random twin of an anchor."""

from __future__ import annotations

import networks
import numpy as np
import pytest

from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Layout, Piece, Plan, RestnetError, Stitch
from restnet_tf.stitches import variant

FRONT, BACK = "0.1.out", "1.0.out"  # (8, 8, 6) of the large anchor, (4, 4, 6) of the small one


@pytest.fixture(scope="module")
def anchors() -> dict[str, Anchor]:
    return networks.pair(convolutions=1)[0]


def plan(front: str = FRONT, back: str = BACK) -> Plan:
    return Plan("p", (Piece("large", None, front), Piece("small", back, None)), 1, 1, 0.5, 0.5, status="chosen")


def stitch(**changes: object) -> Stitch:
    rng = np.random.default_rng(3)
    kernel = rng.normal(0, 0.5, (6, 6)).astype(np.float32)
    bias = rng.normal(0, 0.5, 6).astype(np.float32)
    return Stitch(kernel, bias, Layout((8, 8, 6)), Layout((4, 4, 6)), **{"clamp": (0.0, None), **changes})  # type: ignore[arg-type]


def by_hand(anchors: dict[str, Anchor], fitted: Stitch, x: np.ndarray, output: str) -> np.ndarray:
    """Front, 2x2 mean, matrix product, clamp in NumPy, back."""
    large, small = anchors["large"].model, anchors["small"].model
    front = networks.keras.Model(large.input, large.get_layer(FRONT).output)
    pooled = networks.forward(front, x).reshape(len(x), 4, 2, 4, 2, 6).mean(axis=(2, 4))
    stitched = np.clip(pooled @ fitted.kernel + fitted.bias, *fitted.clamp)
    back = networks.keras.Model(small.get_layer(BACK).output, small.get_layer(output).output)
    return networks.forward(back, stitched)


@pytest.mark.parametrize("clamp", [(0.0, None), (0.0, 0.3), (None, None)])
def test_a_variant_is_front_then_stitch_then_back(
    anchors: dict[str, Anchor], clamp: tuple[float | None, float | None]
) -> None:
    x, fitted = networks.images(5), stitch(clamp=clamp)
    found = networks.forward(variant.assemble(plan(), anchors, fitted), x)
    np.testing.assert_allclose(found, by_hand(anchors, fitted, x, "probabilities"), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-3  # not the same answer to every image


def test_logits_are_the_outputs_before_the_softmax(anchors: dict[str, Anchor]) -> None:
    x, fitted = networks.images(5), stitch()
    logits = networks.forward(variant.assemble(plan(), anchors, fitted, logits=True), x)
    np.testing.assert_allclose(logits, by_hand(anchors, fitted, x, "logits"), atol=1e-5)
    assert not np.allclose(logits.sum(axis=1), 1)


def test_an_untuned_back_is_the_anchors_own(anchors: dict[str, Anchor]) -> None:
    model = variant.assemble(plan(), anchors, stitch())
    own = {id(v) for a in anchors.values() for v in a.model.variables}
    assert {v.path for v in model.variables if id(v) not in own} == {"project/kernel", "project/bias"}


def test_tuned_weights_go_to_a_copy_of_the_back(anchors: dict[str, Anchor]) -> None:
    before = {role: [np.array(w) for w in a.model.get_weights()] for role, a in anchors.items()}
    bias = next(v for v in anchors["small"].model.weights if v.path == "logits/bias")
    tuned = {"logits/bias": np.asarray(bias) + np.float32(2) * np.arange(3, dtype=np.float32)}
    x = networks.images(5)
    plain = networks.forward(variant.assemble(plan(), anchors, stitch(), logits=True), x)
    found = networks.forward(variant.assemble(plan(), anchors, stitch(tuned=tuned), logits=True), x)
    np.testing.assert_allclose(found - plain, np.tile([0, 2, 4], (5, 1)), atol=1e-5)
    for role, anchor in anchors.items():
        for old, new in zip(before[role], anchor.model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("path", "shape"),
    [("nowhere/kernel", (3,)), ("logits/bias", (4,)), ("stem.conv/kernel", (3, 3, 3, 4))],
    ids=["unknown", "shape", "in front of the cut"],
)
def test_weights_that_the_back_does_not_have_are_refused(
    anchors: dict[str, Anchor], path: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(RestnetError, match=f"name {path} .*does not have"):
        variant.assemble(plan(), anchors, stitch(tuned={path: np.zeros(shape, np.float32)}))


def test_a_cut_that_is_none_is_refused(anchors: dict[str, Anchor]) -> None:
    with pytest.raises(RestnetError, match=r"0\.0\.conv1 is no cut in large; its cuts are: .*0\.1\.out"):
        variant.assemble(plan(front="0.0.conv1"), anchors, stitch())


def test_a_copy_with_weights_differs_in_these_alone(anchors: dict[str, Anchor]) -> None:
    model = anchors["small"].model
    value = np.full((6, 3), 0.25, np.float32)
    copy = variant.with_weights(model, {"logits/kernel": value})
    for old, new in zip(model.weights, copy.weights, strict=True):
        assert old is not new
        assert old.path == new.path
        np.testing.assert_array_equal(new, value if new.path == "logits/kernel" else old)


def test_the_random_twin_has_the_shapes_and_none_of_the_knowledge(anchors: dict[str, Anchor]) -> None:
    anchor = anchors["large"]
    before = [np.array(w) for w in anchor.model.get_weights()]
    twin = variant.randomised(anchor, 0)
    assert (twin.input_shape, twin.classes) == (anchor.input_shape, anchor.classes)
    assert [c.name for c in cuts.find(twin.model)] == [c.name for c in cuts.find(anchor.model)]
    assert len(twin.model.weights) == len(anchor.model.weights)
    for old, new in zip(anchor.model.weights, twin.model.weights, strict=True):
        assert (old.path, old.shape) == (new.path, new.shape)
        assert old is not new
        assert not np.array_equal(old, new), old.path
    for old, new in zip(before, anchor.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    x = networks.images(4)
    assert not np.allclose(networks.forward(twin.model, x), networks.forward(anchor.model, x))


def test_the_random_twin_is_a_function_of_the_seed(anchors: dict[str, Anchor]) -> None:
    first, again, other = (variant.randomised(anchors["large"], seed).model.get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim > 1]
    assert kernels
    assert not any(np.array_equal(a, b) for a, b in kernels)


def test_the_random_twins_ends_are_its_own(anchors: dict[str, Anchor]) -> None:
    twin = variant.randomised(anchors["large"], 0)
    whole = networks.keras.Model(twin.model.inputs[0], [twin.features, twin.logits, twin.model.outputs[0]])
    features, logits, output = (np.asarray(y) for y in whole(networks.images(3).astype(np.float32), training=False))
    assert features.shape == (3, 10)
    weights = {v.path: np.asarray(v) for v in twin.model.weights}
    np.testing.assert_allclose(features @ weights["logits/kernel"] + weights["logits/bias"], logits, atol=1e-4)
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(output, exp / exp.sum(axis=1, keepdims=True), atol=1e-5)
