"""Families as C: points and cascades against the files that they come from, what is shared, and every refusal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cascade_files
import needs
import networks
import numpy as np
import plain_c
import pytest
import single_layers as one
from operators import file, operator
from plain_c import Library

from benchmarks.plain_c import reference
from tflite_export import carray, emit, memory
from tflite_export.confidence import CONFIDENCES
from tflite_export.convert import convert
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import only, read, write
from tflite_export.inputs import InputKind
from tflite_export.plainc import chain, network, source
from tflite_export.plainc.layers import CLayer
from tflite_export.plainc.network import ArenaPlace, Placed
from tflite_export.plainc.source import CascadeSource, PointSource, Written

pytestmark = [needs.COMPILER.mark, pytest.mark.slow]

STAGES = ("small", "middle", "large")
THRESHOLDS = (0.5, 0.6)
CLASSES = 3


def point(name: str) -> PointSource:
    return PointSource(cascade_files.stage(name, "int8"), f"{name}.int8", f"{name}, int8")


def family() -> Written:
    chains = [
        CascadeSource(
            f"all-{confidence}", f"all by {confidence}", tuple(f"{s}.int8" for s in STAGES), confidence, THRESHOLDS
        )
        for confidence in CONFIDENCES
    ]
    return source.written([point(name) for name in STAGES], chains, ["cat", 'the "dog" */', "??/"], "A family. */ #")


@pytest.fixture(scope="module")
def written() -> Written:
    return family()


@pytest.fixture(scope="module")
def library(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(written.files, tmp_path_factory.mktemp("family"), "-fsanitize=undefined", "-fno-sanitize-recover")


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return plain_c.noise(cascade_files.stage("small", "int8"), 24)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", STAGES)
def test_a_point_answers_as_its_file_does(name: str, inside: bool, library: Library, inputs: np.ndarray) -> None:
    """In memory of the caller's, or where the arena has room for the input."""
    expected = reference(cascade_files.stage(name, "int8"), inputs)
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(library.run(f"{name}.int8", inputs, CLASSES, inside=inside), expected)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_a_cascade_answers_as_its_file_does(confidence: str, library: Library, inputs: np.ndarray) -> None:
    """The stages' inputs have scales of their own or not: the file of the cascade tells what they are given."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    sure = CONFIDENCES[confidence].of(
        cascade_files.host.scores(cascade_files.stage("small", "int8"), [inputs[:, 0] + 128.0])
    )
    dial = (float(np.median(sure)) + 1e-4, float(np.median(sure)))
    content = cascade_files.cascade(">".join(STAGES), "int8", dial, confidence)
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    run = interpreter.get_signature_runner()
    answered = set()
    for given in inputs:
        told = run(image=given, threshold_1=np.float32([dial[0]]), threshold_2=np.float32([dial[1]]))
        stage, scores = library.cascade(f"all-{confidence}", given, CLASSES, dial)
        assert stage == int(told["stage"][0])
        np.testing.assert_array_equal(scores, told["scores"][0])
        answered.add(stage)
    assert len(answered) > 1


def test_a_cascade_has_its_own_thresholds(library: Library, inputs: np.ndarray) -> None:
    for given in inputs[:8]:
        chosen, without = (library.cascade("all-max", given, CLASSES, dial) for dial in (THRESHOLDS, None))
        assert chosen[0] == without[0]
        np.testing.assert_array_equal(chosen[1], without[1])
    assert library.cascade("all-max", inputs[0], CLASSES, (0.0, 0.0))[0] == 0
    assert library.cascade("all-max", inputs[0], CLASSES, (1.1, 1.1))[0] == 2


def test_a_cascade_takes_no_input_in_the_arena(library: Library) -> None:
    assert library.cascade_at("all-max", library.place("small.int8"), CLASSES) == -1


def test_weights_and_layers_are_there_once(written: Written) -> None:
    alone = [source.written([point(name)], (), [], "One.") for name in STAGES]
    twice = source.written([point("small"), PointSource(point("small").content, "again", "again")], (), [], "Two.")
    assert twice.constants == alone[0].constants
    assert written.arena == max(one_.arena for one_ in alone)
    text = written.files[source.SOURCE].decode()
    assert len({line.split("=", 1)[1] for line in text.splitlines() if "_layer " in line}) == text.count("_layer ")


def test_only_the_kernels_that_are_called_travel(written: Written) -> None:
    one_ = source.written([PointSource(one.softmax((1, 5), 0.1), "s", "s")], (), [], "One.")
    assert {name for name in one_.files if name.endswith(".c")} == {"restnet_model.c", "restnet_softmax.c"}
    assert "restnet_conv.c" in written.files


def test_equal_families_are_equal_bytes(written: Written) -> None:
    assert family().files == written.files


def test_the_header_compiles_alone_as_c_and_cpp_and_states_scales(written: Written, tmp_path: Path) -> None:
    text = written.files[source.HEADER].decode()
    entry = only(read(point("small").content)).inputs[0]
    assert f"#define MODEL_SMALL_INT8_INPUT_ZERO_POINT ({entry.zero_points[0]})" in text
    assert f"#else\n#define RESTNET_ARENA_SIZE {written.arena}\n" in text
    (tmp_path / source.HEADER).write_text(text)
    for language in ("c", "c++"):
        plain_c.compiled_alone(tmp_path / source.HEADER, language)


def test_values_of_another_kind_are_told(written: Written) -> None:
    kind = InputKind(False, -3.0, 2.5)
    text = source.written([point("small")], (), [], "One.", kind).files[source.HEADER].decode()
    assert "as the training data have them (-3 to 2.5 there)" in text
    assert "0..255" in written.files[source.HEADER].decode()


def replay(made: Placed, way: int) -> None:
    """Every number that is read was written by the layer that made its tensor: pixel by pixel, as the kernels go."""
    owner = np.full(made.arenas[way], -1)
    last: dict[int, list[int]] = {}  # by place the layers that made the tensor there
    for number, call in enumerate(made.calls):
        layer = call.layer
        starts = [p.offsets[way] if isinstance(p, ArenaPlace) and p.offsets else None for p in call.reads]
        out = call.writes.offsets[way] if call.writes.offsets else None
        for pixel_reads, pixel_writes in pixels(layer) if layer.shift is not None and way == 0 else [(None, None)]:
            for tensor, start in zip(layer.reads, starts, strict=True):
                if start is not None:
                    places = np.arange(tensor.nbytes) if pixel_reads is None else pixel_reads
                    assert np.isin(owner[start + places], last[start]).all(), f"layer {number} reads what is gone"
            if out is not None:
                places = np.arange(layer.writes.nbytes) if pixel_writes is None else pixel_writes
                owner[out + places] = number
        if out is not None:
            last[out] = [*(last.get(out, ()) if layer.keeps else ()), number]


def pixels(layer: CLayer) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What is read and written for each pixel of a result, in the kernels' order."""
    if layer.kernel == "copy":
        yield from blocks(layer)
        return
    w = layer.record["window"]
    image = np.arange(w["in_h"] * w["in_w"] * w["in_c"]).reshape(w["in_h"], w["in_w"], w["in_c"])
    numbers = range(w["out_h"] * w["out_w"])
    for number in reversed(numbers) if w["reversed"] else numbers:
        row, column = divmod(number, w["out_w"])
        rows, columns = (
            np.array([p for p in range(at, at + w[f"kernel_{side}"]) if 0 <= p < w[f"in_{side}"]])
            for side, at in (("h", row * w["stride_h"] - w["pad_h"]), ("w", column * w["stride_w"] - w["pad_w"]))
        )
        yield image[np.ix_(rows, columns)].reshape(-1), number * w["out_c"] + np.arange(w["out_c"])


