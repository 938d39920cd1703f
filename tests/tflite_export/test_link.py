"""Linked variants against Keras and the converter's own files; what an elastic file shares; what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import needs
import numpy as np
import paths
import pytest
from keras import layers
from networks import forward, stirred
from sklearn.datasets import load_digits

from restnet_tf.family import anchor_pieces
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.fitting.results import Fitted
from restnet_tf.graph import cuts, norms
from restnet_tf.graph.norms import Refolded
from restnet_tf.progress import Silent
from restnet_tf.records import Anchor, Layout, Piece, Plan, RestnetError, Stitch
from restnet_tf.stitches import steps, stitch, variant
from restnet_tf.work import tasks
from restnet_tf.work.sources import AnchorSource, DataSource, ModelSource, remember
from tflite_export import convert as convert_module
from tflite_export import link, recalibration
from tflite_export.convert import compile_object, convert
from tflite_export.devices import tflm_wheel
from tflite_export.devices.host import scores
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Subgraph, Tensor, only, read, write
from tflite_export.inputs import PHOTOS
from tflite_export.integers import quantise
from tflite_export.precision import PRECISIONS, check_file

pytestmark = pytest.mark.slow

CLASSES = 10


@dataclass(frozen=True)
class Case:
    """From a cut of one anchor to a cut of the other; ``norms`` are tuned in the back."""

    front: str
    stop: str
    back: str
    start: str
    norms: tuple[str, ...] = ()


CASES = {
    "same grid, linear": Case("resnet", "r0", "mobile", "m0_add"),
    "same grid, ReLU6": Case("resnet", "r0", "mobile", "stem"),
    "pooled, ReLU": Case("mobile", "m0_add", "resnet", "r1"),
    "resized up, linear": Case("resnet", "r1", "mobile", "m0_add"),
    "resized down, ReLU6": Case("resnet", "r1", "mobile", "m2"),
    "resized up, ReLU": Case("mobile", "m2", "resnet", "r1"),
    "mobile norms": Case("resnet", "r0", "mobile", "m0_add", ("m1_expand", "m1_depth", "m1_project", "m2_conv")),
    "resnet norms": Case("mobile", "m0_add", "resnet", "r0", ("r1_conv1", "r1_conv2", "r1_down", "r_hidden")),
}
PLAIN = tuple(name for name, case in CASES.items() if not case.norms)
TUNED = tuple(name for name, case in CASES.items() if case.norms)
INTEGERS = ("int8", "int16x8")


# --- two anchors, their objects, and what joins them ----------------------------------------------


def normed(layer: Any, x: Any) -> Any:
    """A layer and its norm, which takes over the statistics of the next batch that it is trained on."""
    return layers.BatchNormalization(momentum=0.0, name=f"{layer.name}_norm")(layer(x))


def mobile() -> tuple[Any, Any]:
    """Inverted bottlenecks: ReLU6 inside, linear between, grids of 16, 8 and 6 out of 32."""
    image = keras.Input((32, 32, 3), name="photo")
    x = layers.Rescaling(1 / 127.5, -1)(image)
    x = layers.ReLU(6.0, name="stem")(normed(layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="s"), x))
    for name, width, stride in (("m0", 8, 1), ("m1", 12, 2)):
        y = layers.ReLU(6.0)(normed(layers.Conv2D(24, 1, use_bias=False, name=f"{name}_expand"), x))
        depthwise = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depth")
        y = layers.ReLU(6.0)(normed(depthwise, y))
        y = normed(layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project"), y)
        x = layers.Add(name=f"{name}_add")([x, y]) if y.shape == x.shape else y
    x = layers.ReLU(6.0, name="m2")(normed(layers.Conv2D(24, 3, use_bias=False, name="m2_conv"), x))
    return image, layers.Conv2D(48, 3, activation="relu", padding="same", name="last")(x)


def resnet() -> tuple[Any, Any]:
    """Residual blocks that end in a ReLU, grids of 16 and 8 out of 16; a norm behind a dense layer."""
    image = keras.Input((16, 16, 3), name="picture")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.ReLU(name="stem")(normed(layers.Conv2D(6, 3, padding="same", name="s"), x))
    for name, width, stride in (("r0", 6, 1), ("r1", 16, 2)):
        y = layers.ReLU()(normed(layers.Conv2D(width, 3, stride, padding="same", name=f"{name}_conv1"), x))
        y = normed(layers.Conv2D(width, 3, padding="same", name=f"{name}_conv2"), y)
        short = normed(layers.Conv2D(width, 1, stride, name=f"{name}_down"), x) if stride > 1 else x
        x = layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([short, y]))
    return image, layers.Conv2D(16, 3, padding="same", activation="relu", name="last")(x)


@cache
def anchor(name: str) -> Anchor:
    """An anchor with seeded weights, its norms' statistics and its scores' spread those of digits."""
    keras.utils.set_random_seed({"mobile": 1, "resnet": 2}[name])
    image, x = {"mobile": mobile, "resnet": resnet}[name]()
    features = layers.GlobalAveragePooling2D()(x)
    if name == "resnet":
        features = layers.ReLU()(normed(layers.Dense(64, name="r_hidden"), features))
    logits = layers.Dense(CLASSES, name="logits")(features)
    model = stirred(keras.Model(image, logits, name=name), seed=3)
    seen = digits(model.input_shape[1], 0, 256)
    model(seen, training=True)
    kernel, bias = model.layers[-1].get_weights()
    y = forward(model, seen)
    model.layers[-1].set_weights([kernel / y.std(0), (bias - y.mean(0)) / y.std(0)])
    return Anchor(name, model, logits, features, None, name)


@cache
def digits(side: int, first: int, last: int) -> np.ndarray:
    """Scikit-learn's digits as coloured raw images ``(n, side, side, 3)``."""
    found = load_digits().images[first:last, ..., None].astype(np.float32) * (255 / 16)
    larger = np.asarray(keras.ops.image.resize(found, (side, side)))
    return np.clip(larger * np.float32([1, 0.8, 0.5]), 0, 255)


