"""Augmented views of the fit images: what the stitches are trained on.

Views of values that are no photos are shifted along their first axis, which is time, and never mirrored.

The anchors have often memorised the fit images: on those the large anchor's outputs are near one-hot
and teach little. Mixed and shifted views are images that no anchor has seen; their targets are the
anchors' own outputs, so they need no labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.data.values import shaped
from restnet_tf.graph import infer
from restnet_tf.records import Anchor

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split

# Share of the side by which a view may be shifted: 4 pixels of CIFAR's 32.
_SHIFT = 1 / 8
# A mirror image is a fair view only where the large anchor still gives it the same class.
_MIRROR_AGREEMENT = 0.8


@dataclass(frozen=True)
class Views:
    """All that decides the views of a split: how many, at which shape ``(h, w, c)`` they are mixed, by which chances.

    ``mirror`` says whether mirror images are fair views of the data (``mirrors``).
    """

    count: int
    shape: tuple[int, ...]
    classes: int
    mirror: bool
    seed: int
    batch: int = 64


def batches(
    split: Split, shapes: Mapping[str, tuple[int, ...]], views: Views, start: int = 0, stop: int | None = None
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """The views at the input shape of every role, with their labels mixed alike: what ``cache.write_piece`` reads.

    ``start`` and ``stop`` are rows, as of ``stream``.
    """
    for images, labels in stream(
        split,
        views.shape,
        views.count,
        views.batch,
        classes=views.classes,
        mirror=views.mirror,
        seed=views.seed,
        start=start,
        stop=stop,
    ):
        yield {role: resized(images, shape) for role, shape in shapes.items()}, labels


def stream(
    split: Split,
    shape: tuple[int, ...],
    count: int,
    batch: int,
    *,
    classes: int,
    mirror: bool,
    seed: int,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``count`` views as batches ``(b, *shape)`` of raw images, with their labels mixed alike.

    Yields ``(images, weights)``, where ``weights`` ``(b, classes)`` is the mixture of one-hot labels,
    or ``(b, 0)`` for unlabelled images. Each is a random shift, perhaps mirrored, mixed with
    another view of its batch at a uniform ratio (mixup, Zhang et al. 2018, alpha 1). The stream is
    a function of the arguments alone. From row ``start``, that of a whole batch, to ``stop`` it is a stretch of the
    whole one.
    """
    rng = np.random.default_rng([seed, 0])
    shifted = _shift if split.kind.photos else _shift_in_time
    passes = -(-count // len(split))
    order = np.concatenate([rng.permutation(len(split)) for _ in range(passes)])[:count]
    for index, images in enumerate(split.batches(shape, batch, order=order[start:stop]), start=start // batch):
        rng = np.random.default_rng([seed, 1, index])
        rows = order[index * batch :][: len(images)]
        labels = np.eye(classes)[split.labels[rows]] if split.labels is not None else np.zeros((len(rows), 0))
        plain = shifted(np.asarray(images), mirror, rng)
        partner = rng.permutation(len(plain))
        ratio = rng.uniform(size=len(plain)).astype(np.float32)
        mixed = _mix(plain, plain[partner], ratio)
        yield mixed, _mix(labels, labels[partner], ratio).astype(np.float32)


def mirrors(anchor: Anchor, split: Split) -> bool:
    """Whether the anchor gives mirrored images of ``split`` the same class as the images themselves; photos alone."""
    if not split.kind.photos:
        return False
    run, same = infer.compiled(anchor.model), []
    for batch in split.batches(anchor.input_shape, infer.batch_size(anchor.input_shape)):
        images = np.asarray(batch)
        answers = (np.argmax(np.asarray(run(x)), axis=1) for x in (images, images[:, :, ::-1]))
        same.append(np.equal(*answers))
    return float(np.concatenate(same).mean()) >= _MIRROR_AGREEMENT


def resized(images: np.ndarray, shape: tuple[int, ...]) -> Any:
    """A batch of views at another anchor's input shape; the images themselves where it is theirs."""
    import tensorflow as tf

    if shaped(tuple(images.shape[1:]), shape):
        return images if tuple(images.shape[1:]) == shape else tf.reshape(images, (-1, *shape))
    if images.shape[-1] == 3 and shape[-1] == 1:
        images = tf.image.rgb_to_grayscale(images)
    elif images.shape[-1] == 1 and shape[-1] == 3:
        images = tf.image.grayscale_to_rgb(tf.convert_to_tensor(images))
    if tuple(images.shape[1:3]) == shape[:2]:
        return images
    return tf.image.resize(images, shape[:2], antialias=True)


def _shift(images: np.ndarray, mirror: bool, rng: np.random.Generator) -> np.ndarray:
    n, h, w, _ = images.shape
    dy, dx = max(1, round(h * _SHIFT)), max(1, round(w * _SHIFT))
    padded = np.pad(images, ((0, 0), (dy, dy), (dx, dx), (0, 0)))
    tops, lefts = rng.integers(0, 2 * dy + 1, n), rng.integers(0, 2 * dx + 1, n)
    flips = np.less(rng.random(n), 0.5 if mirror else 0.0)
    shifted = np.empty_like(images)
    for i in range(n):
        view = padded[i, tops[i] : tops[i] + h, lefts[i] : lefts[i] + w]
        shifted[i] = view[:, ::-1] if flips[i] else view
    return shifted


def _shift_in_time(values: np.ndarray, mirror: bool, rng: np.random.Generator) -> np.ndarray:
    """Values ``(n, t, ...)`` a little earlier or later; the first or last ones go on where there are no more."""
    steps = values.shape[1]
    most = max(1, round(steps * _SHIFT))
    places = np.arange(steps) + rng.integers(-most, most + 1, len(values))[:, None]
    return values[np.arange(len(values))[:, None], np.clip(places, 0, steps - 1)]


def _mix(a: np.ndarray, b: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    weight = ratio.reshape(-1, *[1] * (a.ndim - 1))
    return weight * a + (1 - weight) * b
