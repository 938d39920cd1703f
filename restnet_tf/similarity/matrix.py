"""How alike the cuts of two models are: the matrix of their CKA, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.data import splits
from restnet_tf.data.splits import Split
from restnet_tf.graph import split as graph_split
from restnet_tf.records import Anchor, Cut, RestnetError
from restnet_tf.similarity import features
from restnet_tf.similarity.cka import MIN_BATCH, CkaSums

if TYPE_CHECKING:
    import keras

IMAGES = 1024


@dataclass(frozen=True)
class Similarity:
    """CKA ``(cuts of the one, cuts of the other)`` of two models, over ``n`` images in batches of ``batch``."""

    cka: np.ndarray
    cuts: tuple[tuple[Cut, ...], tuple[Cut, ...]]
    n: int
    batch: int


def similarity(
    one: Anchor | keras.Model,
    other: Anchor | keras.Model,
    images: np.ndarray | Split | str | Path,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Similarity:
    """Debiased minibatch CKA between all cuts of two models, 1 where one is a rotation of the other.

    The models are anchors or functional Keras models of one image ``(h, w, c)`` each. ``images`` is an array
    ``(n, h, w, c)`` that both take as it is, or data as the command line takes it (a folder, an ``.npz`` file,
    ``digits``, ``keras:cifar10``), split by ``seed``: 1024 of its images to fit then, raw 0..255 at each model's
    size. A last batch of another size is left out. Raises ``RestnetError`` for fewer than 4 images, images or
    models of another shape, models without a cut, and values that are not finite. Method: Nguyen, Raghu and
    Kornblith 2020 (arXiv 2010.15327).
    """
    models = tuple(_anchor(model) for model in (one, other))
    lists = tuple(graph_split.cuts(anchor) for anchor in models)
    source = splits.load(str(images), seed=seed).fit.head(IMAGES) if isinstance(images, str | Path) else images
    batch = min(features.batch_size(models, lists), len(source))
    if batch < MIN_BATCH:
        raise RestnetError(f"{len(source)} images are too few for the statistics; at least {MIN_BATCH} are needed")
    total = len(source) // batch * batch
    observers = [features.observer(anchor, cuts) for anchor, cuts in zip(models, lists, strict=True)]
    streams = [_batches(source, anchor, total, batch) for anchor in models]
    sums = CkaSums()
    for count, pair in enumerate(zip(*streams, strict=True), start=1):
        sums.update(*([np.asarray(f) for f in observe(x)] for observe, x in zip(observers, pair, strict=True)))
        progress(count * batch, total)
    return Similarity(sums.matrix(), (lists[0], lists[1]), total, batch)


def _anchor(model: Anchor | keras.Model) -> Anchor:
    """A model with what the statistics read of an anchor."""
    if isinstance(model, Anchor):
        return model
    graph = graph_split.flat(model)
    shapes = [tuple(t.shape[1:]) for t in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or None in shapes[0]:
        raise RestnetError(f"{model.name} takes inputs of {shapes}; images of one size (h, w, c) are compared")
    return Anchor(model.name, graph, None, None, None, "")


def _batches(source: np.ndarray | Split, anchor: Anchor, total: int, batch: int) -> Iterator[Any]:
    if isinstance(source, Split):
        yield from source.head(total).batches(anchor.input_shape, batch)
        return
    if source.shape[1:] != anchor.input_shape:
        raise RestnetError(
            f"{anchor.name} takes images of shape {anchor.input_shape}, not {source.shape[1:]}; resize them, or name"
            " the data, which is resized for each model"
        )
    if not np.isfinite(source).all():  # a network may hide them: some processors' ReLU makes 0 of NaN
        raise RestnetError("the images hold NaN or infinity; nothing can be compared on them")
    for start in range(0, total, batch):
        yield np.asarray(source[start : start + batch], np.float32)
