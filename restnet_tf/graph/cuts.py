"""Where a functional graph can be cut, and the two models that a cut leaves.

A cut is an articulation tensor: every path from input to output runs through it. Walking the graph
in topological order with the set of live tensors finds them all: where one tensor is live, it is
one. Of these only block boundaries are candidates, so that a stitch meets the tensors that the
architecture itself hands from block to block.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

from restnet_tf.graph import costs
from restnet_tf.records import Anchor, Cut, RestnetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

FIXED = "preprocess"  # how the names of layers begin whose weights nobody has learned
# What follows the end of a block and still belongs to it: a cut waits until these are done.
_POINTWISE = frozenset(
    {
        "Activation",
        "BatchNormalization",
        "Dropout",
        "ELU",
        "GaussianNoise",
        "Identity",
        "LeakyReLU",
        "Normalization",
        "PReLU",
        "ReLU",
        "Relu",
        "Relu6",
        "Rescaling",
        "Sigmoid",
        "Silu",
        "Softmax",
        "SpatialDropout1D",
        "SpatialDropout2D",
    }
)
# Behind these nothing is worth stitching: one more step of the same block.
_INNER = frozenset(
    {
        "Cropping1D",
        "LayerScale",
        "Multiply",
        "Permute",
        "Reshape",
        "StochasticDepth",
        "ZeroPadding1D",
        "ZeroPadding2D",
    }
)
# Zero padding too: every range that is known here holds zero.
_KEEPS_RANGE = frozenset(
    {
        "AveragePooling1D",
        "AveragePooling2D",
        "Dropout",
        "Identity",
        "MaxPooling1D",
        "MaxPooling2D",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
    }
)
_LINEAR = frozenset(
    {
        "BatchNormalization",
        "Conv1D",
        "Conv2D",
        "Dense",
        "DepthwiseConv2D",
        "Identity",
        "Normalization",
        "PositionBias",
        "Rescaling",
        "Reshape",
        "ZeroPadding1D",
        "ZeroPadding2D",
    }
)
_PADDING = frozenset({"ZeroPadding1D", "ZeroPadding2D"})
_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
_CONVOLUTIONS = frozenset({"Conv1D", "Conv2D"})
# What gives sequences: steps in time and no tokens of a picture.
_OVER_TIME = frozenset(
    {"AveragePooling1D", "Conv1D", "DepthwiseConv1D", "MaxPooling1D", "SeparableConv1D", "UpSampling1D"}
)
_KINDS = {3: "grid", 2: "tokens", 1: "vector"}


def find(model: keras.Model) -> tuple[Cut, ...]:
    """The cuts of a functional model at its block boundaries, from input to output.

    Raises ``RestnetError`` where there is none, with the reason.
    """
    calls = costs.nodes(model)
    steps = articulations(model)
    start = _first_learned(calls)
    boundaries = [step for step, nxt in _with_next(steps) if nxt and step >= start and _is_boundary(calls, step, nxt)]
    boundaries = _without_expansions(calls, boundaries)
    if not boundaries:
        raise RestnetError(
            f"{model.name} cannot be cut: of its {len(calls)} operations none ends a block where a single"
            " tensor is live; every place is bridged by a skip connection, or the model has one block"
        )
    return tuple(_cut(calls, steps, step, index) for index, step in enumerate(boundaries))


def classes(anchor: Anchor) -> Cut | None:
    """The logits as the cut behind all others, where an exit goes on; None of an anchor that ends in them."""
    if anchor.logits is None or anchor.ends_in_logits:
        return None
    calls, name = costs.nodes(anchor.model), anchor.logits._keras_history.operation.name
    steps = [i for i in articulations(anchor.model) if calls[i].operation.name == name]
    return _cut(calls, steps, steps[0], len(find(anchor.model))) if len(steps) == 1 else None


def places(anchor: Anchor) -> tuple[Cut, ...]:
    """All cuts of an anchor, and behind them its classes, where exits can go on there."""
    last = classes(anchor)
    return (*find(anchor.model), last) if last else find(anchor.model)


def articulations(model: keras.Model) -> list[int]:
    """Positions in ``costs.nodes(model)`` after which exactly one tensor is live."""
    calls = costs.nodes(model)
    last_use = {id(t): i for i, node in enumerate(calls) for t in node.input_tensors}
    end = len(calls)
    last_use |= {id(t): end for t in model.outputs}
    live: set[int] = {id(t) for t in model.inputs}
    positions = []
    for i, node in enumerate(calls):
        live |= {id(t) for t in node.output_tensors}
        live = {t for t in live if last_use.get(t, -1) > i}
        if len(live) == 1 and id(node.output_tensors[0]) in live and i < end - 1:
            positions.append(i)
    return positions


def tensor(model: keras.Model, name: str) -> Any:
    """The symbolic tensor of the cut that a layer's name names.

    Raises ``RestnetError`` where no articulation has that name, or more than one has.
    """
    calls = costs.nodes(model)
    hits = [calls[i].output_tensors[0] for i in articulations(model) if calls[i].operation.name == name]
    if len(hits) != 1:
        names = ", ".join(cut.name for cut in find(model))
        what = "is called more than once" if hits else "is no cut"
        raise RestnetError(f"{name} {what} in {model.name}; its cuts are: {names}")
    return hits[0]


def front(anchor: Anchor, cut: str) -> keras.Model:
    """The anchor from its raw image ``(n, h, w, c)`` to a cut; shares the anchor's weights."""
    import keras

    return keras.Model(anchor.model.inputs[0], tensor(anchor.model, cut), name="front")


