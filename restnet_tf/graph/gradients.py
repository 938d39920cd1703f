"""The gradients that trainings take, right too where TensorFlow's own write past their memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

# What oneDNN computes at once where a processor has AVX-512; with AVX2 it is half of it.
_BLOCK = 16


def tape() -> tf.GradientTape:
    """What a training records itself on; it watches what it is told to."""
    import tensorflow as tf

    mend()
    return tf.GradientTape(watch_accessed_variables=False)


@cache
def mend() -> None:
    """From now on this process takes the gradient of a kernel of one pixel, that skips pixels, from those it reads.

    oneDNN writes past its workspace for such a kernel of fewer channels than a block (uxlfoundation/oneDNN issue 6035,
    in TensorFlow 2.21): with two threads the process dies. Without the pixels that are skipped it is a kernel that
    skips none, of the same gradient but for its rounding.
    """
    from tensorflow.python.framework import ops

    registry: Any = ops.gradient_registry
    usual = registry.lookup("Conv2D")
    # The one way there is: a gradient cannot be registered twice.
    registry._registry["Conv2D"]["type"] = lambda op, grad: _gradient(op, grad) if _at_risk(op) else usual(op, grad)


def _at_risk(op: Any) -> bool:
    import tensorflow as tf

    kernel = op.inputs[1].shape
    if kernel.rank is None or kernel[:2] != [1, 1] or max(op.get_attr("strides")) == 1:
        return False
    order, padding = (tf.compat.as_str(op.get_attr(name)) for name in ("data_format", "padding"))
    return (kernel[2] or 0) < _BLOCK and order == "NHWC" and padding != "EXPLICIT"


def _gradient(op: Any, grad: Any) -> Sequence[Any]:
    import tensorflow as tf

    (x, kernel), strides, padding = op.inputs, op.get_attr("strides"), op.get_attr("padding")
    _, down, across, _ = strides
    of_x = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=kernel, out_backprop=grad, strides=strides, padding=padding
    )
    of_kernel = tf.raw_ops.Conv2DBackpropFilter(
        input=x[:, ::down, ::across],
        filter_sizes=tf.shape(kernel),
        out_backprop=grad,
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
    return of_x, of_kernel
