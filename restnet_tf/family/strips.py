"""Which images go on, to be looked at: a strip of test images for every cascade, from the surest to the least sure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic
from restnet_tf.family.answers import Shape
from restnet_tf.points.points import Cascade, OperatingPoint
from restnet_tf.report import plots
from tflite_export.confidence import CONFIDENCES
from tflite_export.inputs import InputKind

if TYPE_CHECKING:
    from restnet_tf.family.shop import Shop


def draw(shop: Shop, precisions: Mapping[str, str], chains: Iterable[OperatingPoint], kind: InputKind) -> None:
    """Write each cascade's strip into the run, by the confidences of its first stage's file in its precision there."""
    shapes: dict[Shape, dict[str, _Strip]] = {}
    for point in chains:
        if (cascade := point.cascade) is not None:
            strip = _Strip(_confidences(shop, cascade, precisions[point.name]), cascade.thresholds[0])
            shapes.setdefault(shop.shapes[cascade.stages[0]], {})[point.name] = strip
    for shape, strips in shapes.items():
        images = _images(shop, shape, {row for strip in strips.values() for row in strip.rows}, kind)
        for name, strip in strips.items():
            atomic.write_bytes(shop.run.examples_path(name), plots.examples(images, strip.confidences, strip.threshold))


@dataclass(frozen=True)
class _Strip:
    """Of one cascade: how sure its first stage is of each test image ``(n,)``, and how sure it has to be."""

    confidences: np.ndarray
    threshold: float

    @property
    def rows(self) -> list[int]:
        """The images that are drawn."""
        return [int(row) for row in plots.exemplary(self.confidences)]


def _confidences(shop: Shop, cascade: Cascade, precision: str) -> np.ndarray:
    return CONFIDENCES[cascade.confidence].of(shop.answers.of(cascade.stages[0], precision)["test"])


def _images(shop: Shop, shape: Shape, rows: Collection[int], kind: InputKind) -> Mapping[int, np.ndarray]:
    """Some test images, by their place, as a network takes them: bytes of photos, floats of other values."""
    images, at, dtype = dict[int, np.ndarray](), 0, np.uint8 if kind.photos else np.float32
    for batch in shop.images("test", shape):
        images |= {at + i: np.asarray(batch[i]).astype(dtype) for i in range(len(batch)) if at + i in rows}
        at += len(batch)
    return images
