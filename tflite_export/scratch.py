"""Working memory that an operator's kernel asks for while it runs, in bytes: reference kernels and CMSIS-NN's.

Read in the sources: TensorFlow Lite Micro of August 2026 (90b983c2, what each kernel requests in its Prepare) and
CMSIS-NN of June 2026 (4ab83cc3, its functions ``*_get_buffer_size``). Checked: the reference kernels' against the
tflite-micro wheel; all of them against both libraries, compiled for M4, M55 and no extension and run in QEMU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tflite_export.flatbuffer import Operator, Tensor
from tflite_export.kernels import CMSIS_NN, DSP, HELIUM, Kernels

REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL")
_INTEGERS = ("INT8", "INT16")
# Bytes a value of what a transposed convolution sums its integers up in.
_SUMS = {"INT8": 4, "INT16": 8}
_WIDTH = {"INT8": 1, "INT16": 2}
_PIXELS = 4  # rows of the input that Helium's matrix product takes at once
_LANES = 16  # bytes of a vector
_CHANNELS = 124  # that Helium's depthwise convolution takes at once
_TO_CONVOLUTION = 1  # outputs of one channel above which a depthwise convolution is done as a plain one
_REVERSED = 16  # channels above which a transposed convolution is done as a plain one


def requests(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    """Bytes of every buffer that an operator's kernel requests for the length of its own step."""
    of = _OF.get(operator.name)
    return of(operator, kernels) if of and None not in operator.inputs[:1] else ()


