"""Routers against the elastic file's signatures and single files, in LiteRT and TensorFlow Lite Micro."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import needs
import numpy as np
import pytest
from networks import SIDE, anchor, images

from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Cut, Stitch
from restnet_tf.stitches.stitch import pipeline
from tflite_export import emit, ends, link, memory, router, tail
from tflite_export.convert import compile_object
from tflite_export.devices import tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Subgraph, Tensor, read, write
from tflite_export.integers import quantise
from tflite_export.kernels import HOST

pytestmark = pytest.mark.slow

PRECISIONS = ("int8", "int16x8", "float32")
NAMES = ("small", "p1", "p2", "p3", "p4", "p5", "p6", "large")
WAYS = (
    ("small", "stem", "large", "stem"),
    ("small", "0.0.out", "large", "0.2.out"),
    ("small", "0.0.out", "large", "1.0.out"),
    ("small", "1.0.out", "large", "1.1.out"),
    ("large", "0.1.out", "small", "0.0.out"),
    ("large", "0.2.out", "small", "1.0.out"),
)


# --- a family of eight points ---------------------------------------------------------------------


@cache
def member(role: str, logits: bool = False) -> Anchor:
    found = anchor((6, 10), 3, seed=1, name="large") if role == "large" else anchor((4, 6), 1, seed=2, name="small")
    if not logits:
        return found
    return Anchor(role, keras.Model(found.model.inputs, found.logits), found.logits, found.features, None, role)


@cache
def joins(role: str) -> dict[str, Cut]:
    return {cut.name: cut for cut in cuts.find(member(role).model) if cut.kind == "grid"}


@cache
def obj(
    role: str, precision: str, logits: bool = False, brightest: int = 255, input_type: str | None = None
) -> link.Object:
    """An anchor compiled; what it is calibrated on decides its scales."""
    model = member(role, logits).model
    tensors = {name: cuts.tensor(model, name) for name in joins(role)}
    seen = images(32).astype(np.float32) * (brightest / 255)
    seen[0, 0, 0], seen[0, 0, 1] = 0, brightest
    return link.Object(compile_object(model, tensors, precision, [seen], input_type=input_type))


def fitted(source: Cut, target: Cut) -> Stitch:
    rng = np.random.default_rng(source.index + 10 * target.index)
    kernel = rng.normal(0, source.shape[-1] ** -0.5, (source.shape[-1], target.shape[-1])).astype(np.float32)
    return Stitch(kernel, rng.normal(0, 0.1, target.shape[-1]).astype("f4"), source.layout, target.layout, target.clamp)


@cache
def routes(precision: str) -> dict[str, link.Route]:
    """Both anchors, and six ways from one to the other: at grids of one size, and down to smaller ones."""
    found = {"small": link.Route(obj("small", precision)), "large": link.Route(obj("large", precision))}
    for number, (front, stop, back, start) in enumerate(WAYS, start=1):
        made = fitted(joins(front)[stop], joins(back)[start])
        found[f"p{number}"] = link.Route(obj(front, precision), stop, pipeline(made), obj(back, precision), start)
    return found


@cache
def elastic(precision: str) -> bytes:
    noted = {"points": [{"name": name, "macs": 10 * i, "score": 0.5} for i, name in enumerate(NAMES)], "labels": ["a"]}
    return link.elastic(routes(precision), precision=precision, metadata=noted)


@cache
def routed(precision: str, count: int = len(NAMES)) -> bytes:
    return router.of_elastic(elastic(precision), NAMES[:count])


@cache
def single(name: str, precision: str) -> bytes:
    return link.variant(routes(precision)[name], precision=precision)


def given(precision: str) -> np.ndarray:
    """Images as the files take them."""
    return quantise(images(4, seed=5).astype(np.float32), _entry(elastic(precision), NAMES[0]))


def _entry(file: bytes, key: str) -> dict[str, object]:
    return _litert(file).get_signature_runner(key).get_input_details()["image"]


def _litert(file: bytes, exact: bool = False) -> object:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF if exact else OpResolverType.AUTO
    return Interpreter(model_content=file, experimental_op_resolver_type=kind)


def answers(file: bytes, key: str, x: np.ndarray, choice: int | None = None, exact: bool = False) -> np.ndarray:
    """Raw scores ``(n, classes)`` of one signature."""
    runner = _litert(file, exact).get_signature_runner(key)
    more = {} if choice is None else {"choice": np.array([choice], np.int32)}
    return np.concatenate([runner(image=image[None], **more)["scores"].copy() for image in x])


# --- LiteRT ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_choice_answers_as_its_point(precision: str, exact: bool):
    x = given(precision)
    found = [answers(routed(precision), "serving_default", x, i, exact) for i in range(len(NAMES))]
    for name, scores in zip(NAMES, found, strict=True):
        np.testing.assert_array_equal(scores, answers(elastic(precision), name, x, exact=exact))
        np.testing.assert_array_equal(scores, answers(single(name, precision), "serving_default", x, exact=exact))
    # Points that answered alike would show nothing.
    assert len({scores.tobytes() for scores in found}) == len(NAMES)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_nearest_point_runs_for_a_choice_out_of_range(count: int):
    x, file = given("int8"), routed("int8", count)
    first, last = (answers(elastic("int8"), name, x) for name in (NAMES[0], NAMES[count - 1]))
    assert not np.array_equal(first, last)
    for choice in (-(2**31), -7, -1):
        np.testing.assert_array_equal(answers(file, "serving_default", x, choice), first)
    for choice in (count, count + 5, 2**31 - 1):
        np.testing.assert_array_equal(answers(file, "serving_default", x, choice), last)


def test_one_entry_point_with_named_ends():
    model = read(routed("int8"))
    (entry,) = model.signatures
    assert (entry.key, list(entry.inputs), list(entry.outputs)) == ("serving_default", ["image", "choice"], ["scores"])
    assert entry.subgraph is model.subgraphs[0]
    assert [(t.name, t.type, t.shape) for t in entry.subgraph.inputs] == [
        ("image", "INT8", (1, SIDE, SIDE, 3)),
        ("choice", "INT32", (1,)),
    ]
    assert model.metadata["min_runtime_version"].data.tobytes().rstrip(b"\0") >= b"1.15.0"


# --- what is shared, what is noted ----------------------------------------------------------------


def constants(file: bytes) -> list[Tensor]:
    return [t for graph in read(file).subgraphs for t in graph.tensors if t.constant]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_weight_is_there_once(precision: str):
    buffers = {id(t.buffer): t.buffer.data.tobytes() for t in constants(routed(precision))}
    assert len(buffers) == len(set(buffers.values()))
    theirs = {t.buffer.data.tobytes() for t in constants(elastic(precision))}
    # Beside theirs the numbers that a choice is held against, and the zeros before the first point.
    assert set(buffers.values()) - theirs <= {np.int32(i).tobytes() for i in range(8)} | {bytes(n) for n in (3, 6, 12)}
    assert len(routed(precision)) < len(elastic(precision)) + 600 * len(NAMES)
    assert len(routed(precision)) < 0.7 * sum(len(single(name, precision)) for name in NAMES)


def test_weights_lie_at_multiples_of_16_bytes():
    offsets = {routed("int8").find(t.buffer.data.tobytes()) for t in constants(routed("int8")) if t.nbytes >= 64}
    assert len(offsets) > 10
    assert all(offset > 0 and offset % 16 == 0 for offset in offsets)


def test_the_metadata_list_the_points_in_order_of_choice():
    noted = link.points(routed("int8", 3))
    assert [(p["name"], p["macs"]) for p in noted["points"]] == [("small", 0), ("p1", 10), ("p2", 20)]
    assert noted["labels"] == ["a"]
    assert noted["router"] == {
        "input": "choice",
        "out_of_range": "the nearest point runs",
        "arena": tail.arena(routed("int8", 3)).size,
        "arena_source": "planned from the file",
    }


def test_all_points_come_by_rising_macs_and_named_ones_as_named():
    assert list(routes("int8")) != list(NAMES)
    assert router.of_elastic(elastic("int8")) == routed("int8")
    other = router.of_elastic(elastic("int8"), ["large", "p2"])
    assert [p["name"] for p in link.points(other)["points"]] == ["large", "p2"]
    x = given("int8")
    np.testing.assert_array_equal(answers(other, "serving_default", x, 1), answers(elastic("int8"), "p2", x))


def test_a_file_that_says_nothing_of_its_points_is_routed_in_its_own_order():
    bare = link.elastic({n: routes("int8")[n] for n in ("p2", "large", "p1")}, precision="int8")
    assert link.points(router.of_elastic(bare))["points"] == [{"name": n} for n in ("p2", "large", "p1")]


# --- ends that are quantised differently ----------------------------------------------------------


@cache
def uneven(precision: str) -> bytes:
    """Two anchors that end in logits, of which one has seen dark images only."""
    members = {"small": obj("small", precision, True, 120), "large": obj("large", precision, True)}
    return link.elastic({name: link.Route(found) for name, found in members.items()}, precision=precision)


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_points_of_several_scales_are_requantised(precision: str):
    graphs = {s.key: s.subgraph for s in read(uneven(precision)).signatures}
    assert graphs["small"].inputs[0].scales < graphs["large"].inputs[0].scales
    assert graphs["small"].outputs[0].scales != graphs["large"].outputs[0].scales
    file = router.of_elastic(uneven(precision))
    main = read(file).subgraphs[0]
    (scale,), (zero,) = main.outputs[0].scales, main.outputs[0].zero_points
    x = images(8, seed=5).astype(np.float32) * (110 / 255)
    for place, name in enumerate(("small", "large")):
        (own_scale,), (own_zero,) = graphs[name].outputs[0].scales, graphs[name].outputs[0].zero_points
        own = answers(uneven(precision), name, quantise(x, _entry(uneven(precision), name))).astype(float)
        found = answers(file, "serving_default", quantise(x, _entry(file, "serving_default")), place).astype(float)
        real, expected = scale * (found - zero), own_scale * (own - own_zero)
        assert np.ptp(expected) > 10 * scale
        # The image in coarser steps moves the logits a little; nothing is cut off.
        assert np.abs(real - expected).max() <= 0.06 * np.ptp(expected) + scale


def test_whole_ranges_survive_the_common_scale():
    tensors = [emit.activation((1, 2), "INT8", n) for n in ("a", "b")]
    for end, scale, zero in zip(tensors, (0.1, 0.3), (-128, 90), strict=True):
        end.table.quantization = emit.quantisation(np.array([scale]), np.array([zero]))
    found = ends.common(tensors, "scores")
    (scale,), (zero,) = found.scales, found.zero_points
    assert scale * (-128 - zero) == pytest.approx(0.3 * (-128 - 90), abs=scale)
    assert scale * (127 - zero) == pytest.approx(25.5, abs=scale)


# --- TensorFlow Lite Micro ------------------------------------------------------------------------

needs_micro = needs.MICRO.mark


def on_micro(file: bytes, x: np.ndarray, choices: Sequence[int] = ()) -> tflm_wheel.Ran:
    settings = [np.array([[choice] for choice in choices], np.int32)] if choices else []
    return tflm_wheel.run(file, x, 8 << 20, settings)


@needs_micro
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tflite_micro_answers_as_for_single_files(precision: str):
    x = given(precision)
    found = on_micro(routed(precision), x, range(-1, len(NAMES) + 1)).scores
    for name, scores in zip(NAMES, found[1:-1], strict=True):
        np.testing.assert_array_equal(scores, on_micro(single(name, precision), x).scores[0])
        expected = answers(single(name, precision), "serving_default", x, exact=True)
        difference = np.abs(scores.astype(float) - expected.astype(float)).max()
        # At FULLY_CONNECTED the two round differently; a softmax in steps of 1 / 32768 doubles it.
        assert difference <= {"int8": 1, "int16x8": 2, "float32": 1e-6}[precision]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[-1], found[-2])


@needs_micro
def test_switching_back_and_forth_leaves_no_trace():
    x = given("int8")
    found = on_micro(routed("int8"), x, [7, 0, 3, 7, 3, 0]).scores
    for one, other in ((0, 3), (1, 5), (2, 4)):
        np.testing.assert_array_equal(found[one], found[other])


@needs_micro
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_the_planned_arena_is_the_head_that_tflite_micro_measures(count: int, precision: str):
    file = routed(precision, count)
    live = memory.ranges(file)
    arena = memory.plan(live)
    assert memory.check(live, arena) == ()
    assert arena.size == on_micro(file, given(precision)[:1], [0]).head
    assert link.points(file)["router"]["arena"] == tail.arena(file).size
    stated = tail.one(file, HOST).size
    assert tflm_wheel.least(file, stated) <= stated <= 1.02 * tflm_wheel.least(file, stated)


@needs_micro
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_arena_is_that_of_the_largest_point_and_one_image(precision: str):
    x = given(precision)[:1]
    singles = [memory.plan(memory.ranges(single(name, precision))).size for name in NAMES]
    heads = {n: on_micro(routed(precision, n), x, [0]).head for n in (2, 4, 8)}
    most = x[0].nbytes + 128  # the choice, conditions and scores
    assert all(max(singles[:n]) < head <= max(singles[:n]) + most for n, head in heads.items())


@needs_micro
def test_the_tail_grows_with_every_point():
    """What a router of many points costs is here, not in the head: nobody should read that alone."""
    x = given("int8")[:1]
    tails = [on_micro(single(name, "int8"), x).tail for name in NAMES]
    found = on_micro(routed("int8"), x, [0]).tail
    assert 0.6 * sum(tails) < found < 1.2 * sum(tails)


@needs_micro
@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_tflite_micro_requantises_as_litert_does(precision: str):
    file = router.of_elastic(uneven(precision))
    x = quantise(images(4, seed=5).astype(np.float32), _entry(file, "serving_default"))
    found = on_micro(file, x, [0, 1])
    for place, scores in enumerate(found.scores):
        expected = answers(file, "serving_default", x, place, exact=True)
        assert np.abs(scores.astype(int) - expected.astype(int)).max() <= 1
    assert found.head == memory.plan(memory.ranges(file)).size


@needs_micro
def test_images_of_bytes_are_routed_too():
    members = {name: link.Route(obj(name, "int8", input_type="uint8")) for name in ("small", "large")}
    file = router.of_elastic(link.elastic(members, precision="int8"))
    x = images(4, seed=5)
    assert read(file).subgraphs[0].inputs[0].type == "UINT8"
    found = on_micro(file, x, [0, 1])
    for place, name in enumerate(members):
        own = on_micro(link.variant(members[name], precision="int8"), x)
        np.testing.assert_array_equal(found.scores[place], own.scores[0])
    assert found.head == memory.plan(memory.ranges(file)).size


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [["small"], ["small", "none"], ["small", "large", "small"]])
def test_points_that_cannot_be_routed_are_refused(points: list[str]):
    with pytest.raises(TfliteError, match=r"two or more|each once of: .*small"):
        router.of_elastic(elastic("int8"), points)


def test_a_file_of_one_point_or_of_none_is_refused():
    with pytest.raises(TfliteError, match="1 points to choose from"):
        router.of_elastic(single("small", "int8"))
    with pytest.raises(TfliteError, match=r"cannot choose of a, b; give each once of: serving_default"):
        router.of_elastic(single("small", "int8"), ["a", "b"])
    with pytest.raises(TfliteError, match="0 points to choose from"):
        router.of_elastic(routed("int8"))  # a router itself, whose entry takes more than an image


@pytest.mark.parametrize("precision", ["float16", "dynamic"])
def test_precisions_that_tflite_micro_cannot_run_are_refused(precision: str):
    large = anchor((16, 24), 1, seed=1, name="large")  # weights enough to be quantised at all
    found = link.Route(link.Object(compile_object(large.model, {}, precision)))
    file = link.elastic({"a": found, "b": found}, precision=precision)
    with pytest.raises(TfliteError, match=r"a has reduced weights .*use int8, int16x8 or float32"):
        router.of_elastic(file)


def test_what_has_no_kernel_there_is_refused():
    """A point that resizes up, which TensorFlow Lite Micro does in int8 and in float alone."""
    grown = fitted(joins("small")["1.0.out"], joins("large")["0.1.out"])
    for precision in PRECISIONS:
        front, back = obj("small", precision), obj("large", precision)
        members = {"small": link.Route(front), "up": link.Route(front, "1.0.out", pipeline(grown), back, "0.1.out")}
        file = link.elastic(members, precision=precision)
        if precision == "int16x8":
            with pytest.raises(TfliteError, match=r"up needs RESIZE_BILINEAR of INT16, which .* has no kernel for"):
                router.of_elastic(file)
        else:
            assert len(link.points(router.of_elastic(file))["points"]) == 2


def test_images_of_two_sizes_are_refused():
    other = anchor((4, 6), 1, side=16, seed=3, name="wide")
    wide = link.Object(compile_object(other.model, {}, "int8", [images(8, side=16).astype(np.float32)]))
    file = link.elastic({"small": routes("int8")["small"], "wide": link.Route(wide)}, precision="int8")
    with pytest.raises(TfliteError, match=r"images of several kinds .*\(1, 8, 8, 3\): small; .*\(1, 16, 16, 3\): wide"):
        router.of_elastic(file)


def test_images_of_two_types_are_refused():
    mixed = {"bytes": link.Route(obj("small", "int8", input_type="uint8")), "large": routes("int8")["large"]}
    with pytest.raises(TfliteError, match=r"several kinds \(UINT8 .*: bytes; INT8 .*: large\)"):
        router.of_elastic(link.elastic(mixed, precision="int8"))


def test_bytes_in_different_steps_are_refused():
    mixed = {n: link.Route(obj(n, "int8", True, b, "uint8")) for n, b in (("small", 120), ("large", 255))}
    with pytest.raises(TfliteError, match="image are UINT8 in different steps"):
        router.of_elastic(link.elastic(mixed, precision="int8"))


@pytest.mark.parametrize("noted", [{"points": [{"macs": 1}]}, {"points": [3]}, {"points": 5}])
def test_metadata_that_cannot_be_understood_are_refused(noted: dict[str, object]):
    file = link.elastic({n: routes("int8")[n] for n in ("small", "large")}, precision="int8", metadata=noted)
    with pytest.raises(TfliteError, match="a point in the file is not understood"):
        router.of_elastic(file)


def test_the_planner_refuses_what_is_not_one_network():
    with pytest.raises(TfliteError, match="8 subgraphs, of which its first calls 0"):
        memory.ranges(elastic("int8"))
    x, y = (emit.activation((1, 4), "INT8", n) for n in "xy")
    flag = emit.activation((1,), "BOOL", "flag")
    kept = Subgraph([], [x], [x])
    kept.table.name = "kept"
    twice = Subgraph([emit.branch(flag, [x], [y], kept, kept)], [flag, x], [y])
    with pytest.raises(TfliteError, match="calls the subgraph 'kept', which is called elsewhere"):
        memory.ranges(write(Model([twice, kept])))