def back(anchor: Anchor, cut: str, outputs: Any = None) -> keras.Model:
    """The anchor from a cut to its output, or to other symbolic ``outputs``; shares the anchor's weights."""

    start = tensor(anchor.model, cut)
    return between(anchor.model, start, anchor.model.outputs[0] if outputs is None else outputs)


def between(model: keras.Model, start: Any, outputs: Any, name: str = "back") -> keras.Model:
    """The part of a model from one symbolic tensor to others (a tensor or a list); shares its weights."""
    import keras

    targets = outputs if isinstance(outputs, list) else [outputs]
    twins = {id(start): keras.Input(start.shape[1:], dtype=start.dtype, name="cut")}
    # Not the model's own calls: pooled features may hang off the path to its output.
    for node in costs.nodes(keras.Model(model.inputs, targets)):
        at_start = any(id(t) == id(start) for t in node.output_tensors)
        if not at_start and any(id(t) in twins for t in node.input_tensors):
            _replay(node, twins)
    ends = [twins[id(t)] for t in targets]
    return keras.Model(twins[id(start)], ends if isinstance(outputs, list) else ends[0], name=name)


def _replay(node: Any, twins: dict[int, Any]) -> None:
    """Call a node's operation on the tensors that stand for its own."""
    args, kwargs = node.arguments.fill_in(twins)
    results = node.operation(*args, **kwargs)
    results = results if isinstance(results, list | tuple) else [results]
    twins |= {id(t): r for t, r in zip(node.output_tensors, results, strict=True)}


def _with_next(steps: Sequence[int]) -> list[tuple[int, int | None]]:
    return list(zip(steps, [*steps[1:], None], strict=False))  # no step, no next


def _is_boundary(calls: list[Any], step: int, nxt: int) -> bool:
    """Whether the tensor after ``step`` is handed from one block to the next."""
    produced, consumed = _kind_of(calls[step]), _kind_of(calls[step + 1])
    bridged = nxt > step + 1  # several operations read it: a skip connection or branches start here
    shape = calls[step].output_tensors[0].shape
    if len(shape) - 1 not in _KINDS or produced in _INNER or produced == "Flatten":
        return False
    if not bridged and consumed in _POINTWISE:
        return False
    if not bridged and len(shape) == 2 and consumed != "Dense":
        return False
    body = _body(calls, step)
    # The middle of a separable convolution is no end of a block.
    return body is not None and _kind_of(calls[body]) not in _DEPTHWISE | _INNER


def _first_learned(calls: list[Any]) -> int:
    """The first operation that makes something of the image: what comes before only prepares it."""
    for i, node in enumerate(calls):
        operation = node.operation
        fixed = _kind_of(node) in _POINTWISE or operation.name.startswith(FIXED)
        if getattr(operation, "weights", ()) and not fixed:
            return i
    return len(calls)


