"""The layers that take the places of others, for each of the steps of a rewrite.

1. ``norms``: norms are L2_NORMALIZATION.
2. ``centred``: the writers of a residual stream write values of mean zero, so that its norms need not take it away.
3. ``split``: channels with outliers are several of smaller values.
4. ``folded``: what a norm multiplies by and adds is done by the weights that read it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from tflite_export.precision import INPUT_KEY
from tflite_export.rewrites import graph, maps, norms
from tflite_export.rewrites.form import Form
from tflite_export.rewrites.maps import Maps
from tflite_export.rewrites.survey import Residual, Site, Survey

STEPS = NORMS, CENTRED, SPLIT, FOLDED = ("norms", "centred", "split", "folded")
# What moves values in from outside would not be moved by what is added to all that is read.
_PADDING = ("ZeroPadding1D", "ZeroPadding2D", "Add")


class Edits:
    """What some steps make of what a survey has; ``counts`` are norms, streams, more channels and norms by step."""

    def __init__(self, survey: Survey, steps: Collection[str]) -> None:
        self._steps = steps
        self._layers: dict[int, Any] = {}
        self._maps: dict[int, tuple[Any, dict[str, np.ndarray]]] = {}
        self.forms: dict[str, Form] = {}
        self.counts: dict[str, int] = {}
        names = {id(t): name for name, t in ((INPUT_KEY, survey.model.inputs[0]), *graph.ends(survey.model).items())}
        held: dict[int, Form] = {}
        for residual in survey.residuals:
            form = self._stream(residual, names)
            held |= {id(site.node): form for site in residual.sites}
        for site in survey.sites:
            if site.small:
                self._norm(site, held.get(id(site.node), Form((1,) * len(site.norm.gamma))))

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

    def _stream(self, residual: Residual, names: dict[int, str]) -> Form:
        """Hold a stream as its form says, as far as the steps go."""
        whole = residual.form
        factors = whole.factors if SPLIT in self._steps else (1,) * len(whole.factors)
        form = Form(factors, whole.centred and CENTRED in self._steps)
        if form.plain:
            return form
        for node in residual.stream.writers:
            if node is not None:
                self._map(node, writes=form.writes)
        for node in residual.stream.joints:
            self._joint(node, form.writes)
        self.forms |= {names[id(t)]: form for t in residual.stream.tensors if id(t) in names}
        self._count(CENTRED, int(form.centred))
        self._count(SPLIT, len(form.copies) - len(factors))
        return form

    def _norm(self, site: Site, form: Form) -> None:
        """Put the operator in the place of a norm that reads a stream in a form."""
        copies, found = form.copies, site.norm
        factors, offsets = found.factors[copies], found.beta[copies] / np.asarray(form.factors)[copies]
        reads, folds = form.reads, FOLDED in self._steps and _folds(site)
        if folds:
            reads, factors, offsets = reads * factors[:, None], np.ones(len(copies)), np.zeros(len(copies))
            for reader in site.readers:
                self._map(reader, shift=found.beta)
            self._count(FOLDED, 1)
        if folds or len(copies) > len(form.factors):
            for reader in site.readers:
                self._map(reader, reads=reads)
            for node in site.normed.joints:
                self._joint(node, Form(form.factors).writes)
        mean = found.mean and not form.centred
        self._layers[id(site.node.operation)] = norms.l2(factors, offsets, mean=mean, name=site.node.operation.name)
        self._count(NORMS, 1)


def _folds(site: Site) -> bool:
    """Whether the readers of a norm can do what it does behind the division."""
    moved = any(type(node.operation).__name__ in _PADDING for node in site.normed.joints)
    shifted = bool(site.norm.beta.any())
    return bool(site.readers) and not (shifted and (moved or not all(map(maps.takes_shift, site.readers))))
