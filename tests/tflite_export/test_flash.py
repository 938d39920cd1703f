"""Images for flash: every entry is a file of its own, equal to the point's, and every weight is there once."""

from __future__ import annotations

import os
from functools import cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import needs
import numpy as np
import pytest
from networks import anchor, images

from restnet_tf.graph import cuts
from restnet_tf.records import Stitch
from restnet_tf.stitches.stitch import pipeline
from tflite_export import flash, link, memory, tail
from tflite_export.convert import compile_object
from tflite_export.devices import tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import IDENTIFIER, read
from tflite_export.integers import quantise

pytestmark = pytest.mark.slow

PRECISIONS = ("int8", "int16x8", "float32")
NAMES = ("small", "stitched", "wide", "large")


@cache
def obj(name: str, precision: str) -> link.Object:
    widths, blocks, side = {"small": ((4, 6), 1, 8), "wide": ((4, 6), 1, 16), "large": ((6, 10), 3, 8)}[name]
    model = anchor(widths, blocks, side=side, seed=len(name), name=name).model
    tensors = {cut.name: cuts.tensor(model, cut.name) for cut in cuts.find(model) if cut.kind == "grid"}
    return link.Object(compile_object(model, tensors, precision, [images(16, side=side).astype(np.float32)]))


@cache
def routes(precision: str) -> dict[str, link.Route]:
    """Three whole networks, of which one takes larger images, and a stitched one."""
    found = {name: link.Route(obj(name, precision)) for name in ("small", "wide", "large")}
    front, back = (obj(name, precision) for name in ("small", "large"))
    ends = [anchor((4, 6), 1, seed=5, name="small"), anchor((6, 10), 3, seed=5, name="large")]
    source, target = (next(c for c in cuts.find(a.model) if c.name == "0.0.out") for a in ends)
    kernel = np.random.default_rng(0).normal(0, 0.5, (4, 6)).astype(np.float32)
    made = Stitch(kernel, np.zeros(6, np.float32), source.layout, target.layout, target.clamp)
    return found | {"stitched": link.Route(front, "0.0.out", pipeline(made), back, "0.0.out")}


@cache
def elastic(precision: str) -> bytes:
    noted = {"points": [{"name": name, "macs": i} for i, name in enumerate(NAMES)]}
    return link.elastic(routes(precision), precision=precision, metadata=noted)


@cache
def image(precision: str) -> bytes:
    return flash.of_elastic(elastic(precision))


@cache
def single(name: str, precision: str) -> bytes:
    return link.variant(routes(precision)[name], precision=precision)


def answers(file: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images as a file takes them, and its raw scores of them."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=file).get_signature_runner("serving_default")
    details = runner.get_input_details()["image"]
    x = quantise(images(4, side=int(details["shape"][1]), seed=5).astype(np.float32), details)
    return x, np.concatenate([runner(image=one[None])["scores"].copy() for one in x])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_entry_is_its_points_file(precision: str):
    for place, name in enumerate(NAMES):
        own, file = single(name, precision), flash.entry(image(precision), place)
        np.testing.assert_array_equal(answers(file)[1], answers(own)[1])
        assert file[4:8] == IDENTIFIER
        (entry,) = read(file).signatures
        assert (entry.key, list(entry.inputs), list(entry.outputs)) == ("serving_default", ["image"], ["scores"])
        assert read(file).metadata[link.RUNTIME].data.tobytes() == read(own).metadata[link.RUNTIME].data.tobytes()
        assert memory.plan(memory.ranges(file)).size == memory.plan(memory.ranges(own)).size


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_weight_is_there_once(precision: str):
    content = image(precision)
    graphs = [read(flash.entry(content, place)).subgraphs[0] for place in range(len(NAMES))]
    weights = {t.buffer.data.tobytes() for g in graphs for t in g.tensors if t.constant and t.nbytes >= 64}
    assert len(weights) > 10
    assert all(content.count(data) == 1 for data in weights)
    assert all(content.find(data) % 16 == 0 for data in weights)
    assert len(content) < len(elastic(precision)) + 2000 * len(NAMES)
    assert len(content) < 0.8 * sum(len(single(name, precision)) for name in NAMES)


def test_the_first_entry_lists_the_points():
    noted = link.points(image("int8"))
    assert [p["name"] for p in noted["points"]] == list(NAMES)
    arenas = [tail.arena(single(name, "int8")).size for name in NAMES]
    assert noted["flash"] == {"stride": 16, "arena": max(arenas), "arena_source": "planned from the file"}


def test_named_points_come_as_named_and_equal_inputs_give_equal_bytes():
    chosen = flash.of_elastic(elastic("int8"), ["large", "small"])
    assert chosen == flash.of_elastic(elastic("int8"), ["large", "small"])
    for place, name in enumerate(("large", "small")):
        np.testing.assert_array_equal(answers(flash.entry(chosen, place))[1], answers(single(name, "int8"))[1])


@pytest.mark.parametrize("place", [-1, 4])
def test_places_without_an_entry_are_refused(place: int):
    with pytest.raises(TfliteError, match=f"no entry {place} in the image; it has 0 to 3"):
        flash.entry(image("int8"), place)


def test_precisions_that_tflite_micro_cannot_run_are_refused():
    large = anchor((16, 24), 1, seed=1, name="large")
    found = link.Route(link.Object(compile_object(large.model, {}, "float16")))
    with pytest.raises(TfliteError, match="reduced weights"):
        flash.of_elastic(link.elastic({"a": found, "b": found}, precision="float16"))


@needs.MICRO.mark
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tflite_micro_runs_every_entry_in_the_arena_of_its_own_file(precision: str):
    for place, name in enumerate(NAMES):
        x = answers(single(name, precision))[0]
        found, alone = (
            tflm_wheel.run(f, x, 8 << 20) for f in (flash.entry(image(precision), place), single(name, precision))
        )
        np.testing.assert_array_equal(found.scores, alone.scores)
        assert (found.head, found.tail) == (alone.head, alone.tail)
        assert found.head > 0
