"""What is put before and behind a foreign classifier, against NumPy by hand around the file itself."""

from __future__ import annotations

import os
from functools import reduce

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from typing import Any

import classifiers
import needs
import numpy as np
import paths
import pytest
from classifiers import CLASSES, IMAGE

from tflite_export import adapter, cascades, classifier, macs, preprocessing, probabilities
from tflite_export.cascades import Stage
from tflite_export.classifier import Classifier
from tflite_export.devices import host, tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Subgraph, Tensor
from tflite_export.integers import dequantise, quantise
from tflite_export.preprocessing import MODES

pytestmark = pytest.mark.slow

IN_MICRO = (pytest.mark.slow, needs.MICRO.mark)
RUNTIMES = ("LiteRT", pytest.param("TFLM", marks=IN_MICRO))
# Every value of an image's range as well as noise.
PICTURES = np.random.default_rng(3).integers(0, 256, (6, *IMAGE)).astype(np.float32)
PICTURES[0].flat[:] = np.linspace(0, 255, PICTURES[0].size).round()


def of(content: bytes) -> Classifier:
    return classifier.of_file(content, "net.tflite")


def details(tensor: Tensor) -> dict[str, Any]:
    kind = np.dtype(tensor.type.lower())
    label = (tensor.scales[0], tensor.zero_points[0]) if kind.kind in "iu" else (0.0, 0)
    return {"name": tensor.name, "dtype": kind, "quantization": label}


def answers(runtime: str, content: bytes, x: np.ndarray) -> np.ndarray:
    """Raw outputs ``(n, ...)`` for raw inputs; ``reference`` is LiteRT by its plain kernels."""
    if runtime == "TFLM":
        return tflm_wheel.run(content, x, 1 << 20).scores[0]
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF if runtime == "reference" else OpResolverType.AUTO
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    first, last = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for one in x:
        interpreter.set_tensor(first, one[None])
        interpreter.invoke()
        values = interpreter.get_tensor(last).copy()
        rows.append(values[0] if values.ndim > 1 else values)
    return np.stack(rows)


def through(runtime: str, chains: list[tuple[bytes, ...]], x: np.ndarray) -> list[np.ndarray]:
    """What chains of files make of raw inputs, each file of what the one before it gave."""
    return [reduce(lambda values, content: answers(runtime, content, values), chain, x) for chain in chains]


def resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with half-pixel centres."""
    for axis, goal in ((1, size[0]), (2, size[1])):
        own = images.shape[axis]
        at = np.clip((np.arange(goal) + 0.5) * own / goal - 0.5, 0, own - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape([-1 if a == axis else 1 for a in range(4)])
        high = np.minimum(low + 1, own - 1)
        images = images.take(low, axis) * (1 - share) + images.take(high, axis) * share
    return images


def preprocessed(images: np.ndarray, mode: str) -> np.ndarray:
    """As timm, torchvision and Keras write it."""
    if mode == "imagenet":
        return (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    if mode == "caffe":
        return images[..., ::-1] - [103.939, 116.779, 123.68]
    return {"none": images, "0to1": images / 255, "-1to1": images / 127.5 - 1}[mode]


def front(one: Classifier, graph: Subgraph) -> Subgraph:
    """What stands before a classifier's own operators."""
    count = graph.operators.index(one.graph.operators[0])
    return Subgraph(graph.operators[:count], graph.inputs, [one.input])


def steps_for(mode: str, kind: str) -> tuple[float, int] | None:
    """Scale and zero point of an input that a mode fills."""
    if kind == "FLOAT32":
        return None
    low, high = preprocessing.of_mode(mode, 3).range
    if kind == "INT16":
        return max(-low, high) / 32767, 0
    scale = (high - low) / 255
    return scale, round(-low / scale) - (128 if kind == "INT8" else 0)


def net(mode: str, kind: str, **how: Any) -> Classifier:
    largest = max(map(abs, preprocessing.of_mode(mode, 3).range))
    return of(classifiers.file(kind, steps_for(mode, kind), largest=largest, **how))


# --- before ---------------------------------------------------------------------------------------

