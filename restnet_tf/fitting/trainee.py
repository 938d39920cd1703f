"""What a fit trains: the joints before, the last stitch, a copy of the back; and what was traced of it.

Tracing a small network takes longer than training it. So networks that were trained are kept for a while, and the next
fit of the same structure takes one with its own weights: a further stint, a twin behind another front, another build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from restnet_tf.fitting import lead
from restnet_tf.fitting.adam import Adam
from restnet_tf.fitting.lead import Joint, Lead
from restnet_tf.fitting.loss import distillation
from restnet_tf.graph import gradients
from restnet_tf.graph import structure as structures
from restnet_tf.graph.structure import Structure
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    import keras

    from restnet_tf.fitting.rungs import Rung
    from restnet_tf.records import Stitch

# Networks, of at most so many values each: large ones train far longer than they are traced. More than a few are kept
# while together they have no more values than these may, and of what was traced so many operators, some 10 KB each.
_KEPT, _KEPT_ALWAYS, _KEPT_VALUES = 16, 4, 2**20
_KEPT_OPERATIONS = 6000
_REGIMENS = 4  # of a network, each with the averages of what it trains


@dataclass(frozen=True)
class Regimen:
    """How a rung trains: its batches, by how many classes these are labelled, the weights of the loss."""

    rung: Rung
    steps: int
    batch: int
    classes: int
    match_scale: float
    fused: bool

    @property
    def constants(self) -> Regimen:
        """What a traced step holds as constants: how many there will be only where XLA compiles it."""
        return self if self.fused else replace(self, steps=0)


class Trainee:
    """From features at a front's cut to ``[penultimate features, logits]``, in training."""

    def __init__(self, start: Stitch | None, before: Sequence[Joint], back: keras.Model) -> None:
        import keras

        self.lead, self.back = Lead(before), lead.copied(back)
        first = before[0][0] if before else start
        self._reads = first.source.shape if first else back.input_shape[1:]
        self.put(stitch.build(start) if start else keras.Sequential([keras.layers.Identity()]))

    def put(self, edge: keras.Model) -> None:
        """Train this in place of the last stitch."""
        self.edge = edge
        # Nothing is traced of it yet.
        self._infer: Any = None
        self._steps: dict[Regimen, tuple[Any, Adam]] = {}

    def reset(self, start: Stitch | None, before: Sequence[Joint], back: keras.Model) -> None:
        """Give it the weights of another fit of the same shapes."""
        if start:
            stitch.fill(self.edge, start)
        self.lead.reset(before)
        self.back.set_weights(back.get_weights())

    @property
    def variables(self) -> list[Any]:
        """All that any rung may train."""
        return [*self.lead.variables, *self.edge.trainable_variables, *self.back.trainable_variables]

    @property
    def values(self) -> int:
        """How many numbers those are."""
        return sum(prod(v.shape) for v in self.variables)

    @property
    def operations(self) -> int:
        """How many operators are held of what was traced."""
        functions = [*([self._infer] if self._infer else []), *(step for step, _ in self._steps.values())]
        traces = [trace for function in functions for trace in function._list_all_concrete_functions()]
        return sum(len(trace.graph.get_operations()) for trace in traces)

    def __call__(self, x: Any) -> Any:
        """What it says of features; traced once."""
        import tensorflow as tf

        if self._infer is None:
            self._infer = tf.function(self._forward, autograph=False, reduce_retracing=True)
        return self._infer(x)

    def step(self, regimen: Regimen) -> tuple[Callable[..., None], Adam]:
        """What takes ``x, teacher, target, labels, matching`` and trains, and its optimizer at its start."""
        constants = regimen.constants
        if constants not in self._steps:
            self._steps[constants] = self._traceable(regimen)
            if len(self._steps) > _REGIMENS:
                del self._steps[next(iter(self._steps))]
        step, optimizer = self._steps[constants] = self._steps.pop(constants)
        optimizer.restart(regimen.steps)
        return step, optimizer

    def _traceable(self, regimen: Regimen) -> tuple[Any, Adam]:
        import tensorflow as tf

        tuned = regimen.rung.tunes(self.back)
        variables = [*self.lead.trained(regimen.rung), *self.edge.trainable_variables, *tuned]
        optimizer = Adam(variables, regimen.rung.rate, regimen.steps, fixed=regimen.fused)
        features, logits = (end.shape[1:] for end in self.back.outputs)
        shapes = [self._reads, logits, features, (regimen.classes,)]
        arrays = [tf.TensorSpec((regimen.batch, *shape), tf.float32) for shape in shapes]
        step = tf.function(
            self._step(variables, optimizer, regimen.match_scale),
            [*arrays, tf.TensorSpec((), tf.bool)],
            autograph=False,
            jit_compile=regimen.fused,
        )
        return step, optimizer

    def _forward(self, x: Any) -> Any:
        return self.back(self.edge(self.lead(x)), training=False)

    def _step(self, variables: list[Any], optimizer: Adam, match_scale: float) -> Callable[..., None]:
        import tensorflow as tf

        def step(x: Any, teacher: Any, target: Any, labels: Any, matching: Any) -> None:
            with gradients.tape() as tape:
                tape.watch([v.value for v in variables])
                features, logits = self._forward(x)
                match = tf.reduce_mean(tf.square(features - target)) * match_scale
                loss = tf.where(matching, match, distillation(teacher, logits, labels))
            optimizer.apply(tape.gradient(loss, [v.value for v in variables]))

        return step


