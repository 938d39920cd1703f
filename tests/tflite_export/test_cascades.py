"""Cascades against their stages run by hand, in LiteRT and TensorFlow Lite Micro, to the bit."""

from __future__ import annotations

import os
from functools import cache
from itertools import pairwise

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import needs
import numpy as np
import pytest
from networks import SIDE, anchor, images

from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Cut, Stitch
from restnet_tf.stitches.stitch import pipeline
from tflite_export import cascades, emit, link, memory
from tflite_export.cascades import Stage
from tflite_export.confidence import CONFIDENCES
from tflite_export.convert import compile_object
from tflite_export.devices import tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Subgraph, called, read, write
from tflite_export.integers import dequantise, quantise

pytestmark = pytest.mark.slow

PRECISIONS = ("int8", "int16x8", "float32")
CUT = "0.2.out"
ALWAYS, NEVER = 1.5, 0.0


@cache
def member(role: str) -> Anchor:
    return anchor((6, 10), 3, seed=1, name="large") if role == "large" else anchor((4, 6), 1, seed=2, name="small")


@cache
def joins(role: str) -> dict[str, Cut]:
    return {cut.name: cut for cut in cuts.find(member(role).model) if cut.kind == "grid"}


@cache
def obj(role: str, precision: str, brightest: int = 255) -> link.Object:
    model = member(role).model
    seen = images(32).astype(np.float32) * (brightest / 255)
    seen[0, 0, 0], seen[0, 0, 1] = 0, brightest
    return link.Object(
        compile_object(model, {name: cuts.tensor(model, name) for name in joins(role)}, precision, [seen])
    )


@cache
def route(name: str, precision: str) -> link.Route:
    if name in ("small", "large"):
        return link.Route(obj(name, precision))
    source, target = joins("large")[CUT], joins("small")["0.0.out"]
    rng = np.random.default_rng(3)
    kernel = rng.normal(0, source.shape[-1] ** -0.5, (source.shape[-1], target.shape[-1])).astype(np.float32)
    stitch = Stitch(
        kernel, rng.normal(0, 0.1, target.shape[-1]).astype("f4"), source.layout, target.layout, target.clamp
    )
    return link.Route(obj("large", precision), CUT, pipeline(stitch), obj("small", precision), "0.0.out")


def graph(name: str, precision: str) -> Subgraph:
    return link.subgraph(route(name, precision), precision, share=False)


def stages(names: str, precision: str) -> list[Stage]:
    """By names with ``>``; ``rest`` is the large anchor from the cut on that the stage before it has been through."""
    precisions = precision.split(">")
    made = []
    for number, name in enumerate(names.split(">")):
        own = precisions[min(number, len(precisions) - 1)]
        if name != "rest":
            made.append(Stage(graph(name, own)))
            continue
        large = obj("large", own)
        cut = large.cut(CUT)
        made.append(Stage(Subgraph(link.leading_to([large.scores], large.graph, cut), [cut], [large.scores]), cut))
    return made


@cache
def file(names: str, precision: str, confidence: str = "max") -> bytes:
    return cascades.file(stages(names, precision), confidence, [obj("large", precision.split(">")[-1]).model])


def runner(content: bytes, exact: bool = False) -> object:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF if exact else OpResolverType.AUTO
    return Interpreter(model_content=content, experimental_op_resolver_type=kind).get_signature_runner(
        "serving_default"
    )


