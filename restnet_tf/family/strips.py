"""Which images go on, to be looked at: a strip of test images for every cascade, from the surest to the least sure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic
from restnet_tf.points.points import Cascade, OperatingPoint
from restnet_tf.report import plots
from tflite_export.confidence import CONFIDENCES
from tflite_export.inputs import InputKind

if TYPE_CHECKING:
    from restnet_tf.family.shop import Shop


def draw(shop: Shop, point: OperatingPoint, precision: str, kind: InputKind) -> None:
    """Write a cascade's strip into the run, by the confidences of its first stage's file of a precision."""
    if point.cascade is not None:
        confidences = _confidences(shop, point.cascade, precision)
        images = _images(shop, point.cascade.stages[0], plots.exemplary(confidences).tolist(), kind)
        strip = plots.examples(images, confidences, point.cascade.thresholds[0])
        atomic.write_bytes(shop.run.examples_path(point.name), strip)


def _confidences(shop: Shop, cascade: Cascade, precision: str) -> np.ndarray:
    return CONFIDENCES[cascade.confidence].of(shop.answers.of(cascade.stages[0], precision)["test"])


def _images(shop: Shop, point: str, places: Iterable[int], kind: InputKind) -> Mapping[int, np.ndarray]:
    """Some test images, by their place, as a point takes them: bytes of photos, floats of other values."""
    wanted, images = set(places), dict[int, np.ndarray]()
    at, dtype = 0, np.uint8 if kind.photos else np.float32
    for batch in shop.images("test", shop.shapes[point]):
        images |= {at + i: np.asarray(batch[i]).astype(dtype) for i in range(len(batch)) if at + i in wanted}
        at += len(batch)
    return images
