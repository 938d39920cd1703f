"""All configurations of a family as one network: anchors cut into stretches, stitches between them.

A stretch is traced once, whatever routes run through it; in the middle of a route it is taken from cut to
cut. Anchors are either exact, and then pass gradients on without any of their own, or trained with the stitches.
A window may tune norms: then what runs behind its stitch does so with scales and shifts of the window's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.fitting import ladder
from restnet_tf.graph import costs, cuts, norms
from restnet_tf.records import Anchor, Cut, Piece, Plan, Stitch
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    import keras

_Stretch = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class Configuration:
    """A route with the windows whose stitches it runs through, one at each change of anchors."""

    plan: Plan
    windows: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its plan."""
        return self.plan.name


class Stretches:
    """Parts of anchors between cuts, images or logits, as functions of batches."""

    def __init__(self, anchors: Mapping[str, Anchor], cut_lists: Mapping[str, Sequence[Cut]], *, exact: bool) -> None:
        self.anchors, self.exact = anchors, exact
        self._names = {role: [cut.name for cut in cut_list] for role, cut_list in cut_lists.items()}
        self._models: dict[_Stretch, keras.Model] = {}
        self._functions: dict[tuple[_Stretch, bool], tuple[list[str], Callable[..., Any]]] = {}

    def run(self, piece: Piece, x: Any, tuned: Mapping[str, Any]) -> Any:
        """What a piece of a route makes of a batch, with its anchor's norms or, by path, with others."""
        for stretch in self._of(piece):
            paths, function = self._function(stretch, bool(tuned))
            x = function(x, *(tuned[path] for path in paths))
        return x

    def norms(self, piece: Piece) -> list[Any]:
        """The norms' scales and shifts that a piece runs through."""
        return [v for stretch in self._of(piece) for v in norms.variables(self._model(stretch))]

    def work(self, pieces: Sequence[Piece]) -> int:
        """What one pass of an image takes (``fit.work``)."""
        return sum(ladder.work(self._model(stretch)) for piece in pieces for stretch in self._of(piece))

    def macs(self, pieces: Sequence[Piece]) -> int:
        """MACs of one image."""
        return sum(costs.macs(self._calls(stretch)) for piece in pieces for stretch in self._of(piece))

    def held(self, pieces: Sequence[Piece]) -> int:
        """Values that training keeps of one image for its way back."""
        return sum(costs.held(self._calls(stretch)) for piece in pieces for stretch in self._of(piece))

    def variables(self) -> dict[str, list[Any]]:
        """What can be trained of every anchor; nothing where they are exact."""
        return {role: [] if self.exact else list(a.model.trainable_variables) for role, a in self.anchors.items()}

    def _of(self, piece: Piece) -> list[_Stretch]:
        if piece.start is None or piece.stop is None:
            return [(piece.anchor, piece.start, piece.stop)]
        names = self._names[piece.anchor]
        there = names[names.index(piece.start) : names.index(piece.stop) + 1]
        return [(piece.anchor, start, stop) for start, stop in pairwise(there)]

    def _calls(self, stretch: _Stretch) -> list[Any]:
        return costs.nodes(self._model(stretch))

    def _model(self, stretch: _Stretch) -> keras.Model:
        if stretch not in self._models:
            role, start, stop = stretch
            anchor = self.anchors[role]
            begin = anchor.model.inputs[0] if start is None else cuts.tensor(anchor.model, start)
            end = anchor.logits if stop is None else cuts.tensor(anchor.model, stop)
            self._models[stretch] = cuts.between(anchor.model, begin, end)
        return self._models[stretch]

    def _function(self, stretch: _Stretch, tuned: bool) -> tuple[list[str], Callable[..., Any]]:
        """A stretch as a function of a batch and of the norms at these paths."""
        import tensorflow as tf

        key = stretch, tuned
        if key not in self._functions:
            model = self._model(stretch)
            own = norms.variables(model) if tuned else []

            def run(x: Any, *values: Any) -> Any:
                if not self.exact:
                    return model(x, training=False)
                # Otherwise a function called under a tape computes the gradients of all weights that it reads.
                sides = model.trainable_variables, model.non_trainable_variables
                held = [[tf.stop_gradient(tf.convert_to_tensor(v.value)) for v in side] for side in sides]
                tuned_values = {v.path: value for v, value in zip(own, values, strict=True)}
                trained = [
                    tuned_values.get(v.path, was) for v, was in zip(model.trainable_variables, held[0], strict=True)
                ]
                return model.stateless_call(trained, held[1], x, training=False)[0]

            shapes = [(None, *model.inputs[0].shape[1:]), *(v.shape for v in own)]
            signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
            function = tf.function(run, input_signature=signature, autograph=False)
            self._functions[key] = [v.path for v in own], function
        return self._functions[key]