_KINDS = ("FLOAT32", "INT8", "UINT8")
_WAYS = [
    (raw, own, mode, size, first)
    for raw in _KINDS
    for own in (*_KINDS, "INT16")
    for mode in MODES
    for size, first in (((6, 5), False), ((9, 8), mode in ("none", "caffe")))
]


def check_front(runtime: str, raw: str, own: str, mode: str, size: tuple[int, int], first: bool) -> None:
    one = net(mode, own, channels_first=first)
    graph = adapter.adapted(one, image=(*size, 3), kind=raw.lower(), preprocess=mode)
    pictures = resized(PICTURES, size).round()
    raw_pictures = quantise(pictures, details(graph.inputs[0]))
    before = front(one, graph)
    way = (adapter.alone(before, one),) if before.operators else ()
    by_hand, whole = (*way, classifiers.of_graph(one.graph)), adapter.alone(graph, one)
    taken, scores, own_scores = through(runtime, [way, (whole,), by_hand], raw_pictures)
    expected = preprocessed(resized(pictures, IMAGE[:2]), mode)
    expected = expected.transpose(0, 3, 1, 2) if first else expected
    if own == "FLOAT32":
        np.testing.assert_allclose(taken, expected, rtol=1e-5, atol=1e-4)
    else:
        integers = raw != "FLOAT32" and own != "INT16"
        # Integers that are resized are rounded, by XNNPACK perhaps to the other side, before they are preprocessed.
        room = 2 if integers and size != IMAGE[:2] else 1
        off = np.abs(taken.astype(int) - quantise(expected, details(one.input)))
        assert off.max() <= room
    np.testing.assert_array_equal(scores, _signed(own_scores))


def _signed(scores: np.ndarray) -> np.ndarray:
    """Scores as the adapted file gives them: bytes as int8."""
    return (scores.astype(int) - 128).astype(np.int8) if scores.dtype == np.uint8 else scores


@pytest.mark.parametrize(("raw", "own", "mode", "size", "first"), _WAYS)
def test_images_reach_the_file_as_it_expects_them(raw: str, own: str, mode: str, size: tuple[int, int], first: bool):
    check_front("LiteRT", raw, own, mode, size, first)


_MICRO = [
    *((raw, raw, mode, (6, 5), False) for raw in ("FLOAT32", "INT8") for mode in MODES),
    *((raw, own, "-1to1", (9, 8), True) for raw in _KINDS for own in (*_KINDS, "INT16")),
]


@pytest.mark.slow
@needs.MICRO.mark
@pytest.mark.parametrize(("raw", "own", "mode", "size", "first"), _MICRO)
def test_images_reach_the_file_in_tflite_micro(raw: str, own: str, mode: str, size: tuple[int, int], first: bool):
    check_front("TFLM", raw, own, mode, size, first)


@pytest.mark.parametrize(
    ("raw", "own", "mode", "names"),
    [
        ("INT8", "INT8", "none", []),
        ("UINT8", "UINT8", "none", []),
        ("FLOAT32", "FLOAT32", "none", []),
        ("INT8", "INT8", "0to1", ["RESHAPE"]),
        ("INT8", "INT8", "-1to1", ["RESHAPE"]),
        ("UINT8", "INT8", "-1to1", ["QUANTIZE", "RESHAPE"]),
        ("INT8", "INT8", "imagenet", ["CONV_2D"]),
        ("INT8", "INT8", "caffe", ["CONV_2D"]),
        ("FLOAT32", "FLOAT32", "imagenet", ["MUL", "ADD"]),
        ("FLOAT32", "FLOAT32", "0to1", ["MUL"]),
        ("FLOAT32", "FLOAT32", "caffe", ["CONV_2D"]),
        ("FLOAT32", "INT8", "none", ["QUANTIZE"]),
        ("INT8", "FLOAT32", "none", ["DEQUANTIZE"]),
    ],
)
def test_no_more_is_put_before_than_it_takes(raw: str, own: str, mode: str, names: list[str]):
    one = net(mode, own)
    graph = adapter.adapted(one, image=IMAGE, kind=raw.lower(), preprocess=mode)
    assert [operator.name for operator in front(one, graph).operators] == names


