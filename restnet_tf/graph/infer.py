"""Whole models over images: compiled, in batches that memory can hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.graph import structure as structures
from restnet_tf.graph.structure import Structure

if TYPE_CHECKING:
    import keras

_BATCH, _LEAST_BATCH = 128, 8
_TIMED, _TIMED_S = 4, 1.0  # batches that are timed, and seconds after which no more are
_KEPT_OPERATIONS = 4000  # of all that is kept of what was traced: some 10 KB each
_VALUES = 2**22  # of the images of a batch: 27 of 224x224, as many as fit a batch of 32x32


def batch_size(shape: tuple[int, ...], most: int = _BATCH) -> int:
    """How many images ``(h, w, c)`` to run at once."""
    return max(_LEAST_BATCH, min(most, _VALUES // prod(shape)))


def compiled(model: keras.Model) -> Callable[[Any], Any]:
    """The model as one function for inference.

    Called layer by layer, Keras holds what every layer puts out until the last is done: 20 GB for 128 images in
    EfficientNetB4. TensorFlow's graph frees what nothing needs any more. It is traced at its first call, for batches of
    any size, unless one of its structure has been: tracing a small network takes longer than running it.
    """
    import tensorflow as tf

    structure = structures.of(model)
    if structure is None:
        return tf.function(lambda x: model(x, training=False), [_images(model)], autograph=False)
    return _Shared(model, structure)


class _Shared:
    """A model that is run by what was traced of any of its structure, with its own variables."""

    def __init__(self, model: keras.Model, structure: Structure) -> None:
        self._model, self._structure = model, structure
        self._handles = [v.value.handle for v in structure.variables]

    def __call__(self, x: Any) -> Any:
        import tensorflow as tf

        key = self._structure.key
        run = _kept.pop(key, None) or _traced(self._model, self._structure)
        _kept[key] = run
        while sum(map(_operations, _kept.values())) > _KEPT_OPERATIONS and len(_kept) > 1:
            del _kept[next(iter(_kept))]
        return run(self._handles, tf.convert_to_tensor(x, tf.float32))


# By structure, the last that ran last. They hold no weights: those are given to each call.
_kept: dict[str, Any] = {}


def forget() -> None:
    """Let go of all that is kept."""
    _kept.clear()


def _traced(model: keras.Model, structure: Structure) -> Any:
    """A function of the variables' handles and of images."""
    import keras
    import tensorflow as tf
    from tensorflow.python.ops.handle_data_util import set_handle_data

    values = [v.value for v in structure.variables]

    def run(handles: list[Any], x: Any) -> Any:
        for handle, value in zip(handles, values, strict=True):
            # Tells the shape of what is read, which an operator for each variable would tell too: a sixth of tracing.
            set_handle_data(handle, value.handle._handle_data)
        read = [tf.raw_ops.ReadVariableOp(resource=h, dtype=v.dtype) for h, v in zip(handles, values, strict=True)]
        with keras.StatelessScope(list(zip(structure.variables, read, strict=True))):
            return model(x, training=False)

    given = [tf.TensorSpec([], tf.resource)] * len(values)
    return tf.function(run, autograph=False).get_concrete_function(given, _images(model))


def _operations(run: Any) -> int:
    return len(run.graph.get_operations())


def _images(model: keras.Model) -> Any:
    import tensorflow as tf

    (given,) = model.inputs
    return tf.TensorSpec([None, *given.shape[1:]], tf.float32)


def seconds(model: keras.Model, shape: tuple[int, ...], most: int = _BATCH) -> float:
    """What an image ``(h, w, c)`` takes here: the fastest batch of a few, as other work here holds up some for long."""
    run, batch = compiled(model), batch_size(shape, most)
    images = np.zeros((batch, *shape), np.float32)
    np.asarray(run(images))
    clock = [time.perf_counter()]
    while len(clock) <= _TIMED and clock[-1] - clock[0] < _TIMED_S:
        np.asarray(run(images))
        clock.append(time.perf_counter())
    return float(np.diff(clock).min()) / batch