@cache
def calibration(side: int) -> np.ndarray:
    """Digits, and noise of all kinds: ranges so wide that no variant leaves them.

    Beyond an anchor's ranges integers saturate, which is a matter of the stitch and not of the linker.
    """
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 90, (64, side, side, 3))
    blobs = np.asarray(keras.ops.image.resize(rng.normal(128, 150, (64, 4, 4, 3)).astype(np.float32), (side, side)))
    seen = digits(side, 0, 64)
    return np.clip(np.concatenate([seen, 255 - seen[:32], noise, blobs]), 0, 255).astype(np.float32)


@cache
def obj(name: str, precision: str) -> link.Object:
    return link.Object(compiled(name, precision))


@cache
def compiled(name: str, precision: str) -> bytes:
    model = anchor(name).model
    tensors = {cut.name: cuts.tensor(model, cut.name) for cut in cuts.find(model) if cut.kind == "grid"}
    return compile_object(model, tensors, precision, [calibration(model.input_shape[1])])


@cache
def fitted(name: str) -> Stitch:
    """A random map whose outputs have the mean and somewhat less than the spread of the back's own cut."""
    case = CASES[name]
    ends = [(anchor(case.front), case.stop), (anchor(case.back), case.start)]
    x, y = (forward(cuts.front(a, cut), digits(a.input_shape[0], 0, 128)) for a, cut in ends)
    source, target = (next(c for c in cuts.find(a.model) if c.name == cut) for a, cut in ends)
    image = resampled = keras.Input(source.shape)
    for step in steps.resampling(source.layout.size, target.layout.size):
        resampled = step.keras(resampled, resampled)
    if resampled is not image:
        x = forward(keras.Model(image, resampled), x)
    kernel = np.random.default_rng(list(CASES).index(name)).normal(0, 1, (x.shape[-1], y.shape[-1]))
    kernel *= 0.7 * y.std((0, 1, 2)) / (x @ kernel).std((0, 1, 2))
    bias = y.mean((0, 1, 2)) - (x @ kernel).mean((0, 1, 2))
    return Stitch(kernel.astype(np.float32), bias.astype(np.float32), source.layout, target.layout, target.clamp)


