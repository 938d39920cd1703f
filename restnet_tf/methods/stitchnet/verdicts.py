"""Scores of composed nets' files: on the few images as cross-validation has them, and on the test split."""

from __future__ import annotations

import numpy as np

from restnet_tf.family.answers import Shape
from restnet_tf.family.linker import Linker
from restnet_tf.methods.stitchnet.composition import Composition
from restnet_tf.methods.stitchnet.fragments import FLOAT
from restnet_tf.methods.stitchnet.nets import Chosen
from restnet_tf.points.points import Score
from tflite_export.fragment import Runner

_LEAST_PROBABILITY = 1e-12


class Verdicts:
    """Judges files, float32 ones first; ``measure.Judge``."""

    def __init__(self, composition: Composition, chosen: Chosen, exact: Linker) -> None:
        """``exact`` links the float32 files, whose answers those of other precisions are held against."""
        self._composition, self._chosen, self._exact = composition, chosen, exact
        self._answers: dict[tuple[str, str], np.ndarray] = {}

    def __call__(self, point: str, precision: str, split: str, outputs: np.ndarray) -> Score:
        """Of the few images: right in cross-validation, and answered as float32 does."""
        if precision == FLOAT:
            self._answers[point, split] = outputs
        if split == "test":
            return Score.of(outputs.argmax(axis=1) == self._labels)
        same = outputs.argmax(axis=1) == self._answered(point, split).argmax(axis=1)
        return Score.of(np.array(self._chosen.nets[point].right) & same)

    def shape(self, point: str) -> Shape:
        """What a net takes: its front's input."""
        front = self._chosen.plans[point].route[0].anchor
        return self._composition.members[front].member.input_shape

    def test(self, point: str) -> Score:
        """Of the float32 net on the test split, with its log loss."""
        answers = self._answered(point, "test")
        likely = np.maximum(answers[np.arange(len(answers)), self._labels], _LEAST_PROBABILITY)
        return Score.of(answers.argmax(axis=1) == self._labels, float(-np.mean(np.log(likely))))

    @property
    def _labels(self) -> np.ndarray:
        return np.asarray(self._composition.data.test.labels)

    def _answered(self, point: str, split: str) -> np.ndarray:
        """Outputs ``(n, classes)`` of the float32 net, run where no file of it was judged."""
        if (point, split) not in self._answers:
            pixels = self._composition.pixels(self.shape(point), "fit" if split == "rank" else split)
            self._answers[point, split] = Runner(self._exact.variant(point))(pixels)[0]
        return self._answers[point, split]
