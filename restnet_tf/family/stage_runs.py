"""The stages of a cascade one by one: how they are made, and what each answers to the cascade's own image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.family import linker
from restnet_tf.points.points import Cascade
from tflite_export import cascades
from tflite_export.cascades import GOES_ON, Stage

if TYPE_CHECKING:
    from restnet_tf.family.answers import Answers
    from restnet_tf.family.linker import Maker


def title(precisions: Sequence[str]) -> str:
    """What a cascade's file is called by: one precision, or that of each stage."""
    return precisions[0] if len(set(precisions)) == 1 else GOES_ON.join(precisions)


def each(word: str, stages: int) -> tuple[str, ...]:
    """The precision of each stage, by a word that names one for all or one a stage; the last is for further ones."""
    parts = word.split(GOES_ON)
    return tuple(parts[min(i, len(parts) - 1)] for i in range(stages))


def single(words: Sequence[str]) -> tuple[str, ...]:
    """The precisions that all stages of these words are needed in."""
    return tuple(dict.fromkeys(part for word in words for part in word.split(GOES_ON)))


def joinable(cascade: Cascade, precisions: Sequence[str]) -> bool:
    """Whether every stage that goes on from a front is of the precision of the stage that has it."""
    pairs = zip(cascade.stages[1:], precisions[1:], precisions, strict=False)
    return all(own == before for name, own, before in pairs if name in cascade.resumes)


def stages(cascade: Cascade, precisions: Sequence[str], makers: Mapping[str, Maker]) -> list[Stage]:
    """What is joined into the cascade's file."""
    own = {name: makers[p] for name, p in zip(cascade.stages, precisions, strict=True)}
    return linker.stages(cascade, lambda name: own[name].stage(name), lambda first, name: own[name].rest(first, name))


def answers(
    cascade: Cascade, precisions: Sequence[str], joined: Sequence[Stage], files: Answers
) -> list[Mapping[str, np.ndarray]]:
    """What each stage answers by split: its own file, or where the cascade's image is larger, a file that takes it."""
    image = cascades.image_of(joined)
    every: list[Mapping[str, np.ndarray]] = []
    for name, precision, stage in zip(cascade.stages, precisions, joined, strict=True):
        if stage.resumes is not None or image.shape == stage.graph.inputs[0].shape:
            every.append(files.of(name, precision))
        else:
            every.append(files.resized(name, precision, image.shape[1:], partial(cascades.alone_file, stage, image)))
    return every