@pytest.mark.slow
@needs.MICRO.mark
def test_bytes_get_other_steps_in_tflite_micro():
    one = of(classifiers.file("UINT8", (1.7, 20)))
    graph = adapter.adapted(one, image=IMAGE, kind="uint8")
    taken = answers("TFLM", adapter.alone(front(one, graph), one), PICTURES.astype(np.uint8))
    assert np.abs(taken.astype(int) - quantise(PICTURES, details(one.input))).max() <= 1


def test_one_channel_does_not_speak_for_all():
    """The steps are those of the first channel's offset."""
    one = of(classifiers.file("INT8", (1.0, -24)))
    graph = adapter.adapted(one, image=IMAGE, kind="int8", preprocess="caffe")
    assert [operator.name for operator in front(one, graph).operators] == ["CONV_2D"]


@pytest.mark.parametrize(("steps", "mode"), [((0.011, 5), "-1to1"), ((0.004, -100), "0to1"), ((1.7, -90), "none")])
def test_an_input_of_other_steps_gets_its_integers_in_one_rounding(steps: tuple[float, int], mode: str):
    one = of(classifiers.file("INT8", steps))
    graph = adapter.adapted(one, image=IMAGE, kind="int8", preprocess=mode)
    assert len(front(one, graph).operators) == 1
    taken = answers("LiteRT", adapter.alone(front(one, graph), one), quantise(PICTURES, details(graph.inputs[0])))
    expected = quantise(preprocessed(PICTURES, mode), details(one.input))
    off = taken.astype(int) - expected
    assert np.abs(off).max() <= 1
    # XNNPACK multiplies by 256ths where it brings integers to other steps; a convolution is exact but for ties.
    assert (off != 0).mean() < (0.25 if mode == "none" else 0.02)


def test_bytes_go_as_they_are_into_the_first_quantised_networks():
    """Their scale is 1/128 where 1/127.5 would be exact; their makers feed them raw bytes."""
    one = of(classifiers.file("UINT8", (1 / 128, 128)))
    graph = adapter.adapted(one, image=IMAGE, kind="uint8", preprocess="-1to1")
    assert [operator.name for operator in front(one, graph).operators] == ["RESHAPE"]
    raw = PICTURES.astype(np.uint8)
    np.testing.assert_array_equal(answers("LiteRT", adapter.alone(front(one, graph), one), raw), raw)
    assert one.expects == "-1to1"


def test_features_that_are_no_image_pass_in_the_steps_of_the_file():
    """Keyword spotting: MFCC features of one channel, of no raw range."""
    steps = (0.5847029, 83)
    one = of(classifiers.file("INT8", steps, image=(49, 10, 1), largest=100))
    assert adapter.adapted(one, image=(49, 10, 1), kind="int8", steps=steps).operators == one.graph.operators
    graph = adapter.adapted(one, image=(49, 10, 1), kind="float32")
    features = np.random.default_rng(0).uniform(-123, 25, (4, 49, 10, 1)).astype(np.float32)
    expected = host.scores(classifiers.of_graph(one.graph), [features])
    np.testing.assert_array_equal(host.scores(adapter.alone(graph, one), [features]), expected)


def test_the_file_itself_is_left_as_it_was():
    one = net("-1to1", "INT8")
    before, label = list(one.graph.operators), one.input.scales
    graph = adapter.adapted(one, image=(12, 9, 3), kind="uint8", preprocess="-1to1", classes=[3, 1], scores="float32")
    assert one.graph.operators == before
    assert (one.input.scales, one.graph.inputs) == (label, [before[0].inputs[0]])
    assert [op for op in graph.operators if op in before] == before


# --- behind ---------------------------------------------------------------------------------------


