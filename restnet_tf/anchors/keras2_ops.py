"""Calls of TensorFlow in a Keras 2 model (``TFOpLambda``, ``SlicingOpLambda``) as layers and operations of Keras 3.

Arithmetic with numbers becomes a Rescaling, which all targets have. An operation is known by its
name in TensorFlow, its arguments by their names there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from restnet_tf.graph import cuts
from restnet_tf.records import RestnetError

_FLOATS = ("float16", "bfloat16", "float32", "float64", "half")


def apply(function: str, spoken: str, first: Any, arguments: dict[str, Any]) -> Any:
    """Call the operation that TensorFlow calls ``function``, in the layer ``spoken``, on symbolic tensors.

    Raises RestnetError for one that is not known here.
    """
    operation = _OPERATIONS.get(function)
    if operation is None:
        raise RestnetError(f"layer {spoken} calls tf.{function}, which has no counterpart in Keras 3")
    options = {key: value for key, value in arguments.items() if key != "name" and value is not None}
    try:
        return operation(first, **options)
    except (TypeError, ValueError) as error:
        raise RestnetError(f"layer {spoken} calls tf.{function} in a way that Keras 3 cannot: {error}") from error


def _constant(value: Any) -> bool:
    return not hasattr(value, "_keras_history")


def _rescaled(x: Any, scale: Any = 1.0, offset: Any = 0.0) -> Any:
    """``x * scale + offset`` for numbers, or for one number a channel."""
    import keras

    def plain(value: Any) -> Any:
        values = np.asarray(value, np.float64)
        if values.size == 1:
            return float(values.reshape(()))
        if values.shape[-1] != values.size:
            raise ValueError(f"a constant of shape {values.shape} is not one number a channel")
        return values.reshape(-1).tolist()

    return keras.layers.Rescaling(plain(scale), plain(offset))(x)


def _add(x: Any, y: Any) -> Any:
    import keras

    if _constant(x) or _constant(y):
        return _rescaled(y, offset=x) if _constant(x) else _rescaled(x, offset=y)
    return keras.layers.Add()([x, y])


def _subtract(x: Any, y: Any) -> Any:
    import keras

    if _constant(y):
        return _rescaled(x, offset=-np.asarray(y, np.float64))
    return _rescaled(y, -1.0, x) if _constant(x) else keras.layers.Subtract()([x, y])


def _multiply(x: Any, y: Any) -> Any:
    import keras

    if _constant(x) or _constant(y):
        return _rescaled(y, x) if _constant(x) else _rescaled(x, y)
    return keras.layers.Multiply()([x, y])


def _divide(x: Any, y: Any) -> Any:
    import keras

    return _rescaled(x, 1 / np.asarray(y, np.float64)) if _constant(y) else keras.ops.divide(x, y)


def _reversed(operation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: operation(y, x)


def _cast(x: Any, dtype: Any) -> Any:
    """The tensor itself: all is float32 here."""
    name = str(dtype.get("config", dtype)) if isinstance(dtype, dict) else str(dtype)
    if name.removeprefix("tf.") not in _FLOATS:
        raise ValueError(f"a cast to {name} rounds")
    return x


def _same(x: Any, **_: Any) -> Any:
    return x


def _bias_add(value: Any, bias: Any, data_format: str = "NHWC") -> Any:
    if "C" in data_format[:2]:
        raise ValueError("channels come first")
    return _add(value, bias)


def _sliced(x: Any, slice_spec: Any) -> Any:
    parts = slice_spec if isinstance(slice_spec, list) else [slice_spec]
    key = tuple(slice(p["start"], p["stop"], p["step"]) if isinstance(p, dict) else p for p in parts)
    return _flipped(x) if _flips_channels(key, len(x.shape)) else x[key]


def _flips_channels(key: tuple[Any, ...], rank: int) -> bool:
    whole = [part is Ellipsis or part == slice(None) for part in key[:-1]]
    return key[-1] == slice(None, None, -1) and all(whole) and (Ellipsis in key or len(key) == rank)


def _flipped(x: Any) -> Any:
    """Channels in reverse, as a convolution: REVERSE_V2 does not run on every target."""
    import keras

    layer = keras.layers.Conv2D(x.shape[-1], 1, use_bias=False, trainable=False, name=f"{cuts.FIXED}_flip")
    result = layer(x)
    layer.set_weights([np.eye(x.shape[-1], dtype="float32")[::-1][None, None]])
    return result


def _resized(
    images: Any,
    size: Any,
    method: Any = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Any:
    import keras

    if preserve_aspect_ratio or antialias:
        raise ValueError("it keeps the aspect ratio, or antialiases")
    return keras.layers.Resizing(*size, interpolation=method)(images)


def _padded(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    import keras

    return keras.ops.pad(tensor, paddings, mode.lower(), constant_values if mode == "CONSTANT" else None)


def _of_ops(name: str, *arguments: str) -> Callable[..., Any]:
    """An operation of ``keras.ops``; ``arguments`` are what TensorFlow calls those behind the first, in its order."""

    def call(x: Any, **options: Any) -> Any:
        import keras

        return getattr(keras.ops, name)(x, *(options.pop(key) for key in arguments if key in options), **options)

    return call


def _layer(name: str, **options: Any) -> Callable[..., Any]:
    def call(x: Any) -> Any:
        import keras

        return getattr(keras.layers, name)(**options)(x)

    return call


_NAMES: tuple[tuple[Callable[..., Any], tuple[str, ...]], ...] = (
    (_add, ("math.add", "add", "__operators__.add", "math.add_v2")),
    (_subtract, ("math.subtract", "subtract", "__operators__.sub")),
    (_multiply, ("math.multiply", "multiply", "__operators__.mul")),
    (_divide, ("math.truediv", "truediv", "math.divide", "divide", "__operators__.truediv")),
    (_reversed(_add), ("__operators__.radd",)),
    (_reversed(_subtract), ("__operators__.rsub",)),
    (_reversed(_multiply), ("__operators__.rmul",)),
    (_reversed(_divide), ("__operators__.rtruediv",)),
    (_cast, ("cast", "compat.v1.to_float")),
    (_same, ("identity", "stop_gradient", "convert_to_tensor", "nn.dropout", "compat.v1.nn.dropout")),
    (_bias_add, ("nn.bias_add",)),
    (_sliced, ("__operators__.getitem",)),
    (_resized, ("image.resize",)),
    (_padded, ("pad",)),
    (_layer("ReLU"), ("nn.relu",)),
    (_layer("ReLU", max_value=6.0), ("nn.relu6",)),
    (_of_ops("sigmoid"), ("math.sigmoid", "sigmoid", "nn.sigmoid")),
    (_of_ops("silu"), ("nn.silu", "nn.swish")),
    (_of_ops("gelu", "approximate"), ("nn.gelu",)),
    (_of_ops("elu"), ("nn.elu",)),
    (_of_ops("leaky_relu", "alpha"), ("nn.leaky_relu",)),
    (_of_ops("softmax", "axis"), ("nn.softmax",)),
    (_of_ops("softplus"), ("math.softplus", "nn.softplus")),
    (_of_ops("tanh"), ("math.tanh", "tanh", "nn.tanh")),
    (_of_ops("abs"), ("math.abs", "abs")),
    (_of_ops("exp"), ("math.exp", "exp")),
    (_of_ops("log"), ("math.log",)),
    (_of_ops("negative"), ("math.negative", "negative", "__operators__.neg")),
    (_of_ops("power", "y"), ("math.pow", "pow", "__operators__.pow")),
    (_of_ops("rsqrt"), ("math.rsqrt",)),
    (_of_ops("sqrt"), ("math.sqrt", "sqrt")),
    (_of_ops("square"), ("math.square", "square")),
    (_of_ops("maximum", "y"), ("math.maximum", "maximum")),
    (_of_ops("minimum", "y"), ("math.minimum", "minimum")),
    (_of_ops("max", "axis"), ("math.reduce_max", "reduce_max")),
    (_of_ops("mean", "axis"), ("math.reduce_mean", "reduce_mean")),
    (_of_ops("min", "axis"), ("math.reduce_min", "reduce_min")),
    (_of_ops("sum", "axis"), ("math.reduce_sum", "reduce_sum")),
    (_of_ops("clip", "clip_value_min", "clip_value_max"), ("clip_by_value",)),
    (_of_ops("concatenate", "axis"), ("concat",)),
    (_of_ops("expand_dims", "axis"), ("expand_dims",)),
    (_of_ops("matmul", "b"), ("linalg.matmul", "matmul", "__operators__.matmul")),
    (_of_ops("reshape", "shape"), ("reshape",)),
    (_of_ops("squeeze", "axis"), ("squeeze",)),
    (_of_ops("transpose", "perm"), ("transpose",)),
)
_OPERATIONS = {name: operation for operation, names in _NAMES for name in names}
