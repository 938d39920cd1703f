"""A route's back with steps and biases of its own: nearer to float, by the weights that all share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest
from keras import layers
from networks import forward

from restnet_tf.graph import cuts
from restnet_tf.records import Cut, Stitch
from restnet_tf.stitches import stitch
from tflite_export import link, recalibration, spreads, verify
from tflite_export.calibration import LEAST_GAIN, worth_own
from tflite_export.convert import compile_object, convert
from tflite_export.divergence import divergence
from tflite_export.emit import WEIGHTED
from tflite_export.flatbuffer import only, read
from tflite_export.precision import EXACT, check_file
from tflite_export.requantising import Requantisation, Steps, apply, changeable

pytestmark = pytest.mark.slow
SHRUNK = 0.15  # what the stitch leaves of the features: the ranges behind it are as much too wide


@cache
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = image = keras.Input((12, 12, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(8, 3, activation="relu", name="stem")(x)
    y = layers.Conv2D(8, 1, activation="relu", name="branch")(layers.DepthwiseConv2D(3, padding="same", name="each")(x))
    x = layers.MaxPooling2D(name="pool")(layers.Add(name="sum")([x, y]))
    x = layers.Flatten()(layers.Conv2D(8, 3, activation="relu", name="last")(x))
    model = keras.Model(image, layers.Softmax()(layers.Dense(5, name="head")(x)))
    rng = np.random.default_rng(2)
    for name in ("stem", "each", "branch", "last", "head"):
        layer = model.get_layer(name)
        layer.bias.assign(rng.uniform(0.02, 0.1, layer.bias.shape))
    model.get_layer("head").kernel.assign(rng.normal(0, 10, model.get_layer("head").kernel.shape))
    return model


def images(seed: int = 1, count: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (count, 12, 12, 3)).astype(np.float32)


def place() -> Cut:
    return next(cut for cut in cuts.find(network()) if cut.name == "stem")


@cache
def anchor(precision: str = "int8") -> link.Object:
    ends = {place().name: cuts.tensor(network(), place().name)}
    return link.Object(compile_object(network(), ends, precision, [images()]))


def route(precision: str = "int8") -> link.Route:
    cut, name = place(), place().name
    shrinking = Stitch(SHRUNK * np.eye(8, dtype="f4"), np.zeros(8, "f4"), cut.layout, cut.layout, cut.clamp)
    return link.Route(anchor(precision), name, stitch.pipeline(shrinking), anchor(precision), name)


@cache
def exact(seed: int) -> np.ndarray:
    """The logits of the route in floats."""
    model = network()
    middle = keras.Input(model.get_layer("stem").output.shape[1:])
    y = model.get_layer("branch")(model.get_layer("each")(middle))
    x = model.get_layer("pool")(layers.Add()([middle, y]))
    back = keras.Model(middle, model.get_layer("head")(layers.Flatten()(model.get_layer("last")(x))))
    return forward(back, SHRUNK * forward(keras.Model(model.input, model.get_layer("stem").output), images(seed)))


@cache
def own() -> Requantisation:
    result = recalibration.of(route(), [*images()[:, None]])
    assert result is not None
    return result


def loss(one: link.Route, seed: int = 1, precision: str = "int8") -> float:
    outputs = verify.run(link.variant(one, precision=precision), [images(seed)])
    return float(np.square(outputs.logits - exact(seed)).mean() / np.square(exact(seed)).mean())


def test_the_float_form_is_kept_beside_the_integers_of_an_object_alone():
    assert anchor().exact is not None
    assert anchor().exact.scores.type == "FLOAT32"
    assert EXACT not in read(convert(network(), "int8", [images()], clipping="min-max")).metadata
    assert EXACT not in read(link.variant(route(), precision="int8")).metadata


def test_a_back_with_steps_of_its_own_loses_a_fraction():
    other = replace(route(), requantised=own())
    check_file(link.variant(other, precision="int8"), "int8")
    assert loss(other) < loss(route()) / 10
    biases_alone = replace(route(), requantised=Requantisation({}, own().biases))
    steps_alone = replace(route(), requantised=Requantisation(own().steps, {}))
    assert loss(other) < min(loss(biases_alone), loss(steps_alone))


def test_every_range_is_what_the_route_gives():
    graph = only(read(link.variant(replace(route(), requantised=own()), precision="int8")))
    start = next(i for i, op in enumerate(graph.operators) if op.inputs[-1].name == "stitch/bias")
    before = only(read(link.variant(route(), precision="int8"))).operators
    shrunk = [
        (new.outputs[0].scales[0] / old.outputs[0].scales[0], new.name)
        for new, old in zip(graph.operators[start:], before[start:], strict=True)
    ]
    assert [name for ratio, name in shrunk if ratio > 0.9] == ["SOFTMAX"]
    for op in graph.operators[start:]:
        if op.name in ("MAX_POOL_2D", "RESHAPE"):  # which keep numbers as they are
            assert op.outputs[0].scales == op.inputs[0].scales
            assert op.outputs[0].zero_points == op.inputs[0].zero_points


def test_kernels_stay_those_of_the_anchor_and_the_front_is_untouched():
    one = replace(route(), requantised=own())
    before = link.elastic({"whole": link.Route(anchor()), "p": route()}, precision="int8")
    after = link.elastic({"whole": link.Route(anchor()), "p": one}, precision="int8")
    weights = [
        {t.values().tobytes() for g in read(f).subgraphs for t in g.tensors if t.constant and t.type == "INT8"}
        for f in (before, after)
    ]
    assert weights[0] == weights[1]
    channels = sum(len(bias) for bias in own().biases.values())
    assert len(after) - len(before) <= 8 * channels + 200 * len(own().steps)  # a bias and its scale each
    assert read(after).signatures[0].subgraph.table.name == read(before).signatures[0].subgraph.table.name
    assert link.elastic({"whole": link.Route(anchor()), "p": one}, precision="int8") == after


def test_the_same_inputs_give_the_same_steps_and_biases():
    again = recalibration.of(route(), [*images()[:, None]])
    assert again is not None
    assert again.steps == own().steps
    assert all(np.array_equal(again.biases[name], bias) for name, bias in own().biases.items())


def test_it_is_taken_where_the_answers_gain():
    taken = recalibration.best(route(), images(), exact(1))
    assert taken.route.requantised is not None
    assert taken.after < taken.before - LEAST_GAIN
    outputs = verify.run(link.variant(taken.route, precision="int8"), [images()])
    assert taken.after == pytest.approx(float(divergence(outputs.logits, exact(1)).mean()))
    suits = recalibration.best(taken.route, images(), outputs.logits)  # nothing to gain
    assert suits.route is taken.route
    assert suits.before == suits.after


def test_sixteen_bits_have_biases_of_their_own_by_the_same_kernels():
    one = route("int16x8")
    result = recalibration.of(one, [*images()[:, None]])
    assert result is not None
    assert not result.steps
    stitched, behind = link.behind(one, "int16x8")
    assert set(result.biases) == {op.outputs[0].name for op in (*stitched, *behind) if op.name in WEIGHTED}
    other = replace(one, requantised=result)
    check_file(link.variant(other, precision="int16x8"), "int16x8")
    assert loss(other, 3, "int16x8") < loss(one, 3, "int16x8") / 2
    before, after = (read(link.elastic({"p": each}, precision="int16x8")) for each in (one, other))
    kernels = [
        {t.values().tobytes() for t in only(f).tensors if t.constant and t.type == "INT8"} for f in (before, after)
    ]
    assert kernels[0] == kernels[1]


def test_sixteen_bits_take_their_own_where_logits_surely_gain():
    taken = recalibration.best(route("int16x8"), images(), exact(1), precision="int16x8")
    assert taken.route.requantised is not None
    few = images()[::2]
    logits = verify.run(link.variant(taken.route, precision="int16x8"), [few]).logits
    assert taken.after == pytest.approx(float(divergence(logits, exact(1)[::2]).mean()))
    again = recalibration.best(taken.route, images(), exact(1), logits, precision="int16x8")
    assert again.route is taken.route
    assert again.before == taken.after


@pytest.mark.parametrize(("scale", "least"), [(1.0, True), (0.01, False)])
def test_less_than_answers_show_is_no_gain(scale: float, least: bool):
    before = scale * np.linspace(0.02, 0.03, 40)
    assert worth_own(before, before / 2) is least


def test_files_without_a_float_form_stay_as_they_are():
    plain = link.Object(convert(network(), "int8", [images()], clipping="min-max"))
    assert plain.exact is None
    assert recalibration.of(replace(route(), front=plain), [*images()[:, None]]) is None


def test_what_an_operator_holds_to_keeps_its_steps():
    _, operators = link.behind(route(), "int8")
    free = {t.name for t in changeable(operators, [anchor().scores])}
    logits = next(op.inputs[0] for op in operators if op.name == "SOFTMAX")
    pooled = next(op for op in operators if op.name == "MAX_POOL_2D")
    assert logits.name in free
    assert pooled.inputs[0].name in free
    assert pooled.outputs[0].name not in free  # it follows
    held = {t.name for t in changeable(operators, [pooled.outputs[0]])}
    assert pooled.inputs[0].name not in held
    fresh, _ = apply(operators, Requantisation({pooled.inputs[0].name: Steps(0.5, 3)}), [pooled.outputs[0]])
    assert fresh[operators.index(pooled)].inputs[0].scales == pooled.inputs[0].scales


def test_steps_follow_the_rule_of_the_objects_file():
    assert anchor().rule in spreads.CLIPPINGS
