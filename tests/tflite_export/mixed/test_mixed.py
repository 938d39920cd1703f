"""Mixed files: int8 networks with some operators in sixteen bits, alone, linked, in cascades and on targets."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import needs
import numpy as np
import pytest
from networks import anchor, forward, images
from single_layers import unary

from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Cut, Stitch
from restnet_tf.stitches.stitch import pipeline
from tflite_export import cascades, emit, link, memory, router, verify
from tflite_export.cascades import Stage
from tflite_export.convert import compile_object, convert
from tflite_export.devices import devices, tflm_wheel
from tflite_export.devices.rules import refusals
from tflite_export.divergence import divergence
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, only, read
from tflite_export.integers import quantise
from tflite_export.mixed import groups, maps, sensitivity, widening
from tflite_export.precision import MIXED, check_file

pytestmark = pytest.mark.slow

CUT, START = "0.2.out", "0.0.out"
PRECISIONS = ("int8", MIXED)


@cache
def member(role: str) -> Anchor:
    one = anchor((6, 10), 3, seed=1, name="large") if role == "large" else anchor((4, 6), 1, seed=2, name="small")
    classifier = one.model.get_layer("logits")
    kernel, bias = classifier.get_weights()
    classifier.set_weights([40 * kernel, bias])  # so that it is sure of something
    return one


@cache
def joins(role: str) -> dict[str, Cut]:
    return {cut.name: cut for cut in cuts.find(member(role).model) if cut.kind == "grid"}


def seen() -> np.ndarray:
    return images(32).astype(np.float32)


@cache
def content(role: str, precision: str) -> bytes:
    """An anchor compiled; a mixed one with every operator in sixteen bits that can be."""
    if precision == MIXED:
        eight = content(role, "int8")
        return widening.widened(eight, every(eight))
    model = member(role).model
    return compile_object(model, {name: cuts.tensor(model, name) for name in joins(role)}, precision, [seen()])


def every(eight: bytes) -> list[str]:
    return [op.outputs[0].name for op in only(read(eight)).operators if widening.able(op)]


@cache
def obj(role: str, precision: str) -> link.Object:
    return link.Object(content(role, precision))


def route(name: str, precision: str) -> link.Route:
    if name in ("small", "large"):
        return link.Route(obj(name, precision))
    source, target = joins("large")[CUT], joins("small")[START]
    rng = np.random.default_rng(3)
    kernel = rng.normal(0, source.shape[-1] ** -0.5, (source.shape[-1], target.shape[-1])).astype(np.float32)
    bias = rng.normal(0, 0.1, target.shape[-1]).astype(np.float32)
    stitch = Stitch(kernel, bias, source.layout, target.layout, target.clamp)
    return link.Route(obj("large", precision), CUT, pipeline(stitch), obj("small", precision), START)


@cache
def file(name: str, precision: str) -> bytes:
    return link.variant(route(name, precision), precision=precision)


def stage(name: str, precision: str) -> Stage:
    one = route(name, precision)
    return Stage(link.subgraph(one, precision, share=False), made_of=one.models)


def operators(data: bytes) -> list[Operator]:
    return [op for graph in read(data).subgraphs for op in graph.operators]


def error(data: bytes, role: str) -> float:
    """Of the logits, which tell apart what probabilities of a sure network do not."""
    x, one = images(96, seed=5).astype(np.float32), member(role)
    return float(
        np.mean((forward(keras.Model(one.model.inputs[0], one.logits), x) - verify.run(data, [x]).logits) ** 2)
    )


def entry(data: bytes, n: int = 4) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=data).get_input_details()[0]
    return quantise(images(n, seed=5).astype(np.float32), details)


def on_reference(data: bytes, x: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    rows = []
    for one in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(rows)


# --- alone ------------------------------------------------------------------------------------------


def test_nothing_wide_is_the_int8_file_itself():
    assert widening.widened(content("large", "int8"), ()) is content("large", "int8")


def test_sixteen_bits_come_nearer_to_float_and_share_every_weight():
    eight, mixed = file("large", "int8"), file("large", MIXED)
    check_file(mixed, MIXED)
    assert error(mixed, "large") < 0.5 * error(eight, "large")
    weights = [
        {t.buffer.digest for op in operators(one) if op.name in emit.WEIGHTED for t in op.inputs[1:2] if t}
        for one in (eight, mixed)
    ]
    assert weights[0] == weights[1]
    biases = {op.inputs[2].type for op in operators(mixed) if op.name in emit.WEIGHTED and op.inputs[2]}
    assert biases == {"INT64"}


def test_it_is_as_the_converters_own_int16x8():
    x = images(24, seed=5).astype(np.float32)
    ours, theirs = (
        verify.run(one, [x]) for one in (file("large", MIXED), convert(member("large").model, "int16x8", [seen()]))
    )
    assert verify.compare(ours, theirs).sqnr_db > 40


def test_the_ends_and_the_cuts_stay_in_eight_bits():
    eight, mixed = (obj("large", precision) for precision in PRECISIONS)
    for before, after in (
        (eight.scores, mixed.scores),
        (eight.image, mixed.image),
        *zip(eight.cuts.values(), mixed.cuts.values(), strict=True),
    ):
        assert (before.name, before.type, before.scales, before.zero_points) == (
            after.name,
            after.type,
            after.scales,
            after.zero_points,
        )
    inner = [op for op in operators(file("large", MIXED)) if op.name == "QUANTIZE"]
    # A whole network goes on in sixteen bits through its cuts: widened at its image, narrowed at its end alone.
    assert [(op.inputs[0].type, op.outputs[0].type) for op in inner] == [("INT8", "INT16"), ("INT16", "INT8")]


def test_only_what_is_named_is_wide_and_what_moves_numbers_between():
    eight = content("large", "int8")
    sums = [g.operators for g in groups.of(only(read(eight))) if g.name.startswith("sums")]
    mixed = widening.widened(eight, [name for some in sums for name in some])
    kinds = {op.name for op in operators(mixed) for t in op.outputs if t.type == "INT16"}
    assert kinds == {"ADD", "QUANTIZE"}
    assert sum(op.name == "ADD" and op.outputs[0].type == "INT16" for op in operators(mixed)) == sum(map(len, sums))


def test_what_cannot_be_wide_is_refused():
    eight = content("small", "int8")
    with pytest.raises(TfliteError, match="no operator of the network gives 'nothing'; take it out of the map"):
        widening.widened(eight, ["nothing"])
    with pytest.raises(TfliteError, match="mixed is made of an int8 file; convert 'small' to int8"):
        convert(member("small").model, MIXED, [seen()])
    gelu = unary("GELU", 0.04, 3, 0.05, -20)
    with pytest.raises(TfliteError, match=r"GELU has no form of sixteen bits from int8 .'y'.; take"):
        widening.widened(gelu, ["y"])


def test_names_of_another_network_of_the_same_layers():
    eight = content("small", "int8")
    names = [";".join(f"other/{part.partition('/')[2] or part}" for part in name.split(";")) for name in every(eight)]
    assert widening.present(eight, names) == every(eight)
    assert widening.present(eight, ["other/nothing"]) == []


# --- linked -----------------------------------------------------------------------------------------


def test_a_route_keeps_the_calling_convention_and_both_anchors_weights():
    mixed, eight = file("route", MIXED), file("route", "int8")
    stitch = [op for op in operators(mixed) if any(t and t.name.startswith("stitch/kernel") for t in op.inputs)]
    assert [(op.inputs[0].type, op.inputs[2].type, op.outputs[0].type) for op in stitch] == [("INT8", "INT32", "INT8")]
    weights = [
        {t.buffer.digest for op in operators(one) for t in op.inputs[1:2] if t and op.name in emit.WEIGHTED}
        for one in (mixed, eight)
    ]
    assert weights[0] == weights[1]
    x = images(24, seed=5).astype(np.float32)
    assert verify.compare(verify.run(mixed, [x]), verify.run(eight, [x])).sqnr_db > 15


def test_an_elastic_file_and_a_router_answer_as_the_files_alone():
    names = ("small", "route", "large")
    noted = {"points": [{"name": name, "macs": 1, "score": 0.5} for name in names], "labels": ["a"]}
    elastic = link.elastic({name: route(name, MIXED) for name in names}, precision=MIXED, metadata=noted)
    assert len(elastic) < sum(len(file(name, MIXED)) for name in names)
    from ai_edge_litert.interpreter import Interpreter

    x = entry(file("small", MIXED))
    whole = Interpreter(model_content=elastic)
    chosen = Interpreter(model_content=router.of_elastic(elastic, names)).get_signature_runner("serving_default")
    for place, name in enumerate(names):
        run = whole.get_signature_runner(name)
        alone = Interpreter(model_content=file(name, MIXED)).get_signature_runner("serving_default")
        for one in x:
            expected = alone(image=one[None])["scores"]
            np.testing.assert_array_equal(run(image=one[None])["scores"], expected)
            given = {router.CHOICE_KEY: np.array([place], np.int32)}
            np.testing.assert_array_equal(chosen(image=one[None], **given)["scores"], expected)


@pytest.mark.parametrize("precision", [MIXED, f"{MIXED}>float32", f"float32>{MIXED}"])
def test_a_cascade_answers_as_its_stages(precision):
    from ai_edge_litert.interpreter import Interpreter

    words = (precision.split(">") * 2)[:2]
    data = cascades.file([stage("small", words[0]), stage("route", words[1])], "max")
    run = Interpreter(model_content=data).get_signature_runner("serving_default")
    details, ends = run.get_input_details()["image"], run.get_output_details()["scores"]
    x = images(4, seed=5).astype(np.float32)
    for place, (name, word) in enumerate(zip(("small", "route"), words, strict=True)):
        dials = {
            cascades.threshold_key(n): np.array([t], np.float32) for n, t in enumerate(cascades.answering(place, 2))
        }
        raw = np.stack([run(image=one[None], **dials)["scores"][0] for one in quantise(x, details)])
        scale, zero = ends["quantization"]
        scores = (raw - float(zero)) * scale if scale else raw
        np.testing.assert_allclose(scores, verify.run(file(name, word), [x]).scores, atol=1.01 / 256)


def test_a_stage_goes_on_from_a_cut():
    large = obj("large", MIXED)
    cut = large.cut(CUT)
    tail = link.leading_to([large.scores], large.graph, cut)
    assert [(op.name, op.inputs[0].type, op.outputs[0].type) for op in tail[:1]] == [("QUANTIZE", "INT8", "INT16")]
    assert tail[0].inputs[0] is cut


# --- decided ----------------------------------------------------------------------------------------


@cache
def decided(limit: float = 50.0) -> maps.WidthMap:
    x = decisive()
    return sensitivity.decide(content("large", "int8"), x, forward(member("large").model, x), limit)


def decisive() -> np.ndarray:
    return images(16, seed=7).astype(np.float32)


def wider(one: maps.WidthMap) -> link.Object:
    return link.Object(widening.widened(content("large", "int8"), one.wide))


def test_a_map_brings_the_scores_nearer_within_the_limit():
    one = decided()
    assert 0 < len(one.groups) <= groups.MOST
    assert one.wide
    assert one.mixed.kl < 0.9 * one.int8.kl
    assert one.mixed.latency_ms <= one.limit * one.int8.latency_ms
    assert f"of {len(one.groups)} groups in more than eight bits" in one.told
    mixed = link.variant(link.Route(wider(one)), precision=MIXED)
    assert error(mixed, "large") < error(file("large", "int8"), "large")


def test_images_that_the_search_does_not_need_choose_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sensitivity, "SEARCHED", 12)
    one = decided.__wrapped__()
    assert one.images == 16
    mixed = verify.run(link.variant(link.Route(wider(one)), precision=MIXED), [decisive()])
    exact = forward(member("large").model, decisive())
    assert one.mixed.kl == pytest.approx(float(divergence(mixed.logits, np.log(exact)).mean()), rel=1e-3)


def test_where_nothing_may_take_longer_mixed_equals_int8():
    one = decided(1e-6)
    assert one.wide == ()
    assert one.told == "no operator is worth more than eight bits within the limit, so mixed equals int8"
    assert widening.widened(content("large", "int8"), one.wide) == content("large", "int8")


def test_a_map_is_a_file_that_a_person_edits(tmp_path: Path):
    path = tmp_path / "large.json"
    path.write_bytes(maps.text(decided()))
    assert maps.load(path) == decided()
    plain = json.loads(path.read_text())
    for group in plain["groups"]:
        group["wide"] = group["name"].startswith("sums")
    path.write_text(json.dumps(plain))
    assert maps.load(path).wide == tuple(n for g in decided().groups if g.name.startswith("sums") for n in g.operators)
    plain["groups"][0]["wide"] = "yes"
    path.write_text(json.dumps(plain))
    with pytest.raises(TfliteError, match=r"large.json is no map of a mixed file: groups\[0\].wide: expected bool"):
        maps.load(path)


# --- on targets -------------------------------------------------------------------------------------


@needs.MICRO.mark
def test_tensorflow_lite_micro_answers_alike_in_the_planned_arena():
    for name in ("large", "route"):
        data = file(name, MIXED)
        x = entry(data)
        ran = tflm_wheel.run(data, x, 1 << 20)
        assert np.abs(ran.scores[0].astype(int) - on_reference(data, x)).max() <= 1
        assert ran.head == memory.plan(memory.ranges(data)).size


def test_targets_take_it_or_say_what_they_take():
    data = file("route", MIXED)
    for target in ("tflm", "android", "web"):
        assert [str(one) for one in refusals(data, devices.target(target).rules, MIXED)] == []
    for target in ("coral", "c", "ethos-u55-128"):
        first, *_ = refusals(data, devices.target(target).rules, MIXED)
        assert first.reason.startswith("mixed does not run on ")
        assert first.instead == "build with --precision int8"


def test_sums_repeat_no_constant_of_eight_bits():
    """A constant that is added to what is wide is of sixteen bits itself, of the same numbers."""
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, (1, 4, 4, 8)).astype(np.int8)
    tensor = emit.constant(values, "c", np.array([0.02]))
    twin = widening.in_sixteen(tensor)
    np.testing.assert_allclose(twin.values() * twin.scales[0], values * 0.02, atol=1e-4)
    assert twin.type == "INT16"
