"""GELU of int8 as a lookup: the integers of LiteRT's operator, in LiteRT, in TensorFlow Lite Micro and in C."""

from __future__ import annotations

from collections import Counter

import needs
import numpy as np
import pytest
from operators import file, operator
from operators import tensor as quantised
from single_layers import unary

from tflite_export import emit, lookups, memory
from tflite_export.anatomy import cuts
from tflite_export.devices import devices, tflm_wheel
from tflite_export.devices.rules import refusals
from tflite_export.flatbuffer import only, read
from tflite_export.plainc import network

# Scale and zero point of what is read and of what is given: usual ones, and results beyond either limit.
STEPS = [(0.04, 3, 0.05, -20), (0.09, -30, 0.044, -124), (0.5, -60, 0.01, 100), (0.001, 127, 0.0006, 0), (2, 0, 2, 0)]
# All numbers, one after the other, in the shape of ``unary``: it is looked up in three pieces.
EVERY = np.arange(-128, 128, dtype=np.int8).reshape(1, 4, 64)


def in_litert(content: bytes, x: np.ndarray, *, reference: bool = False) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = OpResolverType
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=kinds.BUILTIN_REF if reference else kinds.AUTO
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def names(content: bytes) -> Counter[str]:
    return Counter(one.name for one in only(read(content)).operators)


def large(shape: tuple[int, ...] = (1, 197, 64)) -> bytes:
    return file(operator("GELU", [quantised("INT8", shape)], quantised("INT8", shape, "y"), "GeluOptions"))


@pytest.mark.parametrize("steps", STEPS)
def test_every_integer_is_that_of_the_operator(steps):
    content = unary("GELU", *steps)
    looked_up = lookups.without(content, "GELU")
    assert names(looked_up) == {"SPLIT_V": 1, "CAST": 3, "ADD": 3, "GATHER": 3, "CONCATENATION": 1}
    expected = in_litert(content, EVERY)
    assert len(np.unique(expected)) > 1
    for reference in (False, True):
        np.testing.assert_array_equal(in_litert(looked_up, EVERY, reference=reference), expected)


@pytest.mark.slow
@needs.MICRO.mark
def test_tensorflow_lite_micro_gives_the_same_integers():
    for steps in STEPS[:3]:
        content = unary("GELU", *steps)
        ran = tflm_wheel.run(lookups.without(content, "GELU"), EVERY, 1 << 16)
        np.testing.assert_array_equal(ran.scores[0], in_litert(content, EVERY))


def test_a_large_tensor_takes_no_more_of_the_arena_than_the_operator_and_one_piece():
    content, looked_up = large(), lookups.without(large(), "GELU")
    before, after = (memory.plan(memory.ranges(one)).size for one in (content, looked_up))
    assert before < after <= 1.5 * before + 8 * 197 * 64 / 8 + 1024
    x = np.random.default_rng(0).integers(-128, 128, (1, 197, 64)).astype(np.int8)
    np.testing.assert_array_equal(in_litert(looked_up, x), in_litert(content, x))


def test_a_small_tensor_is_looked_up_whole():
    assert names(lookups.without(large((1, 1, 8)), "GELU")) == {"CAST": 1, "ADD": 1, "GATHER": 1}


def test_a_lookup_is_one_layer_in_c():
    for content in (large(), large((1, 1, 8))):
        plain, looked_up = (network.of_file(one).alone for one in (content, lookups.without(content, "GELU")))
        assert [call.layer.kernel for call in looked_up.calls] == ["table"]
        assert looked_up.arenas == plain.arenas
        tables = [call.layer.record["values"].values for net in (plain, looked_up) for call in net.calls]
        np.testing.assert_array_equal(*tables)


def test_what_is_no_lookup_stays_as_it_is():
    content = lookups.without(large((1, 1, 8)), "GELU")
    assert lookups.without(content, "GELU") is content
    graph = only(read(content))
    assert [type(part).__name__ for part in lookups.joined(graph.operators)] == ["Lookup"]
    add = graph.operators[1]
    add.inputs[1] = emit.constant(np.array([127], np.int32), "another offset")
    assert lookups.joined(graph.operators) == graph.operators


def test_no_cut_stands_among_indices():
    content = lookups.without(large((1, 2, 2, 8)), "GELU")
    assert all(cut.name == "y" for cut in cuts(only(read(content))))


@pytest.mark.parametrize(
    ("device", "advice"),
    [("ethos-u55-128", "rebuild without --lower gelu"), ("coral", "rebuild with --lower tanh-gelu")],
)
def test_a_device_that_has_no_lookups_is_advised_what_it_has(device, advice):
    rules, content = devices.target(device).rules, lookups.without(large(), "GELU")
    assert {one.instead for one in refusals(content, rules, "int8") if "GATHER" in one.reason} == {advice}
    for taker in ("tflm", "c", "android", "ethos-u85-256"):
        told = [str(one) for one in refusals(content, devices.target(taker).rules, "int8") if "not in" in one.reason]
        assert told == []
