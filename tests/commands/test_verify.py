"""Agreement of two files: figures by hand, logits behind a softmax, what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from networks import forward

from tflite_export.convert import convert
from tflite_export.errors import TfliteError
from tflite_export.verify import Outputs, compare, run


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(9)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Softmax()(x))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(4).uniform(0, 255, (20, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def files(model: keras.Model, images: np.ndarray) -> dict[str, bytes]:
    return {precision: convert(model, precision, [images]) for precision in ("float32", "int8")}


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_figures_by_hand():
    reference = Outputs(np.array([[0.7, 0.3], [0.4, 0.6]]), np.array([[1.0, 0.0], [0.0, 2.0]]))
    found = Outputs(np.array([[0.4, 0.6], [0.35, 0.65]]), np.array([[1.0, 0.0], [0.3, 1.6]]))
    agreement = compare(found, reference)
    assert (agreement.n, agreement.top1) == (2, 0.5)
    assert agreement.difference == pytest.approx(0.3)
    assert agreement.sqnr_db == pytest.approx(10 * np.log10(5 / 0.25))
    assert compare(reference, reference).sqnr_db == np.inf


def test_outputs_of_other_images_are_refused():
    one, two = (Outputs(np.zeros((n, 3)), np.zeros((n, 3))) for n in (1, 2))
    with pytest.raises(TfliteError, match=r"\(1, 3\) and \(2, 3\) cannot be compared"):
        compare(one, two)


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("int8", 0.05)])
def test_logits_are_what_the_softmax_reads(
    model: keras.Model, files: dict[str, bytes], images: np.ndarray, precision: str, error: float
):
    found = run(files[precision], [images[:15], images[15:]])
    exact = forward(keras.Model(model.inputs[0], model.get_layer("logits").output), images)
    np.testing.assert_allclose(found.logits, exact, atol=error)
    np.testing.assert_allclose(found.scores, softmax(exact), atol=error)


def test_without_a_softmax_scores_are_the_logits(model: keras.Model, images: np.ndarray):
    bare = keras.Model(model.inputs[0], model.get_layer("logits").output)
    found = run(convert(bare, "float32"), [images])
    np.testing.assert_array_equal(found.logits, found.scores)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_image_that_is_not_finite_is_refused(files: dict[str, bytes], images: np.ndarray, precision: str):
    broken = images.copy()
    broken[2, 0, 0] = np.nan
    with pytest.raises(TfliteError, match=r"3 of 3840 values for .* are not finite"):
        run(files[precision], [broken])


def test_no_images_and_no_file_are_refused(files: dict[str, bytes]):
    file = files["float32"]
    with pytest.raises(TfliteError, match="no images to run"):
        run(file, [])
    with pytest.raises(TfliteError, match="not a"):
        run(file[: len(file) // 2], [])
