"""What the benchmark of cascades times answers alike, and what it counts is the network."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import needs
import numpy as np
import pytest
from networks import anchor, images

from benchmarks import cascades as bench
from benchmarks import instructions
from restnet_tf.data.images import Pixels
from restnet_tf.data.splits import Split
from tflite_export import cascades, link
from tflite_export.cascades import Stage
from tflite_export.convert import compile_object
from tflite_export.integers import quantise

pytestmark = pytest.mark.slow

SIZES = {"small": ((4, 6), 1), "large": ((8, 16), 3)}


@pytest.fixture(scope="module")
def objects() -> dict[str, link.Object]:
    seen = [images(32).astype(np.float32)]
    models = {name: anchor(*size, seed=len(name), name=name).model for name, size in SIZES.items()}
    return {name: link.Object(compile_object(model, {}, "int8", seen)) for name, model in models.items()}


@pytest.fixture(scope="module")
def files(objects) -> dict[str, bytes]:
    return {name: link.variant(link.Route(one), precision="int8") for name, one in objects.items()}


@pytest.fixture(scope="module")
def joined(objects) -> bytes:
    graphs = [link.subgraph(link.Route(one), "int8", share=False) for one in objects.values()]
    return cascades.file([Stage(graph) for graph in graphs], "max")


def test_a_file_answers_as_interpreters_with_an_if_between_them(files, joined) -> None:
    pixels = images(40)
    split = Split("test", Pixels(pixels, np.arange(len(pixels))), None)
    apart = [bench.Network(content, split) for content in files.values()]
    sureness = [float(apart[0].probabilities(i).max()) for i in range(len(split))]
    thresholds = (float(np.median(sureness)),)
    everyone = {
        "one": bench.Network(joined, split, thresholds),
        "hand": bench.ByHand(apart, "max", thresholds),
        "large": bench.Network(files["large"], split),
    }
    timings = bench.walked(everyone, len(split), repeats=2)
    assert timings["one"].answers == timings["hand"].answers
    assert {answer.stage for answer in timings["one"].answers} == {0, 1}
    gone_on = [(a, b) for a, b in zip(timings["one"].answers, timings["large"].answers, strict=True) if a.stage]
    assert all(a.label == b.label for a, b in gone_on)
    assert all((timing.took > 0).all() for timing in timings.values())


@needs.extra("mcu", "tflite_micro").mark
@needs.programs("valgrind").mark
def test_instructions_grow_with_the_stage_that_answers(files, joined) -> None:
    image = quantise(images(1)[0], {"name": "image", "dtype": np.int8, "quantization": (1.0, -128)})
    stages = [instructions.Counting(content, image) for content in files.values()]
    ways = [instructions.Counting(joined, image, cascades.answering(stage, 2)) for stage in (0, 1)]
    *alone, early, late = instructions.counted([*stages, *ways])
    assert early == pytest.approx(alone[0], rel=0.03)
    assert late == pytest.approx(sum(alone), rel=0.03)
