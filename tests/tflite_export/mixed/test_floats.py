"""Mixed files of Transformers: norms, the sums that they read and attention in floats, cuts and ends as in int8."""

from __future__ import annotations

from functools import cache

import keras
import needs
import numpy as np
import pytest
from networks import forward
from outliers import WIDTH, images, transformer

from restnet_tf.graph import cuts
from restnet_tf.records import Layout, Stitch
from restnet_tf.stitches import stitch
from tflite_export import link
from tflite_export.convert import compile_object
from tflite_export.devices import devices, tflm_wheel
from tflite_export.devices.rules import refusals
from tflite_export.flatbuffer import Operator, only, read
from tflite_export.integers import quantise
from tflite_export.mixed import groups, widening
from tflite_export.precision import MIXED
from tflite_export.rewrites import centring
from tflite_export.verify import run

pytestmark = pytest.mark.slow
STOP, START = "block1.attention", "block1.out"
FLOATS = "norms, their sums and attention"


@cache
def model() -> keras.Model:
    one = keras.models.clone_model(transformer())
    one.set_weights(transformer().get_weights())
    assert centring.centre(one, images(2)) == 1
    return one


@cache
def content(precision: str, lower: tuple[str, ...] = ()) -> bytes:
    if precision == MIXED:
        eight = content("int8", lower)
        return widening.widened(eight, names(eight))
    ends = {name: cuts.tensor(model(), name) for name in (STOP, START)}
    return compile_object(model(), ends, "int8", [images(64)], lower=lower)


def names(eight: bytes) -> list[str]:
    (wide,) = (group for group in groups.of(only(read(eight))) if group.name == FLOATS)
    return list(wide.operators)


@cache
def obj(precision: str) -> link.Object:
    return link.Object(content(precision))


def operators(data: bytes) -> list[Operator]:
    return only(read(data)).operators


@cache
def joint() -> Stitch:
    rng = np.random.default_rng(3)
    kernel, layout = np.eye(WIDTH) + rng.normal(0, 0.05, (WIDTH, WIDTH)), Layout((17, WIDTH), (4, 4))
    return Stitch(kernel.astype(np.float32), np.zeros(WIDTH, np.float32), layout, layout, (None, None), {})


@cache
def file(name: str, precision: str) -> bytes:
    one = obj(precision)
    route = link.Route(one) if name == "large" else link.Route(one, STOP, stitch.pipeline(joint()), one, START)
    return link.variant(route, precision=precision)


def decibels(name: str, precision: str) -> float:
    exact, x = forward(model(), images(32)), images(32)
    if name == "route":
        front = forward(keras.Model(model().input, cuts.tensor(model(), STOP)), x)
        exact = forward(
            cuts.between(model(), cuts.tensor(model(), START), model().output), stitch.applied(joint(), front)
        )
    rough = run(file(name, precision), [x]).scores
    return float(10 * np.log10((exact**2).sum() / ((rough - exact) ** 2).sum()))


@pytest.mark.parametrize(("name", "more"), [("large", 2), ("route", 0.2)])  # of a route the cuts lose most
def test_they_come_nearer_to_the_float_network(name: str, more: float):
    assert decibels(name, MIXED) > decibels(name, "int8") + more


def test_dense_layers_stay_in_eight_bits_and_all_else_that_is_named_is_floats():
    kinds = {(op.name, op.outputs[0].type) for op in operators(file("large", MIXED))}
    assert {name for name, kind in kinds if kind == "FLOAT32"} >= {"L2_NORMALIZATION", "SOFTMAX", "BATCH_MATMUL", "ADD"}
    assert {kind for name, kind in kinds if name in ("FULLY_CONNECTED", "CONV_2D", "GELU")} == {"INT8"}
    assert not any(kind == "INT16" for _, kind in kinds)


def test_cuts_and_ends_stay_what_they_are():
    eight, mixed = obj("int8"), obj(MIXED)
    pairs = [
        (eight.scores, mixed.scores),
        (eight.image, mixed.image),
        *((eight.cut(n), mixed.cut(n)) for n in eight.cuts),
    ]
    for before, after in pairs:
        assert (before.type, before.scales, before.zero_points) == (after.type, after.scales, after.zero_points)
    assert mixed.holdings == eight.holdings


def test_behind_a_norm_steps_are_as_fine_as_its_range_and_weights_the_same():
    before = {op.outputs[0].name: op for op in operators(content("int8")) if op.name == "FULLY_CONNECTED"}
    after = {op.outputs[0].name: op for op in operators(content(MIXED)) if op.name == "FULLY_CONNECTED"}
    finer = 0
    for name, old in before.items():
        (x, weights, bias), (new_x, new_weights, new_bias) = old.inputs[:3], after[name].inputs[:3]
        assert np.array_equal(weights.values(), new_weights.values())
        assert new_x.scales[0] <= x.scales[0]
        finer += new_x.scales[0] < x.scales[0]
        real, new_real = (t.values() * np.asarray(t.scales, np.float64) for t in (bias, new_bias))
        np.testing.assert_allclose(new_real, real, atol=np.max(new_bias.scales))
    assert finer >= 4


@needs.MICRO.mark
def test_tensorflow_lite_micro_answers_alike():
    data = link.variant(link.Route(link.Object(content(MIXED, ("gelu",)))), precision=MIXED)
    assert list(refusals(data, devices.target("tflm").rules, MIXED)) == []
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    x = quantise(images(2), interpreter.get_input_details()[0])
    there = tflm_wheel.run(data, x, 1 << 20).scores[0].astype(int)
    interpreter.allocate_tensors()
    for one, scores in zip(x, there, strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one[None])
        interpreter.invoke()
        here = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].astype(int)
        assert np.abs(here - scores).max() <= 4