def answers(content: bytes, thresholds: tuple[float, ...], exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores ``(n, classes)`` and stages ``(n,)``."""
    run = runner(content, exact)
    dials = {cascades.threshold_key(n): np.array([t], np.float32) for n, t in enumerate(thresholds)}
    x = quantise(images(12, seed=5).astype(np.float32), run.get_input_details()["image"])
    results = [run(image=one[None], **dials) for one in x]
    return np.stack([r["scores"][0] for r in results]), np.array([r["stage"][0] for r in results])


@cache
def single(name: str, precision: str, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores of a stage's own file, and as floats."""
    name = "large" if name == "rest" else name
    run = runner(link.variant(route(name, precision), precision=precision), exact)
    x = quantise(images(12, seed=5).astype(np.float32), run.get_input_details()["image"])
    raw = np.stack([run(image=one[None])["scores"][0] for one in x])
    return raw, dequantise(raw, run.get_output_details()["scores"])


def by_hand(
    names: str, precision: str, thresholds: tuple[float, ...], confidence: str = "max", exact: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    parts, precisions = names.split(">"), precision.split(">")
    own = [single(name, precisions[min(n, len(precisions) - 1)], exact) for n, name in enumerate(parts)]
    mixed = len({raw.dtype for raw, _ in own}) > 1
    stage = np.full(len(own[0][0]), len(parts) - 1, np.int32)
    for number in reversed(range(len(thresholds))):
        sure = CONFIDENCES[confidence].of(own[number][1]) >= np.float32(thresholds[number])
        stage = np.where(sure, number, stage)
    outputs = np.stack([floats if mixed else raw for raw, floats in own])
    return outputs[stage, np.arange(len(stage))], stage


def middle(name: str, precision: str, confidence: str = "max") -> float:
    """A threshold that lets about half of the images go on, and lies on the confidence of one of them."""
    sure = CONFIDENCES[confidence].of(single(name, precision.split(">")[0])[1])
    return float(np.sort(sure)[len(sure) // 2])


ALONE, RESUMED = ("small>large", "small>p>large"), ("p>rest", "small>p>rest")
# A stage that goes on from another's front has its precision.
JOINED = [(names, p) for names in (*ALONE, *RESUMED) for p in PRECISIONS] + [(names, "int8>float32") for names in ALONE]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("names", "precision"), JOINED)
def test_a_cascade_answers_as_its_stages_by_hand(names: str, precision: str, exact: bool):
    first, *others = names.split(">")[:-1]
    dials = [(NEVER,) * (len(others) + 1), (ALWAYS,) * (len(others) + 1)]
    middles = [middle(first, precision), *(middle(o, precision.split(">")[-1]) for o in others)]
    dials += [tuple(middles), (ALWAYS, *middles[1:]), (*middles[:-1], NEVER)]
    seen = set()
    for thresholds in dials:
        scores, stage = answers(file(names, precision), thresholds, exact)
        expected, place = by_hand(names, precision, thresholds, exact=exact)
        np.testing.assert_array_equal(stage, place)
        np.testing.assert_array_equal(scores, expected)
        seen |= set(stage.tolist())
    assert seen == set(range(len(names.split(">"))))


@pytest.mark.parametrize("confidence", list(CONFIDENCES))
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_every_confidence_decides_as_by_hand(precision: str, confidence: str):
    sure = np.sort(CONFIDENCES[confidence].of(single("small", precision)[1]))
    between = [(a + b) / 2 for a, b in pairwise(sure) if b - a > 1e-5]
    assert len(between) > 3
    for threshold in between[::2]:
        _, stage = answers(file("small>large", precision, confidence), (float(threshold),))
        np.testing.assert_array_equal(stage, by_hand("small>large", precision, (float(threshold),), confidence)[1])


def test_the_margin_of_two_largest_scores_is_nothing():
    p = np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [1, 0, 0]], np.float32)
    x = emit.activation((1, 3), "FLOAT32", "x")
    operators = CONFIDENCES["margin"].emit(x)
    model = Model([Subgraph(operators, [x], [operators[-1].outputs[0]])])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=write(model))
    interpreter.allocate_tensors()
    margins = []
    for row in p:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        margins.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    np.testing.assert_array_equal(margins, CONFIDENCES["margin"].of(p))
    assert margins == [0.0, 0.25, 1.0]


@needs.MICRO.mark
@pytest.mark.parametrize("confidence", list(CONFIDENCES))
@pytest.mark.parametrize(
    ("names", "precision"), [("small>p>rest", "int8"), ("small>large", "float32"), ("p>rest", "int8")]
)
def test_tensorflow_lite_micro_goes_on_where_litert_does(names: str, precision: str, confidence: str):
    content, count = file(names, precision, confidence), len(names.split(">")) - 1
    dials = [(NEVER,) * count, (ALWAYS,) * count, (middle(names.split(">")[0], precision, confidence) + 1e-4,) * count]
    settings = tuple(np.array([[d[n]] for d in dials], np.float32) for n in range(count))
    x = quantise(images(12, seed=5).astype(np.float32), runner(content).get_input_details()["image"])
    ran = tflm_wheel.run(content, x, 1 << 22, settings)
    for number, thresholds in enumerate(dials):
        scores, stage = answers(content, thresholds, exact=True)
        np.testing.assert_array_equal(ran.outputs[1][number].ravel(), stage)
        tolerance = 4 if precision == "int8" else 1e-5  # FULLY_CONNECTED rounds otherwise, as in every file
        np.testing.assert_allclose(ran.scores[number].astype(float), scores.astype(float), atol=tolerance)
    assert ran.head == memory.plan(memory.ranges(content)).size


def test_the_entry_point_and_its_ends():
    (entry,) = read(file("small>p>large", "int8")).signatures
    assert list(entry.inputs) == ["image", "threshold_1", "threshold_2"]
    assert list(entry.outputs) == ["scores", "stage"]
    ends = [(t.type, t.shape) for t in (*entry.subgraph.inputs, *entry.subgraph.outputs)]
    assert ends == [
        ("INT8", (1, SIDE, SIDE, 3)),
        ("FLOAT32", (1,)),
        ("FLOAT32", (1,)),
        ("INT8", (1, 3)),
        ("INT32", (1,)),
    ]


