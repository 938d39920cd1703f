"""Training a small anchor from nothing, for those who have none: on the fit examples as they are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.data.splits import Data
from restnet_tf.graph import batches, costs, infer
from restnet_tf.records import Anchor, RestnetError

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Split

_BATCH = 64


def train(
    anchor: Anchor,
    data: Data,
    *,
    epochs: int,
    rate: float,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Train an anchor in place by Adam under a warm-up and a cosine decay to zero, from ``rate``.

    Raises ``RestnetError`` where the images have no labels, or labels of other classes than the anchor's.
    """
    import keras

    split = data.fit
    if split.labels is None:
        raise RestnetError(f"{data.name} has no labels to train on; give a sub-folder per class")
    if anchor.classes <= int(split.labels.max()):
        raise RestnetError(
            f"{anchor.name} tells {anchor.classes} classes apart, but {data.name} has {int(split.labels.max()) + 1}"
        )
    batch = batches.size(_BATCH, costs.held(costs.nodes(anchor.model)))
    steps = -(-epochs * len(split) // batch)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=rate, warmup_steps=max(1, steps // 20))
    optimizer = keras.optimizers.Adam(schedule)
    # Built ahead, the step is traced once instead of twice.
    optimizer.build(anchor.model.trainable_variables)
    anchor.model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(split)) for _ in range(epochs)])
    for step, images in enumerate(split.batches(anchor.input_shape, batch, order=order)):
        anchor.model.train_on_batch(np.asarray(images), split.labels[order[step * batch :][: len(images)]])
        progress(step + 1, steps)


def accuracy(anchor: Anchor, split: Split) -> float:
    """The share of a labelled split that the anchor has right."""
    assert split.labels is not None
    run, batch = infer.compiled(anchor.model), infer.batch_size(anchor.input_shape)
    answers = [np.asarray(run(x)).argmax(1) for x in split.batches(anchor.input_shape, batch)]
    return float(np.mean(np.concatenate(answers) == split.labels))


def as_file(model: keras.Model) -> bytes:
    """A model as the bytes of a ``.keras`` file."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.keras"
        model.save(path)
        return path.read_bytes()