def blocks(layer: CLayer) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same for each number of a copy."""
    record = layer.record
    for place in np.ndindex(*record["count"]):
        read, written = (
            record[f"{side}_first"] + sum(p * s for p, s in zip(place, record[f"{side}_step"], strict=True))
            for side in ("in", "out")
        )
        yield np.array([read]), np.array([written])


def joined() -> bytes:
    """A convolution, whose channels are then joined by others and turned: copies that are placed like kernels."""
    lead, pads = (
        read(one.convolution((1, 8, 8, 4), (3, 3), 8)).subgraphs[0].operators[0],
        one.constant((1, 8, 8, 8), 0.093, 7, 1),
    )
    (x,) = lead.outputs
    wide, turned, last = (one.steps((1, 8, 8, 16), 0.093, 7, name) for name in ("wide", "turned", "last"))
    return file(
        lead,
        operator("CONCATENATION", [x, pads], wide, "ConcatenationOptions", axis=3),
        operator("TRANSPOSE", [wide, one.numbers([0, 2, 1, 3])], turned),
        operator("TRANSPOSE", [turned, one.numbers([0, 2, 1, 3])], last),
    )


def test_images_of_bytes_are_taken_as_they_are(tmp_path: Path) -> None:
    images = [networks.images(8).astype(np.float32)]
    content = write(
        read(convert(networks.anchor(**cascade_files.NETWORKS["small"]).model, "int8", images, input_type="uint8"))
    )
    assert only(read(content)).inputs[0].type == "UINT8"
    written = source.written([PointSource(content, "bytes", "bytes")], (), (), "One.")
    assert "int model_bytes_run(const uint8_t *input, int8_t *output);" in written.files[source.HEADER].decode()
    assert "the number pixel itself." in written.files[source.HEADER].decode()
    inputs = plain_c.noise(content, 6).view(np.uint8)
    library, expected = Library(written.files, tmp_path), reference(content, inputs)
    for inside in (False, True):
        np.testing.assert_array_equal(library.run("bytes", inputs, CLASSES, inside=inside), expected)


def test_a_chain_goes_to_and_fro(tmp_path: Path) -> None:
    """Convolutions one behind the other take the room of one tensor and a little, not that of two."""
    shape = (1, 9, 7, 8)
    leads = {
        "c": one.convolution(shape, (3, 3), 8),
        "d": one.convolution(shape, (3, 3), 0, multiplier=1),
        "a": one.pool("AVERAGE_POOL_2D", shape, 3, 1, True),
        "m": one.pool("MAX_POOL_2D", shape, 3, 1, True),
    }
    kinds = {kind: read(content).subgraphs[0].operators[0] for kind, content in leads.items()}
    operators = [kinds["c"]]
    for number, kind in enumerate("damdcma"):
        y = one.steps(shape, 0.093, 7, f"y{number}")
        operators.append(emit.with_inputs(kinds[kind], [operators[-1].outputs[0], *kinds[kind].inputs[1:]], [y]))
    content = file(*operators)
    made = network.of_file(content).alone
    turns = {(call.layer.kernel, call.layer.record["window"]["reversed"]) for call in made.calls[:-1]}
    assert len(turns) >= 7
    assert made.arenas[0] < 9 * 7 * 8 * 1.4
    for way in (0, 1):
        replay(made, way)
    inputs = plain_c.noise(content, 3)
    written = source.written([PointSource(content, "chain", "chain")], (), (), "One.")
    expected = reference(content, inputs)
    for inside in (False, True):
        library = Library(written.files, tmp_path / str(inside))
        np.testing.assert_array_equal(library.run("chain", inputs, expected.shape[1], inside=inside), expected)


SHAPE = (1, 9, 7, 8)


def branch(*kinds: str, scale: float = 0.031) -> bytes:
    """Layers one behind the other by letters, each with numbers of its own by its case; then a classifier."""
    leads = {
        "c": one.convolution(SHAPE, (3, 3), 8),
        "C": one.convolution(SHAPE, (3, 3), 8, seed=5),
        "d": one.convolution(SHAPE, (3, 3), 0, multiplier=1),
        "m": one.pool("MAX_POOL_2D", SHAPE, 3, 1, True),
        "M": one.pool("MAX_POOL_2D", SHAPE, 5, 1, True),
    }
    ends = {
        "s": (one.mean(SHAPE, (1, 2)), one.dense(1, 8, 5)),
        "S": (one.mean(SHAPE, (1, 2)), one.dense(1, 8, 5, seed=3)),
    }
    x = first = one.steps(SHAPE, scale, -11)
    operators = []
    for number, kind in enumerate(kinds):
        if kind == "+":  # what lies before the layer before this one is added to what it gives
            values = [operators[-1].outputs[0], operators[-2].outputs[0]]
            made = [operator("ADD", values, one.steps(SHAPE, 0.15, 3, f"y{number}"), "AddOptions")]
        elif kind in leads:
            lead = read(leads[kind]).subgraphs[0].operators[0]
            made = [emit.with_inputs(lead, [x, *lead.inputs[1:]], [one.steps(SHAPE, 0.093, 7, f"y{number}")])]
        else:
            mean, dense = (read(content).subgraphs[0].operators[0] for content in ends[kind])
            pooled = one.steps((1, 8), 0.031, -11, f"pooled{number}")
            scores = one.steps((1, 5), 0.12, 7, f"scores{number}")
            made = [
                emit.with_inputs(mean, [x, *mean.inputs[1:]], [pooled]),
                emit.with_inputs(dense, [pooled, *dense.inputs[1:]], [scores]),
            ]
        operators += made
        x = made[-1].outputs[0]
    assert first in operators[0].inputs
    return file(*operators)


# By name the stages of a cascade, and how many layers with weights it has when it computes nothing twice.
CHAINS = {
    "a front": (("cds", "cdCmS"), 5),
    "a front, kept over a residual": (("cdCs", "cdC+S"), 5),
    "two fronts": (("cs", "cdms", "cdmMCS"), 6),
    "the scores of another": (("cds", "cds"), 4),  # scores are the caller's, and are computed again
    "nothing": (("cs", "Cs"), 4),
    "no work": (("mcs", "mCs"), 4),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_stage_goes_on_from_what_the_ones_before_it_computed(name: str, tmp_path: Path) -> None:
    """Every stage's scores stay those of its file, whichever answers."""
    letters, weighty = CHAINS[name]
    files = [branch(*kinds) for kinds in letters]
    chained = chain.of_networks([network.of_file(content) for content in files])
    kernels = [call.layer.kernel for call in chained.placed.calls]
    assert sum(kernel in ("conv", "depthwise", "dense") for kernel in kernels) == weighty
    assert kernels.count("max_pool") == sum(kinds.count("m") + kinds.count("M") for kinds in letters) - (
        name == "two fronts"
    )
    for way in (0, 1):
        replay(chained.placed, way)
    points = [PointSource(content, f"s{number}", "stage") for number, content in enumerate(files)]
    stems = tuple(p.stem for p in points)
    written = source.written(points, [CascadeSource("all", "all", stems, "max", (0.0,) * (len(files) - 1))], [], "All.")
    library = Library(written.files, tmp_path, "-fsanitize=undefined", "-fno-sanitize-recover")
    inputs = plain_c.noise(files[0], 8)
    for number, content in enumerate(files):
        dial = (1e6,) * number + (-1e6,) * (len(files) - 1 - number)
        for given, expected in zip(inputs, reference(content, inputs), strict=True):
            stage, scores = library.cascade("all", given, 5, dial)
            assert stage == number
            np.testing.assert_array_equal(scores, expected)


