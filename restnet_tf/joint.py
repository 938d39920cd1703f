"""Joint training of all configurations of a family (SN-Net): each step draws one, and trains what it runs through.

The loss is the KL to a teacher's outputs and, where images are labelled, the cross-entropy to their labels.
Compute is counted in work, not seconds, and every chance follows from a seed: training that goes on from a
state that it put out ends in the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from restnet_tf import cache, fit
from restnet_tf.adam import SparseAdam, warmed_cosine
from restnet_tf.cache import Cache
from restnet_tf.fit import RungResult, kl_divergence
from restnet_tf.records import RestnetError, Stitch
from restnet_tf.supernet import Configuration, Supernet

SAMPLINGS = ("uniform", "cost")
TEACHER = "teacher"  # the role of a teacher that is no anchor, in a cache
_RATE = 6e-3  # stitches alone, in small batches, bear more than a back does
_ANCHOR_SHARE = 0.1  # of the rate, as in the paper
_GROUPS = 8  # of cost
_BATCH, _LEAST_BATCH = 128, 16
_BATCH_BYTES, _BYTES_A_VALUE = 4 * 2**30, 8
_LEAST_UPDATES = 600  # of each stitch: of the same images, smaller batches make so many
_CHECKS, _JUDGED = 6, 8  # validations, and configurations in each
_JUDGE_SHARE, _LEAST_JUDGES = 0.1, 64  # of the work; images

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """How to train: the work (``fit.RungResult``) that it may take, how configurations are drawn, by which seed."""

    work: int
    sampling: str = "uniform"
    seed: int = 0


@dataclass(frozen=True)
class Rows:
    """Images as training reads them: features of fronts, or the images themselves, and what a teacher says."""

    cached: Cache
    teacher: str
    exact: bool
    _open: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        """How many images."""
        return len(self._array("teacher", lambda: self.cached.logits(self.teacher)))

    def batch(self, configuration: Configuration, rows: np.ndarray) -> list[Any]:
        """What enters the configuration, the teacher's logits, labels ``(n, classes)`` or ``(n, 0)``."""
        import tensorflow as tf

        first = configuration.plan.route[0]
        name = str(first.stop) if self.exact else cache.INPUT
        x = self._array(f"{first.anchor}.{name}", lambda: self.cached.features(first.anchor, name))
        labels = self._array("labels", self._labels)
        teacher = self._array("teacher", lambda: self.cached.logits(self.teacher))
        return [tf.constant(np.asarray(a[rows], np.float32)) for a in (x, teacher, labels)]

    def _labels(self) -> np.ndarray:
        found = self.cached.labels()
        return np.zeros((len(self), 0), np.float32) if found is None else found

    def _array(self, name: str, read: Callable[[], np.ndarray]) -> np.ndarray:
        if name not in self._open:
            self._open[name] = read()
        return self._open[name]


@dataclass(frozen=True)
class Trained:
    """What training made, and for each configuration its KL before and after and what it saw and cost."""

    stitches: Mapping[str, Stitch]
    weights: Mapping[str, Mapping[str, np.ndarray]]
    windows: Mapping[str, tuple[str, ...]]
    before: Mapping[str, float]
    spent: Mapping[str, RungResult]
    steps: int
    batch: int


