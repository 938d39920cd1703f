"""Steps and biases of a route's back by what the route gives it, while its weights stay those of its anchor.

An anchor's tensors have the ranges that they take on its own features, and its biases make up for rounding on the mean
of these. What a stitch delivers is distributed otherwise. The float network that the anchor's integers were made of is
kept beside them (``precision.EXACT``), so a route has a float form of the same layers: its tensors' values on
calibration images give other steps and other biases, without a conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tflite_export import biases, calibration, emit, link, observation, spreads, verify
from tflite_export.divergence import divergence
from tflite_export.flatbuffer import Operator, Tensor, only, read
from tflite_export.link import Route
from tflite_export.requantising import Requantisation, Steps

_ROOM = np.iinfo(np.int8)


@dataclass(frozen=True)
class Recalibrated:
    """A route, and the mean KL of its answers from the float network's as it was and as it is, in nats."""

    route: Route
    before: float
    after: float


def best(route: Route, images: np.ndarray, exact: np.ndarray, logits: np.ndarray | None = None) -> Recalibrated:
    """The int8 route as it is, or with steps and biases of its own where its answers gain by what those take.

    By raw images ``(n, h, w, c)`` and the float network's logits ``(n, classes)``; ``logits`` are what the route
    gives, where that is there already. A route whose answers cannot gain as much is not measured.
    """
    before = divergence(_logits(route, images) if logits is None else logits, exact)
    own = of(route, [*images[:, None]]) if before.mean() > calibration.LEAST_GAIN else None
    if own is None:
        return Recalibrated(route, float(before.mean()), float(before.mean()))
    other = replace(route, requantised=own)
    after = divergence(_logits(other, images), exact)
    taken = calibration.worth_own(before, after)
    return Recalibrated(other if taken else route, float(before.mean()), float((after if taken else before).mean()))


def _logits(route: Route, images: np.ndarray) -> np.ndarray:
    return verify.run(link.variant(route, precision="int8"), [images]).logits


def of(route: Route, images: Sequence[np.ndarray]) -> Requantisation | None:
    """What suits a route's last back on raw images ``(1, h, w, c)``.

    None where one of its objects has no float form, or what was tuned in it cannot be told from that form's weights.
    """
    exact = _exact(route)
    if exact is None or route.back is None or exact.back is None:
        return None
    content, many = link.variant(exact, precision="float32"), len(link.tail(exact))
    rule = spreads.CLIPPINGS.get(route.back.rule, spreads.whole)
    seen = observation.observed(content, images, last=many, counting=rule is not spreads.whole)
    tail = only(read(spreads.ranged(content, seen.spreads, rule))).operators[-many:]
    exact_by_name = {op.outputs[0].name: op for op in tail}
    own = {
        op.outputs[0].name: bias
        for op in link.tail(route)
        if (bias := _bias(op, exact_by_name.get(op.outputs[0].name), seen.means)) is not None
    }
    return Requantisation({t.name: steps for t in _tensors(tail) if (steps := _steps(t)) is not None}, own)


def _exact(route: Route) -> Route | None:
    """The same of float forms."""
    front = _exact(route.front) if isinstance(route.front, Route) else route.front.exact
    back = None if route.back is None else route.back.exact
    if front is None or (back is None and route.back is not None):
        return None
    return replace(route, front=front, back=back)


def _tensors(operators: Sequence[Operator]) -> list[Tensor]:
    every = (t for op in operators for t in (*op.inputs, *op.outputs))
    return [t for t in every if t is not None and not t.constant]


def _steps(tensor: Tensor) -> Steps | None:
    """Of eight bits, over the range that a float file notes; None where it notes none, or one without a width."""
    noted = tensor.table.quantization
    if noted is None or noted.min is None:
        return None
    low, high = min(float(noted.min[0]), 0.0), max(float(noted.max[0]), 0.0)  # zero has an integer of its own
    return Steps(*emit.steps(low, high, _ROOM)) if 0 < high - low < np.inf else None


def _bias(operator: Operator, exact: Operator | None, means: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """An operator's bias with what rounding its weights moves taken back; None where there is none to tell by."""
    name = operator.outputs[0].name
    bias = exact.inputs[2] if exact is not None and operator.name in emit.WEIGHTED and len(exact.inputs) > 2 else None
    if exact is None or bias is None or exact.name != operator.name or name not in means:
        return None
    moved = biases.moved(operator, exact, means[name])
    return None if moved is None else bias.values().astype(np.float64) + moved