def test_what_stages_share_is_not_shared_where_their_inputs_differ_in_scale() -> None:
    networks_ = [network.of_file(branch(*kinds, scale=scale)) for kinds, scale in (("cds", 0.031), ("cdS", 0.04))]
    chained = chain.of_networks(networks_)
    kernels = [call.layer.kernel for call in chained.stages[1]]
    assert kernels == ["table", "conv", "depthwise", "mean", "dense"]


def test_copies_are_placed_like_kernels(tmp_path: Path) -> None:
    made = network.of_file(joined()).alone
    for way in (0, 1):
        replay(made, way)
    assert made.arenas[0] < made.arenas[1]
    inputs = plain_c.noise(joined(), 3)
    written = source.written([PointSource(joined(), "joined", "joined")], (), (), "One.")
    expected = reference(joined(), inputs)
    np.testing.assert_array_equal(Library(written.files, tmp_path).run("joined", inputs, expected.shape[1]), expected)


@pytest.mark.parametrize("name", STAGES)
def test_nothing_is_overwritten_that_is_still_read(name: str) -> None:
    made = network.of_file(point(name).content).alone
    for way in (0, 1):
        replay(made, way)
    assert made.arenas[0] < made.arenas[1] <= memory.plan(memory.ranges(point(name).content)).size


