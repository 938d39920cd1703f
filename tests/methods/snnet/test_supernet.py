"""Every configuration as one forward pass: exact against whole anchors and models composed by hand."""

from __future__ import annotations

from functools import cache

import networks
import numpy as np
import pytest
from networks import keras

from restnet_tf.anchors import zoo
from restnet_tf.graph import cuts
from restnet_tf.methods.snnet.supernet import Configuration, Stretches, Supernet, TrainableStitch
from restnet_tf.records import Anchor, Cut, Piece, Plan, Stitch
from restnet_tf.stitches import variant


def vit(width: int = 16, depth: int = 2) -> Anchor:
    found = zoo.load(f"ViT:input=8,patch=4,width={width},depth={depth},heads=2,classes=3", weights="none")
    networks.stirred(found.model)  # a norm that does nothing could be skipped unseen
    return found


@cache
def anchors_of(kind: str) -> dict[str, Anchor]:
    if kind == "vit":
        return {"A": vit(8, 1), "B": vit()}
    return {
        "A": networks.anchor((4, 6), 2, convolutions=1, seed=1, name="a"),
        "B": networks.anchor((6, 10), 2, convolutions=1, seed=2, name="b"),
    }


def plan(*pieces: Piece) -> Plan:
    return Plan("route", pieces, 1, 1, np.nan, np.nan)


def known(anchor: Anchor) -> dict[str, Cut]:
    return {c.name: c for c in cuts.find(anchor.model)}


def drawn(source: Cut, target: Cut, seed: int = 0) -> Stitch:
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.3, (source.shape[-1], target.shape[-1])).astype(np.float32)
    bias = rng.normal(0, 0.3, target.shape[-1]).astype(np.float32)
    return Stitch(kernel, bias, source.layout, target.layout, target.clamp)


def identity(cut: Cut) -> Stitch:
    width = cut.shape[-1]
    return Stitch(np.eye(width, dtype=np.float32), np.zeros(width, np.float32), cut.layout, cut.layout, cut.clamp)


def supernet(anchors: dict[str, Anchor], starts: dict[str, Stitch], *, exact: bool = False) -> Supernet:
    lists = {role: cuts.find(a.model) for role, a in anchors.items()}
    return Supernet(Stretches(anchors, lists, exact=exact), starts, low_rank=None, seed=0)


def logits(anchor: Anchor, x: np.ndarray) -> np.ndarray:
    return networks.forward(keras.Model(anchor.model.inputs[0], anchor.logits), x)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_route_from_an_anchor_to_itself_is_the_anchor_at_every_cut(kind: str):
    """Up to the last cut, in front of the head: the published code skips a ViT's last norm there."""
    anchor, x = anchors_of(kind)["B"], networks.images(4)
    expected = logits(anchor, x)
    assert np.ptp(expected, axis=0).max() > 1e-3
    found = [c for c in cuts.find(anchor.model) if c.kind != "vector"]
    assert (kind == "vit") == any("norm" in c.name for c in found)
    for cut in found:
        route = plan(Piece("B", None, cut.name), Piece("B", cut.name, None))
        made = identity(cut)
        whole = networks.forward(variant.assemble(route, {"B": anchor}, made, logits=True), x)
        np.testing.assert_allclose(whole, expected, atol=1e-5, err_msg=cut.name)
        net = supernet({"B": anchor}, {"w": made})
        trained = net.logits(Configuration(route, ("w",)), np.asarray(x, np.float32))
        np.testing.assert_allclose(trained, expected, atol=1e-5, err_msg=cut.name)


def test_the_last_norm_of_a_transformer_matters():
    """What the test above would not see otherwise."""
    anchor, x = vit(), networks.images(4)
    before = logits(anchor, x)
    norm = anchor.model.get_layer("norm")
    norm.set_weights([2 * w for w in norm.get_weights()])
    assert np.abs(logits(anchor, x) - before).max() > 1e-2


