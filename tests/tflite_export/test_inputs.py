"""What files and code say of inputs that are no photos."""

from __future__ import annotations

import cascade_files
import numpy as np
import pytest

from tflite_export import carray, inputs, kotlin, stage_loop
from tflite_export.devices.subjects import smooth_images
from tflite_export.errors import TfliteError
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.stage_loop import StageFile

WAVES = InputKind(False, -40.0, 38.5)


def test_a_kind_is_what_its_note_says() -> None:
    assert inputs.note(PHOTOS) == {}
    assert inputs.noted({}) == PHOTOS
    assert inputs.noted(inputs.note(WAVES)) == WAVES
    with pytest.raises(TfliteError, match="of the input is not understood"):
        inputs.noted({"input": {"photos": False}})


@pytest.mark.slow
def test_code_for_values_tells_of_no_pixels_and_says_their_range() -> None:
    stages = [StageFile(cascade_files.stage(name, "int8"), f"{name}.int8") for name in ("small", "large")]
    texts = stage_loop.sources(stages, "max", [0.5], "both", "of a run", WAVES)
    texts |= carray.sources(stages[0].content, "small", kind=WAVES)
    texts["kt"] = kotlin.snippet(stages[0].content, "small.tflite", ("a", "b", "c"), WAVES)
    assert "model_both_example_size" in texts["both.h"]
    for name in ("both.h", "small.h", "kt"):
        assert "as the training data have them (-40 to 38.5 there)" in texts[name]
    for text in texts.values():
        assert not any(word in text for word in ("pixel", "RGB", "0..255"))


@pytest.mark.slow
def test_headers_say_scale_and_zero_point_of_the_input() -> None:
    header = carray.sources(cascade_files.stage("small", "int8"), "small", kind=WAVES)["small.h"]
    assert "model_small_input_scale" in header
    assert "model_small_input_zero_point" in header


def test_seeded_inputs_reach_over_the_range_of_their_kind() -> None:
    waves = smooth_images((64, 2), 8, kind=WAVES)
    assert waves.shape == (8, 64, 2)
    assert WAVES.low <= waves.min() < -20 < 20 < waves.max() <= WAVES.high
    assert np.abs(np.diff(waves, axis=1)).max() < 40
