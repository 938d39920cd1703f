"""Every step, and every way from one layout to another: the same values in Keras, NumPy and TFLite, the same costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import keras
import numpy as np
import pytest
from networks import forward

from restnet_tf.graph import costs
from restnet_tf.records import Layout, Stitch
from restnet_tf.stitches import steps, stitch
from restnet_tf.stitches.step import Position, Step
from restnet_tf.stitches.stitch import Pipeline
from tflite_export import emit, link, stitching
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Subgraph
from tflite_export.fragment import Runner
from tflite_export.macs import before_cuts


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def weights(chosen: Sequence[Step]) -> dict[str, np.ndarray]:
    """Drawn, of all steps by name."""
    shapes = [item for step in chosen for item in step.shapes.items()]
    return {name: draw(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes)}


def file(pipeline: Pipeline) -> bytes:
    """A pipeline alone in a float32 file."""
    source, target = (emit.activation((1, *shape), "FLOAT32", "end") for shape in (pipeline.source, pipeline.target))
    return link.alone(Subgraph(stitching.operators(pipeline, source, target, "float32"), [source], [target]), [])


# --- one step after the other ---------------------------------------------------------------------

GRID, TOKENS = (4, 6, 3), (7, 3)
MAP, TOKEN_MAP = steps.Map(24, 3, 5, False), steps.Map(7, 3, 5, True)
# What goes in, the steps (the last is the one in question), and what comes out.
TABLE: dict[str, tuple[tuple[int, ...], tuple[Step, ...], tuple[int, ...]]] = {
    "WithoutClass": (TOKENS, (steps.WithoutClass(1),), (6, 3)),
    "ToGrid": ((6, 3), (steps.ToGrid((2, 3)),), (2, 3, 3)),
    "Pool": (GRID, (steps.Pool((2, 3)),), (2, 2, 3)),
    "Resize": (GRID, (steps.Resize((5, 4)),), (5, 4, 3)),
    "ToRows": (GRID, (steps.ToRows(24),), (24, 3)),
    "ToPixel": (GRID, (steps.Pool((2, 3)), steps.ToPixel()), (1, 1, 12)),
    "ToVector": ((1, 1, 3), (steps.Map(1, 3, 5, False), steps.ToVector()), (5,)),
    "FrontClass": (TOKENS, (steps.WithoutClass(1), steps.FrontClass(1)), TOKENS),
    "Hidden": (GRID, (steps.Hidden(24, 3, 4, False),), (4, 6, 7)),
    "Hidden, tokens": (TOKENS, (steps.Hidden(7, 3, 4, True), steps.Map(7, 7, 5, True)), (7, 5)),
    "Map": (GRID, (MAP,), (4, 6, 5)),
    "Map, tokens": (TOKENS, (TOKEN_MAP,), (7, 5)),
    "Positions": (TOKENS, (TOKEN_MAP, steps.Positions(7, 5)), (7, 5)),
    "PooledClass": (GRID, (steps.ToRows(24), steps.Map(24, 3, 5, True), steps.PooledClass((4, 6), 3, 5)), (25, 5)),
    "PooledClass, tokens": ((6, 3), (steps.Map(6, 3, 5, True), steps.PooledClass((2, 3), 3, 5)), (7, 5)),
    "Clamp": (GRID, (MAP, steps.Clamp(0.0, 6.0)), (4, 6, 5)),
    "Clamp, no greatest": (GRID, (MAP, steps.Clamp(0.0, None)), (4, 6, 5)),
}


def kinds(of: type[Step] = Step) -> Iterator[type[Step]]:
    """The steps that there are."""
    for kind in of.__subclasses__():
        yield from [kind] if not kind.__name__.startswith("_") else []
        yield from kinds(kind)


def test_the_table_has_every_step():
    assert {kind.__name__ for kind in kinds()} == {name.split(",")[0] for name in TABLE}
    for name, (_, chosen, _) in TABLE.items():
        assert name.split(",")[0] in {type(step).__name__ for step in chosen}


@pytest.mark.parametrize("name", TABLE)
def test_a_step_is_the_same_in_keras_numpy_and_tflite(name):
    source, chosen, target = TABLE[name]
    pipeline = Pipeline(source, target, chosen, weights(chosen))
    x, front = 4 * draw(3, *source, seed=9), keras.Input(source)
    y = front
    for step in chosen:
        y = step.keras(y, front)
    model = keras.Model(front, y)
    for step in chosen:
        if step.shapes:
            layer = model.get_layer(step.layer)
            values = [pipeline.weights[n].reshape(w.shape) for n, w in zip(step.shapes, layer.weights, strict=True)]
            layer.set_weights(values)
    expected = pipeline.run(x)
    assert expected.shape == (3, *target)
    content, macs = file(pipeline), sum(step.macs for step in chosen)
    np.testing.assert_allclose(forward(model, x), expected, atol=1e-4)
    np.testing.assert_allclose(Runner(content)(x)[0], expected, atol=1e-4)
    assert before_cuts(link.Object(content))[0] == costs.macs(costs.nodes(model)) == macs
    assert costs.params(costs.nodes(model)) == sum(step.params for step in chosen)
    if isinstance(last := chosen[-1], steps.Clamp):
        assert (expected.min(), expected.max() == last.high) == (last.low, last.high is not None)


def test_what_a_stitch_has_not_computed_can_be_neither_clamped_nor_shifted():
    for step in (steps.Clamp(0.0, None), steps.Positions(7, 3)):
        with pytest.raises(TfliteError, match="only what it computes itself can be changed"):
            file(Pipeline(TOKENS, TOKENS, (step,), weights([step])))


# --- from one layout to another -------------------------------------------------------------------


def tokens(h: int, w: int, channels: int, classes: int = 0) -> Layout:
    return Layout((h * w + classes, channels), (h, w))


LAYOUTS = {
    "grid": Layout((4, 4, 5)),
    "larger grid": Layout((8, 8, 4)),
    "odd grid": Layout((7, 7, 3)),
    "oblong grid": Layout((4, 6, 3)),
    "pixel": Layout((1, 1, 6)),
    "tokens": tokens(4, 4, 6),
    "tokens with class": tokens(4, 4, 7, 1),
    "more tokens": tokens(8, 8, 4),
    "more tokens with class": tokens(8, 8, 3, 1),
    "oblong tokens with class": tokens(3, 5, 4, 1),
    "one token": tokens(1, 1, 3),
    "one token with class": tokens(1, 1, 5, 1),
}
CLASSES = {"classes": Layout((5,))}  # which nothing leads on from
PAIRS = [*product(LAYOUTS, LAYOUTS), *product(LAYOUTS, CLASSES)]
LAYOUTS |= CLASSES


def drawn(source: Layout, target: Layout, hidden: int, clamp: tuple[float | None, float | None]) -> Stitch:
    """A stitch with drawn weights for all of its steps."""
    parts = weights(steps.between(source, target, hidden))
    return Stitch(parts.pop("kernel"), parts.pop("bias"), source, target, clamp, parts)


@pytest.mark.parametrize(("hidden", "clamp"), [(0, (None, None)), (8, (0.0, 6.0))], ids=["plain", "hidden, clamped"])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_stitch_is_the_same_in_keras_numpy_and_tflite(source, target, hidden, clamp):
    ends = LAYOUTS[source], LAYOUTS[target]
    given, x = drawn(*ends, hidden, clamp), draw(2, *ends[0].shape, seed=9)
    model, content, expected = stitch.build(given), file(stitch.pipeline(given)), stitch.applied(given, x)
    assert (expected.shape, expected.dtype) == ((2, *ends[1].shape), np.float32)
    np.testing.assert_allclose(forward(model, x), expected, atol=1e-4)
    np.testing.assert_allclose(Runner(content)(x)[0], expected, atol=1e-4)
    calls = costs.nodes(model)
    macs, params = stitch.macs(*ends, hidden), stitch.params(*ends, hidden)
    assert (costs.macs(calls), costs.params(calls)) == (macs, params)
    assert before_cuts(link.Object(content))[0] == macs
    assert sum(v.size for part in stitch.weights(given).values() for v in part) == params
    trained = stitch.trained(given, model)
    assert list(trained.parts) == list(given.parts)
    for name, values in stitch.pipeline(given).weights.items():
        np.testing.assert_array_equal(stitch.pipeline(trained).weights[name], values)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_a_map_reads_lies_where_it_is_due(source, target):
    """Rows of both sides of a regression, one for one; steps stand in the order of their positions."""
    ends = LAYOUTS[source], LAYOUTS[target]
    chosen = steps.between(*ends, 8, (0.0, None))
    positions = [step.position for step in chosen]
    assert positions == sorted(positions)
    assert [positions.count(at) for at in (Position.FEATURES, Position.END)] == [
        1,
        1 + bool(stitch.pooled_class(*ends)) + ends[1].vector,
    ]
    x, y = stitch.adapted(draw(2, *ends[0].shape), *ends), stitch.goal(draw(2, *ends[1].shape), *ends)
    assert x.shape[:2] == y.shape[:2]
    assert stitch.places(*ends) in (1, x.shape[1])


@pytest.mark.parametrize(
    ("source", "target", "kinds"),
    [
        ("grid", "grid", "Map"),
        ("larger grid", "grid", "Pool Map"),
        ("grid", "odd grid", "Resize Map"),
        ("grid", "tokens", "ToRows Map Positions"),
        ("larger grid", "tokens with class", "Pool ToRows Map Positions PooledClass"),
        ("grid", "one token", "Pool ToRows Map"),
        ("tokens with class", "grid", "WithoutClass ToGrid Map"),
        ("tokens with class", "tokens with class", "Map"),
        ("tokens", "tokens with class", "Map PooledClass"),
        ("more tokens with class", "tokens with class", "WithoutClass ToGrid Pool ToRows FrontClass Map"),
        ("larger grid", "classes", "Pool ToPixel Map ToVector"),
        ("odd grid", "classes", "Pool ToPixel Map ToVector"),
        ("pixel", "classes", "ToPixel Map ToVector"),
        ("tokens", "classes", "ToGrid ToPixel Map ToVector"),
        ("more tokens with class", "classes", "WithoutClass ToGrid Pool ToRows FrontClass ToPixel Map ToVector"),
    ],
)
def test_which_steps_join_two_layouts(source, target, kinds):
    chosen = steps.between(LAYOUTS[source], LAYOUTS[target])
    assert [type(step).__name__ for step in chosen] == kinds.split()
