"""The layers that take the places of others, for each of the steps of a rewrite.

1. ``norms``: norms are L2_NORMALIZATION.
2. ``centred``: the writers of a residual stream write values of mean zero, so that its norms need not take it away.
3. ``split``: channels with outliers are several of smaller values.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from tflite_export.precision import INPUT_KEY
from tflite_export.rewrites import graph, maps, norms
from tflite_export.rewrites.holding import Holding
from tflite_export.rewrites.maps import Maps
from tflite_export.rewrites.survey import NormCall, Residual, Survey

STEPS = NORMS, CENTRED, SPLIT = ("norms", "centred", "split")


class Edits:
    """What some steps make of what a survey has; ``counts`` are norms, streams and more channels by step."""

    def __init__(self, survey: Survey, steps: Collection[str]) -> None:
        self._steps = steps
        self._layers: dict[int, Any] = {}
        self._maps: dict[int, tuple[Any, dict[str, np.ndarray]]] = {}
        self.holdings: dict[str, Holding] = {}
        self.counts: dict[str, int] = {}
        names = {id(t): name for name, t in ((INPUT_KEY, survey.model.inputs[0]), *graph.ends(survey.model).items())}
        held: dict[int, Holding] = {}
        for residual in survey.residuals:
            holding = self._stream(residual, names)
            held |= {id(call.node): holding for call in residual.calls}
        for call in survey.calls:
            if call.small:
                self._norm(call, held.get(id(call.node), Holding((1,) * len(call.norm.gamma))))

    def layers(self) -> dict[int, Any]:
        """By the ``id`` of each layer: what takes its place."""
        remade = {key: maps.remade(node, Maps(**parts)) for key, (node, parts) in self._maps.items()}
        return self._layers | remade

    def _count(self, step: str, more: int) -> None:
        if more:
            self.counts[step] = self.counts.get(step, 0) + more

    def _map(self, node: Any, **parts: np.ndarray) -> None:
        self._maps.setdefault(id(node.operation), (node, {}))[1].update(parts)

    def _joint(self, node: Any, writes: np.ndarray) -> None:
        if (layer := maps.joint(node, Maps(writes=writes))) is not None:
            self._layers[id(node.operation)] = layer

    def _stream(self, residual: Residual, names: dict[int, str]) -> Holding:
        """Hold a stream as its holding says, as far as the steps go."""
        whole = residual.holding
        factors = whole.factors if SPLIT in self._steps else (1,) * len(whole.factors)
        holding = Holding(factors, whole.centred and CENTRED in self._steps)
        if holding.plain:
            return holding
        for node in residual.stream.writers:
            if node is not None:
                self._map(node, writes=holding.writes)
        for node in residual.stream.joints:
            self._joint(node, holding.writes)
        self.holdings |= {names[id(t)]: holding for t in residual.stream.tensors if id(t) in names}
        self._count(CENTRED, int(holding.centred))
        self._count(SPLIT, len(holding.copies) - len(factors))
        return holding

    def _norm(self, call: NormCall, holding: Holding) -> None:
        """Put the operator in the place of a norm that reads a stream in a holding."""
        copies, norm = holding.copies, call.norm
        factors, offsets = norm.factors[copies], norm.beta[copies] / np.asarray(holding.factors)[copies]
        if len(copies) > len(holding.factors):
            for reader in call.readers:
                self._map(reader, reads=holding.reads)
            for node in call.normed.joints:
                self._joint(node, Holding(holding.factors).writes)
        mean = norm.mean and not holding.centred
        self._layers[id(call.node.operation)] = norms.l2(factors, offsets, mean=mean, name=call.node.operation.name)
        self._count(NORMS, 1)
