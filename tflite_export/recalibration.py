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


def best(
    route: Route, images: np.ndarray, exact: np.ndarray, logits: np.ndarray | None = None, *, precision: str = "int8"
) -> Recalibrated:
    """The route as it is, or with steps and biases of its own where its answers gain by what those take.

    By raw images ``(n, h, w, c)`` and the float network's logits ``(n, classes)``; ``logits`` are what the route
    gives on ``calibration.judges`` of the images, where that is there already. A route whose answers cannot gain as
    much is not measured. ``precision`` is int8 or int16x8.
    """
    judges = calibration.judges(len(images), precision)
    exact, few = exact[judges], images[judges]
    now = _logits(route, few, precision) if logits is None else logits
    before = float(divergence(now, exact).mean())
    own = of(route, [*images[:, None]]) if before > calibration.least_gain(precision) else None
    if own is None:
        return Recalibrated(route, before, before)
    other = replace(route, requantised=own)
    then = _logits(other, few, precision)
    if not _gains(now, then, exact, precision):
        return Recalibrated(route, before, before)
    return Recalibrated(other, before, float(divergence(then, exact).mean()))


def _gains(before: np.ndarray, after: np.ndarray, exact: np.ndarray, precision: str) -> bool:
    """Whether logits ``(n, classes)`` are surely nearer to the float network's, by what its own takes."""
    if precision == "int16x8":
        return calibration.gains(*(calibration.errors(one, exact) for one in (before, after)))
    return calibration.worth_own(*(divergence(one, exact) for one in (before, after)))


def _logits(route: Route, images: np.ndarray, precision: str) -> np.ndarray:
    return verify.run(link.variant(route, precision=precision), [images]).logits


def of(route: Route, images: Sequence[np.ndarray]) -> Requantisation | None:
    """What suits a route's last back on raw images ``(1, h, w, c)``; in sixteen bits biases alone: steps have room.

    None where one of its objects has no float form, or what was tuned in it cannot be told from that form's weights.
    """
    exact = _exact(route)
    if exact is None or route.back is None or exact.back is None:
        return None
    content, parts = link.variant(exact, precision="float32"), link.behind(exact, "float32")
    many = len(parts[0]) + len(parts[1])
    rule = spreads.CLIPPINGS.get(route.back.rule, spreads.whole)
    seen = observation.observed(content, images, last=many, counting=rule is not spreads.whole)
    noted = read(content)
    spreads.note(noted, seen.spreads, rule)
    floats = only(noted).operators[-many:]
    eight = route.back.scores.type == "INT8"
    stitch, tail = link.behind(route, "int8" if eight else "int16x8")
    exact_by_name = {op.outputs[0].name: op for op in floats}
    own = {
        op.outputs[0].name: bias
        for op in (tail if eight else (*stitch, *tail))  # in eight bits what a stitch reads is not so near its mean
        if (bias := _bias(op, exact_by_name.get(op.outputs[0].name), seen.means)) is not None
    }
    kept = _tensors(floats[len(parts[0]) :]) if eight else ()
    return Requantisation({t.name: steps for t in kept if (steps := _steps(t)) is not None}, own)


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
