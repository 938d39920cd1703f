"""Every kernel in plain C against LiteRT's reference kernels, to the bit: files of one operator, compiled at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import needs
import numpy as np
import plain_c
import pytest
import single_layers as one
from plain_c import Library

from benchmarks.plain_c import reference
from tflite_export import lookups
from tflite_export.plainc import network, source
from tflite_export.plainc.source import PointSource

pytestmark = [needs.COMPILER.mark, pytest.mark.slow]

INPUTS = 12
_PAIR = (1, 6, 5, 12)
_OPTIONS = [(1, 1, True, 0), (2, 1, True, one.RELU), (2, 1, False, one.RELU6), (1, 2, True, 0), (1, 2, False, one.RELU)]


def _windows() -> dict[str, Callable[[], bytes]]:
    cases: dict[str, Callable[[], bytes]] = {}
    for seed, (stride, dilation, same, fused) in enumerate(_OPTIONS):
        settings = {"stride": stride, "dilation": dilation, "same": same, "fused": fused, "seed": seed}
        cases[f"conv {seed}"] = partial(one.convolution, (1, 9, 7, 5), (3, 2), 10, **settings)
        cases[f"depthwise {seed}"] = partial(one.convolution, (1, 9, 7, 6), (3, 2), 0, multiplier=1, **settings)
    cases["pointwise"] = partial(one.convolution, (1, 5, 5, 19), (1, 1), 7, same=False)
    cases["depthwise of two each"] = partial(one.convolution, (1, 5, 5, 3), (3, 3), 0, multiplier=2)
    for each in (False, True):
        cases[f"dense {each}"] = partial(one.dense, 3, 96, 41, each=each)
    cases["dense without a bias"] = partial(one.dense, 1, 96, 41, bias=False)
    for same in (False, True):
        cases[f"average pool {same}"] = partial(one.pool, "AVERAGE_POOL_2D", (1, 7, 9, 6), 3, 2, same, one.RELU)
        cases[f"max pool {same}"] = partial(one.pool, "MAX_POOL_2D", (1, 7, 9, 6), 3, 2, same)
    for left in (False, True):
        for right in (False, True):
            cases[f"matmul {left} {right}"] = partial(one.product, 3, 5, 16, 7, left=left, right=right)
    return cases


def _elementwise() -> dict[str, Callable[[], bytes]]:
    cases: dict[str, Callable[[], bytes]] = {}
    for name in ("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE"):
        for number, scale in enumerate((0.07, 0.013)):
            cases[f"{name} {number}"] = partial(one.pair, name, _PAIR, None, _PAIR, scale)
        for shape in ((12,), (1, 6, 1, 1), _PAIR):
            other = one.constant(shape, 0.017, -9, seed=3)
            cases[f"{name} of {shape}"] = partial(one.pair, name, _PAIR, other, _PAIR)
    cases["ADD fused"] = partial(one.pair, "ADD", _PAIR, None, _PAIR, 0.07, one.RELU)
    cases["MUL fused"] = partial(one.pair, "MUL", _PAIR, None, _PAIR, 0.07, one.RELU6)
    wide = one.constant(_PAIR, 0.017, -9, seed=5)
    cases["ADD that repeats its input"] = partial(one.pair, "ADD", (1, 1, 5, 1), wide, _PAIR)
    for number, shape in enumerate(((1, 4, 4, 8), (1, 7, 5, 8), (1, 25, 5, 16))):
        cases[f"mean {number}"] = partial(one.mean, shape, (1, 2), scale=0.02 + 0.011 * number)
    cases["mean of the last"] = partial(one.mean, (1, 9, 24), (2,), True)
    for number, (classes, scale) in enumerate(((2, 0.08), (10, 0.1), (12, 2.5), (100, 0.01), (1000, 0.05))):
        cases[f"softmax {number}"] = partial(one.softmax, (3, classes), scale)
    cases["softmax of half"] = partial(one.softmax, (1, 4, 10), 0.1, 0.5)
    for number, shape in enumerate(((1, 5, 24), (1, 3, 192), (1, 9, 1))):
        cases[f"normalise {number}"] = partial(one.normalised, shape)
    for name in ("RELU", "RELU6", "GELU", "HARD_SWISH", "QUANTIZE", "LEAKY_RELU", "EXP", "ABS"):
        cases[name] = partial(one.unary, name, 0.04, 3, 0.05, -20)
    cases["GELU looked up"] = lambda: lookups.without(one.unary("GELU", 0.04, 3, 0.05, -20), "GELU")
    cases["LOGISTIC"] = partial(one.unary, "LOGISTIC", 0.04, 3, 1 / 256, -128)
    cases["TANH"] = partial(one.unary, "TANH", 0.04, 3, 1 / 128, 0)
    cases["RSQRT"] = partial(one.unary, "RSQRT", 0.04, -128, 0.05, -20)
    return cases


def _moves() -> dict[str, Callable[[], bytes]]:
    n, moved, resized = one.numbers, one.moved, (1, 4, 6, 5)
    block, part = one.constant((1, 1, 5), 0.031, -11, seed=2), {"beginMask": 5, "endMask": 5}
    ends = n([0, 1, 0]), n([1, 7, 5]), n([1, 2, 1])
    at_end = n([0, 6, 0]), n([1, 7, 5]), n([1, 1, 1])
    back = n([0, -1, 0]), n([1, -6, 5]), n([1, -2, 1])
    joined = {"kind": "ConcatenationOptions", "axis": 1}
    strided = partial(moved, "STRIDED_SLICE", (1, 7, 5), kind="StridedSliceOptions", **part)
    cases: dict[str, Callable[[], bytes]] = {
        "transpose": partial(moved, "TRANSPOSE", (1, 3, 4, 5), (1, 4, 3, 5), n([0, 2, 1, 3])),
        "transpose of the last": partial(moved, "TRANSPOSE", (1, 3, 4, 5), (1, 4, 5, 3), n([0, 2, 3, 1])),
        "pad": partial(moved, "PAD", (1, 3, 4, 5), (1, 5, 7, 5), n([[0, 0], [1, 1], [2, 1], [0, 0]])),
        "concatenation": partial(moved, "CONCATENATION", (1, 3, 5), (1, 4, 5), block, **joined),
        "strided slice": partial(strided, (1, 3, 5), *ends),
        "shrunk slice": partial(strided, (1, 5), *at_end, shrinkAxisMask=2),
        "slice backwards": partial(
            moved, "STRIDED_SLICE", (1, 7, 5), (1, 3, 5), *back, kind="StridedSliceOptions", beginMask=5, endMask=5
        ),
        "slice": partial(moved, "SLICE", (1, 7, 5), (1, 3, 4), n([0, 2, 1]), n([1, 3, 4])),
        "gather": partial(moved, "GATHER", (1, 7), (1, 5), n([6, 0, 1, 2, 4]), kind="GatherOptions", axis=1),
    }
    for how in ({}, {"alignCorners": True}, {"halfPixelCenters": True}):
        for size in ((8, 12), (5, 9), (2, 3)):
            call = partial(moved, "RESIZE_BILINEAR", resized, (1, *size, 5), n(size), kind="ResizeBilinearOptions")
            cases[f"bilinear to {size} {how}"] = partial(call, **how)
    for centred in (False, True):
        for size in ((8, 12), (2, 3), (2, 12)):
            cases[f"nearest to {size} {centred}"] = partial(
                moved,
                "RESIZE_NEAREST_NEIGHBOR",
                resized,
                (1, *size, 5),
                n(size),
                kind="ResizeNearestNeighborOptions",
                halfPixelCenters=centred,
            )
    return cases


CASES = _windows() | _elementwise() | _moves()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: make() for name, make in CASES.items()}


@pytest.fixture(scope="module")
def library(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Library:
    """All of them as points of one family, with every undefined step a fault."""
    points = [PointSource(content, name, name) for name, content in files.items()]
    written = source.written(points, (), ["a"], "Single layers.")
    return Library(written.files, tmp_path_factory.mktemp("kernels"), "-fsanitize=undefined", "-fno-sanitize-recover")


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_equals_the_reference(name: str, library: Library, files: dict[str, bytes]) -> None:
    inputs = plain_c.noise(files[name], INPUTS)
    expected = reference(files[name], inputs)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(library.run(name, inputs, expected.shape[1]), expected)


def test_every_kernel_is_held_against_the_reference(files: dict[str, bytes]) -> None:
    calls = [call.layer.kernel for content in files.values() for call in network.of_file(content).alone.calls]
    there = {path.stem.removeprefix("restnet_") for path in source.KERNELS.glob("*.c")} - {"confidence"}
    assert set(calls) == there


def test_a_softmax_of_very_many_equal_classes_is_even(tmp_path: Path) -> None:
    """LiteRT ends its process here; the share of each is under half a step."""
    content = one.softmax((1, 1024), 0.1)
    written = source.written([PointSource(content, "even", "even")], (), ["a"], "Even.")
    scores = Library(written.files, tmp_path).run("even", np.zeros((1, 1, 1024), np.int8), 1024)
    assert set(scores.reshape(-1)) == {-128}
