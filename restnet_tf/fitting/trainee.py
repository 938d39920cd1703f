"""What a fit trains: the joints before, the last stitch, a copy of the back; and what was traced of it.

Tracing a small network takes longer than training it. So networks that were trained are kept for a while, and the next
fit of the same back and the same shapes takes one with its own weights: a further stint, a twin behind another front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from restnet_tf.fitting import lead
from restnet_tf.fitting.adam import Adam
from restnet_tf.fitting.lead import Joint, Lead
from restnet_tf.fitting.loss import LABEL_WEIGHT, kl_divergence
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    import keras

    from restnet_tf.fitting.rungs import Rung
    from restnet_tf.records import Stitch

_KEPT = 4  # networks, of at most so many values each: large ones train far longer than they are traced
_KEPT_VALUES = 2**20


@dataclass(frozen=True)
class Regimen:
    """All that a traced training step holds as constants: a batch, by how many classes it is labelled, the weights."""

    rung: Rung
    steps: int
    batch: int
    classes: int
    match_scale: float
    fused: bool


class Trainee:
    """From features at a front's cut to ``[penultimate features, logits]``, in training."""

    def __init__(self, start: Stitch | None, before: Sequence[Joint], back: keras.Model) -> None:
        import keras

        self.lead, self.back = Lead(before), lead.copied(back)
        self.put(stitch.build(start) if start else keras.Sequential([keras.layers.Identity()]))

    def put(self, edge: keras.Model) -> None:
        """Train this in place of the last stitch."""
        self.edge = edge
        # Nothing is traced of it yet.
        self._infer: Callable[[Any], Any] | None = None
        self._steps: dict[str, tuple[Regimen, Callable[..., None], Adam]] = {}

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

    def __call__(self, x: Any) -> Any:
        """What it says of features; traced once."""
        import tensorflow as tf

        if self._infer is None:
            self._infer = tf.function(self._forward, autograph=False, reduce_retracing=True)
        return self._infer(x)

    def step(self, regimen: Regimen) -> tuple[Callable[..., None], Adam]:
        """What takes ``x, teacher, target, labels, matching`` and trains, and its optimizer at its start."""
        known = self._steps.get(regimen.rung.name)
        if known is not None and known[0] == regimen:
            known[2].restart()
            return known[1], known[2]
        import tensorflow as tf

        tuned = regimen.rung.tunes(self.back)
        variables = [*self.lead.trained(regimen.rung), *self.edge.trainable_variables, *tuned]
        optimizer = Adam(variables, regimen.rung.rate, regimen.steps)
        step = tf.function(
            self._step(variables, optimizer, regimen.match_scale),
            autograph=False,
            reduce_retracing=True,
            jit_compile=regimen.fused,
        )
        self._steps[regimen.rung.name] = regimen, step, optimizer
        return step, optimizer

    def _forward(self, x: Any) -> Any:
        return self.back(self.edge(self.lead(x)), training=False)

    def _step(self, variables: list[Any], optimizer: Adam, match_scale: float) -> Callable[..., None]:
        import tensorflow as tf

        def step(x: Any, teacher: Any, target: Any, labels: Any, matching: Any) -> None:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in variables])
                features, logits = self._forward(x)
                match = tf.reduce_mean(tf.square(features - target)) * match_scale
                task = tf.reduce_mean(kl_divergence(teacher, logits))
                if labels.shape[1]:
                    cross = -tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=-1)
                    task += LABEL_WEIGHT * tf.reduce_mean(cross)
                loss = tf.where(matching, match, task)
            optimizer.apply(tape.gradient(loss, [v.value for v in variables]))

        return step


@dataclass(frozen=True)
class _Mould:
    """What two fits have to share to be trained in one network: the very stretches, and the shapes of all stitches."""

    stretches: tuple[int, ...]
    shapes: tuple[Any, ...]


# The stretches too: their identities hold as long as they live.
_kept: dict[_Mould, tuple[Trainee, tuple[keras.Model, ...]]] = {}


@contextmanager
def taken(start: Stitch | None, before: Sequence[Joint], back: keras.Model) -> Iterator[Trainee]:
    """A network with the weights of a fit, which nobody else has meanwhile."""
    stretches = (*(stretch for _, stretch in before), back)
    stitches = [one for one, _ in before] + ([start] if start else [])
    mould = _Mould(tuple(map(id, stretches)), tuple(map(_shape, stitches)))
    trainee, _ = _kept.pop(mould, (None, ()))
    if trainee is None:
        trainee = Trainee(start, before, back)
    else:
        trainee.reset(start, before, back)
    edge = trainee.edge
    yield trainee
    if sum(prod(v.shape) for v in trainee.variables) <= _KEPT_VALUES and trainee.edge is edge:
        _kept[mould] = trainee, stretches
        while len(_kept) > _KEPT:
            del _kept[next(iter(_kept))]


def forget() -> None:
    """Let go of all that is kept."""
    _kept.clear()


def _shape(one: Stitch) -> tuple[Any, ...]:
    parts = tuple((name, values.shape) for name, values in one.parts.items())
    return one.source, one.target, one.clamp, one.kernel.shape, one.bias.shape, parts
