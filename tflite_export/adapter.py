"""A foreign classifier behind the ends of a cascade: raw images in, class probabilities in the cascade's order out.

What is missing is put before and behind it as operators; its own operators and tensors stay as they are, and
where nothing is missing nothing is added. Between int8 ends all is done in int8, which TensorFlow Lite Micro has
kernels for: it resizes, turns and picks nothing in uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflite_export import emit, link
from tflite_export.classifier import ENDS, Classifier
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Subgraph, Tensor
from tflite_export.inputs import RAW
from tflite_export.precision import INPUT_KEY
from tflite_export.preprocessing import Preprocessing, of_mode
from tflite_export.stitching import conv_weights

# Scale and zero point of raw images, and of probabilities, by type.
_IMAGES: dict[str, tuple[float, int]] = {"INT8": (1.0, -128), "UINT8": (1.0, 0), "INT16": (RAW[1] / 32767, 0)}
_SCORES: dict[str, tuple[float, int]] = {"INT8": (1 / 256, -128), "INT16": (1 / 32768, 0)}
_BYTES = ("INT8", "UINT8")
_SHIFT = 128  # from uint8 to int8
# How far, in steps of the input, integers may be from those that preprocessing would make, and still stand for them.
_STEP = 1.0 + 1e-3
_EQUAL = 1e-6  # scales that only float32 tells apart


def adapted(
    classifier: Classifier,
    *,
    image: tuple[int, ...],
    kind: str,
    preprocess: str = "none",
    logits: bool = False,
    classes: Sequence[int] | None = None,
    steps: tuple[float, int] | None = None,
    scores: str | None = None,
) -> Subgraph:
    """A classifier as a subgraph from a raw image ``(1, h, w, c)`` to scores ``(1, classes)``.

    ``image`` is ``(h, w, c)`` of the raw image, ``kind`` its type (float32, int8, uint8, int16); of an integer one
    ``steps`` are scale and zero point, one step a value of 0..255 where none are given. ``preprocess`` is what the
    file expects of images. ``logits`` appends a softmax. ``classes`` are the file's classes to keep, in the order
    wanted; probabilities of some do not sum to one unless the softmax is appended here. ``scores`` is the type of the
    scores, the file's own where it is None, but int8 for uint8.

    Raises TfliteError for an unknown type or mode, images of other channels, a second softmax, and classes that the
    file does not have.
    """
    x = _raw_image(image, kind, steps)
    there, taken = image[-1], classifier.image[-1]
    if there != taken:
        raise TfliteError(
            f"the images have {there} channel{'s' if there > 1 else ''}, {classifier.name} takes "
            f"{taken}; give images of {taken} or another file"
        )
    if logits and classifier.ending == "SOFTMAX":
        raise TfliteError(f"{classifier.name} ends in a softmax already; leave out --logits")
    order = _order(classifier, classes)
    front = _front(classifier, x, of_mode(preprocess, there))
    back = _back(classifier, order, logits, scores)
    first = x if front else classifier.input
    graph = Subgraph([*front, *classifier.graph.operators, *back.operators], [first], [back.x])
    graph.table.name = classifier.name
    return graph


def alone(
    graph: Subgraph, classifier: Classifier, *, names: bool = True, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """An adapted subgraph as a file of its own, with the signature of ``convert``."""
    return link.alone(graph, [classifier.model], names=names, metadata=metadata)


def _raw_image(image: tuple[int, ...], kind: str, steps: tuple[float, int] | None) -> Tensor:
    if kind.upper() not in ENDS:
        raise TfliteError(f"images of {kind!r}; choose one of {', '.join(end.lower() for end in ENDS)}")
    return _tensor((1, *image), kind.upper(), steps or _IMAGES.get(kind.upper()))


def _order(classifier: Classifier, classes: Sequence[int] | None) -> tuple[int, ...]:
    own = tuple(range(classifier.classes))
    order = own if classes is None else tuple(classes)
    if len(order) < 2 or len(set(order)) < len(order) or not set(order) <= set(own):
        raise TfliteError(
            f"classes {list(order)} of {classifier.name}; give two or more of 0..{classifier.classes - 1}, each once"
        )
    return order


def _front(classifier: Classifier, x: Tensor, preprocessing: Preprocessing) -> list[Operator]:
    """Operators from the cascade's image to the file's own input; none where they are the same."""
    own = classifier.input
    goal = _like(own, (1, *classifier.image))
    goal = as_int8(goal) if classifier.channels_first else goal
    chain = _Chain(x)
    whole = (x.type in _BYTES and own.type in _BYTES) or (x.type == own.type == "INT16" and preprocessing.neutral)
    (_integers if whole else _floats)(chain, preprocessing, goal)
    if classifier.channels_first:
        chain.transpose((0, 3, 1, 2))
    return chain.ending_in(own)


def _integers(chain: _Chain, preprocessing: Preprocessing, goal: Tensor) -> None:
    """From integers to integers; a convolution of one place weighs, shifts and turns channels in one rounding."""
    chain.resize(goal.shape)
    if preprocessing.neutral:
        chain.quantise(goal)
    elif preprocessing.uniform and _coincide(chain.x, preprocessing, goal):
        # The same integers mean the expected values already, to a step: they only have to be called so.
        chain.quantise(_tensor(goal.shape, goal.type, _typed(_label(chain.x), chain.x.type, goal.type)))
        chain.reshape(goal.shape, like=goal)
    else:
        chain.byte().convolve(preprocessing, as_int8(goal))


def _floats(chain: _Chain, preprocessing: Preprocessing, goal: Tensor) -> None:
    chain.floats().resize(goal.shape)
    if preprocessing.reversed:
        chain.convolve(preprocessing, chain.x)
    else:
        chain.scale(preprocessing)
    if goal.type != "FLOAT32":
        chain.quantise(as_int8(goal))


def _back(classifier: Classifier, order: tuple[int, ...], logits: bool, scores: str | None) -> _Chain:
    """Operators from the file's own output to the cascade's scores."""
    kind = (scores or classifier.output.type).upper()
    kind = "INT8" if scores is None and kind == "UINT8" else kind
    if kind not in ("FLOAT32", *_SCORES):
        raise TfliteError(f"scores of {scores!r}; choose one of float32, int8, int16")
    chain = _Chain(classifier.output)
    chain.byte().reshape((1, classifier.classes), like=chain.x)
    if order != tuple(range(classifier.classes)):
        chain.gather(order)
    if logits:
        chain.softmax()
    if kind != chain.x.type:
        chain.floats() if kind == "FLOAT32" else chain.quantise(_tensor(chain.x.shape, kind, _SCORES[kind]))
    return chain


class _Chain:
    """Operators one after the other, each of what the last one gave; what would change nothing is not added."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.operators: list[Operator] = []

    def byte(self) -> _Chain:
        """The same values as int8 where they are uint8."""
        return self.quantise(as_int8(self.x))

    def quantise(self, like: Tensor) -> _Chain:
        """The values in another tensor's type and steps; between two uint8 there is int8."""
        if not _alike(self.x, like):
            if like.type == "UINT8" and self.x.type != "INT8":
                self.quantise(as_int8(like))
            self._add(emit.quantize(self.x, _like(like, self.x.shape)))
        return self

    def floats(self) -> _Chain:
        """The values as float32."""
        return self if self.x.type == "FLOAT32" else self._add(emit.dequantize(self.x))

    def resize(self, shape: tuple[int, ...]) -> _Chain:
        """An image ``(1, h, w, c)`` at another height and width."""
        return self if self.x.shape == shape else self.byte()._add(emit.resize_bilinear(self.x, (shape[1], shape[2])))

    def scale(self, preprocessing: Preprocessing) -> _Chain:
        """Floats times a factor, plus an offset."""
        for step, values, rest in ((emit.mul, preprocessing.factors, 1), (emit.add, preprocessing.offsets, 0)):
            if (values != rest).any():
                few = values[:1] if preprocessing.uniform else values
                constant = emit.constant(few.astype(np.float32), "adapter/preprocessing")
                self._add(step(self.x, constant, _like(self.x, self.x.shape), emit.fused((None, None))))
        return self

    def convolve(self, preprocessing: Preprocessing, like: Tensor) -> _Chain:
        """Factors, offsets and the order of channels in one 1x1 convolution, floats or int8."""
        precision = "float32" if self.x.type == "FLOAT32" else "int8"
        weights, bias = conv_weights(preprocessing.kernel, preprocessing.offsets, self.x, precision)
        y = _like(like, self.x.shape)
        return self._add(emit.conv_1x1(self.x, weights, bias, y, emit.fused((None, None))))

    def reshape(self, shape: tuple[int, ...], like: Tensor) -> _Chain:
        """The same numbers in another shape, meaning what those of another tensor mean."""
        same = self.x.shape == shape and _alike(self.x, like)
        return self if same else self._add(emit.reshape(self.x, _like(like, shape)))

    def transpose(self, order: Sequence[int]) -> _Chain:
        """The axes in another order."""
        shape = [self.x.shape[axis] for axis in order]
        return self._add(emit.transpose(self.x, order, _like(self.x, shape)))

    def gather(self, order: Sequence[int]) -> _Chain:
        """Some columns of a row; through floats for int16, where TensorFlow Lite Micro has no kernel."""
        own = self.x
        if own.type == "INT16":
            self.floats()
        self._add(emit.columns(self.x, order, _like(self.x, (1, len(order)))))
        return self.quantise(own)

    def softmax(self) -> _Chain:
        """Probabilities of logits."""
        return self._add(emit.softmax(self.x, _tensor(self.x.shape, self.x.type, _SCORES.get(self.x.type))))

    def ending_in(self, target: Tensor) -> list[Operator]:
        """All operators; the last one's output gives way to the target."""
        self.quantise(target)
        if self.operators:
            self.operators[-1].outputs = [target]
        return self.operators

    def _add(self, operator: Operator) -> _Chain:
        self.operators.append(operator)
        (self.x,) = operator.outputs
        return self