@pytest.mark.parametrize("exact", [True, False])
def test_a_two_stitch_route_is_its_parts_one_after_the_other(exact: bool):
    anchors, x = anchors_of("cnn"), np.asarray(networks.images(5), np.float32)
    a, b = (known(anchors[role]) for role in "AB")
    away, back = drawn(a["0.0.out"], b["0.1.out"], 1), drawn(b["1.1.out"], a["1.0.out"], 2)
    route = plan(Piece("A", None, "0.0.out"), Piece("B", "0.1.out", "1.1.out"), Piece("A", "1.0.out", None))
    models = {role: anchors[role].model for role in "AB"}

    def part(role: str, start: str | None, stop: str) -> keras.Model:
        model = models[role]
        return keras.Model(
            model.input if start is None else model.get_layer(start).output, model.get_layer(stop).output
        )

    front = networks.forward(part("A", None, "0.0.out"), x)
    middle = networks.forward(part("B", "0.1.out", "1.1.out"), np.maximum(front @ away.kernel + away.bias, 0))
    expected = networks.forward(part("A", "1.0.out", "logits"), np.maximum(middle @ back.kernel + back.bias, 0))
    net = supernet(anchors, {"v": away, "w": back}, exact=exact)
    entered = front if exact else x
    found = net.logits(Configuration(route, ("v", "w")), entered)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    whole = networks.forward(variant.assemble(route, anchors, away, back, logits=True), x)
    np.testing.assert_allclose(whole, expected, atol=1e-5)


@pytest.mark.slow
def test_exact_anchors_pass_gradients_on_and_have_none_of_their_own():
    import tensorflow as tf

    anchors = anchors_of("cnn")
    a, b = (known(anchors[role]) for role in "AB")
    route = plan(Piece("A", None, "0.0.out"), Piece("B", "0.1.out", None))
    for exact in (True, False):
        net = supernet(anchors, {"w": drawn(a["0.0.out"], b["0.1.out"])}, exact=exact)
        configuration = Configuration(route, ("w",))
        x = np.random.default_rng(0).random((4, 8, 8, 4 if exact else 3), dtype=np.float32)
        weights = anchors["B"].model.trainable_variables
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(net.logits(configuration, x))
        places = net.trained(configuration)
        assert len(places) == 2 if exact else len(places) > len(weights)
        gradients = tape.gradient(total, [*(net.variables[i] for i in places[:2]), *(v.value for v in weights)])
        assert all(float(tf.reduce_max(tf.abs(g))) > 0 for g in gradients[:2])
        assert all(g is None for g in gradients[2:]) == exact


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_joint_of_a_rank_starts_at_its_stitch_and_stays_within_the_rank(kind: str):
    anchors = anchors_of(kind)
    a, b = (next(c for c in cuts.find(anchors[role].model) if c.kind != "vector") for role in "AB")
    start = drawn(a, b)
    trainable = TrainableStitch(start, 2, np.random.default_rng(0))
    np.testing.assert_allclose(trainable.stitch.kernel, start.kernel, atol=1e-7)
    assert [tuple(v.shape) for v in trainable.variables[:2]] == [(a.shape[-1], 2), (2, b.shape[-1])]
    for i, variable in enumerate(trainable.variables):
        variable.assign(variable + np.random.default_rng(i).normal(0, 0.1, variable.shape).astype(np.float32))
    change = trainable.stitch.kernel - start.kernel
    assert np.linalg.matrix_rank(change, tol=1e-4) == 2
    assert np.abs(trainable.stitch.bias - start.bias).max() > 1e-3  # the bias is trained whole
    x = np.random.default_rng(1).random((3, *a.shape), dtype=np.float32)
    from restnet_tf.stitches import stitch

    np.testing.assert_allclose(trainable.run(x), networks.forward(stitch.build(trainable.stitch), x), atol=1e-4)