def _body(calls: list[Any], step: int) -> int | None:
    """The last operation up to ``step`` that is not pointwise: what computed the tensor."""
    for i in range(step, -1, -1):
        if _kind_of(calls[i]) not in _POINTWISE:
            return i
    return None


def _without_expansions(calls: list[Any], steps: list[int]) -> list[int]:
    """Without the wide tensors inside inverted bottlenecks (narrow, wide, narrow)."""

    def width(step: int) -> int:
        return calls[step].output_tensors[0].shape[-1]

    def expands(i: int) -> bool:
        if i + 1 >= len(steps):
            return False
        before, after = width(steps[i - 1]) if i else 0, width(steps[i + 1])
        return before < width(steps[i]) > after and _is_narrowed(calls, steps[i])

    return [step for i, step in enumerate(steps) if not expands(i)]


def _is_narrowed(calls: list[Any], step: int) -> bool:
    """Whether what reads a tensor is the second half of an inverted bottleneck, fused or not."""
    reader = next(node for node in calls[step + 1 :] if _kind_of(node) not in _PADDING)
    if _kind_of(reader) in _DEPTHWISE:
        return True
    body = _body(calls, step)
    fused = body is not None and _kind_of(calls[body]) in _CONVOLUTIONS
    return fused and _kind_of(reader) in _CONVOLUTIONS and set(reader.operation.kernel_size) == {1}


def _cut(calls: list[Any], steps: Sequence[int], step: int, index: int) -> Cut:
    result = calls[step].output_tensors[0]
    shape = tuple(result.shape[1:])
    before, after = calls[: step + 1], calls[step + 1 :]
    return Cut(
        name=calls[step].operation.name,
        index=index,
        kind=_KINDS[len(shape)],
        shape=shape,
        clamp=_clamp(calls, step),
        macs_before=costs.macs(before),
        macs_after=costs.macs(after),
        params_before=costs.params(before),
        params_after=costs.params(after),
        grid=_token_grid(calls, steps, step) if len(shape) == 2 else None,
        linear=all(map(_is_linear, before)),
    )


def _is_linear(node: Any) -> bool:
    """Whether a call is a linear map, constants added, of what comes before it."""
    name = getattr(getattr(node.operation, "activation", None), "__name__", "linear")
    return _kind_of(node) in _LINEAR and name == "linear"


def _token_grid(calls: list[Any], steps: Sequence[int], step: int) -> tuple[int, int] | None:
    """Height and width of the grid that tokens come from: the last in front of them of as many places.

    A class token may stand before them. Steps in time are a column; where else the graph has no such grid, it is
    taken to be a square.
    """
    count = calls[step].output_tensors[0].shape[1]
    if any(_kind_of(node) in _OVER_TIME for node in calls[: step + 1]):
        return count, 1
    for earlier in reversed([s for s in steps if s < step]):
        shape = calls[earlier].output_tensors[0].shape
        if len(shape) == 4 and count - shape[1] * shape[2] in (0, 1):
            return shape[1], shape[2]
    return square(count)


def square(count: int) -> tuple[int, int] | None:
    """Height and width of the square that tokens are of, a class token before them or not; None where there is none."""
    side = next((isqrt(n) for n in (count, count - 1) if n > 0 and isqrt(n) ** 2 == n), None)
    return (side, side) if side else None


def _clamp(calls: list[Any], step: int) -> tuple[float | None, float | None]:
    """The range that the activation behind the tensor allows."""
    i = step
    while i > 0 and _kind_of(calls[i]) in _KEEPS_RANGE:
        i -= 1
    operation = calls[i].operation
    kind = _kind_of(calls[i])
    if kind == "ReLU" and not operation.negative_slope and not operation.threshold:
        return 0.0, None if operation.max_value is None else float(operation.max_value)
    name = kind.lower() if kind in ("Relu", "Relu6") else getattr(operation, "activation", None)
    name = name if isinstance(name, str) else getattr(name, "__name__", "")
    return {"relu": (0.0, None), "relu6": (0.0, 6.0)}.get(name, (None, None))


def _kind_of(node: Any) -> str:
    return type(node.operation).__name__
