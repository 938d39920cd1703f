"""A file as an object: parts that make what the whole makes, features that are the model's, integers that stay."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import keras
import networks
import numpy as np
import pytest
import signals
import uint8_files

from restnet_tf.graph import cuts
from restnet_tf.records import Anchor
from tflite_export import anatomy, classifier, trunk
from tflite_export.convert import convert
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import only, read
from tflite_export.fragment import Runner, stretch
from tflite_export.link import Object
from tflite_export.trunk import Trunk

pytestmark = pytest.mark.slow
layers = keras.layers
IMAGES = networks.images(6)
# By precision of a file: types of ends that its object can have, and how far its features are from the model's.
ENDS = {"float32": ("float32",), "float16": ("float32",), "int8": ("float32", "int8"), "uint8": ("float32", "int8")}
ERRORS = {"float32": 1e-5, "float16": 2e-3, "int8": 0.03, "uint8": 0.03}


@cache
def anchor() -> Anchor:
    return networks.anchor((4, 6))


@cache
def file(precision: str) -> bytes:
    if precision == "uint8":
        return uint8_files.of_int8(file("int8"))
    return convert(anchor().model, precision, [IMAGES.astype(np.float32)])


def of(content: bytes, ends: str = "float32", **how: object) -> Trunk:
    return trunk.of(classifier.of_file(content, "net.tflite"), ends=ends, **how)  # type: ignore[arg-type]


def whole_and_parts(one: Trunk, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features as the object makes them at once, and cut by cut."""
    network = Object(one.content)
    network.cuts = {**network.cuts, "end": network.scores}
    x: np.ndarray = images
    for start, stop in pairwise([None, *(cut.name for cut in one.cuts), "end"]):
        assert stop is not None
        x = Runner(stretch(network, start, [stop]))(x)[0]
    return Runner(stretch(network, None, ["end"]))(images)[0], x


@pytest.mark.parametrize(("precision", "ends"), [(p, end) for p, listed in ENDS.items() for end in listed])
def test_parts_of_a_file_make_the_features_of_its_model(precision: str, ends: str) -> None:
    one = of(file(precision), ends)
    whole, parts = whole_and_parts(one, IMAGES)
    expected = networks.forward(keras.Model(anchor().model.inputs[0], anchor().features), IMAGES)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    np.testing.assert_allclose(whole.reshape(expected.shape), expected, atol=ERRORS[precision] * expected.max())
    assert one.features.shape == (1, 1, 6)


@pytest.mark.parametrize("precision", list(ENDS))
def test_cuts_are_those_of_the_model(precision: str) -> None:
    one = of(file(precision))
    expected = [(cut.shape, cut.macs_before, cut.clamp) for cut in cuts.find(anchor().model) if cut.kind == "grid"]
    assert [(cut.shape, cut.macs, cut.clamp) for cut in one.cuts] == expected
    assert len({cut.name for cut in one.cuts}) == len(expected) > 2
    assert [cut.parameters for cut in one.cuts] == sorted(cut.parameters for cut in one.cuts)


@pytest.mark.parametrize("ends", ["float32", "int8"])
def test_integers_stay_what_they_are(ends: str) -> None:
    def weights(content: bytes) -> set[bytes]:
        graph = only(read(content))
        read_there = [t for op in graph.operators for t in op.inputs if t is not None and t.constant]
        return {t.buffer.digest for t in read_there if t.type == "INT8" and len(t.shape) == 4}

    own = weights(file("int8"))
    assert weights(of(file("int8"), ends).content) == own
    assert len(own) > 5


def test_steps_in_time_have_no_height() -> None:
    model, (x, _) = signals.network(), signals.signals(30)
    one = of(convert(model, "int8", [x], limits=(-np.inf, np.inf)), "int8", steps=(0.5, 0))
    assert [cut.shape for cut in one.cuts] == [(32, 8), (16, 8), (16, 16), (8, 16)]
    whole, parts = whole_and_parts(one, x[:6])
    np.testing.assert_array_equal(parts, whole)


def convolutions(width: int = 6) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    x = image = keras.Input((8, 8, 3))
    for name in ("one", "two"):
        x = layers.Conv2D(width, 3, activation="relu", name=name)(x)
    return image, x


def test_a_classifier_of_every_place_reads_the_mean() -> None:
    image, x = convolutions()
    scores = layers.Softmax()(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x)))
    one = of(convert(keras.Model(image, scores), "float32", []))
    whole, _ = whole_and_parts(one, IMAGES)
    expected = networks.forward(keras.Model(image, layers.GlobalAveragePooling2D()(x)), IMAGES)
    np.testing.assert_allclose(whole.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_channels_may_come_first() -> None:
    image = keras.Input((3, 16, 16))
    x = layers.Permute((2, 3, 1))(image)
    for width in (4, 6):
        x = layers.Conv2D(width, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    one = of(convert(keras.Model(image, layers.Softmax()(layers.Dense(4)(x))), "float32", []))
    images = networks.images(4, side=16)
    whole, parts = whole_and_parts(one, images)
    expected = networks.forward(keras.Model(image, x), images.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    np.testing.assert_allclose(whole.reshape(expected.shape), expected, rtol=1e-4, atol=1e-3)
    assert [cut.shape for cut in one.cuts] == [(14, 14, 4), (12, 12, 6)]


def bare() -> keras.Model:
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Softmax()(layers.Dense(3)(layers.Dense(4)(layers.Flatten()(image)))))


def summed() -> keras.Model:
    image, x = convolutions()
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Softmax()(layers.Add()([layers.Dense(3)(x), layers.Dense(3)(x)])))


@pytest.mark.parametrize(
    ("model", "words"),
    [(bare, "2 FULLY_CONNECTED.*none ends a block"), (summed, "no single layer makes the scores: ADD puts 2")],
)
def test_what_cannot_be_cut_names_file_and_operators(model: Callable[[], keras.Model], words: str) -> None:
    content = convert(model(), "float32", [])
    with pytest.raises(TfliteError, match=rf"^net.tflite cannot be cut: .*{words}.*leave it out of the pool"):
        of(content)


def test_floats_are_no_integers() -> None:
    with pytest.raises(TfliteError, match=r"as float32, of which no int8 can be made.*choose float32"):
        of(file("float32"), "int8")


def test_weights_that_are_widened_are_not_live() -> None:
    """A float16 file begins with what makes floats of its weights; its cuts are those of the float32 file."""
    shapes = [[cut.shape for cut in anatomy.of(file(p), "net").cuts] for p in ("float16", "float32")]
    assert shapes[0] == shapes[1] != []