def check_back(runtime: str, own: str, row: tuple[int, ...] = (1, CLASSES), **asked: Any) -> np.ndarray:
    """Real scores ``(n, classes)`` of a file without softmax, or with one where none is appended."""
    one = of(classifiers.file(own, row=row, softmax=not asked.get("logits")))
    graph = adapter.adapted(one, image=IMAGE, kind=own.lower(), **asked)
    x = quantise(PICTURES, details(one.input))
    found = dequantise(answers(runtime, adapter.alone(graph, one), x), details(graph.outputs[0]))
    expected = dequantise(answers(runtime, classifiers.of_graph(one.graph), x), details(one.output))
    expected = expected.reshape(len(x), CLASSES)[:, asked.get("classes", range(CLASSES))]
    if asked.get("logits"):
        powers = np.exp(expected - expected.max(1, keepdims=True))
        expected = powers / powers.sum(1, keepdims=True)
    assert graph.outputs[0].type == asked.get("scores", "int8" if own == "UINT8" else own).upper()
    step = graph.outputs[0].scales[0] if graph.outputs[0].scales else 1e-6
    # Rounded once by a softmax or a cast that is put behind; else it is the same to the bit.
    inherent = asked.get("logits") or "scores" in asked
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.01 * step if inherent else 1e-7)
    return found


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("own", ["FLOAT32", "INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("logits", [False, True])
def test_scores_come_in_the_order_wanted(runtime: str, own: str, logits: bool):
    found = check_back(runtime, own, row=(1, 1, 1, CLASSES), classes=[2, 0, 3], logits=logits)
    if logits:  # over the classes that are kept
        np.testing.assert_allclose(found.sum(1), 1, atol=0.02)


def test_logits_of_16_bits_keep_their_steps_in_another_order():
    one = of(classifiers.file("INT16", softmax=False))
    graph = adapter.adapted(one, image=IMAGE, kind="int16", classes=[3, 2, 1, 0])
    assert graph.outputs[0].scales == one.output.scales
    found, own = (
        answers("LiteRT", f, PICTURES.astype(np.int16))
        for f in (adapter.alone(graph, one), classifiers.of_graph(one.graph))
    )
    np.testing.assert_array_equal(found.reshape(-1, CLASSES), own.reshape(-1, CLASSES)[:, ::-1])


@pytest.mark.parametrize("row", [(1, CLASSES), (CLASSES,), (1, CLASSES, 1, 1)])
def test_scores_are_a_row(row: tuple[int, ...]):
    assert check_back("LiteRT", "INT8", row).shape == (len(PICTURES), CLASSES)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("own", "scores"), [("FLOAT32", "int8"), ("INT8", "float32"), ("UINT8", "float32"), ("INT16", "int8")]
)
def test_scores_are_of_the_type_asked_for(runtime: str, own: str, scores: str):
    check_back(runtime, own, scores=scores)


@pytest.mark.parametrize(("own", "names"), [("FLOAT32", []), ("INT8", []), ("INT16", []), ("UINT8", ["QUANTIZE"])])
def test_no_more_is_put_behind_than_it_takes(own: str, names: list[str]):
    one = of(classifiers.file(own))
    graph = adapter.adapted(one, image=IMAGE, kind=own.lower(), classes=range(CLASSES))
    assert [operator.name for operator in graph.operators[len(one.graph.operators) :]] == names


# --- the whole ------------------------------------------------------------------------------------


def test_a_file_of_its_own_has_the_signature_of_all_others():
    one = of(classifiers.file("UINT8"))
    graph = adapter.adapted(one, image=(12, 10, 3), kind="float32", classes=[1, 0])
    content = adapter.alone(graph, one, metadata={"labels": ["a", "b"]})
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    (key, signature), *more = interpreter.get_signature_list().items()
    assert (key, signature, more) == ("serving_default", {"inputs": ["image"], "outputs": ["scores"]}, [])
    assert host.scores(content, [np.zeros((2, 12, 10, 3))]).shape == (2, 2)


def test_what_a_file_calls_comes_along():
    one = of(classifiers.branching())
    graph = adapter.adapted(one, image=(7, 9, 3), kind="float32", classes=[3, 1])
    images = np.random.default_rng(0).uniform(0, 255, (4, 7, 9, 3)).astype(np.float32)
    scores = host.scores(adapter.alone(graph, one), [images])
    own = host.scores(classifiers.branching(), [resized(images, IMAGE[:2])])
    np.testing.assert_allclose(scores, own[:, [3, 1]], atol=1e-6)


def test_adapted_files_are_stages_of_a_cascade():
    small = of(classifiers.file("UINT8", (1 / 128, 128)))
    large = of(classifiers.file("FLOAT32", softmax=False, channels_first=True, seed=1))
    own = {"image": (8, 9, 3), "kind": "uint8"}
    graphs = (
        adapter.adapted(small, **own, preprocess="-1to1", classes=[3, 0, 2]),
        adapter.adapted(large, **own, classes=[0, 1, 2], logits=True),
    )
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 9, 3)).astype(np.uint8)
    alone = [
        host.scores(adapter.alone(graph, one), [images]) for graph, one in zip(graphs, (small, large), strict=True)
    ]
    content = cascades.file([Stage(graph) for graph in graphs], "max")
    middle = np.median(alone[0].max(1))
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    for threshold in (0.0, middle, 1.1):
        for image, *rows in zip(images, *alone, strict=True):
            answer = runner(image=image[None], threshold_1=np.array([threshold], np.float32))
            stage = int(rows[0].max() < threshold)
            assert answer["stage"] == stage
            np.testing.assert_allclose(answer["scores"][0], rows[stage], atol=1e-6)


