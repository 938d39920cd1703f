"""Arena plans: by hand, by property, and against TensorFlow Lite Micro's own figure."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import needs
import numpy as np
import operators
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from tflite_export import emit
from tflite_export.convert import convert
from tflite_export.devices import tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Subgraph, only, read, write
from tflite_export.memory import ArenaPlan, LiveRange, check, plan, ranges

needs_micro = needs.MICRO.mark


def _head(model: bytes) -> int:
    entry = only(read(model)).inputs[0]
    return tflm_wheel.run(model, np.zeros(entry.shape, np.int8), 4 << 20).head


def _int8(model: keras.Model) -> bytes:
    images = np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:])).astype(np.float32)
    # Untrained norms let activations fade until the scales leave what integer kernels can take.
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    return convert(model, "int8", [images])


def _small() -> keras.Model:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="silu")(layers.Rescaling(1 / 255)(image))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.AveragePooling2D(2)(layers.Multiply()([x, gate]))
    x = layers.GlobalAveragePooling2D()(layers.Resizing(12, 12)(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def _residual() -> keras.Model:
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(channels, 3, padding="same", use_bias=False)(y))
        short = layers.Conv2D(channels, 1, stride)(x) if stride > 1 else x
        x = layers.ReLU()(layers.Add()([short, y]))
    return keras.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def _pooled() -> keras.Model:
    """The scratch of MEAN stands in the arena while the input does."""
    image = keras.Input((16, 16, 5))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)))


def _branching(seed: int) -> keras.Model:
    """Crossing live ranges of odd sizes, so that the order and the gaps decide."""
    random = np.random.default_rng(seed)
    tensors = [keras.Input((8, 8, 3))]
    for _ in range(9):
        source = tensors[int(random.integers(max(0, len(tensors) - 4), len(tensors)))]
        channels = int(random.integers(3, 30))
        tensors.append(layers.Conv2D(channels, 3, padding="same", activation="relu")(source))
    pooled = layers.Concatenate()([layers.GlobalMaxPooling2D()(tensor) for tensor in tensors[3:]])
    return keras.Model(tensors[0], layers.Dense(3)(pooled))


def _mobilenet() -> keras.Model:
    inner = keras.applications.MobileNetV2(alpha=0.35, input_shape=(96, 96, 3), weights=None, classes=10)
    image = keras.Input((96, 96, 3))
    return keras.Model(image, inner(layers.Rescaling(1 / 127.5, -1)(image)))


@pytest.mark.slow
@needs_micro
@pytest.mark.parametrize(
    "build",
    [
        _small,
        _residual,
        _pooled,
        pytest.param(lambda: _branching(6), id="equal sizes"),
        pytest.param(lambda: _branching(13), id="gaps"),
        pytest.param(_mobilenet, marks=pytest.mark.slow),
    ],
)
def test_plan_is_the_head_that_tflite_micro_measures(build: Callable[[], keras.Model]):
    keras.utils.set_random_seed(0)
    file = _int8(build())
    live = ranges(file)
    arena = plan(live)
    assert check(live, arena) == ()
    assert arena.size == _head(file)


@pytest.mark.slow
def test_greedy_can_need_more_than_the_bound():
    """Keeps the comparison above honest: where every plan fits the bound, any planner would pass."""
    keras.utils.set_random_seed(0)
    arena = plan(ranges(_int8(_branching(13))))
    assert arena.size > arena.lower_bound


def test_ranges_of_a_network_worked_out_by_hand():
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 1)(image)
    x = layers.Add()([layers.Conv2D(3, 3, padding="same", activation="relu")(x), x])
    file = convert(keras.Model(image, layers.Flatten()(x)), "float32")
    # input 128 B; 1x1: step 1, kept for the add in step 3; 3x3: step 2; add: step 3; reshape: step 4.
    found = sorted((item.first, item.last, item.size) for item in ranges(file))
    assert found == [(0, 1, 128), (1, 3, 192), (2, 3, 192), (3, 4, 192), (4, 4, 192)]


@pytest.mark.slow
def test_scratch_of_a_mean_worked_out_by_hand():
    keras.utils.set_random_seed(0)
    scratch = [item for item in ranges(_int8(_pooled())) if item.name.startswith("scratch")]
    # Four dimensions, two axes, five sums, of four bytes each, in the step of the mean alone.
    assert [(item.size, item.first, item.last) for item in scratch] == [(16, 1, 1), (8, 1, 1), (20, 1, 1)]


def test_ranges_of_branches_worked_out_by_hand():
    x, y, inner, result, kept = (emit.activation((1, 32), "INT8", n) for n in ("x", "y", "in", "out", "kept"))
    flag = emit.activation((1,), "BOOL", "flag")
    branches = Subgraph([emit.reshape(inner, result)], [inner], [result]), Subgraph([], [kept], [kept])
    main = Subgraph([emit.branch(flag, [x], [y], *branches)], [flag, x], [y])
    found = ranges(write(Model([main, *branches])))
    # The IF is step 1, its branches begin at 2 and 4; all that it reads and gives outlives both.
    assert [(r.name, r.size, r.first, r.last) for r in found] == [
        ("flag", 1, 0, 4),
        ("x", 32, 0, 4),
        ("y", 32, 1, 4),
        ("in", 32, 2, 3),
        ("out", 32, 3, 3),
        ("kept", 32, 4, 4),
    ]


def test_plan_worked_out_by_hand():
    live = (
        LiveRange("a", 100, 0, 1),
        LiveRange("b", 50, 1, 2),
        LiveRange("c", 120, 2, 3),
        LiveRange("d", 10, 0, 3),
    )
    # c (128) at 0; a (112) never meets it: 0; b (64) meets both: 128; d (16) meets all: after b, 192.
    assert plan(live) == ArenaPlan(offsets=(0, 128, 0, 192), size=208, lower_bound=208)


def test_a_gap_is_filled():
    live = (
        LiveRange("a", 64, 0, 1),
        LiveRange("b", 48, 0, 0),
        LiveRange("c", 32, 0, 2),
        LiveRange("d", 40, 1, 1),
    )
    # a at 0, b (48) at 64, d (48) meets a but not b: 64; c (32) after both: 112.
    assert plan(live) == ArenaPlan(offsets=(0, 64, 112, 64), size=144, lower_bound=144)


def test_nothing_needs_nothing():
    assert plan(()) == ArenaPlan((), 0, 0)
    assert check((), plan(())) == ()


_live = st.lists(
    st.builds(
        lambda size, first, length: LiveRange(f"{size}@{first}", size, first, first + length),
        st.integers(1, 300),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=25,
)


@given(_live)
def test_plans_have_no_overlap_and_obey_their_bounds(live):
    arena = plan(live)
    # Written out pair by pair, so that neither the planner's nor the checker's code is trusted.
    for i, one in enumerate(live):
        assert arena.offsets[i] % 16 == 0
        assert 0 <= arena.offsets[i] <= arena.size - one.size
        for j, other in enumerate(live[:i]):
            if max(one.first, other.first) <= min(one.last, other.last):
                assert (
                    arena.offsets[i] + one.size <= arena.offsets[j] or arena.offsets[j] + other.size <= arena.offsets[i]
                )
    assert arena.lower_bound <= arena.size <= sum(-(-item.size // 16) * 16 for item in live)
    assert check(live, arena) == ()


@given(_live, st.data())
def test_check_finds_any_overlap_put_in(live, data):
    arena = plan(live)
    pairs = [
        (i, j)
        for i, one in enumerate(live)
        for j, other in enumerate(live)
        if i != j and max(one.first, other.first) <= min(one.last, other.last)
    ]
    if not pairs:
        return
    moved, onto = data.draw(st.sampled_from(pairs))
    offsets = list(arena.offsets)
    offsets[moved] = offsets[onto]
    assert any("overlap" in fault for fault in check(live, replace(arena, offsets=tuple(offsets), size=10**6)))


@pytest.mark.parametrize(
    ("offsets", "size", "fault"),
    [
        ((0, 16), 64, "'a' and 'b' overlap at byte 16 in step 1"),
        ((0, 40), 80, "'b' lies at byte 40"),
        ((-16, 32), 64, "'a' lies at byte -16"),
        ((0, 32), 48, "'b' ends at byte 64, the arena at 48"),
        ((0,), 64, "1 offsets for 2 ranges"),
    ],
)
def test_check_names_each_fault(offsets, size, fault):
    live = (LiveRange("a", 32, 0, 1), LiveRange("b", 32, 1, 2))
    assert any(fault in found for found in check(live, ArenaPlan(offsets, size, 0)))


def test_check_finds_an_impossible_bound():
    live = (LiveRange("a", 32, 0, 1),)
    assert check(live, ArenaPlan((0,), 32, 48)) == ("the lower bound 48 is above the size 32",)


def test_damaged_file_is_refused():
    with pytest.raises(TfliteError, match=r"not a \.tflite file"):
        ranges(b"    TFL4" * 10)


def test_variables_need_no_place():
    """They keep their values between runs, so they lie outside of what is planned."""
    x, state = operators.tensor(), operators.tensor(name="state")
    state.table.isVariable = True
    kept = operators.operator("ABS", [x], state)
    added = operators.operator("ADD", [x, state], operators.tensor(name="y"), "AddOptions")
    assert {item.name for item in ranges(operators.file(kept, added))} == {"x", "y"}