def tuned(case: Case, change: Callable[[np.ndarray, Any], np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Other scales and shifts of a case's norms, by weight path; ``change`` makes the scales."""
    rng = np.random.default_rng(8)
    values = {w.path: np.asarray(w) for w in anchor(case.back).model.weights}
    found = {}
    for name in case.norms:
        gamma, beta = values[f"{name}_norm/gamma"], values[f"{name}_norm/beta"]
        scaled = change(gamma, rng) if change else gamma * rng.uniform(0.6, 1.2, gamma.shape)
        found[f"{name}_norm/gamma"] = scaled.astype(np.float32)
        found[f"{name}_norm/beta"] = (beta + rng.normal(0, 0.1, beta.shape)).astype(np.float32)
    return found


def refolded(case: Case, weights: Mapping[str, np.ndarray]) -> tuple[Refolded, ...]:
    if not weights:
        return ()
    before = cuts.back(anchor(case.back), case.start)
    return norms.refolded(before, variant.with_weights(before, weights))


@cache
def own_norms(name: str) -> tuple[Refolded, ...]:
    return refolded(CASES[name], tuned(CASES[name]))


def route(name: str, precision: str, weights: Mapping[str, np.ndarray] | None = None) -> link.Route:
    case = CASES[name]
    found = own_norms(name) if weights is None else refolded(case, weights)
    joint, back = stitch.pipeline(fitted(name)), obj(case.back, precision)
    return link.Route(obj(case.front, precision), case.stop, joint, back, case.start, found)


def plan(case: Case, name: str = "p") -> Plan:
    return Plan(name, (Piece(case.front, None, case.stop), Piece(case.back, case.start, None)), 1, 1, 0.5, 0.5)


@cache
def keras_variant(name: str) -> keras.Model:
    return assembled(name, tuned(CASES[name]))


@cache
def keras_scores(name: str) -> np.ndarray:
    return forward(keras_variant(name), unseen(name))


def assembled(name: str, weights: dict[str, np.ndarray]) -> keras.Model:
    anchors = {n: anchor(n) for n in ("mobile", "resnet")}
    return variant.assemble(plan(CASES[name]), anchors, replace(fitted(name), tuned=weights))


@cache
def linked(name: str, precision: str) -> bytes:
    return link.variant(route(name, precision), precision=precision)


@cache
def own(name: str, precision: str) -> bytes:
    """The converter's file of the whole variant."""
    model = keras_variant(name)
    return convert(model, precision, [calibration(model.input_shape[1])])


def unseen(name: str) -> np.ndarray:
    return digits(anchor(CASES[name].front).input_shape[0], 400, 520)


def sqnr(found: np.ndarray, expected: np.ndarray) -> float:
    """Signal to quantisation noise in dB."""
    return float(10 * np.log10((expected**2).sum() / ((found - expected) ** 2).sum()))


def agreement(found: np.ndarray, expected: np.ndarray) -> float:
    return float((found.argmax(1) == expected.argmax(1)).mean())


def answers(file: bytes, key: str, images: np.ndarray) -> np.ndarray:
    """Raw outputs of one signature, in the file's own type; images are quantised by the entry."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=file).get_signature_runner(key)
    entry = runner.get_input_details()["image"]
    # A runner hands out a view of its tensor: the next call overwrites it.
    return np.concatenate([runner(image=quantise(image, entry)[None])["scores"].copy() for image in images])


# --- against Keras and the converter --------------------------------------------------------------


def test_the_cases_are_what_their_names_say():
    found = {n: (fitted(n).source.size, fitted(n).target.size, fitted(n).clamp) for n in PLAIN}
    assert found == {
        "same grid, linear": ((16, 16), (16, 16), (None, None)),
        "same grid, ReLU6": ((16, 16), (16, 16), (0.0, 6.0)),
        "pooled, ReLU": ((16, 16), (8, 8), (0.0, None)),
        "resized up, linear": ((8, 8), (16, 16), (None, None)),
        "resized down, ReLU6": ((8, 8), (6, 6), (0.0, 6.0)),
        "resized up, ReLU": ((6, 6), (8, 8), (0.0, None)),
    }
    assert all(len(set(keras_scores(n).argmax(1))) > 1 for n in CASES)


@pytest.mark.parametrize("name", CASES)
def test_float32_is_the_keras_variant_and_the_converters_file(name: str):
    x = unseen(name)
    found = scores(linked(name, "float32"), [x])
    expected = keras_scores(name)
    assert np.ptp(expected, axis=0).max() > 1
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-6)
    np.testing.assert_allclose(found, scores(own(name, "float32"), [x]), atol=1e-5)


@pytest.mark.parametrize(("precision", "least"), [("float16", 45), ("dynamic", 25)])
@pytest.mark.parametrize("name", CASES)
def test_reduced_weights_come_close_to_keras(name: str, precision: str, least: float):
    x = unseen(name)
    found, expected = scores(linked(name, precision), [x]), keras_scores(name)
    assert sqnr(found, expected) > least
    assert agreement(found, expected) >= 0.95


# Beyond the converter's own loss: in int8 the ranges at and behind the cut are the anchor's, which are
# wider here than the variant's own; in int16x8 such a range costs nothing, and biases are the route's own.
@pytest.mark.parametrize(
    ("name", "precision", "margin"),
    [
        *((name, "int8", 12.0) for name in ("same grid, linear", "pooled, ReLU", "resized down, ReLU6", *TUNED)),
        *((name, "int16x8", 0.5) for name in ("pooled, ReLU", "resized up, linear", *TUNED)),
    ],
)
def test_integers_lose_little_more_than_the_converters_own(name: str, precision: str, margin: float):
    x = unseen(name)
    expected = keras_scores(name)
    file = linked(name, precision) if precision == "int8" else recalibrated(name, precision)
    found, others = (scores(content, [x]) for content in (file, own(name, precision)))
    assert sqnr(found, expected) > sqnr(others, expected) - margin
    assert agreement(found, expected) >= agreement(others, expected) - 0.08


def recalibrated(name: str, precision: str) -> bytes:
    """A route with ranges and biases of its own, in sixteen bits with biases alone."""
    one, images = route(name, precision), calibration(anchor(CASES[name].front).input_shape[0])
    return link.variant(replace(one, requantised=recalibration.of(one, [*images[:, None]])), precision=precision)


def test_in_ranges_of_their_own_routes_are_as_near_as_the_converters_own():
    ahead = []  # of the converter's, which rounds tuned weights anew; these stitches are not fitted to integers
    for name in ("same grid, linear", "pooled, ReLU", "resized down, ReLU6", *TUNED):
        x, file = unseen(name), recalibrated(name, "int8")
        expected = keras_scores(name)
        mine, others = (sqnr(scores(content, [x]), expected) for content in (file, own(name, "int8")))
        assert mine > sqnr(scores(linked(name, "int8"), [x]), expected)
        ahead.append(mine - others)
    assert np.mean(ahead) > -0.75
    assert min(ahead) > -2


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_variant_is_wholly_of_its_precision(name: str, precision: str):
    check_file(linked(name, precision), precision)
    assert read(linked(name, precision)).metadata["min_runtime_version"].data.tobytes().strip(b"\0")


@pytest.mark.parametrize("precision", INTEGERS)
@pytest.mark.parametrize("name", PLAIN)
def test_integer_stitches_hit_the_integers_of_exact_arithmetic(name: str, precision: str):
    """From the integers at the front's cut to those at the back's: resampling, map, clamp, in floats."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    file, fit = linked(name, precision), fitted(name)
    graph = only(read(file))
    place = next(i for i, op in enumerate(graph.operators) if op.inputs[-1].name == "stitch/bias")
    resampling = steps.resampling(fit.source.size, fit.target.size)
    source, target = graph.operators[place - len(resampling)].inputs[0], graph.operators[place].outputs[0]
    interpreter = Interpreter(
        model_content=file,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    limits = np.iinfo(entry["dtype"])
    weights_error = np.abs(fit.kernel).max(0) / 127 / 2
    input_error = source.scales[0] * np.abs(fit.kernel).sum(0) if resampling else 0
    for image in quantise(unseen(name)[:4], entry):
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        x, y = (interpreter.get_tensor(graph.tensors.index(t)).astype(np.float64) for t in (source, target))
        x = (x - source.zero_points[0]) * source.scales[0]
        for step in resampling:
            x = np.asarray(step.keras(x.astype(np.float32), x), np.float64)
        real = np.clip(x @ fit.kernel + fit.bias, *fit.clamp)
        expected = np.clip(real / target.scales[0] + target.zero_points[0], limits.min, limits.max)
        # Half a step of each weight, one of a resampled input, one of the result.
        bound = (np.abs(x).sum(-1, keepdims=True) * weights_error + input_error) / target.scales[0] + 1
        assert np.all(np.abs(y - expected) <= bound)
        assert np.abs(y - expected).mean() < 0.5 * bound.mean()


# --- what is shared -------------------------------------------------------------------------------


def contents(tensors: Sequence[Tensor]) -> set[bytes]:
    return {t.buffer.data.tobytes() for t in tensors if t.constant}


def operands(graph: Subgraph) -> list[Tensor]:
    return [t for op in graph.operators for t in op.inputs if t is not None and t.constant]


@pytest.mark.parametrize("precision", INTEGERS)
@pytest.mark.parametrize("name", PLAIN)
def test_all_integers_but_the_stitchs_are_the_objects_own(name: str, precision: str):
    case = CASES[name]
    known = contents(operands(obj(case.front, precision).graph)) | contents(operands(obj(case.back, precision).graph))
    fresh = {t.name: t for t in operands(only(read(linked(name, precision)))) if t.buffer.data.tobytes() not in known}
    wanted = {"stitch/kernel", "stitch/bias"}
    assert wanted <= set(fresh) <= wanted | {"stitch/size"}
    c_in, c_out = fitted(name).kernel.shape
    assert fresh["stitch/kernel"].shape == (c_out, 1, 1, c_in)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_objects_operators_are_in_the_file_as_they_were(precision: str):
    """Options, versions, scales and values of every operator of both anchors."""
    name = "resized down, ReLU6"
    case = CASES[name]
    ours = [described(op) for op in only(read(linked(name, precision))).operators]
    front, back = ([described(op) for op in obj(n, precision).graph.operators] for n in (case.front, case.back))
    stitching = [row for row in ours if row not in front and row not in back]
    assert [row[0] for row in stitching if row[0] != "DEQUANTIZE"] == ["RESIZE_BILINEAR", "CONV_2D"]
    kept = [row for row in ours if row in front], [row for row in ours if row in back]
    assert kept[0] == [row for row in front if row in ours]
    assert kept[1] == [row for row in back if row in ours]
    assert kept[1][-1] == back[-1]
    assert ours == [*kept[0], *stitching, *kept[1]]


def described(op: Any) -> tuple[Any, ...]:
    sides = [
        (t.name, t.type, t.shape, t.scales, t.zero_points, t.buffer.data.tobytes())
        for t in (*op.inputs, *op.outputs)
        if t is not None
    ]
    options = dict(vars(op.table.builtinOptions)) if op.table.builtinOptions else {}
    return op.name, op.code.version, op.table.builtinOptionsType, str(options), sides


@pytest.mark.parametrize("precision", INTEGERS)
@pytest.mark.parametrize("name", TUNED)
def test_tuned_norms_change_scales_and_biases_alone(name: str, precision: str):
    routes = {"anchor": link.Route(obj(CASES[name].back, precision)), "tuned": route(name, precision)}
    model = read(link.elastic(routes, precision=precision, names=True))
    whole, graph = (next(s.subgraph for s in model.signatures if s.key == key) for key in ("anchor", "tuned"))
    theirs = {t.name: t for t in operands(whole)}
    front = contents(operands(obj(CASES[name].front, precision).graph))
    weights = [t for t in operands(graph) if t.type == "INT8" and t.name in theirs]
    assert len(weights) >= len(CASES[name].norms)
    assert all(t.buffer is theirs[t.name].buffer for t in weights)
    moved = [t for t in weights if t.scales != theirs[t.name].scales]
    assert len(moved) == len(CASES[name].norms)
    known = {id(t.buffer) for t in operands(whole)}
    fresh = [t for t in operands(graph) if id(t.buffer) not in known and t.buffer.data.tobytes() not in front]
    bias = "INT32" if precision == "int8" else "INT64"
    kinds = sorted((t.name, t.type) for t in fresh if not t.name.startswith("stitch/"))
    assert kinds == sorted((f"{norm}/bias", bias) for norm in CASES[name].norms)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", TUNED)
def test_a_factor_behind_the_convolution_is_the_folded_form(name: str, precision: str):
    file = link.elastic({"tuned": route(name, precision)}, precision=precision, names=True)
    x = unseen(name)[:30]
    np.testing.assert_allclose(
        answers(file, "tuned", x), scores(linked(name, precision), [x]), atol=1e-5 if precision == "float32" else 2e-2
    )
    ours, folded = ([op.name for op in only(read(f)).operators].count("MUL") for f in (file, linked(name, precision)))
    assert ours - folded == len(CASES[name].norms)
    # No weight of the anchors is there a second time in another form.
    known = contents(operands(obj(CASES[name].front, precision).graph))
    known |= contents(operands(obj(CASES[name].back, precision).graph))
    fresh = [t for t in operands(only(read(file))) if t.buffer.data.tobytes() not in known]
    own = [t for t in fresh if not t.name.startswith("stitch/")]
    assert max(t.nbytes for t in own) <= 4 * max(len(norm.bias) for norm in route(name, precision).retuned)


def odd_scales(gamma: np.ndarray, _: Any) -> np.ndarray:
    """One channel turned around, one switched off, one all but off."""
    factors = np.linspace(0.7, 1.2, len(gamma))
    factors[:3] = -0.9, 0.0, 1e-9
    return gamma * factors


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize(("precision", "least"), [("float32", 90), ("float16", 40), ("dynamic", 25), ("int8", 15)])
@pytest.mark.parametrize("name", TUNED)
def test_negative_and_vanishing_factors(name: str, precision: str, least: float, share: bool):
    weights = tuned(CASES[name], odd_scales)
    # What a channel still gives when it is switched off is its shift: it must not be lost.
    for path in weights:
        if path.endswith("beta"):
            weights[path][1:3] = 0.8
    wanted, x = route(name, precision, weights), unseen(name)[:40]
    expected = forward(assembled(name, weights), x)
    file = link.elastic({"p": wanted}, precision=precision) if share else link.variant(wanted, precision=precision)
    assert sqnr(scores(file, [x]), expected) > least


def test_the_objects_are_left_as_they_were():
    name = TUNED[0]
    before = {n: write(obj(n, "int8").model) for n in ("mobile", "resnet")}
    link.variant(route(name, "int8", tuned(CASES[name], odd_scales)), precision="int8")
    link.elastic({"a": route(name, "int8"), "b": link.Route(obj("mobile", "int8"))}, precision="int8", names=False)
    assert {n: write(obj(n, "int8").model) for n in before} == before


@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_inputs_give_equal_bytes(precision: str):
    routes = {name: route(name, precision) for name in ("pooled, ReLU", TUNED[0])}
    fresh = {name: link.Object(compiled(name, precision)) for name in ("mobile", "resnet")}
    again = {
        name: replace(found, front=fresh[CASES[name].front], back=fresh[CASES[name].back])
        for name, found in routes.items()
    }
    metadata = {"b": 1, "a": [1, 2]}
    files = [link.elastic(r, precision=precision, metadata=metadata) for r in (routes, again)]
    assert files[0] == files[1]
    assert link.variant(again[TUNED[0]], precision=precision) == linked(TUNED[0], precision)


# --- the elastic file -----------------------------------------------------------------------------


@cache
def family(precision: str) -> bytes:
    """All cases and both anchors."""
    routes = {name: route(name, precision) for name in CASES}
    routes |= {name: link.Route(obj(name, precision)) for name in ("mobile", "resnet")}
    return link.elastic(routes, precision=precision, metadata={"points": [{"name": n} for n in routes]})


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_signature_answers_as_its_single_file(precision: str):
    file = family(precision)
    singles = {name: linked(name, precision) for name in CASES}
    for name in ("mobile", "resnet"):
        singles[name] = link.variant(link.Route(obj(name, precision)), precision=precision)
    assert {s.key for s in read(file).signatures} == set(singles)
    for name, single in singles.items():
        x = unseen(name)[:6] if name in CASES else digits(anchor(name).input_shape[0], 400, 406)
        found, expected = answers(file, name, x), answers(single, "serving_default", x)
        if precision in INTEGERS:
            np.testing.assert_array_equal(found, expected)
        else:
            limit = {"float32": 1e-5, "float16": 2e-2, "dynamic": 1e-5}[precision] if name in TUNED else 1e-6
            np.testing.assert_allclose(found, expected, atol=limit)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_anchor_alone_is_the_object_without_its_cuts(precision: str):
    x = digits(32, 400, 406)
    single = link.variant(link.Route(obj("mobile", precision)), precision=precision)
    found = answers(single, "serving_default", x)
    np.testing.assert_array_equal(found, answers(compiled("mobile", precision), "serving_default", x))
    assert [t.name for t in only(read(single)).outputs] == [obj("mobile", precision).scores.name]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_elastic_file_holds_every_weight_once(precision: str):
    model = read(family(precision))
    buffers = {id(t.buffer): t.buffer.data.tobytes() for g in model.subgraphs for t in operands(g)}
    assert len(buffers) == len(set(buffers.values()))
    assert [graph.table.name.decode() for graph in model.subgraphs] == [s.key for s in model.signatures]
    union = sum(
        map(
            len, contents(operands(obj("mobile", precision).graph)) | contents(operands(obj("resnet", precision).graph))
        )
    )
    assert len(family(precision)) < 1.05 * union + 40_000 * len(CASES)
    # Sharper: what one more point costs, all in all, against the file that it would else be.
    single = sum(len(linked(name, precision)) for name in CASES)
    assert len(family(precision)) < 0.75 * single


def test_metadata_comes_back():
    noted = {"points": [{"name": "größer", "score": 0.5}], "labels": ["a", "b"]}
    routes = {"one": link.Route(obj("mobile", "int8"))}
    assert link.points(link.elastic(routes, precision="int8", metadata=noted)) == noted
    assert link.points(link.variant(routes["one"], precision="int8", metadata=noted)) == noted


@pytest.mark.parametrize(
    ("noted", "reason"),
    [
        (None, "no operating points in it"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1]", "no JSON"),
    ],
)
def test_metadata_that_is_none_is_refused(noted: bytes | None, reason: str):
    model = read(linked(PLAIN[0], "int8"))
    if noted is not None:
        model.metadata[link.METADATA] = link.Buffer(np.frombuffer(noted, np.uint8))
    with pytest.raises(TfliteError, match=reason):
        link.points(write(model))


def test_the_newest_runtime_that_an_object_needs_is_noted():
    old, new = (link.Object(compiled(n, "int8")) for n in ("mobile", "resnet"))
    for found, needed in ((old, b"1.9.0\0"), (new, b"1.14.0\0")):
        found.model.metadata["min_runtime_version"] = link.Buffer(np.frombuffer(needed, np.uint8))
    file = link.elastic({"old": link.Route(old), "new": link.Route(new)}, precision="int8")
    assert read(file).metadata["min_runtime_version"].data.tobytes() == b"1.14.0\0"


def test_names_are_left_out_on_demand():
    name = PLAIN[0]
    bare = link.variant(route(name, "int8"), precision="int8", names=False)
    named = {t.name for t in only(read(bare)).tensors}
    graph = only(read(linked(name, "int8")))
    assert named == {"", graph.inputs[0].name, graph.outputs[0].name}
    np.testing.assert_array_equal(scores(bare, [unseen(name)[:8]]), scores(linked(name, "int8"), [unseen(name)[:8]]))


# --- stitches that are hard to hold in integers ---------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_front_gives_what_the_object_gives_at_its_cut(precision: str):
    from ai_edge_litert.interpreter import Interpreter

    file, x = link.front(link.Route(obj("mobile", precision)), "m2", precision=precision), digits(32, 400, 404)
    whole = Interpreter(model_content=compiled("mobile", precision)).get_signature_runner("serving_default")
    entry = whole.get_input_details()["image"]
    expected = np.concatenate([whole(image=image[None])["m2"].copy() for image in quantise(x, entry)])
    np.testing.assert_array_equal(answers(file, "serving_default", x), expected)
    assert len(file) < 0.6 * len(compiled("mobile", precision))


def test_limits_are_those_of_the_backs_integers():
    linear, clamped = (link.limits(route(name, "int8")) for name in ("same grid, linear", "pooled, ReLU"))
    cut = obj("mobile", "int8").cut("m0_add")
    (scale,), (zero,) = cut.scales, cut.zero_points
    assert linear == pytest.approx((scale * (-128 - zero), scale * (127 - zero)))
    # Below a ReLU nothing is lost that the float back would have seen.
    assert clamped == (-np.inf, pytest.approx(255 * obj("resnet", "int8").cut("r1").scales[0]))


@pytest.mark.parametrize("precision", INTEGERS)
def test_a_dead_channel_of_a_stitch_keeps_its_bias(precision: str):
    """A kernel of zeros has no scale of its own, yet its bias is counted in units of one."""
    name = "same grid, linear"
    kernel, bias = fitted(name).kernel.copy(), fitted(name).bias.copy()
    kernel[:, 0], kernel[:, 1] = 0, kernel[:, 1] * 1e-9
    dead = replace(fitted(name), kernel=kernel, bias=bias)
    x = unseen(name)[:40]
    anchors = {n: anchor(n) for n in ("mobile", "resnet")}
    expected = forward(variant.assemble(plan(CASES[name]), anchors, dead), x)
    file = link.variant(replace(route(name, precision), stitch=stitch.pipeline(dead)), precision=precision)
    assert sqnr(scores(file, [x]), expected) > (15 if precision == "int8" else 25)


# --- refusals -------------------------------------------------------------------------------------


def test_unknown_cuts_are_refused_with_those_that_are_there():
    found = route(PLAIN[0], "float32")
    with pytest.raises(TfliteError, match=r"no cut 'r9'; it has: .*r0, r1"):
        link.variant(replace(found, stop="r9"), precision="float32")
    with pytest.raises(TfliteError, match=r"no cut 'm9'; it has: .*m0_add"):
        link.variant(replace(found, start="m9"), precision="float32")


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(TfliteError, match=r"joins \(16, 16, 6\) to \(16, 16, 8\), the cuts are .* and \(6, 6, 24\)"):
        link.variant(replace(route(PLAIN[0], "float32"), start="m2"), precision="float32")
    with pytest.raises(TfliteError, match=r"the cuts are \(8, 8, 16\) and"):
        link.variant(replace(route(PLAIN[0], "float32"), stop="r1"), precision="float32")


def test_a_start_that_a_path_runs_past_is_refused():
    """Inside a residual block: the skip connection would still need the image."""
    model = anchor("mobile").model
    inner = model.get_layer("m0_project_norm").output
    found = link.Object(compile_object(model, {"inner": inner}, "float32"))
    assert found.cut("inner").shape == (1, 16, 16, 8)
    broken = replace(route(PLAIN[0], "float32"), back=found, start="inner")
    with pytest.raises(TfliteError, match=r"is no cut: a path from the input runs past it"):
        link.variant(broken, precision="float32")


@pytest.mark.parametrize("kind", ["renamed", "two signatures", "none", "two subgraphs"])
def test_a_file_that_is_no_object_is_refused(kind: str):
    model = read(compiled("resnet", "float32"))
    if kind == "renamed":
        model.signatures[0].outputs["other"] = model.signatures[0].outputs.pop("scores")
    elif kind == "two signatures":
        model.signatures.append(replace(model.signatures[0], key="again"))
    elif kind == "none":
        model.signatures.clear()
    else:
        model.subgraphs.append(model.subgraphs[0])
    with pytest.raises(TfliteError, match=r"exactly one|one signature with an output 'scores'"):
        link.Object(write(model))


@pytest.mark.parametrize(("front", "back"), [("float32", "int8"), ("int8", "int16x8"), ("int16x8", "float32")])
def test_objects_of_two_precisions_are_refused(front: str, back: str):
    name = PLAIN[0]
    mixed = replace(route(name, front), back=obj(CASES[name].back, back))
    with pytest.raises(TfliteError, match=f"asked for {front}, of .*, but an object is of "):
        link.variant(mixed, precision=front)


@pytest.mark.parametrize(
    ("objects", "asked"),
    [("float32", "int8"), ("int8", "float32"), ("int8", "int16x8"), ("int16x8", "int8"), ("float32", "int4")],
)
def test_a_precision_that_is_not_the_objects_is_refused(objects: str, asked: str):
    with pytest.raises(TfliteError, match=asked):
        link.variant(route(PLAIN[0], objects), precision=asked)


@pytest.mark.parametrize("clamp", [(0.0, 3.0), (-1.0, 1.0), (None, 6.0)])
def test_a_clamp_that_no_operator_ends_in_is_refused(clamp: tuple[float | None, float | None]):
    odd = replace(route(PLAIN[0], "float32"), stitch=stitch.pipeline(replace(fitted(PLAIN[0]), clamp=clamp)))
    with pytest.raises(TfliteError, match="no operator ends in the clamp"):
        link.variant(odd, precision="float32")


def test_no_routes_are_refused():
    with pytest.raises(TfliteError, match="no routes to link"):
        link.elastic({}, precision="float32")


def test_a_norm_whose_weights_no_operator_holds_is_refused():
    name = TUNED[0]
    found = route(name, "float32")
    other = replace(found.retuned[0], weights=found.retuned[0].weights * 2)
    with pytest.raises(TfliteError, match="0 operators hold its weights"):
        link.variant(replace(found, retuned=(other,)), precision="float32")


# --- builds that fall back ------------------------------------------------------------------------


def small_family(folder: Path, **settings: Any) -> Any:
    """What ``Linker`` reads of a family."""

    def batches(shape: tuple[int, ...], size: int) -> list[np.ndarray]:
        return [digits(shape[0], 0, size)]

    names = ("mobile", "resnet")
    split = SimpleNamespace(head=lambda count: SimpleNamespace(batches=batches))
    data, images = SimpleNamespace(fit=split, sha256="digits", kind=PHOTOS), DataSource("digits", 0, "digits")
    remember(images, data)
    return SimpleNamespace(
        anchors={n: anchor(n) for n in names},
        sources={n: named(anchor(n)) for n in names},
        images=images,
        execute=tasks.serially,
        cut_lists={n: cuts.find(anchor(n).model) for n in names},
        places={n: cuts.places(anchor(n)) for n in names},
        data=data,
        settings=SimpleNamespace(**({"uint8_input": False, "recalibrate": False, "lower": ()} | settings)),
        report=Silent(),
        run=SimpleNamespace(object_path=lambda name, precision, digest: folder / f"{name}.{precision}.{digest}.tflite"),
    )


@pytest.fixture(scope="module")
def objects(once: paths.Once) -> Path:
    """Where the anchors are compiled, once in each precision for all routes through them."""
    return once("objects of test_link", lambda folder: None)


def test_an_anchor_that_cannot_be_compiled_is_refused_and_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A back of its own would stand in for it in silence, with none of its weights shared."""
    name = TUNED[1]
    fit = Fitted(fitted(name), "stitch", 0, 0, ())
    members = Members(small_family(tmp_path), {name: plan(CASES[name], name)}, {name: fit})

    def refusing(model: keras.Model, *rest: Any, **more: Any) -> bytes:
        if model is anchor(CASES[name].back).model:
            raise TfliteError("no such operator")
        return compile_object(model, *rest, **more)

    monkeypatch.setattr(convert_module, "compile_object", refusing)
    with pytest.raises(TfliteError, match="no such operator"):
        anchor_pieces.linker(members, "float32").variant(name)


def named(model: Anchor) -> AnchorSource:
    """What a task finds an anchor by that was built here."""
    source = AnchorSource(ModelSource(model.name), model.sha256)
    remember(source, model)
    return source


@pytest.mark.parametrize("kind", ["norms", "a dense layer", "a norm that was zero"])
def test_a_back_that_cannot_be_retuned_is_compiled_for_its_variant(kind: str, objects: Path):
    name = TUNED[1]
    weights = tuned(CASES[name])
    if kind == "a dense layer":
        kernel = np.asarray(anchor("resnet").model.get_layer("logits").kernel)
        weights = {"logits/kernel": (kernel * 1.3).astype(np.float32)}
    found = small_family(objects)
    if kind == "a norm that was zero":
        whole = anchor("resnet")
        gamma = np.asarray(whole.model.get_layer("r1_conv1_norm").gamma).copy()
        gamma[2] = 0
        changed = variant.with_weights(whole.model, {"r1_conv1_norm/gamma": gamma})
        logits = changed.outputs[0]
        found.anchors["resnet"] = Anchor("resnet", changed, logits, logits, None, "zeroed")
        found.sources["resnet"] = named(found.anchors["resnet"])
    fit = replace(fitted(name), tuned=weights)
    members = Members(found, {name: plan(CASES[name], name)}, {name: Fitted(fit, "norm", 0, 0, ())})
    linker = anchor_pieces.linker(members, "float32")
    made = linker.route(name)
    assert (made.start is None) == (kind != "norms")
    assert bool(made.retuned) == (kind == "norms")
    x = unseen(name)[:20]
    expected = forward(variant.assemble(plan(CASES[name]), found.anchors, fit), x)
    np.testing.assert_allclose(scores(linker.variant(name), [x]), expected, atol=2e-5, rtol=2e-6)
    assert np.abs(expected - forward(variant.assemble(plan(CASES[name]), found.anchors, fitted(name)), x)).max() > 0.05


def integers(graph: Subgraph) -> set[bytes]:
    """Contents of the weights of a graph's convolutions and dense layers."""
    return contents([t for t in operands(graph) if t.constant and t.type == "INT8" and len(t.shape) > 1])


@pytest.mark.parametrize("name", TUNED)
def test_a_back_calibrated_anew_shares_the_anchors_integers(name: str, objects: Path):
    case, found = CASES[name], small_family(objects, recalibrate=True)
    fit = Fitted(replace(fitted(name), tuned=tuned(case)), "norm", 0, 0, ())
    linker = anchor_pieces.linker(Members(found, {name: plan(case, name)}, {name: fit}), "int8")
    made, whole = linker.route(name), linker.route(case.back).objects[0]
    assert made.back is not None
    assert made.start is None
    assert made.back is not whole
    assert len(integers(made.back.graph)) > 3
    assert integers(made.back.graph) <= integers(whole.graph)
    # Its ranges are its own, though: the cut's, to begin with.
    assert made.back.image.scales != whole.cut(case.start).scales
    x = unseen(name)[:60]
    expected = forward(assembled(name, fit.stitch.tuned), x)
    assert sqnr(scores(linker.variant(name), [x]), expected) > 20


@pytest.mark.parametrize("factor", [1.0, 8.0])
def test_ranges_that_do_not_suit_a_route_are_left_for_its_own(factor: float, objects: Path):
    # Through an anchor's own cut, unchanged: only the norms behind it can leave its ranges.
    case, found = Case("resnet", "r0", "resnet", "r0", ("r1_conv1", "r1_conv2")), small_family(objects)
    cut = next(c for c in found.cut_lists["resnet"] if c.name == "r0")
    weights = tuned(case, lambda gamma, rng: gamma * factor)
    straight = Stitch(np.eye(6, dtype="f4"), np.zeros(6, "f4"), cut.layout, cut.layout, cut.clamp, tuned=weights)
    members = Members(found, {"p": plan(case)}, {"p": Fitted(straight, "norm", 0, 0, ())})
    linker = anchor_pieces.linker(members, "int8")
    assert (linker.route("p").start is None) == (factor > 1)
    told = [line for line in found.report.lines if line.endswith("calibrated anew")]
    assert bool(told) == (factor > 1)
    x = digits(16, 0, 64)  # what they are calibrated on: 64 digits bound no others
    assert sqnr(scores(linker.variant("p"), [x]), forward(members.model("p"), x)) > 17  # the anchor itself has 17.7


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_anchor_stitched_to_itself_at_one_cut_is_the_anchor(precision: str):
    found = obj("resnet", precision)
    cut = next(c for c in cuts.find(anchor("resnet").model) if c.name == "r0")
    straight = Stitch(np.eye(6, dtype="f4"), np.zeros(6, "f4"), cut.layout, cut.layout, cut.clamp)
    made = link.variant(link.Route(found, "r0", stitch.pipeline(straight), found, "r0"), precision=precision)
    whole, x = link.variant(link.Route(found), precision=precision), digits(16, 400, 460)
    np.testing.assert_allclose(scores(made, [x]), scores(whole, [x]), atol=1e-6)


# --- routes of more than two pieces ---------------------------------------------------------------

# There and back again; into the first anchor in front of where it was left; and the same once more.
LONG: dict[str, tuple[Piece, ...]] = {
    "there and back": (
        Piece("resnet", None, "r0"),
        Piece("mobile", "m0_add", "m2"),
        Piece("resnet", "r1", None),
    ),
    "back to where it was": (
        Piece("resnet", None, "r1"),
        Piece("mobile", "m0_add", "m2"),
        Piece("resnet", "r1", None),
    ),
    "back before it": (
        Piece("mobile", None, "m2"),
        Piece("resnet", "r0", "r1"),
        Piece("mobile", "m0_add", None),
    ),
    "four pieces": (
        Piece("resnet", None, "r0"),
        Piece("mobile", "stem", "m0_add"),
        Piece("resnet", "r0", "r1"),
        Piece("mobile", "m2", None),
    ),
    "through a whole anchor": (Piece("mobile", None, "m2"), Piece("whole", None, None)),
}


def long_plan(name: str) -> Plan:
    return Plan(name, LONG[name], 1, 1, 0.5, 0.5)


@cache
def whole() -> Anchor:
    """A small anchor that no other's image could enter: its input is a cut of theirs."""
    keras.utils.set_random_seed(5)
    image = keras.Input((6, 6, 4), name="features")
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu", name="c")(image))
    logits = layers.Dense(CLASSES, name="logits")(features)
    model = keras.Model(image, logits, name="whole")
    return Anchor("whole", model, logits, features, None, "whole")


def layout(piece: Piece, cut: str | None) -> tuple[Any, tuple[float | None, float | None]]:
    if cut is None:
        return Layout(whole().input_shape), (None, None)
    found = next(c for c in cuts.find(anchor(piece.anchor).model) if c.name == cut)
    return found.layout, found.clamp


@cache
def long_stitches(name: str) -> tuple[Stitch, ...]:
    rng, pieces, made = np.random.default_rng(4), LONG[name], []
    for before, behind in pairwise(pieces):
        (source, _), (target, clamp) = layout(before, before.stop), layout(behind, behind.start)
        kernel = rng.normal(0, source.channels**-0.5, (source.channels, target.channels)).astype("f4")
        made.append(Stitch(kernel, rng.normal(0, 0.2, target.channels).astype("f4"), source, target, clamp))
    return tuple(made)


def by_hand(name: str, x: np.ndarray) -> np.ndarray:
    """Every piece and stitch run by itself, one after the other."""
    pieces = LONG[name]
    found = {"whole": whole(), "mobile": anchor("mobile"), "resnet": anchor("resnet")}
    for piece, made in zip(pieces, [*long_stitches(name), None], strict=True):
        model = found[piece.anchor].model
        start = model.inputs[0] if piece.start is None else cuts.tensor(model, piece.start)
        end = model.outputs[0] if piece.stop is None else cuts.tensor(model, piece.stop)
        x = forward(cuts.between(model, start, end), x)
        x = x if made is None else forward(stitch.build(made), x)
    return x


def long_family(folder: Path) -> Any:
    found = small_family(folder)
    if "whole" not in found.anchors:
        found.anchors["whole"] = whole()
        found.sources["whole"] = named(found.anchors["whole"])
        found.cut_lists["whole"] = ()
    return found


def long_members(name: str, folder: Path) -> Members:
    *before, last = long_stitches(name)
    fit = Fitted(last, "joint", 0, 0, (), before=tuple(before))
    return Members(long_family(folder), {name: long_plan(name)}, {name: fit})


@pytest.mark.parametrize("name", LONG)
def test_any_number_of_pieces_is_keras(name: str, objects: Path):
    members = long_members(name, objects)
    side = members.input_shape(name)[0]
    x = digits(side, 400, 430)
    expected = by_hand(name, x)
    np.testing.assert_allclose(forward(members.model(name), x), expected, atol=1e-5)
    linked = anchor_pieces.linker(members, "float32").variant(name)
    np.testing.assert_allclose(scores(linked, [x]), expected, atol=2e-5, rtol=1e-5)
    assert expected.std(0).max() > 1e-3


@pytest.mark.parametrize("name", [n for n in LONG if n != "through a whole anchor"])
@pytest.mark.parametrize("precision", INTEGERS)
def test_any_number_of_pieces_in_integers(name: str, precision: str, objects: Path):
    members = long_members(name, objects)
    linker, x = anchor_pieces.linker(members, precision), digits(members.input_shape(name)[0], 0, 60)
    assert sqnr(scores(linker.variant(name), [x]), by_hand(name, x)) > (
        17 if precision == "int8" else 25
    )  # random stitches leave the ranges


def test_pieces_share_their_weights_in_an_elastic_file(objects: Path):
    name = "there and back"
    linker = anchor_pieces.linker(long_members(name, objects), "float32")
    alone = sum(len(linker.variant(point)) for point in ("resnet", "mobile"))
    made = linker.elastic(["resnet", "mobile", name], {}, {})
    assert len(made) < alone + 4 * sum(s.kernel.size + s.bias.size for s in long_stitches(name)) + 12_000
    file = read(made)
    assert [s.key for s in file.signatures] == ["resnet", "mobile", name]


def test_a_route_with_a_stitch_too_few_is_refused():
    name = "there and back"
    with pytest.raises(RestnetError, match="3 pieces and 1 stitches"):
        variant.assemble(long_plan(name), {n: anchor(n) for n in ("mobile", "resnet")}, long_stitches(name)[0])


# --- TensorFlow Lite Micro ------------------------------------------------------------------------

needs_micro = needs.MICRO.mark


@needs_micro
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", ["pooled, ReLU", "resized up, linear", *TUNED])
def test_tflite_micro_gives_the_reference_kernels_outputs(name: str, precision: str):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    file = linked(name, precision)
    interpreter = Interpreter(model_content=file, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    entry, exit_ = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    images, expected = quantise(unseen(name)[:5], entry), []
    for image in images:
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(exit_["index"]))
    # It dies on files with several signatures, so it gets single variants alone.
    found = tflm_wheel.run(file, images, 8 << 20).scores[0]
    assert found.shape == np.concatenate(expected).shape
    difference = np.abs(found - np.concatenate(expected, dtype=np.float64)).max()
    assert difference <= (1 if precision == "int8" else 1e-4)
    assert np.ptp(found) > (10 if precision == "int8" else 1)
