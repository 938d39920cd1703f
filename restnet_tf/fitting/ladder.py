"""Training a stitch behind cached front features, and the ladder above it.

Rungs: ``stitch`` trains the 1x1 map alone; ``norm`` adds the scales and shifts of the back's
normalisation layers; ``relu`` adds ReLU features for the map to read; ``back`` adds every weight of the
back. Each starts from where the rung below ended. The anchors themselves are never touched: what a rung
changes is a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.fitting.adam import Adam
from restnet_tf.graph import costs, norms
from restnet_tf.records import Layout, RestnetError, Stitch
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    import keras

CLOSED_FORM = "closed form"
RUNGS = ("stitch", "norm", "relu", "back")
# What a point has to pay for: at run time, or by weights that it cannot share.
_COSTLY = frozenset(["relu", "back"])
_DEPTHWISE = frozenset(["DepthwiseConv2D", "SeparableConv2D"])
_RATES = {"stitch": 3e-3, "norm": 3e-3, "relu": 3e-3, "back": 1e-3}
_BATCH, _LEAST_BATCH = 128, 16
# Of what the values of a batch take, forwards and backwards; CIFAR-sized backs are far below.
_BATCH_BYTES, _BYTES_A_VALUE = 4 * 2**30, 8
_LEAST_STEPS = 60  # where the work is for few images, smaller batches still make so many steps of them
_CHECKS = 6  # validations a rung
_LEAST_JUDGES = 128  # images that validations see where all of them would take longer than the training
# Validations without a gain, one after the other, that a rung may see; the next one stops it. From the second
# on, training goes on from the best weights at a part of the rate: what suits a net of CIFAR is too much for
# one of ImageNet. The first may be the hill before the valley.
_PATIENCE, _CALM_FROM, _CALMER = 3, 2, 0.3
_MIN_GAIN = 0.02
# A value that a layer puts out takes as long to move, forwards and backwards, as so many MACs (measured:
# ResNets of 16 channels train at 21 GMAC/s, of 64 at 40), and calls take what the least of networks takes.
_MACS_A_VALUE = 335
_LEAST_WORK = 2_000_000
_MAX_REPEATS = 6  # of the views in a rung: a small back would else see them dozens of times
_FUSED_WORK = 9e11
LABEL_WEIGHT = 0.1
_HEAD = 128  # images whose features tell how high those of a front reach


@dataclass(frozen=True)
class Examples:
    """What a fit reads of one set of images, row by row.

    ``x`` are features at the front's cut, ``teacher`` the large anchor's logits, ``match`` the
    penultimate features of the anchor that the back comes from, ``labels`` mixtures or None.
    """

    x: np.ndarray
    teacher: np.ndarray
    match: np.ndarray
    labels: np.ndarray | None


@dataclass(frozen=True)
class RungResult:
    """What one rung reached: KL to the large anchor on the rank split, or on part of it, and what it cost.

    ``images`` counts repeats; ``work`` is MACs with what moving values takes beside them, in MACs;
    ``matched`` is the KL once the penultimate features were matched, None where that was no part of it.
    """

    rung: str
    kl: float
    images: int
    macs: int
    work: int
    matched: float | None = None


@dataclass(frozen=True)
class Fitted:
    """A fitted stitch, the rung it was taken from, and how every rung did.

    ``before`` are the stitches of earlier joints, where a route has more than two pieces. Of a ``settled`` one
    the values themselves matter, as where most of them are zero: nothing may fit it further. ``origin`` names the
    point that it was optimised from; empty where it was fitted.
    """

    stitch: Stitch
    rung: str
    kl: float
    closed_form_kl: float
    rungs: tuple[RungResult, ...]
    before: tuple[Stitch, ...] = ()
    settled: bool = False
    origin: str = ""

    @property
    def stitches(self) -> tuple[Stitch, ...]:
        """One for each joint, in their order."""
        return (*self.before, self.stitch)


def fit(
    start: Stitch | None,
    back: keras.Model,
    train: Examples,
    rank: Examples,
    *,
    rungs: Mapping[str, int],
    enough: float = 0.0,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda rung, done, total: None,
) -> Fitted:
    """Climb ``rungs``, which give the work (``RungResult``) of each, from the closed-form ``start``.

    ``back`` maps the target cut to ``[penultimate features, logits]``; where ``start`` is None there
    is no stitch and ``back`` is a whole anchor. A rung is kept where it lowers the KL on the rank
    split by 2 % of what it was; the first is kept where it gains at all. The ``relu`` rung, which costs
    time on the device, and the ``back`` rung, whose weights can then not be shared, are tried only where
    the KL is still above ``enough``. Raises ``RestnetError`` where the KL is not finite.
    """
    trainer = _Trainer(start, back, train, _judges(rank, back, sum(rungs.values()) // len(rungs)), seed)
    before = trainer.validate()
    best = Fitted(trainer.result("stitch"), CLOSED_FORM, before, before, ())
    done: list[RungResult] = []
    for index, (rung, budget) in enumerate(rungs.items()):
        if rung in _COSTLY and best.kl <= enough:
            break
        if rung == "relu":
            trainer.widen()
        result = trainer.climb(rung, budget, progress, match=index == 0 and start is not None)
        done.append(result)
        if not np.isfinite(result.kl):
            raise RestnetError(f"training the {rung} rung diverged: the loss is not finite at any validation")
        needed = best.kl * (1 - (_MIN_GAIN if index else 0))
        if result.kl < needed:
            best = replace(best, stitch=trainer.result(rung), rung=rung, kl=result.kl)
        elif rung == "relu":
            trainer.narrow()
    return replace(best, rungs=tuple(done))


def _judges(rank: Examples, back: keras.Model, budget: int) -> Examples:
    """As many images of the rank split, evenly spread, as validations can see while a rung of so much work trains."""
    count = max(_LEAST_JUDGES, budget // ((_CHECKS + 2) * work(back)))
    if count >= len(rank.x):
        return rank
    rows = np.linspace(0, len(rank.x) - 1, count).astype(int)
    labels = None if rank.labels is None else rank.labels[rows]
    return Examples(rank.x[rows], rank.teacher[rows], rank.match[rows], labels)


def work(back: keras.Model) -> int:
    """What one pass of an image through a back takes, in MACs, with what moving values takes beside them."""
    calls = costs.nodes(back)
    return max(_LEAST_WORK, costs.macs(calls) + _MACS_A_VALUE * costs.values(calls))


def kl_divergence(teacher: Any, logits: Any) -> Any:
    """KL(teacher || student) of softmaxed logits ``(n, classes)``, in nats, a value a row."""
    import tensorflow as tf

    log_p, log_q = tf.nn.log_softmax(teacher), tf.nn.log_softmax(logits)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


class _Trainer:
    """One stitched model in training: its variables, its data order, its best state."""

    def __init__(self, start: Stitch | None, back: keras.Model, train: Examples, rank: Examples, seed: int) -> None:
        import keras

        self._start, self._train, self._rank, self._seed = start, train, rank, seed
        self._edge = stitch.build(start) if start else keras.Sequential([keras.layers.Identity()])
        self._plain: tuple[Stitch, keras.Model, list[np.ndarray]] | None = None
        self._back = keras.models.clone_model(back)
        self._back.set_weights(back.get_weights())
        calls = costs.nodes(back)
        self._macs, self._work = costs.macs(calls), work(back)
        self._room = _BATCH_BYTES // (_BYTES_A_VALUE * max(1, costs.held(calls)))
        self._depthwise = any(type(node.operation).__name__ in _DEPTHWISE for node in calls)
        self._rng = np.random.default_rng(seed)
        self._match_scale = 1 / (float(np.var(train.match)) + 1e-12)

    def climb(self, rung: str, budget: int, progress: Callable[[str, int, int], None], *, match: bool) -> RungResult:
        """Train one rung; leaves the weights at the best validation, the start included."""
        import tensorflow as tf

        # Backward costs one more forward for the activations, and one where convolutions are trained.
        passes = 3 if rung == "back" else 2
        images = min(_MAX_REPEATS * len(self._train.x), budget // (passes * self._work))
        batch = min(len(self._train.x), max(_LEAST_BATCH, min(_BATCH, self._room, images // _LEAST_STEPS)))
        steps = max(_CHECKS, images // batch)
        variables = self._variables(rung)
        optimizer = Adam(variables, _RATES[rung], steps)
        # XLA fuses the frozen norms into their neighbours: 1.3 to 1.8 times as fast. It takes seconds to
        # compile, and on a CPU its gradients of convolution kernels, and its depthwise convolutions, are
        # slower than TensorFlow's own (five times, of MobileNetV2).
        fused = rung != "back" and not self._depthwise and steps * batch * passes * self._work > _FUSED_WORK
        step = tf.function(self._step(variables, optimizer), autograph=False, reduce_retracing=True, jit_compile=fused)
        best, state, stale, seen, matched = self.validate(), self._weights(), 0, 0, None
        for index, rows in enumerate(self._batches(steps, batch)):
            # Matching first: it needs no labels and finds the way where the task loss alone fails.
            step(*self._batch(rows), tf.constant(match and index < steps // 4))
            taken, seen = index + 1, seen + len(rows)
            progress(rung, taken, steps)
            if match and taken == steps // 4:
                matched = self.validate()
            if taken * _CHECKS % steps < _CHECKS or taken == steps:
                kl = self.validate()
                stale = 0 if kl < best else stale + 1
                if kl < best:
                    best, state = kl, self._weights()
                elif stale > _PATIENCE:
                    break
                elif stale >= _CALM_FROM:
                    self._restore(state)
                    optimizer.calm(_CALMER)
        self._restore(state)
        return RungResult(rung, best, seen, seen * passes * self._macs, seen * passes * self._work, matched)

    def widen(self) -> None:
        """Give the map ReLU features to read; what it computes stays the same until they are trained."""
        assert self._start is not None  # a whole anchor has no stitch to widen
        now = stitch.trained(self._start, self._edge)
        self._plain = now, self._edge, self._weights()
        self._start = stitch.widened(now, self._head(), self._seed)
        self._put(stitch.build(self._start))

    def narrow(self) -> None:
        """Take them away again, with what was trained beside them."""
        assert self._plain is not None
        self._start, edge, state = self._plain
        self._put(edge)
        self._restore(state)

    def validate(self) -> float:
        """Mean KL to the large anchor on the rank split."""
        total = 0.0
        batch = max(_LEAST_BATCH, min(2 * _BATCH, self._room))
        for at in range(0, len(self._rank.x), batch):
            x = self._rank.x[at : at + batch].astype(np.float32)
            logits = self._forward(x)[1]
            total += float(np.sum(kl_divergence(self._rank.teacher[at : at + batch], logits)))
        return total / len(self._rank.x)

    def result(self, rung: str) -> Stitch:
        """The stitch as it stands, with what the rung changed in the back."""
        tuned = {v.path: np.asarray(v) for v in self._tuned(rung)}
        if self._start is None:
            whole = Layout(self._train.x.shape[1:])
            none = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
            return Stitch(*none, whole, whole, (None, None), tuned=tuned)
        found = stitch.balanced(stitch.trained(self._start, self._edge), self._head())
        return replace(found, tuned=tuned)

    def _head(self) -> np.ndarray:
        return self._train.x[:_HEAD].astype(np.float32)

    def _put(self, edge: keras.Model) -> None:
        self._edge = edge
        del self._infer  # which was traced with the other

    def _forward(self, x: Any) -> Any:
        import tensorflow as tf

        if not hasattr(self, "_infer"):
            self._infer = tf.function(
                lambda x: self._back(self._edge(x), training=False), autograph=False, reduce_retracing=True
            )
        return self._infer(x)

    def _step(self, variables: list[Any], optimizer: Adam) -> Callable[..., None]:
        import tensorflow as tf

        def step(x: Any, teacher: Any, target: Any, labels: Any, matching: Any) -> None:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in variables])
                features, logits = self._back(self._edge(x), training=False)
                match = tf.reduce_mean(tf.square(features - target)) * self._match_scale
                task = tf.reduce_mean(kl_divergence(teacher, logits))
                if labels.shape[1]:
                    cross = -tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=-1)
                    task += LABEL_WEIGHT * tf.reduce_mean(cross)
                loss = tf.where(matching, match, task)
            optimizer.apply(tape.gradient(loss, [v.value for v in variables]))

        return step

    def _batches(self, steps: int, size: int) -> Iterator[np.ndarray]:
        n = len(self._train.x)
        order = np.empty(0, dtype=int)
        for _ in range(steps):
            if len(order) < size:
                order = np.concatenate([order, self._rng.permutation(n)])
            # Sorted rows read the memory-mapped file forwards.
            yield np.sort(order[:size])
            order = order[size:]

    def _batch(self, rows: np.ndarray) -> list[Any]:
        import tensorflow as tf

        train = self._train
        labels = np.zeros((len(rows), 0)) if train.labels is None else train.labels[rows]
        arrays = train.x[rows], train.teacher[rows], train.match[rows], labels
        return [tf.constant(np.asarray(a, dtype=np.float32)) for a in arrays]

    def _variables(self, rung: str) -> list[Any]:
        return [*self._edge.trainable_variables, *self._tuned(rung)]

    def _tuned(self, rung: str) -> list[Any]:
        if rung == "back":
            return list(self._back.trainable_variables)
        if rung in ("norm", "relu"):
            return norms.variables(self._back)
        return []

    def _weights(self) -> list[np.ndarray]:
        return [np.asarray(v).copy() for v in self._variables("back")]

    def _restore(self, state: list[np.ndarray]) -> None:
        for variable, value in zip(self._variables("back"), state, strict=True):
            variable.assign(value)
