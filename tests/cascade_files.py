"""Cascades of small seeded networks as files, with what a run says of them; built in code, in seconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import networks
import numpy as np

from tflite_export import cascades
from tflite_export.cascades import Stage
from tflite_export.confidence import CONFIDENCES
from tflite_export.convert import convert
from tflite_export.devices import host
from tflite_export.flatbuffer import only, read, write

NETWORKS: dict[str, dict[str, Any]] = {
    "small": {"widths": (4, 6), "seed": 2},
    "middle": {"widths": (4, 8), "blocks": 2, "seed": 3},
    "large": {"widths": (6, 10), "blocks": 3, "seed": 1},
}
PIXELS = networks.images(24, seed=5).astype(np.float32)
LABELS = ["cat", 'the "dog"', "$fish"]


@cache
def stage(name: str, precision: str) -> bytes:
    """The file of one network."""
    made = convert(networks.anchor(**NETWORKS[name]).model, precision, [networks.images(8).astype(np.float32)])
    return write(read(made))


def note(name: str, thresholds: tuple[float, ...], confidence: str = "max", key: str = "") -> dict[str, Any]:
    """What a file says of a cascade in it."""
    stages = name.split(">")
    every = [1.0] * len(stages)
    about = {"stages": stages, "confidence": confidence, "thresholds": list(thresholds), "macs": every, "reach": every}
    return {"format": 1, "labels": LABELS, "points": [{"name": key or name, "kind": "cascade", "cascade": about}]}


@cache
def cascade(name: str, precision: str, thresholds: tuple[float, ...], confidence: str = "max") -> bytes:
    """A cascade as a file of its own; thresholds are those that it says."""
    precisions = precision.split(">")
    models = [read(stage(n, precisions[min(i, len(precisions) - 1)])) for i, n in enumerate(name.split(">"))]
    stages = [Stage(only(model), made_of=(model,)) for model in models]
    return cascades.file(stages, confidence, note(name, thresholds, confidence))


def middle(name: str, precision: str) -> float:
    """The largest score of one of the images, on which half of them go on at least."""
    largest = np.sort(host.scores(stage(name, precision), [PIXELS]).max(axis=1))
    return float(largest[len(largest) // 2])


def dial(name: str, precision: str) -> tuple[float, ...]:
    """Thresholds that let images of this module answer at every stage."""
    return tuple(middle(stage_, precision) for stage_ in name.split(">")[:-1])


def between(name: str, precision: str, confidence: str) -> float:
    """A threshold in the widest gap between how sure that network is of the images: no rounding decides there."""
    sure = np.sort(CONFIDENCES[confidence].of(host.scores(stage(name, precision), [PIXELS])))
    widest = int(np.argmax(np.diff(sure)))
    return float(sure[widest : widest + 2].mean())
