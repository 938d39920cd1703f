"""A file as it came with its ends in NumPy: the same as the file that has them as operators."""

from __future__ import annotations

from typing import Any

import classifiers
import numpy as np
import pytest
from classifiers import CLASSES, IMAGE

from tflite_export import adapter, classifier
from tflite_export.devices import host
from tflite_export.errors import TfliteError
from tflite_export.original import Original

IMAGES = np.random.default_rng(3).integers(0, 256, (6, *IMAGE)).astype(np.float32)
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {}, {}),
    "prepared": ({"largest": 1.0}, {"preprocess": "0to1"}, {}),
    "channels turned": ({"largest": 150.0}, {"preprocess": "caffe"}, {}),
    "channels first": ({"channels_first": True}, {}, {"channels_first": True}),
    "logits": ({"softmax": False}, {"logits": True}, {}),
    "some classes": ({}, {"classes": (2, 0, 3)}, {}),
    "a row of more axes": ({"row": (1, 1, 1, CLASSES)}, {}, {}),
}


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "UINT8"])
@pytest.mark.parametrize(("made", "asked", "more"), WAYS.values(), ids=WAYS)
def test_it_answers_as_the_adapted_file(
    kind: str, made: dict[str, Any], asked: dict[str, Any], more: dict[str, Any]
) -> None:
    content = classifiers.file(kind, **made)
    one = classifier.of_file(content, "net.tflite")
    adapted = adapter.alone(adapter.adapted(one, image=IMAGE, kind="float32", scores="float32", **asked), one)
    scores = Original(content, **asked, **more).scores([IMAGES[:4], IMAGES[4:]])
    np.testing.assert_allclose(scores, host.scores(adapted, [IMAGES]), atol=1e-5 if kind == "FLOAT32" else 0.02)
    assert np.ptp(scores, axis=0).max() > 0.02  # else anything would do


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(TfliteError, match="no images to run"):
        Original(classifiers.file("FLOAT32")).scores([])
    with pytest.raises(TfliteError, match=r"LiteRT cannot run the file \(5 bytes\)"):
        Original(b"never").scores([IMAGES])
