"""What exported firmware is tried with: inputs of the run, and TensorFlow Lite Micro's answers to them on this host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tflite_export import carray, cascades, tail, trial
from tflite_export.devices import tflm_wheel
from tflite_export.devices.exports import Parcel, PointFile
from tflite_export.devices.subjects import smooth_images
from tflite_export.flatbuffer import Tensor, read
from tflite_export.integers import quantise
from tflite_export.kernels import HOST
from tflite_export.trial import HostAnswers

_MOST = 3
_ROOM = 64 << 10  # bytes of inputs that an export may add to a firmware that is tried
_SPARE = 1 << 16
_TYPES = {"FLOAT32": "f4", "INT8": "i1", "UINT8": "u1", "INT16": "i2"}


def sources(point: PointFile, parcel: Parcel) -> dict[str, str]:
    """``STEM_trial.h`` of a point's file, or of an array of several, which the wheel runs for it.

    Empty where nothing says which of the run's files these are. Raises TfliteError as ``tflm_wheel.run`` does.
    """
    if not point.origins:
        return {}
    networks = point.several.networks if point.several else (carray.aligned(point.content),)
    return trial.source(point.stem, _trials(point, networks, parcel))


def _trials(point: PointFile, networks: Sequence[bytes], parcel: Parcel) -> list[HostAnswers]:
    several = point.several
    if several is None:
        names: Sequence[str] = (point.name,)
    else:
        names = several.points
    files = [cascades.in_files(f"{name}.{point.precision}") for name in names]
    labelled = list(zip(files, point.origins, strict=True))
    if several and not several.stride:
        return _routed(labelled, networks[0], parcel)
    stride = several.stride if several else 0
    return [
        replace(_tried(file, origin, content, parcel), offset=stride * place)
        for place, ((file, origin), content) in enumerate(zip(labelled, networks, strict=True))
    ]


def _tried(file: str, origin: str, content: bytes, parcel: Parcel) -> HostAnswers:
    """A network alone; all stages of a cascade run, as they do in firmware that is measured."""
    model = read(content)
    inputs = _inputs(model.subgraphs[0].inputs[0], parcel)
    stages = len(model.signatures[0].inputs) if cascades.holds_one(model) else 1
    settings = tuple(np.full((1, 1), value, np.float32) for value in cascades.answering(stages - 1, stages))
    return HostAnswers(file, origin, inputs, _run(content, inputs, settings)[0], _floor(content, parcel))


def _routed(labelled: Sequence[tuple[str, str]], content: bytes, parcel: Parcel) -> list[HostAnswers]:
    inputs = _inputs(read(content).subgraphs[0].inputs[0], parcel)
    scores = _run(content, inputs, (np.arange(len(labelled), dtype=np.int32)[:, None],))
    floor = _floor(content, parcel)
    return [HostAnswers(file, origin, inputs, scores[n], floor, choice=n) for n, (file, origin) in enumerate(labelled)]


def _floor(content: bytes, parcel: Parcel) -> int:
    return max(tail.one(content, build).floor for build in parcel.builds)


def _run(content: bytes, inputs: np.ndarray, settings: Sequence[np.ndarray]) -> np.ndarray:
    return tflm_wheel.run(content, inputs, tail.one(content, HOST).size + _SPARE, settings).scores


def _inputs(entry: Tensor, parcel: Parcel) -> np.ndarray:
    """A few inputs in the network's own type: the run's own where they are at hand, else random and smooth ones."""
    count = max(1, min(_MOST, _ROOM // max(1, entry.nbytes)))
    values = parcel.samples(entry.shape[1:], count)
    if values is None:
        values = smooth_images(entry.shape[1:], count, kind=parcel.kind)
    quantisation = (entry.scales[0], entry.zero_points[0]) if entry.scales else (0.0, 0)
    return quantise(values, {"name": entry.name, "dtype": _TYPES[entry.type], "quantization": quantisation})