@dataclass(frozen=True)
class _Window:
    """What a convolution does: sizes ``(h, w)`` of input, filter, output, stride and dilation, and channels."""

    image: tuple[int, int]
    filter: tuple[int, int]
    output: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    channels: int
    outputs: int

    @property
    def padding(self) -> tuple[int, int]:
        """Above and to the left; padding VALID gives none, as nothing of its windows lies outside."""
        spans = ((k - 1) * d + 1 for k, d in zip(self.filter, self.dilation, strict=True))
        whole = zip(self.output, self.stride, spans, self.image, strict=True)
        h, w = (max(0, (y - 1) * s + span - x) // 2 for y, s, span, x in whole)
        return h, w

    @property
    def columns(self) -> int:
        """Values under the filter."""
        return self.filter[0] * self.filter[1] * self.channels


def _window(operator: Operator) -> _Window:
    x, kernel, y = _given(operator, 0), _given(operator, 1), operator.outputs[0]
    options = operator.table.builtinOptions
    return _Window(
        (x.shape[1], x.shape[2]),
        (kernel.shape[1], kernel.shape[2]),
        (y.shape[1], y.shape[2]),
        (options.strideH, options.strideW),
        (options.dilationHFactor, options.dilationWFactor),
        x.shape[3],
        y.shape[3],
    )


def _given(operator: Operator, place: int) -> Tensor:
    tensor = operator.inputs[place]
    assert tensor is not None, f"{operator.name} lacks operand {place}"
    return tensor


def _some(size: int) -> tuple[int, ...]:
    return (size,) if size > 0 else ()


def _convolution(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    kind = _given(operator, 0).type
    if kernels.library != CMSIS_NN or kind not in _INTEGERS:
        return ()
    window = _window(operator)
    if kind == "INT16":
        return _some(_gathered(window.columns, kernels, kind))
    grouped = _given(operator, 1).shape[3] != window.channels
    return _some(_convolution_int8(window, kernels, grouped))


def _convolution_int8(window: _Window, kernels: Kernels, grouped: bool) -> int:
    if not grouped and window.filter == (1, 1) == window.dilation and window.padding == (0, 0):
        # GCC's builds ask for nothing, those of Arm's own compiler for two columns of int16.
        return 4 * window.channels if window.stride == (1, 1) and kernels.form == DSP else 0
    rows = window.image[0] == window.filter[0] == window.dilation[1] == 1
    if kernels.form == HELIUM and rows and not grouped and window.stride[1] * window.channels % 4 == 0:
        return _row(window, kernels)
    return _gathered(window.columns, kernels, "INT8")


def _gathered(columns: int, kernels: Kernels, kind: str) -> int:
    """The columns that a matrix product takes at once: two of int16, with Helium four in whole vectors."""
    width = _WIDTH[kind]
    if kernels.form == HELIUM:
        lanes = _LANES // width
        return _PIXELS * -(-columns // lanes) * lanes * width
    return 2 * 2 * (-(-columns // 4) * 4 if kind == "INT8" else columns)


def _row(window: _Window, kernels: Kernels) -> int:
    """Of a convolution along one row: its ends, with their padding."""
    (_, x), (_, k), (_, y), (_, s), (_, pad) = (
        window.image,
        window.filter,
        window.output,
        window.stride,
        window.padding,
    )
    # As in C, the remainder has the sign of what is divided.
    odd = int(math.fmod((y - 1) * s + k - x, 2))
    right = max(1, (pad + odd + s - 1) // s) if pad + odd else 0
    left = max(1, (pad + s - 1) // s) if pad else 0
    if right + max(y - right - left, 0) + left != y:
        return _gathered(window.columns, kernels, "INT8")
    c = window.channels
    return max(k * c + pad * c, k * c - c + (right if odd else pad) * c)


def _depthwise(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    if kernels.library != CMSIS_NN or _given(operator, 0).type != "INT8":
        return ()
    window = _window(operator)
    size = window.filter[0] * window.filter[1]
    if kernels.form == HELIUM and window.channels == 1 and window.outputs > _TO_CONVOLUTION:
        return _some(_convolution_int8(window, kernels, False) + size * window.outputs)
    if window.channels != window.outputs or window.dilation != (1, 1) or _given(operator, 0).shape[0] != 1:
        return ()
    if kernels.form == HELIUM:
        return _some(4 * _CHANNELS * size)
    # The kernel of 3x3 needs none where it may be used.
    small = window.filter == (3, 3) and max(window.padding) <= 1
    return _some(2 * window.channels * size if kernels.form == DSP and not small else 0)


def _dense(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    x, weights, y = _given(operator, 0), _given(operator, 1), operator.outputs[0]
    if kernels.library != CMSIS_NN or x.type != "INT8":
        return ()
    depth = weights.shape[-1]
    if len(y.shape) > 2 and depth % 4 == 0:
        # Done as a convolution of 1x1, for which one scale is written out for every channel.
        scales = 8 * y.shape[-1] if len(weights.scales) <= 1 else 0
        return *_some(scales), *_some(4 * depth if kernels.form == DSP else 0)
    return _some(4 * y.shape[-1] if kernels.form == HELIUM else 0)


def _product(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    helium = kernels.library == CMSIS_NN and kernels.form == HELIUM and _given(operator, 0).type == "INT8"
    return _some(4 * operator.outputs[0].shape[-1] if helium else 0)


def _average(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    x = _given(operator, 0)
    summed = kernels.library == CMSIS_NN and kernels.form == DSP and x.type in _INTEGERS
    return _some(4 * x.shape[3] if summed else 0)


def _transposed(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    weights, x, y = _given(operator, 1), _given(operator, 2), operator.outputs[0]
    if kernels.library != CMSIS_NN or x.type != "INT8":
        return _some(_SUMS.get(y.type, 0) * math.prod(y.shape))
    options, (_, h, w, channels) = operator.table.builtinOptions, weights.shape
    if options.strideW <= 2 and options.strideH <= 2 and channels > _REVERSED:
        return _gathered(h * w * channels, kernels, "INT8"), h * w * channels * weights.shape[0]
    wide = ((x.shape[2] - 1) * options.strideW + max(w, options.strideH)) * y.shape[3]
    return 4 * wide * max(h, options.strideH), 0  # the second is asked for all the same


def _reduced(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    """An index of the input's rank and the axes; means and sums of integers also one int32 an output value."""
    x, axes = _given(operator, 0), _given(operator, 1)
    summed = operator.name in ("MEAN", "SUM") and x.type in _INTEGERS
    return 4 * len(x.shape), axes.nbytes, *((4 * math.prod(operator.outputs[0].shape),) if summed else ())


def _mirrored(operator: Operator, kernels: Kernels) -> tuple[int, ...]:
    return (4 * len(_given(operator, 0).shape),) * 2


_OF: dict[str, Callable[[Operator, Kernels], tuple[int, ...]]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
    "AVERAGE_POOL_2D": _average,
    "TRANSPOSE_CONV": _transposed,
    "MIRROR_PAD": _mirrored,
    **dict.fromkeys(REDUCTIONS, _reduced),
}
