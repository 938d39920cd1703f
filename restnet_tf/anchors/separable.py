"""A small network for any input that has a shape: depthwise separable convolutions, over time or over a grid.

The keyword spotters of Zhang et al. 2017 (Hello Edge) and of MLPerf Tiny are built so.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.anchors import ends
from restnet_tf.anchors.applications import Spec
from restnet_tf.graph import surgery
from restnet_tf.records import Anchor, RestnetError

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Data

NAME = "DSCNN"
_SIZES = {"width": 32, "blocks": 3}
_SCALED = 256  # examples that tell how far the values spread
_KERNEL = {1: 9, 2: 3}  # along each axis, by how many there are


def anchor(spec: Spec, data: Data) -> Anchor:
    """An untrained network of ``width`` channels and so many ``blocks``, for the data's own shape and classes.

    The weights that it starts from take the spread of the values into account, so no layer has to scale them. Raises
    RestnetError for data of no one shape or no
    classes, and for other options than these.
    """
    shape, classes = data.fit.images.shape, data.classes
    if shape is None:
        raise RestnetError(f"{NAME} is built for data of one shape; {data.name} holds image files of any size")
    if not classes:
        raise RestnetError(f"{data.name} has no labels to train on; give a sub-folder per class")
    sizes = _sizes(spec)
    with surgery.repeatable():
        model = _model(shape, classes, **sizes)
    _scale(model.get_layer("stem"), data, shape)
    parts = ends.separate(model, spec.name)
    return Anchor(spec.name, parts.model, parts.logits, parts.features, data.class_names, surgery.fingerprint(model))


def _scale(stem: Any, data: Data, shape: tuple[int, ...]) -> None:
    """Divide a convolution's first weights by the deviation of the channels that they read."""
    batches = data.fit.head(_SCALED).batches(shape, _SCALED)
    values = np.concatenate([np.asarray(batch, np.float64).reshape(-1, shape[-1]) for batch in batches])
    deviations = values.std(axis=0)
    stem.kernel.assign(np.asarray(stem.kernel) / np.where(deviations > 0, deviations, 1.0)[:, None])


def _sizes(spec: Spec) -> dict[str, int]:
    sizes = {**_SIZES, **spec.options}
    if unknown := [name for name in sizes if name not in _SIZES]:
        raise RestnetError(f"{NAME} takes no {', '.join(unknown)}; it takes {', '.join(_SIZES)}")
    if wrong := [name for name, value in sizes.items() if type(value) is not int or value < 1]:
        raise RestnetError(f"{NAME}: {wrong[0]}={sizes[wrong[0]]} is no count; write for example {wrong[0]}=32")
    return sizes


def _model(shape: tuple[int, ...], classes: int, *, width: int, blocks: int) -> keras.Model:
    from keras import Input, Model, layers

    axes = len(shape) - 1
    conv, depthwise, pool = (
        (layers.Conv1D, layers.DepthwiseConv1D, layers.GlobalAveragePooling1D)
        if axes == 1
        else (layers.Conv2D, layers.DepthwiseConv2D, layers.GlobalAveragePooling2D)
    )
    kernel, stride = _KERNEL[axes], 2 if prod(shape[:-1]) > _KERNEL[axes] ** axes else 1
    image = Input(shape, name="input")
    x = _active(conv(width, kernel, strides=stride, padding="same", use_bias=False, name="stem")(image), "stem")
    for block in range(1, blocks + 1):
        name = f"block{block}"
        x = _active(depthwise(kernel, padding="same", use_bias=False, name=f"{name}_depthwise")(x), f"{name}_depthwise")
        x = _active(conv(width, 1, use_bias=False, name=f"{name}_pointwise")(x), name)
    x = layers.Dense(classes, name="classes")(pool(name="pool")(x))
    return Model(image, layers.Softmax(name="scores")(x), name=NAME)


def _active(x: Any, name: str) -> Any:
    from keras import layers

    return layers.ReLU(name=f"{name}_out")(layers.BatchNormalization(name=f"{name}_norm")(x))