class TrainableStitch:
    """A stitch in training: of full rank, or its start with a trained part of a lower one (SN-Netv2)."""

    def __init__(self, start: Stitch, low_rank: int | None, rng: np.random.Generator) -> None:
        import tensorflow as tf

        self._start, self._model = start, stitch.build(start)
        self._all = [v.value for v in self._model.trainable_variables]
        self._at = next(i for i, v in enumerate(self._model.trainable_variables) if v.path.endswith("project/kernel"))
        self._low: list[Any] = []
        if low_rank is not None:
            rows, columns = start.kernel.shape
            low_rank = min(low_rank, rows, columns)
            # Zero on one side: training starts at the closed form, whatever the other side is.
            left = rng.normal(0, low_rank**-0.5, (rows, low_rank)).astype(np.float32)
            self._low = [tf.Variable(left), tf.Variable(tf.zeros((low_rank, columns)))]
        signature = [tf.TensorSpec((None, *start.source.shape), tf.float32)]
        self.run = tf.function(self._call, input_signature=signature, autograph=False)

    @property
    def variables(self) -> list[Any]:
        """What is trained."""
        return [*self._low, *(v for i, v in enumerate(self._all) if not self._low or i != self._at)]

    @property
    def stitch(self) -> Stitch:
        """The stitch as it stands, as one kernel."""
        whole = stitch.trained(self._start, self._model)
        if not self._low:
            return whole
        left, right = (np.asarray(v) for v in self._low)
        return replace(whole, kernel=self._start.kernel + left @ right)

    def _call(self, x: Any) -> Any:
        import tensorflow as tf

        values = [tf.convert_to_tensor(v) for v in self._all]
        if self._low:
            frozen = tf.stop_gradient(values[self._at])
            values[self._at] = frozen + tf.reshape(self._low[0] @ self._low[1], frozen.shape)
        return self._model.stateless_call(values, [], x)[0]


class Supernet:
    """Every configuration's forward pass, and all that is trained in it."""

    def __init__(
        self,
        stretches: Stretches,
        starts: Mapping[str, Stitch],
        *,
        low_rank: int | None,
        seed: int,
        tuned: Mapping[str, str] | None = None,
    ) -> None:
        """``tuned`` names, for windows that tune norms, the role of the anchor behind their stitch."""
        rng = np.random.default_rng(seed)
        self.stretches = stretches
        self._trainable = {name: TrainableStitch(start, low_rank, rng) for name, start in starts.items()}
        self._tuned = {name: _copies(stretches.anchors[role]) for name, role in (tuned or {}).items()}
        anchored = stretches.variables()
        groups = {name: [*one.variables, *self._tuned.get(name, {}).values()] for name, one in self._trainable.items()}
        groups |= {role: [v.value for v in group] for role, group in anchored.items()}
        self.variables: list[Any] = [v for group in groups.values() for v in group]
        ends = np.cumsum([len(group) for group in groups.values()])
        self._places = {
            name: range(end - len(group), end) for (name, group), end in zip(groups.items(), ends.tolist(), strict=True)
        }
        self.anchored = {i for role in anchored for i in self._places[role]}

    @property
    def rung(self) -> str:
        """What the ladder of a family of two calls what is trained here."""
        return "norm" if self._tuned else "stitch"

    def trained(self, configuration: Configuration) -> list[int]:
        """Which of the variables a configuration runs through."""
        roles = {piece.anchor: None for piece in configuration.plan.route}
        names = dict.fromkeys([*configuration.windows, *roles])
        return [i for name in names for i in self._places[name]]

    def pieces(self, configuration: Configuration) -> tuple[Piece, ...]:
        """The pieces that run in training: where anchors are exact, the front's features are known."""
        route = configuration.plan.route
        return route[1:] if self.stretches.exact else route

    def logits(self, configuration: Configuration, x: Any) -> Any:
        """From images, or from the front's features where anchors are exact, to logits."""
        route, names = configuration.plan.route, configuration.windows
        if not self.stretches.exact:
            x = self.stretches.run(route[0], x, {})
        for name, piece in zip(names, route[1:], strict=True):
            x = self.stretches.run(piece, self._trainable[name].run(x), self._tuned.get(name, {}))
        return x

    def stitches(self, configuration: Configuration) -> tuple[Stitch, ...]:
        """A configuration's stitches as they stand, with the norms tuned for what runs behind each."""
        pairs = zip(configuration.windows, configuration.plan.route[1:], strict=True)
        return tuple(self._stitch(name, piece) for name, piece in pairs)

    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        """The anchors' trained weights by role and path; nothing where anchors are exact."""
        if self.stretches.exact:
            return {}
        return {
            role: {v.path: np.asarray(v) for v in variables} for role, variables in self.stretches.variables().items()
        }

    def _stitch(self, window: str, piece: Piece) -> Stitch:
        fitted = self._trainable[window].stitch
        if window not in self._tuned:
            return fitted
        tuned = {v.path: np.asarray(self._tuned[window][v.path]) for v in self.stretches.norms(piece)}
        return replace(fitted, tuned=tuned)


def _copies(anchor: Anchor) -> dict[str, Any]:
    """Variables that begin as the norms of an anchor, by path."""
    import tensorflow as tf

    return {v.path: tf.Variable(v.value) for v in norms.variables(anchor.model)}
