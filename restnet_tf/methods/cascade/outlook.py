"""What joining models as they are will take here."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from restnet_tf.family import forecast as forecasts
from restnet_tf.family.forecast import Forecast
from restnet_tf.methods.cascade.stages import FileStage, Stages
from tflite_export.devices import host

# Of a weight in a file, and the same of what the interpreter and the joining of files hold of it.
_BYTES, _HELD = {"int8": 1, "int16x8": 1, "uint8": 1}, 4
_TIMED = 8  # calls


def forecast(work: Stages) -> Forecast:
    """The answers of all models and cascades, and their files."""
    seconds = _slowness(work) * (forecasts.START_S + _answers(work) + _files(work))
    written = sum(_size(work, role) for role in work.roles) * (1 + work.settings.cascades)
    elastic = sum(_size(work, role) for role in work.roles)
    largest = max(params for _, params in work.costs.values())
    return Forecast(seconds, forecasts.PROGRAM + 4 * _HELD * largest, written + elastic)


def _answers(work: Stages) -> float:
    """Seconds of all files on the rank and the test split; a cascade's as those of all its stages."""
    examples = len(work.data.rank) + len(work.data.test)
    alone = {role: forecasts.answering(macs, examples) for role, (macs, _) in work.costs.items()}
    models = sum(seconds * len(_precisions(work, role)) for role, seconds in alone.items())
    return models + work.settings.cascades * len(work.settings.cascade_precisions) * sum(alone.values())


def _files(work: Stages) -> float:
    compiled = 0 if work.family is None else len(work.family.anchors)
    words = len(work.settings.cascade_precisions)
    return words * forecasts.making(len(work.roles) + work.settings.cascades, compiled)


def _precisions(work: Stages, role: str) -> tuple[str, ...]:
    return (work.own[role],) if role in work.own else work.settings.precisions


def _size(work: Stages, role: str) -> float:
    """Bytes of a model's files."""
    params = work.costs[role][1]
    return sum(_BYTES.get(precision, 4) * params for precision in _precisions(work, role))


def _slowness(work: Stages) -> float:
    """How many times as long as two server cores this machine takes, by its costliest model."""
    if work.family is not None:
        return forecasts.slowness(work.family)
    role = max(work.files, key=lambda name: work.costs[name])
    return max(1.0, _seconds(work.files[role]) / forecasts.answering(work.costs[role][0], 1))


def _seconds(stage: FileStage) -> float:
    """What an example takes by one thread: the fastest of some, as other work here holds up single calls for long."""
    clock: list[float] = []
    host.scores(stage.content, _each_noted(stage, clock), threads=1)
    return float(np.diff(clock).min())


def _each_noted(stage: FileStage, clock: list[float]) -> Iterator[np.ndarray]:
    """Examples one by one, with the time at which each was asked for, and the end."""
    for _ in range(_TIMED):
        clock.append(time.perf_counter())
        yield np.zeros((1, *stage.classifier.image), np.float32)
    clock.append(time.perf_counter())
