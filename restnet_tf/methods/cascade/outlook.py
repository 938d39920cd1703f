"""What joining models as they are will take here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

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
    each = _measured(work)
    counted = {role: forecasts.answering(macs, 1) for role, (macs, _) in work.costs.items()}
    slowness = max(each[role] / counted[role] for role in work.roles)
    seconds = _answers(work, each) + forecasts.waiting(slowness, forecasts.START_S + _files(work))
    written = sum(_size(work, role) for role in work.roles) * (1 + work.settings.cascades)
    elastic = sum(_size(work, role) for role in work.roles)
    largest = max(params for _, params in work.costs.values())
    return Forecast(seconds, forecasts.PROGRAM + 4 * _HELD * largest, written + elastic)


def _answers(work: Stages, each: Mapping[str, float]) -> float:
    """Seconds of all files on the rank and the test split; a cascade's as those of all its stages."""
    examples = len(work.data.rank) + len(work.data.test)
    models = sum(each[role] * len(_precisions(work, role)) for role in work.roles)
    chains = work.settings.cascades * len(work.settings.cascade_precisions) * sum(each.values())
    return examples * (models + chains)


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


def _measured(work: Stages) -> dict[str, float]:
    """Seconds that each model takes for an example here; what has no file yet as the largest network of Keras does."""
    slowness = 1.0 if work.family is None else forecasts.slowness(work.family)
    return {
        role: _seconds(work.files[role]) if role in work.files else slowness * forecasts.answering(macs, 1)
        for role, (macs, _) in work.costs.items()
    }


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
