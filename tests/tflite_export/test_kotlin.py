"""Kotlin of files with cascades. Nothing here compiles it: package registries have no Android SDK."""

from __future__ import annotations

import re

import cascade_files
import numpy as np
import pytest

from tflite_export import kotlin, link
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Model, read, write


def elastic() -> bytes:
    """A cascade, and its stages as points of their own."""
    models = {name: read(cascade_files.stage(name, "int8")) for name in ("small", "large")}
    name = "small>large"
    joined = read(cascade_files.cascade(name, "int8", (0.75,)))
    for key, model in (models | {name: joined}).items():
        model.signatures[0].key = key
    every = [*models.values(), joined]
    whole = Model([g for m in every for g in m.subgraphs], [m.signatures[0] for m in every])
    link.finish(whole, every, cascade_files.note(name, (0.75,)))
    return write(whole)


def told(content: bytes) -> str:
    return kotlin.snippet(content, "elastic.int8.tflite", cascade_files.LABELS)


def balanced(text: str) -> bool:
    plain = re.sub(r'"(?:\\\\.|[^"\\\\])*"', "", text)
    return all(plain.count(one) == plain.count(other) for one, other in ("{}", "()", "[]"))


@pytest.mark.slow
def test_one_class_has_points_and_cascades_with_their_dial() -> None:
    text = told(elastic())
    assert balanced(text)
    assert '"small" to intArrayOf(8, 8, 3),' in text
    assert 'listOf("small", "large"),' in text
    assert "floatArrayOf(0.75f)," in text
    assert 'inputs["threshold_${number + 1}"] = floatArrayOf(value)' in text
    assert 'mapOf("scores" to scores, "stage" to stage), cascade)' in text
    assert "val dials: Map<String, FloatArray>" in text
    assert text.count('"small>large" to') == 1


@pytest.mark.slow
def test_a_file_of_one_cascade_has_no_other_points() -> None:
    text = told(cascade_files.cascade("small>middle>large", "float32", (0.75, 0.1)))
    assert balanced(text)
    assert "POINTS" not in text
    assert "fun classify" not in text
    assert '"serving_default" to Cascade(' in text
    assert "floatArrayOf(0.75f, 0.10000000149011612f)" in text


@pytest.mark.slow
def test_a_file_without_cascades_has_no_word_of_them() -> None:
    text = told(cascade_files.stage("small", "int8"))
    assert balanced(text)
    assert "ascade" not in text
    assert "fun classify" in text


@pytest.mark.slow
def test_a_cascade_without_thresholds_is_refused() -> None:
    model = read(elastic())
    model.metadata["restnet_tf"] = Buffer(np.frombuffer(b'{"points": []}', np.uint8))
    with pytest.raises(TfliteError, match="does not say the stages and thresholds of small>large"):
        told(write(model))
