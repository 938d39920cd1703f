"""Which rewrites a network gets: as many as apply and, tried on calibration images, leave its answers as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export.precision import INPUT_KEY, precision_named
from tflite_export.rewrites import graph
from tflite_export.rewrites.edits import STEPS, Edits
from tflite_export.rewrites.holding import Holding
from tflite_export.rewrites.survey import Survey, surveyed

if TYPE_CHECKING:
    import keras

L2 = "l2_normalization"  # what targets without the operator have lowered
# Of the largest value of an output: what another order of sums makes of floats.
TOLERANCE = 1e-4
_IMAGES = 4


@dataclass(frozen=True)
class Rewritten:
    """A network, what was done to it, and by how much of its largest value an output differs for that at most.

    ``counts`` are norms, streams and channels by step; a step that would have made a greater difference than
    ``TOLERANCE`` is among those ``left_out``, with that difference. ``images`` are what the network takes for those
    given, ``holdings`` how it holds outputs and, under the input's name, these.
    """

    model: Any = field(repr=False)
    images: tuple[np.ndarray, ...] = field(repr=False)
    counts: Mapping[str, int] = field(default_factory=dict)
    difference: float = 0.0
    left_out: Mapping[str, float] = field(default_factory=dict)
    holdings: Mapping[str, Holding] = field(default_factory=dict)


def word(precision: str) -> tuple[str, ...]:
    """What to call the way in which files of a precision are made integers; another word, and they are made anew."""
    if _applies(precision):
        return ("rewritten 2",)
    return ("observed 1",) if precision_named(precision).calibrated else ()


def rewritten(
    model: keras.Model,
    precision: str,
    lower: Collection[str],
    images: Sequence[np.ndarray],
    holdings: Mapping[str, Holding] | None = None,
) -> Rewritten:
    """The network as a precision is best served; itself where nothing applies.

    ``images`` are batches ``(1, h, w, c)`` of what it takes. ``holdings`` are how another network holds outputs of
    these names, and this one has to as well.
    """
    plain = Rewritten(model, tuple(images))
    if not _applies(precision) or L2 in lower:
        return plain
    flat = graph.flat(model)
    survey = surveyed(flat, images, graph.ends(flat), holdings or {})
    left_out: dict[str, float] = {}
    for last in range(len(STEPS), 0, -1):
        twin = _built(survey, images, STEPS[:last])
        if not twin.counts:
            return plain
        if twin.difference <= TOLERANCE:
            return Rewritten(twin.model, twin.images, twin.counts, twin.difference, left_out, twin.holdings)
        left_out[STEPS[last - 1]] = twin.difference
    return Rewritten(model, tuple(images), left_out=left_out)


def _applies(precision: str) -> bool:
    """Whether all that a precision computes with has a kernel of eight bits."""
    recipe = precision_named(precision)
    return recipe.calibrated and "INT8" in recipe.activations


def _built(survey: Survey, images: Sequence[np.ndarray], steps: Collection[str]) -> Rewritten:
    """The network with some steps taken."""
    edits = Edits(survey, steps)
    entry = edits.holdings.get(INPUT_KEY)
    twin = graph.replaced(survey.model, edits.layers(), None if entry is None else len(entry.copies))
    taken = images if entry is None else [image @ entry.writes.astype(np.float32) for image in images]
    difference = _difference(survey.model, twin, images[:_IMAGES], taken[:_IMAGES], edits.holdings)
    return Rewritten(twin, tuple(taken), edits.counts, difference, holdings=edits.holdings)


def _difference(
    model: Any, twin: Any, images: Sequence[np.ndarray], taken: Sequence[np.ndarray], holdings: Mapping[str, Holding]
) -> float:
    """The largest difference of an output, of its largest value."""
    exact = dict(zip(sorted(graph.ends(model)), graph.run(model, np.concatenate(images)), strict=True))
    given = dict(zip(sorted(graph.ends(twin)), graph.run(twin, np.concatenate(taken)), strict=True))
    worst = 0.0
    for name, values in exact.items():
        held = given[name] @ holdings[name].reads if name in holdings else given[name]
        worst = max(worst, float(np.abs(held - values).max() / max(np.abs(values).max(), 1e-30)))
    return worst