def test_a_front_that_two_stages_share_is_there_once():
    model = read(file("p>rest", "int8"))
    buffers = {id(t.buffer): t.buffer.data.tobytes() for g in model.subgraphs for t in g.tensors if t.constant}
    assert len(buffers) == len(set(buffers.values()))
    front = len(link.leading_to([obj("large", "int8").cut(CUT)], obj("large", "int8").graph))
    whole = len(obj("large", "int8").graph.operators)
    operators = [len(g.operators) for g in model.subgraphs]
    assert operators[0] > front
    assert max(operators[1:]) == whole - front
    # The branch takes the cut and no image.
    assert all(t.shape != (1, SIDE, SIDE, 3) for g in model.subgraphs[1:] for t in g.inputs)


def test_what_cannot_be_joined_is_refused():
    pair = stages("small>large", "int8")
    with pytest.raises(TfliteError, match="1 stages; a cascade takes two or more"):
        cascades.file(pair[:1], "max", [])
    with pytest.raises(TfliteError, match="unknown confidence 'luck'; choose one of max, margin, entropy"):
        cascades.file(pair, "luck", [])
    x, y = (emit.activation(shape, "INT8", "x", like=pair[0].scores) for shape in ((1, 9, 9, 1), (1, 7)))
    with pytest.raises(TfliteError, match=r"images of several kinds: \(1, 8, 8, 3\), \(1, 9, 9, 1\)"):
        cascades.file([pair[0], Stage(Subgraph([], [x], [pair[1].scores]))], "max", [])
    with pytest.raises(TfliteError, match=r"scores of several shapes: \(1, 3\), \(1, 7\)"):
        cascades.file([pair[0], Stage(Subgraph([], [pair[1].graph.inputs[0]], [y]))], "max", [])


def test_a_file_with_branches_survives_being_read_and_written():
    content = file("small>p>rest", "int8")
    again = write(read(content))
    assert write(read(again)) == again
    thresholds = (middle("small", "int8"), ALWAYS)
    for one, other in zip(answers(again, thresholds), answers(content, thresholds), strict=True):
        np.testing.assert_array_equal(one, other)
    model = read(content)
    assert [id(g) for g in called(model.subgraphs[:1])] == [id(g) for g in model.subgraphs]


def test_stages_of_unlike_steps_answer_as_they_do_alone_within_a_step():
    wide = link.Route(obj("large", "int8", 120))
    pair = [Stage(graph("small", "int8")), Stage(link.subgraph(wide, "int8", share=False))]
    assert pair[0].graph.inputs[0].scales != pair[1].graph.inputs[0].scales
    content = cascades.file(pair, "max", [])
    scores, stage = answers(content, (ALWAYS,))
    run = runner(link.variant(wide, precision="int8"))
    x = quantise(images(12, seed=5).astype(np.float32), run.get_input_details()["image"])
    alone = np.stack([run(image=one[None])["scores"][0] for one in x])
    assert set(stage.tolist()) == {1}
    assert np.abs(scores.astype(int) - alone).max() <= 24  # a coarser image moves the scores a little


@pytest.mark.parametrize("precision", ["int8", "float32", "int8>float32"])
def test_a_stage_of_smaller_images_is_given_them_resized(precision: str):
    first, last = precision.split(">")[0], precision.split(">")[-1]
    small, large = graph("small", first), graph("large", last)
    wide = emit.activation((1, 2 * SIDE, 2 * SIDE, 3), large.inputs[0].type, "image", like=large.inputs[0])
    shrink = emit.resize_bilinear(wide, (SIDE, SIDE))
    pooled = emit.with_inputs(shrink, shrink.inputs, [large.inputs[0]])
    pair = [Stage(small), Stage(Subgraph([pooled, *large.operators], [wide], [large.outputs[0]]))]
    image = cascades.image_of(pair)
    assert image.shape == (1, 2 * SIDE, 2 * SIDE, 3)
    x = np.random.default_rng(0).uniform(0, 255, (6, *image.shape[1:])).astype(np.float32)
    run = runner(cascades.file(pair, "max", []))
    raw = quantise(x, run.get_input_details()["image"])
    for threshold, stage in ((NEVER, 0), (ALWAYS, 1)):
        lone = runner(link.alone(cascades.alone(pair[stage], image), []))
        for one in raw:
            answer = run(image=one[None], threshold_1=np.array([threshold], np.float32))
            expected = lone(image=one[None])["scores"]
            if answer["scores"].dtype != expected.dtype:
                expected = dequantise(expected, lone.get_output_details()["scores"])
            np.testing.assert_array_equal(answer["scores"], expected)
            assert answer["stage"][0] == stage
