"""Files of other makers: what is read of them, and what is refused as a stage."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import classifiers
import needs
import numpy as np
import operators
import paths
import pytest

from tflite_export import classifier, emit, macs
from tflite_export.classifier import Classifier
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Subgraph, called, read


def of(content: bytes) -> Classifier:
    return classifier.of_file(content, "net.tflite")


def test_a_file_says_what_it_takes_and_gives():
    one = of(classifiers.file("INT8"))
    assert (one.image, one.channels_first, one.classes) == ((6, 5, 3), False, 4)
    assert (one.input.name, one.output.name) == ("picture", "answer")
    assert (one.precision, one.ending, one.expects) == ("int8", "SOFTMAX", "none")
    assert (one.macs, one.parameters) == (6 * 5 * 3 * 4, 3 * 4 + 4)


@pytest.mark.parametrize(
    ("kind", "precision"), [("FLOAT32", "float32"), ("INT8", "int8"), ("UINT8", "int8"), ("INT16", "int16x8")]
)
def test_precision_is_that_of_the_work(kind: str, precision: str):
    assert of(classifiers.file(kind)).precision == precision


def test_precision_of_integers_between_floats():
    def between(one: Subgraph) -> None:
        x = classifiers.tensor(one.inputs[0].shape, "FLOAT32", None, "float")
        one.operators = [emit.quantize(x, one.inputs[0]), *one.operators, emit.dequantize(one.outputs[0])]
        one.inputs, one.outputs = [x], one.operators[-1].outputs

    one = of(classifiers.changed(between, steps=(1 / 127.5, 0)))
    assert (one.precision, one.input.type, one.output.type) == ("int8", "FLOAT32", "FLOAT32")
    assert (one.ending, one.expects) == ("SOFTMAX", "-1to1")


@pytest.mark.parametrize(("kind", "precision"), [("FLOAT16", "float16"), ("INT8", "dynamic")])
def test_precision_of_reduced_weights(kind: str, precision: str):
    def reduce(one: Subgraph) -> None:
        conv = one.operators[0]
        weights = conv.inputs[1]
        assert weights is not None
        if kind == "INT8":
            conv.inputs[1] = emit.constant(
                np.ones(weights.shape, np.int8), "w", np.array([0.1] * len(weights.values()))
            )
        else:
            half = emit.dequantize(emit.constant(weights.values().astype(np.float16), "half"))
            conv.inputs[1] = half.outputs[0]
            one.operators.insert(0, half)

    assert of(classifiers.changed(reduce, kind="FLOAT32")).precision == precision


def test_the_first_quantised_files_are_uint8_throughout():
    x, y = operators.tensor("UINT8", (1, 4, 4, 3)), operators.tensor("UINT8", (1, 1, 1, 4), "y")
    weights = emit.constant(np.ones((4, 4, 4, 3), np.int8), "w")
    weights.table.type = x.table.type
    options = {"strideW": 1, "strideH": 1, "padding": 1}
    conv = operators.operator("CONV_2D", [x, weights, None], y, "Conv2DOptions", **options)
    one = of(operators.file(conv))
    assert (one.precision, one.macs) == ("uint8", 4 * 4 * 4 * 3)


@pytest.mark.parametrize(
    ("steps", "mode"),
    [
        ((1.0, -128), "none"),
        ((1 / 255, -128), "0to1"),
        ((1 / 127.5, 0), "-1to1"),
        ((1 / 127.5, -1), "-1to1"),
        ((1 / 128, 0), "-1to1"),
        ((0.0186584, -14), "imagenet"),
        ((0.5847029, 83), None),
        ((0.02, 0), None),
    ],
)
def test_the_range_of_an_input_speaks_for_a_preprocessing(steps: tuple[float, int], mode: str | None):
    assert of(classifiers.file("INT8", steps)).expects == mode
    assert of(classifiers.file("UINT8", (steps[0], steps[1] + 128))).expects == mode


def test_floats_and_symmetric_integers_do_not_speak():
    assert of(classifiers.file("FLOAT32")).expects is None
    assert of(classifiers.file("INT16")).expects is None


def test_an_open_batch_is_fixed_to_one():
    def leave_open(one: Subgraph) -> None:
        for tensor in (*one.inputs, *(t for op in one.operators for t in op.outputs)):
            tensor.table.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)

    content = classifiers.changed(leave_open)
    assert not all(tensor.fixed for tensor in read(content).subgraphs[0].tensors)
    assert all(tensor.fixed for tensor in of(content).graph.tensors)


@pytest.mark.parametrize("row", [(1, 4), (4,), (1, 1, 1, 4), (1, 1, 4), (1, 4, 1, 1)])
def test_any_row_is_a_row_of_scores(row: tuple[int, ...]):
    assert of(classifiers.file(row=row)).classes == 4


def test_channels_may_come_first_where_no_other_reading_is_left():
    one = of(classifiers.file("FLOAT32", channels_first=True))
    assert (one.image, one.channels_first) == ((6, 5, 3), True)
    features = of(classifiers.file("FLOAT32", image=(3, 10, 1)))
    assert (features.image, features.channels_first) == ((3, 10, 1), False)
    vector = of(classifiers.file("FLOAT32", image=(1, 1, 24)))
    assert (vector.image, vector.channels_first) == ((1, 1, 24), False)


def test_a_file_is_known_by_its_content(tmp_path: Path):
    contents = {"net": classifiers.file(), "net.tflite": b"PK\x03\x04 an archive of Keras", "text.tflite": b"hello"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert [classifier.is_file(str(tmp_path / name)) for name in contents] == [True, False, True]
    assert classifier.is_file(str(tmp_path / "gone.TFLITE"))  # so that its absence is said of a .tflite file
    assert not classifier.is_file("MobileNetV2")
    assert not classifier.is_file(str(tmp_path))


def test_what_stands_for_a_file_is_called_by_its_name():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    for content, words in ((pointer, "git lfs pull"), (b"\n<!DOCTYPE html>", "web page")):
        with pytest.raises(TfliteError, match=words):
            classifier.of_file(content, "net.tflite")


def test_what_ends_a_file_is_seen_through_its_casts():
    assert of(classifiers.file("UINT8", softmax=False)).ending == "AVERAGE_POOL_2D"
    x, y = operators.tensor(shape=(1, 1, 1, 8)), operators.tensor(shape=(1, 1, 1, 8), name="y")
    assert of(operators.file(operators.operator("LOGISTIC", [x], y))).ending == "LOGISTIC"


def test_subgraphs_that_the_network_calls_are_its_own():
    one = of(classifiers.branching())
    assert len(called([one.graph])) == 3
    assert (one.classes, one.precision, one.ending) == (4, "float32", "IF")


def test_what_a_network_calls_is_checked_and_fixed_as_well():
    def leave_open(branch: Subgraph) -> None:
        branch.inputs[0].table.shapeSignature = np.array([-1, 4], np.int32)

    one = of(classifiers.branching(leave_open))
    assert all(tensor.fixed for graph in called([one.graph]) for tensor in graph.tensors)
    with pytest.raises(TfliteError, match="TensorFlow's own Erf"):
        of(classifiers.branching(classifiers.custom("FlexErf")))


def test_of_two_branches_the_dearer_counts():
    one = classifiers.graph("FLOAT32")
    dearer, cheaper = classifiers.graph("FLOAT32"), classifiers.graph("FLOAT32", image=(2, 2, 3))
    flag = emit.activation((1,), "BOOL", "flag")
    branch = emit.branch(flag, one.inputs, [emit.activation((1, 4), "FLOAT32", "y")], cheaper, dearer)
    assert macs.of_operator(branch) == macs.of_graph(dearer) > macs.of_graph(cheaper)
    # Both have the weights of seed 0, in buffers of their own.
    assert macs.parameters(Subgraph([branch], one.inputs, branch.outputs)) == 2 * macs.parameters(one)


def two_inputs(one: Subgraph) -> None:
    one.inputs.append(classifiers.tensor((1,), "FLOAT32", None, "more"))


def two_outputs(one: Subgraph) -> None:
    one.outputs.append(one.operators[0].outputs[0])


def stateful(one: Subgraph) -> None:
    one.operators[0].outputs[0].table.isVariable = True


def variable(one: Subgraph) -> None:
    handle = emit.activation((1,), "RESOURCE", "handle")
    one.operators.insert(0, operators.operator("VAR_HANDLE", [], handle))


def open_size(one: Subgraph) -> None:
    one.inputs[0].table.shapeSignature = np.array([-1, -1, -1, 3], np.int32)


def strange_input(one: Subgraph) -> None:
    one.inputs[0].table.type = emit.activation((1,), "INT32", "x").table.type


def strange_scores(one: Subgraph) -> None:
    one.outputs[0].table.type = emit.activation((1,), "INT64", "x").table.type


def scaleless(one: Subgraph) -> None:
    one.inputs[0].table.quantization = None


def without_weights(one: Subgraph) -> None:
    del one.operators[0].inputs[1:]


def endless(one: Subgraph) -> None:
    flag = emit.activation((1,), "BOOL", "flag")
    one.inputs.append(flag)
    one.operators.append(emit.branch(flag, one.inputs, [emit.activation((1, 4), "INT8", "y")], one, one))


def scale_of_nothing(one: Subgraph) -> None:
    one.inputs[0].table.quantization = emit.quantisation(np.array([0.0]), np.array([0]))


def batch(one: Subgraph) -> None:
    one.inputs[0].table.shape = np.array([8, 6, 5, 3], np.int32)


def flat(one: Subgraph) -> None:
    one.inputs[0].table.shape = np.array([1, 90], np.int32)


def map_out(one: Subgraph) -> None:
    one.outputs = one.operators[0].outputs


def single(one: Subgraph) -> None:
    one.outputs[0].table.shape = np.array([1, 1], np.int32)


_REFUSED: list[tuple[bytes | Callable[[Subgraph], None], str]] = [
    (b"PK\3\4 no network", "not a .tflite file"),
    (classifiers.file()[:-40], "not a whole .tflite file"),
    (classifiers.of_graph(classifiers.graph(), signatures=2), r"2 signatures (way0, way1), .*a file of its own"),
    (classifiers.of_graph(classifiers.graph(), classifiers.graph()), "1 subgraph beside .*a file of its own"),
    (variable, "keeps variables (VAR_HANDLE); export it with its weights as constants"),
    (stateful, "from one image to the next; export it without state"),
    (two_inputs, "2 inputs ('picture' (1, 6, 5, 3), 'more' (1,)); export it with one, an image"),
    (two_outputs, "2 outputs .*; export it with one, a row of scores"),
    (classifiers.custom("FlexErf"), "TensorFlow's own Erf; convert it with TFLITE_BUILTINS alone"),
    (classifiers.custom("ethos-u"), "'ethos-u', .*before it was compiled for a device"),
    (open_size, "leaves more open than the batch: 'picture' is (-1, -1, -1, 3); convert it with a fixed input"),
    (strange_input, "has an image of INT32; convert it with ends of one of float32, int8, uint8, int16"),
    (strange_scores, "has scores of INT64; convert it with ends of one of float32, int8, uint8, int16"),
    (scaleless, "has an image of INT8 without a scale; convert it with float32 ends, or quantise it whole"),
    (without_weights, "not a whole .tflite file: CONV_2D has not what it works on"),
    (endless, "not a whole .tflite file: IF has not what it works on"),
    (scale_of_nothing, "has an image of INT8 without a scale"),
    (batch, "8 images at once ((8, 6, 5, 3)); convert it with a batch of 1"),
    (flat, "takes (1, 90), no image; an input (1, height, width, channels) is needed"),
    (map_out, "gives (1, 6, 5, 4), no row of class scores; an output (1, classes) is needed"),
    (single, "gives a single score; export it with one for each of two classes"),
]


@pytest.mark.parametrize(("content", "words"), _REFUSED, ids=[words[:24] for _, words in _REFUSED])
def test_what_is_no_stage_is_refused_in_one_line(content: bytes | Callable[[Subgraph], None], words: str):
    content = content if isinstance(content, bytes) else classifiers.changed(content)
    pattern = ".*".join(re.escape(part) for part in words.split(".*"))
    with pytest.raises(TfliteError, match=f"net.tflite.*{pattern}") as refusal:
        of(content)
    assert "\n" not in str(refusal.value)


# --- costs ----------------------------------------------------------------------------------------


def test_costs_of_what_multiplies():
    x = operators.tensor("FLOAT32", (1, 6, 4))
    other = emit.constant(np.ones((1, 4, 5), np.float32), "right")
    product = operators.operator(
        "BATCH_MATMUL", [x, other], operators.tensor("FLOAT32", (1, 6, 5)), "BatchMatMulOptions"
    )
    assert macs.of_operator(product) == 6 * 4 * 5
    size = emit.constant(np.array([1, 8, 8, 2], np.int32), "size")
    weights = emit.constant(np.ones((2, 3, 3, 5), np.float32), "w")
    grown = operators.operator(
        "TRANSPOSE_CONV",
        [size, weights, operators.tensor("FLOAT32", (1, 4, 4, 5))],
        operators.tensor("FLOAT32", (1, 8, 8, 2)),
    )
    assert macs.of_operator(grown) == 4 * 4 * 2 * 3 * 3 * 5
    assert macs.parameters(Subgraph([product, grown], [x], grown.outputs)) == 4 * 5 + 2 * 3 * 3 * 5


@needs.ANCHORS.mark
@pytest.mark.parametrize(
    ("name", "millions", "parameters", "precision", "expects"),
    [
        ("mlperf_resnet8_int8", 12.5, 77_706, "int8", "none"),
        ("mlperf_resnet8_float32", 12.5, 77_706, "float32", None),
        ("mlperf_resnet_large_int8", 76.5, 480_330, "int8", "none"),
        ("kws_dscnn_int8", 2.66, 22_604, "int8", None),
        ("kws_dscnn_float32", 2.66, 22_604, "dynamic", None),  # its weights are of 8 bits
    ],
)
def test_published_files(name: str, millions: float, parameters: int, precision: str, expects: str | None):
    one = of((paths.SHARED / "anchors" / f"{name}.tflite").read_bytes())
    assert one.macs / 1e6 == pytest.approx(millions, rel=5e-3)
    assert (one.parameters, one.precision, one.expects, one.ending) == (parameters, precision, expects, "SOFTMAX")