def _coincide(x: Tensor, preprocessing: Preprocessing, goal: Tensor) -> bool:
    """Whether the integers of an image are those that a quantised input holds of its preprocessed values."""
    (scale, zero), (own, own_zero) = _typed(_label(x), x.type, goal.type), _label(goal)
    room = np.iinfo(goal.type.lower())
    ends = np.array([room.min, room.max], np.float64)
    values = preprocessing.factors[0] * scale * (ends - zero) + preprocessing.offsets[0]
    return bool((np.abs(values / own + own_zero - ends) <= _STEP).all())


def _tensor(shape: Sequence[int], kind: str, label: tuple[float, int] | None) -> Tensor:
    tensor = emit.activation(shape, kind, INPUT_KEY)
    if label is not None:
        tensor.table.quantization = emit.quantisation(np.array([label[0]]), np.array([label[1]]))
    return tensor


def _like(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """An activation of a tensor's type and steps in some shape."""
    return emit.activation(shape, tensor.type, "adapter", like=tensor)


def as_int8(tensor: Tensor) -> Tensor:
    """A tensor like a uint8 one, of the same values as int8; any other as it is."""
    if tensor.type != "UINT8":
        return tensor
    return _tensor(tensor.shape, "INT8", _typed(_label(tensor), "UINT8", "INT8"))


def _label(tensor: Tensor) -> tuple[float, int]:
    """Scale and zero point; of floats such that each stands for itself."""
    return (1.0, 0) if tensor.type == "FLOAT32" else (tensor.scales[0], tensor.zero_points[0])


def _typed(label: tuple[float, int], kind: str, other: str) -> tuple[float, int]:
    """Scale and zero point of the same values in another type of as many bits."""
    shift = {"UINT8": _SHIFT}
    return label[0], label[1] - shift.get(kind, 0) + shift.get(other, 0)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether the same numbers mean the same in two tensors."""
    (scale, zero), (its, its_zero) = _label(one), _label(other)
    return (one.type, zero) == (other.type, its_zero) and abs(scale / its - 1) <= _EQUAL
