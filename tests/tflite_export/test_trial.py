"""What firmware is tried with: the header's numbers, and where they come from."""

from __future__ import annotations

import re

import needs
import numpy as np
import pytest
from generated_nets import convolutions

from tflite_export import carray, tail, trial
from tflite_export.carray import Several
from tflite_export.devices import tflm_trials, tflm_wheel
from tflite_export.devices.exports import Parcel, PointFile
from tflite_export.flatbuffer import ALIGNMENT, read, write_several
from tflite_export.kernels import EVERY, HOST
from tflite_export.trial import HostAnswers


def answers(scores: np.ndarray, inputs: np.ndarray, **more: int) -> HostAnswers:
    return HostAnswers("p.int8", "ab" * 32, inputs, scores, 512, **more)


def test_equal_bytes_are_there_once_and_every_entry_names_its_own() -> None:
    inputs, scores = np.arange(6, dtype=np.int8).reshape(3, 2), np.ones((3, 4), np.int8)
    both = [answers(scores, inputs), answers(scores + np.int8(1), inputs[:2], offset=16)]
    (text,) = trial.source("p", both).values()
    assert len(re.findall(r"unsigned char kBytes\d", text)) == 4
    assert len(re.findall(r"unsigned char kBytes\d", trial.source("p", [both[0]] * 2)["p_trial.h"])) == 2
    assert "constexpr std::size_t kInputs = 2;" in text  # the fewest, as all entries are tried alike
    assert f'{{"p.int8", "{"ab" * 32}", 16, 512, -1, kBytes2, 2, kBytes3, 4}},' in text


@pytest.mark.parametrize(
    ("scores", "tolerance"),
    [(np.ones((1, 2), np.int8), 2.0), (np.ones((1, 2), np.int16), 32.0), (np.full((1, 2), 3.0, np.float32), 3e-4)],
)
def test_what_roundings_explain_is_allowed(scores: np.ndarray, tolerance: float) -> None:
    text = trial.source("p", [answers(scores, np.zeros((1, 2), np.int8))])["p_trial.h"]
    (said,) = re.findall(r"kTolerance = (\S+);", text)
    assert float(said) == pytest.approx(tolerance)


@pytest.mark.slow
@needs.MICRO.mark
def test_the_runs_own_inputs_go_along_with_what_the_wheel_answers() -> None:
    content = convolutions(4, 1, ((2, 1),))
    given = np.arange(32, dtype=np.float32).reshape(2, 4, 4, 1) / 512
    parcel = Parcel("run", (), (), samples=lambda shape, count: given)
    point = PointFile("p", "int8", content, origins=("cd" * 32,))
    text = tflm_trials.sources(point, parcel)["p_int8_trial.h"]
    # Scale 1/256, zero point -128: halves of a step are rounded away from zero.
    inputs = np.array(np.trunc(given * 256 + 0.5) - 128, np.int8)
    scores = tflm_wheel.run(content, inputs, tail.one(content, HOST).size).scores[0]
    expected = trial.source("p.int8", [HostAnswers("p.int8", "cd" * 32, inputs, scores, _floor(content))])
    assert text == expected["p_int8_trial.h"]
    assert tflm_trials.sources(PointFile("p", "int8", content), parcel) == {}


@pytest.mark.slow
@needs.MICRO.mark
def test_each_entry_of_an_image_has_a_floor_of_its_own() -> None:
    nets = [convolutions(4, 1, ((2, 1),)), convolutions(4, 1, ((64, 1), (64, 1), (2, 1)))]
    image = write_several([read(net) for net in nets])
    several = Several(("a", "b"), ALIGNMENT, (image, image[ALIGNMENT:]))
    point = PointFile("points", "int8", image, several, ("cd" * 32, "ef" * 32))
    text = tflm_trials.sources(point, Parcel("run", (), ()))["points_int8_trial.h"]
    floors = [int(n) for n in re.findall(r'", \d+, (\d+), -1,', text)]
    assert floors == [_floor(content) for content in several.networks]
    assert floors[0] < floors[1]
    assert carray.identifier("points.int8") in text


def _floor(content: bytes) -> int:
    return max(tail.one(content, build).floor for build in EVERY)