def test_the_replay_sees_a_result_that_lies_too_near() -> None:
    made = network.of_file(point("large").content).alone
    near = [call for call in made.calls if call.layer.shift and call.writes.offsets and call.reads[0].offsets]
    found = 0
    for call in near:
        (below, _), (place, _) = call.writes.offsets, call.reads[0].offsets
        if place - 2 * call.layer.shift[0] < below <= place - call.layer.shift[0]:
            moved = replace(call, writes=replace(call.writes, offsets=(place, place)))
            broken = replace(made, calls=tuple(moved if one_ is call else one_ for one_ in made.calls))
            with pytest.raises(AssertionError, match="reads what is gone"):
                replay(broken, 0)
            found += 1
    assert found


def refused(content: bytes) -> str:
    with pytest.raises(TfliteError) as told:
        network.of_file(content)
    return str(told.value)


def test_what_has_no_kernel_is_refused_by_name() -> None:
    x, y = one.steps((1, 4), 0.1), one.steps((1, 4), 0.1, name="y")
    assert refused(file(operator("FLOOR_DIV", [x, x], y))) == "FLOOR_DIV has no kernel in plain C"
    assert "the input is FLOAT32; build with --precision int8" in refused(cascade_files.stage("small", "float32"))
    assert "which do not lie side by side" in refused(one.mean((1, 4, 5, 6), (1, 3)))
    assert "hands its input on" in refused(one.moved("RESHAPE", (1, 4, 6), (1, 24), one.numbers([1, 24])))
    assert "whole factors are needed" in refused(
        one.moved("RESIZE_NEAREST_NEIGHBOR", (1, 4, 6, 5), (1, 5, 9, 5), one.numbers((5, 9)))
    )
    assert "3 subgraphs" in refused(cascade_files.cascade("small>large", "int8", (0.5,)))


def test_points_of_one_name_are_refused() -> None:
    content = one.softmax((1, 5), 0.1)
    with pytest.raises(TfliteError, match="two points would be called model_a_b in C"):
        source.written([PointSource(content, "a-b", "a"), PointSource(content, "a.b", "b")], (), [], "Two.")
    assert carray.identifier("a-b") == "a_b"


def test_stages_that_differ_in_shape_are_refused() -> None:
    points = [PointSource(one.softmax((1, n), 0.1), f"s{n}", "s") for n in (4, 5)]
    chain = CascadeSource("both", "both", ("s4", "s5"), "max", (0.5,))
    with pytest.raises(TfliteError, match="the stages of both take inputs of several shapes; export its stages one by"):
        source.written(points, [chain], [], "Two.")
