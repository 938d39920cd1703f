"""Linked stitches of tokens: between a small ViT and a small CNN, both ways, against Keras and the converter."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest
from networks import forward
from sklearn.datasets import load_digits

from restnet_tf.anchors import vit
from restnet_tf.data.images import Pixels
from restnet_tf.data.splits import Split
from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Cut, Piece, Plan, Stitch
from restnet_tf.similarity import features
from restnet_tf.stitches import stitch, variant
from tflite_export import link
from tflite_export.convert import compile_object, convert
from tflite_export.flatbuffer import only, read
from tflite_export.precision import check_file
from tflite_export.verify import run

pytestmark = pytest.mark.slow

SIDE, PATCH, CLASSES = 16, 4, 10
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int16x8")
# front, its cut, back, its cut: every adapter of the linker, with and without a class token.
CASES = {
    "tokens to tokens": ("vit", "block1.out", "wide", "block1.out"),
    "class to none": ("vit", "block1.out", "mean", "block1.out"),
    "none to class": ("mean", "block1.out", "vit", "block1.out"),
    "finer to coarser": ("fine", "block1.out", "vit", "block1.out"),
    "coarser to finer": ("vit", "block1.out", "fine", "block1.out"),
    "grid to tokens": ("cnn", "conv8.relu", "vit", "block1.out"),
    "pooled grid to tokens": ("cnn", "conv6.relu", "vit", "block1.out"),
    "grid to none": ("cnn", "conv6.relu", "mean", "block1.attention"),
    "tokens to grid": ("vit", "block1.out", "cnn", "conv8.relu"),
    "tokens to larger grid": ("vit", "block1.attention", "cnn", "conv6.relu"),
    "hidden, tokens to tokens": ("vit", "block1.out", "wide", "block1.out"),
    "hidden, class to none": ("vit", "block1.out", "mean", "block1.out"),
    "hidden, pooled grid to tokens": ("cnn", "conv6.relu", "vit", "block1.out"),
    "hidden, tokens to larger grid": ("vit", "block1.attention", "cnn", "conv6.relu"),
    "hidden, grid to grid": ("cnn", "conv8.relu", "cnn", "conv6.relu"),
}


@cache
def anchor(name: str) -> Anchor:
    keras.utils.set_random_seed(5)
    model = _cnn() if name == "cnn" else _vit(name)
    for weight in model.weights:
        if "kernel" in weight.path:
            weight.assign(1.5 * weight)  # fresh networks hardly tell one image from another
    logits = model.layers[-1].output
    return Anchor(name, model, logits, model.layers[-1].input, None, name)


def _vit(name: str) -> keras.Model:
    options = {"vit": {}, "wide": {"width": 24}, "mean": {"pooling": "mean"}, "fine": {"patch": 2}}[name]
    made = vit.network(
        **{"input_shape": (SIDE, SIDE, 3), "patch": PATCH, "width": 16, "depth": 2, "heads": 2, "classes": CLASSES}
        | options
    )
    rng = np.random.default_rng(0)
    made.get_layer("embed").set_weights([rng.normal(0, 0.5, made.get_layer("embed").weights[0].shape)])
    image = keras.Input((SIDE, SIDE, 3))
    whole = cuts.between(made, made.input, made.get_layer("head").output)
    # Cuts must lie in the outermost graph, so the layers are called there again.
    return _inlined(whole, image, keras.layers.Rescaling(1 / 127.5, -1)(image))


def _inlined(model: keras.Model, image, x) -> keras.Model:
    outputs = model._run_through_graph(x, call_fn=lambda op, *args, **kwargs: op(*args, **kwargs))
    return keras.Model(image, outputs)


def _cnn() -> keras.Model:
    x = image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for width, stride in ((6, 2), (8, 2), (16, 1)):
        x = keras.layers.Conv2D(width, 3, strides=stride, padding="same")(x)
        name = f"conv{width}.relu" if stride > 1 else "last"
        x = keras.layers.ReLU(name=name)(x)
    return keras.Model(image, keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(x)))


@cache
def digits(first: int, last: int) -> np.ndarray:
    found = load_digits().images[first:last, ..., None].astype(np.float32) * (255 / 16)
    larger = np.asarray(keras.ops.image.resize(found, (SIDE, SIDE)))
    return np.clip(larger * np.float32([1, 0.8, 0.5]), 0, 255)


def cut(name: str, layer: str) -> Cut:
    return next(c for c in cuts.find(anchor(name).model) if c.name == layer)


@cache
def fitted(case: str) -> Stitch:
    """The closed form, from digits."""
    front, stop, back, start = CASES[case]
    anchors = {"large": anchor(front), "small": anchor(back)}
    pair = {"large": (cut(front, stop),), "small": (cut(back, start),)}
    raw = np.rint(digits(0, 256)).astype(np.uint8)
    found = features.collect(anchors, pair, Split("fit", Pixels(raw, np.arange(256)), None))
    closed = features.initial(("large", 0, 0), pair, found)
    if not case.startswith("hidden"):
        return closed
    # Heeded enough that an error in them shows, and no more than the ranges of the back's cut can take.
    read = keras.Model(anchor(front).model.input, cuts.tensor(anchor(front).model, stop))
    wide = stitch.widened(closed, forward(read, digits(0, 128)), seed=1)
    width = stitch.hidden(wide)
    draw = np.random.default_rng(2).normal(0, np.abs(closed.kernel).mean() / 16, (width, closed.kernel.shape[1]))
    return replace(wide, kernel=np.concatenate([closed.kernel, draw.astype(np.float32)]))


@cache
def keras_variant(case: str) -> keras.Model:
    front, stop, back, start = CASES[case]
    plan = Plan(case, (Piece("large", None, stop), Piece("small", start, None)), 0, 0, 0, 0)
    return variant.assemble(plan, {"large": anchor(front), "small": anchor(back)}, fitted(case))


@cache
def keras_scores(case: str) -> np.ndarray:
    return forward(keras_variant(case), digits(400, 440))


@cache
def obj(name: str, precision: str) -> link.Object:
    model = anchor(name).model
    tensors = {c.name: cuts.tensor(model, c.name) for c in cuts.find(model) if c.kind != "vector"}
    return link.Object(compile_object(model, tensors, precision, [digits(0, 128)]))


def route(case: str, precision: str) -> link.Route:
    front, stop, back, start = CASES[case]
    return link.Route(obj(front, precision), stop, stitch.pipeline(fitted(case)), obj(back, precision), start)


@cache
def linked(case: str, precision: str) -> bytes:
    return link.variant(route(case, precision), precision=precision)


def sqnr(found: np.ndarray, expected: np.ndarray) -> float:
    """Of what differs from image to image."""
    signal = expected - expected.mean(axis=0)
    return float(10 * np.log10((signal**2).sum() / ((found - expected) ** 2).sum()))


def test_the_closed_forms_are_worth_linking():
    parts = {case: ("positions" in fitted(case).parts, "class_kernel" in fitted(case).parts) for case in CASES}
    assert {case for case, found in parts.items() if found[0]} == {c for c in CASES if c.endswith("grid to tokens")} | {
        "grid to none"
    }
    assert {case for case, found in parts.items() if found[1]} == {
        "none to class",
        "grid to tokens",
        "pooled grid to tokens",
        "hidden, pooled grid to tokens",
    }
    assert {case for case in CASES if "hidden_kernel" in fitted(case).parts} == {
        case for case in CASES if case.startswith("hidden")
    }
    for case in CASES:
        assert np.ptp(keras_scores(case), axis=0).max() > 0.05


@pytest.mark.parametrize("case", CASES)
def test_float32_is_the_keras_variant(case):
    x = digits(400, 440)
    np.testing.assert_allclose(run(linked(case, "float32"), [x]).scores, keras_scores(case), atol=1e-5)


@pytest.mark.parametrize(("precision", "least"), [("float16", 40), ("dynamic", 20), ("int8", 8), ("int16x8", 12)])
@pytest.mark.parametrize("case", CASES)
def test_other_precisions_come_close_to_keras(case, precision, least):
    x = digits(400, 440)
    expected = keras_scores(case)
    assert sqnr(run(linked(case, precision), [x]).scores, expected) > least
    check_file(linked(case, precision), precision)


@pytest.mark.parametrize("case", ["tokens to tokens", "grid to tokens", "tokens to grid"])
def test_int8_loses_little_more_than_the_converters_own(case):
    x = digits(400, 440)
    expected = keras_scores(case)
    own = convert(keras_variant(case), "int8", [digits(0, 128)])
    found, others = (sqnr(run(file, [x]).scores, expected) for file in (linked(case, "int8"), own))
    assert found > others - 3


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_elastic_file_shares_the_weights_of_unlike_anchors(precision):
    routes = {case: route(case, precision) for case in ("grid to tokens", "tokens to grid", "tokens to tokens")}
    whole = link.elastic(routes, precision=precision)
    alone = sum(len(linked(case, precision)) for case in routes)
    assert len(whole) < 0.75 * alone
    held = {
        id(tensor.buffer): tensor.nbytes
        for graph in read(whole).subgraphs
        for operator in graph.operators
        for tensor in operator.inputs
        if tensor is not None and tensor.constant
    }
    big = [size for size in held.values() if size >= 256]
    assert sum(big) < 0.75 * alone


def test_versions_are_those_that_the_converter_writes():
    """Of every operator that a stitch of tokens adds, for floats and both integers."""
    x = image = keras.Input((4, 4, 4))
    x = keras.layers.Conv2D(3, 1)(x)
    rows = keras.layers.Reshape((16, 3))(x)
    placed = rows + keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32))
    joined = keras.layers.Concatenate(axis=1)([rows[:, :1], placed])
    model = keras.Model(image, keras.layers.Flatten()(joined))
    batch = np.random.default_rng(1).uniform(0, 255, (8, 4, 4, 4)).astype(np.float32)
    for precision in ("float32", "int8", "int16x8"):
        theirs = {op.name: op.code.version for op in only(read(convert(model, precision, [batch]))).operators}
        graph = only(read(linked("pooled grid to tokens", precision)))
        ours = {op.name: op.code.version for op in graph.operators if op.outputs[0].name.startswith("stitch/")}
        for name in ("RESHAPE", "ADD", "CONCATENATION"):
            if name in ours:
                assert ours[name] == theirs[name], (precision, name)