def train(
    net: Supernet,
    configurations: Sequence[Configuration],
    train: Rows,
    rank: Rows,
    recipe: Recipe,
    *,
    state: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Trained:
    """Train until the work is done; the weights of the best validation are what it ends with.

    A validation is the mean KL of a few configurations, spread by cost, on the rank split. ``keep`` is given the
    state at each of them; training goes on from a ``state``. Raises ``RestnetError`` where the loss is not finite.
    """
    trainer = _Trainer(net, configurations, train, rank, recipe)
    if state is None:
        trainer.begin()
    else:
        trainer.restore(state)
    for step in range(trainer.taken, trainer.steps):
        trainer.step(step)
        progress(step + 1, trainer.steps)
        if (step + 1) * _CHECKS % trainer.steps < _CHECKS:
            trainer.validate()
            keep(trainer.state())
    return trainer.result()


class _Trainer:
    def __init__(
        self, net: Supernet, configurations: Sequence[Configuration], train: Rows, rank: Rows, recipe: Recipe
    ) -> None:
        self._net, self._all, self._train, self._rank, self._recipe = net, list(configurations), train, rank, recipe
        passes = 2 if net.stretches.exact else 3  # forwards, and backwards to the features, and to the weights
        pieces = [net.pieces(c) for c in self._all]
        self._forward = [net.stretches.work(p) for p in pieces]
        self._work = [passes * w for w in self._forward]
        self._macs = [passes * net.stretches.macs(p) for p in pieces]
        room = _BATCH_BYTES // (_BYTES_A_VALUE * max(1, *(net.stretches.held(p) for p in pieces)))
        images = recipe.work // int(np.mean(self._work))
        stitches = len({name for c in self._all for name in c.windows})
        wanted = images // (_LEAST_UPDATES * max(1, stitches))
        self._batch = min(len(train), max(_LEAST_BATCH, min(_BATCH, room, wanted)))
        self._drawn = self._sequence()
        self.steps, self.taken = len(self._drawn), 0
        self._optimizer = SparseAdam(net.variables)
        self._best, self._best_kl, self._before = self._values(), np.inf, np.zeros(len(self._all))
        judged = int(_JUDGE_SHARE * recipe.work / (_CHECKS + 2 * len(self._all) / _JUDGED))
        count = judged // max(1, int(np.mean(self._forward)) * min(_JUDGED, len(self._all)))
        self._judges = np.linspace(0, len(rank) - 1, min(len(rank), max(_LEAST_JUDGES, count))).astype(int)

    def begin(self) -> None:
        """Where every configuration stands before it is trained."""
        self._before = np.array([self._kl(c) for c in self._all])
        self._best_kl = float(np.mean(self._before[self._judged()]))

    def step(self, step: int) -> None:
        """One configuration, drawn, on one batch."""
        import tensorflow as tf

        self.taken = step + 1
        configuration = self._all[self._drawn[step]]
        places = self._net.trained(configuration)
        variables = [self._net.variables[i] for i in places]
        x, teacher, labels = self._train.batch(configuration, self._rows(step))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable)
            logits = self._net.logits(configuration, x)
            loss = tf.reduce_mean(kl_divergence(teacher, logits))
            if labels.shape[1]:
                cross = -tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=-1)
                loss += fit.LABEL_WEIGHT * tf.reduce_mean(cross)
        rate = _RATE * warmed_cosine((step + 1) / self.steps)
        for i, gradient in zip(places, tape.gradient(loss, variables), strict=True):
            if gradient is not None:
                share = _ANCHOR_SHARE if i in self._net.anchored else 1.0
                self._optimizer.apply(i, gradient, rate * share)

    def validate(self) -> None:
        """Keep the weights where they are the best so far."""
        kl = float(np.mean([self._kl(self._all[i]) for i in self._judged()]))
        if kl < self._best_kl:
            self._best, self._best_kl = self._values(), kl

    def result(self) -> Trained:
        """What the best weights give."""
        if not np.isfinite(self._best_kl):
            raise RestnetError("joint training diverged: the loss is not finite at any validation")
        self._put(self._best)
        spent = {}
        for index, configuration in enumerate(self._all):
            images = self._batch * self._drawn[: self.taken].count(index)
            cost = images * self._macs[index], images * self._work[index]
            spent[configuration.name] = RungResult("stitch", self._kl(configuration), images, *cost)
        before = {c.name: float(kl) for c, kl in zip(self._all, self._before, strict=True)}
        windows = {c.name: c.windows for c in self._all}
        made = self._net.stitches(), self._net.weights()
        return Trained(*made, windows, before, spent, self.taken, self._batch)

    def state(self) -> State:
        """All that further training depends on."""
        groups = {"now": self._values(), "best": self._best, "adam": self._optimizer.state()}
        arrays = {f"{name}.{i}": value for name, values in groups.items() for i, value in enumerate(values)}
        return arrays | {"taken": np.array(self.taken), "kl": np.array(self._best_kl), "before": self._before}

    def restore(self, state: State) -> None:
        """Go on from there."""

        def group(name: str) -> list[np.ndarray]:
            return [state[f"{name}.{i}"] for i in range(sum(key.startswith(f"{name}.") for key in state))]

        self._put(group("now"))
        self._best = group("best")
        self._optimizer.restore(group("adam"))
        self.taken, self._best_kl, self._before = int(state["taken"]), float(state["kl"]), np.array(state["before"])

    def _judged(self) -> list[int]:
        """Configurations that validations see, evenly by cost."""
        order = sorted(range(len(self._all)), key=lambda i: (self._all[i].plan.macs, self._all[i].name))
        count = min(_JUDGED, len(order))
        return [order[i] for i in np.linspace(0, len(order) - 1, count).astype(int)]

    def _kl(self, configuration: Configuration) -> float:
        total = 0.0
        for at in range(0, len(self._judges), self._batch):
            x, teacher, _ = self._rank.batch(configuration, self._judges[at : at + self._batch])
            total += float(np.sum(kl_divergence(teacher, self._net.logits(configuration, x))))
        return total / len(self._judges)

    def _sequence(self) -> list[int]:
        """The configurations of all steps: drawn until the work is spent."""
        drawn: list[int] = []
        left = self._recipe.work
        for index in _draws(self._all, self._recipe):
            left -= self._batch * self._work[index]
            if drawn and left < 0:
                return drawn
            drawn.append(index)
        raise AssertionError("draws do not end")

    def _rows(self, step: int) -> np.ndarray:
        """Each image once before any comes again; sorted, as that reads memory-mapped files forwards."""
        a_pass = len(self._train) // self._batch
        order = np.random.default_rng([self._recipe.seed, 1, step // a_pass]).permutation(len(self._train))
        at = step % a_pass * self._batch
        return np.sort(order[at : at + self._batch])

    def _values(self) -> list[np.ndarray]:
        return [np.asarray(v).copy() for v in self._net.variables]

    def _put(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._net.variables, values, strict=True):
            variable.assign(value)


def _draws(configurations: Sequence[Configuration], recipe: Recipe) -> Iterator[int]:
    """Endless indices: all configurations equally often, or all intervals of cost (SN-Netv2).

    Drawn in rounds, without putting back: short training would else miss some.
    """
    rng = np.random.default_rng([recipe.seed, 0])
    if recipe.sampling == "uniform":
        groups = [[i] for i in range(len(configurations))]
    else:
        macs = [c.plan.macs for c in configurations]
        low, width = min(macs), max(1, max(macs) - min(macs))
        groups = [[] for _ in range(_GROUPS)]
        for i, cost in enumerate(macs):
            groups[min(_GROUPS - 1, (cost - low) * _GROUPS // width)].append(i)
        groups = [group for group in groups if group]
    while True:
        for at in rng.permutation(len(groups)):
            yield int(rng.choice(groups[at]))
