"""Files for runtimes of floats alone: same answers, integers inside, and nothing of what the file says is lost."""

from __future__ import annotations

import cascade_files
import numpy as np
import pytest

from tflite_export import cascades, link
from tflite_export.devices import host
from tflite_export.flatbuffer import Model, read, write
from tflite_export.float_ends import with_float_ends

pytestmark = pytest.mark.slow


def ends(model: Model) -> set[str]:
    return {end.type for entry in model.signatures for end in (*entry.inputs.values(), *entry.outputs.values())}


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_integers_behind_floats_answer_as_before(precision: str):
    content = cascade_files.stage("small", precision)
    floating = with_float_ends(content)
    assert ends(read(floating)) == {"FLOAT32"}
    assert {t.type for t in read(floating).subgraphs[0].tensors} > {"FLOAT32"}
    images = [cascade_files.PIXELS]
    assert np.array_equal(host.scores(floating, images), host.scores(content, images))


def test_a_cascade_keeps_its_dial_and_what_it_says():
    content = cascade_files.cascade("small>large", "int8", (cascade_files.middle("small", "int8"),))
    floating = with_float_ends(content)
    assert ends(read(floating)) == {"FLOAT32", "INT32"}
    assert cascades.holds_one(read(floating))
    assert link.points(floating) == link.points(content)
    for one, other in zip(
        host.answers(floating, [cascade_files.PIXELS]), host.answers(content, [cascade_files.PIXELS]), strict=True
    ):
        assert np.array_equal(one, other)


def test_every_entry_point_of_several_gets_float_ends():
    whole = [read(cascade_files.stage(name, "int8")) for name in ("small", "large")]
    for name, model in zip(("small", "large"), whole, strict=True):
        model.signatures[0].key = name
    joined = write(Model([m.subgraphs[0] for m in whole], [m.signatures[0] for m in whole]))
    floating = read(with_float_ends(joined))
    assert ends(floating) == {"FLOAT32"}
    assert [entry.key for entry in floating.signatures] == ["small", "large"]


def test_floats_stay_as_they_are():
    content = cascade_files.stage("small", "float32")
    assert with_float_ends(content) is content