@dataclass(frozen=True)
class _Mould:
    """What two fits have to share to be trained in one network: the structure of the stretches and their names.

    Where the structure cannot be seen, it is the very stretches. Then the shapes of all stitches.
    """

    stretches: tuple[Any, ...]
    shapes: tuple[Any, ...]


@dataclass(frozen=True)
class _Kept:
    """A network; with the stretches whose identities its mould holds, as long as they live."""

    trainee: Trainee
    stretches: tuple[keras.Model, ...] = ()


_kept: dict[_Mould, _Kept] = {}


@contextmanager
def taken(start: Stitch | None, before: Sequence[Joint], back: keras.Model) -> Iterator[Trainee]:
    """A network with the weights of a fit, which nobody else has meanwhile."""
    stretches = (*(stretch for _, stretch in before), back)
    stitches = [one for one, _ in before] + ([start] if start else [])
    structure = structures.of(*stretches)
    same = (structure.key, *_names(structure)) if structure else tuple(map(id, stretches))
    mould = _Mould(same, tuple(map(_shape, stitches)))
    kept = _kept.pop(mould, None)
    if kept is None:
        kept = _Kept(Trainee(start, before, back), () if structure else stretches)
    else:
        kept.trainee.reset(start, before, back)
    trainee, edge = kept.trainee, kept.trainee.edge
    yield trainee
    if trainee.values <= _KEPT_VALUES and trainee.edge is edge:
        _kept[mould] = kept
        while _too_many([one.trainee for one in _kept.values()]):
            del _kept[next(iter(_kept))]


def forget() -> None:
    """Let go of all that is kept."""
    _kept.clear()


def _too_many(trainees: Sequence[Trainee]) -> bool:
    if len(trainees) <= _KEPT_ALWAYS:
        return False
    values, operations = sum(one.values for one in trainees), sum(one.operations for one in trainees)
    return len(trainees) > _KEPT or values > _KEPT_ALWAYS * _KEPT_VALUES or operations > _KEPT_OPERATIONS


def _names(structure: Structure) -> Iterator[tuple[str, bool]]:
    """What rungs tune goes by names."""
    return ((v.path, v.trainable) for v in structure.variables)


def _shape(one: Stitch) -> tuple[Any, ...]:
    parts = tuple((name, values.shape) for name, values in one.parts.items())
    return one.source, one.target, one.clamp, one.kernel.shape, one.bias.shape, parts