def test_costs_are_those_of_the_file_and_of_what_is_put_before_it():
    one = net("caffe", "INT8")
    graph = adapter.adapted(one, image=(12, 10, 3), kind="int8", preprocess="caffe")
    assert macs.of_graph(graph) == one.macs + 6 * 5 * 3 * 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"image": (6, 5, 1)}, "the images have 1 channel, net.tflite takes 3; give images of 3"),
        ({"kind": "float16"}, "images of 'float16'; choose one of float32, int8, uint8, int16"),
        ({"preprocess": "tf"}, "unknown preprocessing 'tf'"),
        ({"logits": True}, "net.tflite ends in a softmax already; leave out --logits"),
        ({"classes": [0, 4]}, r"classes \[0, 4\] of net.tflite; give two or more of 0..3, each once"),
        ({"classes": [1, 1]}, "each once"),
        ({"classes": [-1, 1]}, "each once"),
        ({"classes": [1]}, "two or more"),
        ({"scores": "uint8"}, "scores of 'uint8'; choose one of float32, int8, int16"),
    ],
)
def test_what_cannot_be_adapted_is_refused(asked: dict[str, Any], words: str):
    one = of(classifiers.file("INT8"))
    with pytest.raises(TfliteError, match=words):
        adapter.adapted(one, **{"image": IMAGE, "kind": "int8", **asked})


# --- real files -----------------------------------------------------------------------------------


@pytest.mark.slow
@needs.ANCHORS.mark
@pytest.mark.parametrize(
    ("name", "kind", "correct"),
    [
        ("mlperf_resnet8_int8", "int8", 611),
        ("mlperf_resnet8_int8", "float32", 611),
        ("mlperf_resnet8_float32", "int8", 612),
        ("mlperf_resnet_large_int8", "uint8", 645),
    ],
)
def test_published_networks_are_as_accurate_as_they_are_alone(name: str, kind: str, correct: int):
    one = classifier.of_file((paths.SHARED / "anchors" / f"{name}.tflite").read_bytes(), name)
    data = np.load(paths.SHARED / "data" / "cifar10_subset.npz")
    graph = adapter.adapted(one, image=(32, 32, 3), kind=kind)
    scores = host.scores(adapter.alone(graph, one), [data["x_test"].astype(np.float32)])
    assert (scores.argmax(1) == data["y_test"]).sum() == correct
    assert probabilities.is_probabilities(scores, 1 / 256)


@pytest.mark.slow
@needs.MICRO.mark
@needs.ANCHORS.mark
def test_a_published_network_runs_in_tflite_micro():
    one = classifier.of_file((paths.SHARED / "anchors" / "mlperf_resnet8_int8.tflite").read_bytes(), "resnet8")
    graph = adapter.adapted(one, image=(40, 36, 3), kind="uint8", classes=[9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    content = adapter.alone(graph, one)
    images = np.load(paths.SHARED / "data" / "cifar10_subset.npz")["x_test"][:20]
    images = resized(images.astype(np.float32), (40, 36)).round().astype(np.uint8)
    off = answers("TFLM", content, images).astype(int) - answers("reference", content, images)
    assert np.abs(off).max() <= 1
