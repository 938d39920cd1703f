"""Joint training of all configurations of a family (SN-Net): each step draws one, and trains what it runs through.

The loss is the KL to a teacher's outputs and, where images are labelled, the cross-entropy to their labels.
Compute is counted in work, not seconds, and every chance follows from a seed: training that goes on from a
state that it put out ends in the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from restnet_tf.fitting import cache
from restnet_tf.fitting.adam import SparseAdam, warmed_cosine
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.loss import distillation, kl_divergence
from restnet_tf.fitting.results import RungResult
from restnet_tf.graph import batches, finite, gradients
from restnet_tf.methods.snnet import draws
from restnet_tf.methods.snnet.supernet import Configuration, Supernet
from restnet_tf.records import RestnetError, Stitch

_RATE = 6e-3  # stitches alone, in small batches, bear more than a back does
_ANCHOR_SHARE = 0.1  # of the rate, as in the paper
_BATCH = 128
_LEAST_UPDATES = 600  # of each stitch: of the same images, smaller batches make so many
_CHECKS = 6  # validations
_JUDGE_SHARE, _LEAST_JUDGES = 0.1, 64  # of the work; images

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """How to train: the work (``fit.RungResult``) that it may take, how configurations are drawn, by which seed.

    ``sampling`` is ``uniform``, ``cost`` (SN-Netv2) or ``front``: uniform among those that may still get there.
    """

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
        return len(self._taught())

    def batch(self, configuration: Configuration, rows: np.ndarray) -> list[Any]:
        """What enters the configuration, the teacher's logits, labels ``(n, classes)`` or ``(n, 0)``."""
        import tensorflow as tf

        first = configuration.plan.route[0]
        name = str(first.stop) if self.exact else cache.INPUT
        x = self._array(f"{first.anchor}.{name}", lambda: self.cached.features(first.anchor, name))
        labels = self._array("labels", self._labels)
        arrays = [cache.read(a, rows) for a in (x, self._taught(), labels)]
        finite.check(arrays[0], cache.content(first.anchor, name))
        finite.check(arrays[1], finite.logits(self.teacher))
        return [tf.constant(a) for a in arrays]

    def whole(self, role: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The teacher's logits, and an anchor's own."""
        return self._taught()[rows], self.cached.logits(role)[rows]

    def _taught(self) -> np.ndarray:
        return self._array("teacher", lambda: self.cached.logits(self.teacher))

    def _labels(self) -> np.ndarray:
        labels = self.cached.labels()
        return np.zeros((len(self), 0), np.float32) if labels is None else labels

    def _array(self, name: str, read: Callable[[], np.ndarray]) -> np.ndarray:
        if name not in self._open:
            self._open[name] = read()
        return self._open[name]


@dataclass(frozen=True)
class TrainingResult:
    """What training made, and for each configuration its stitches, its KL before and after, what it saw and cost."""

    stitches: Mapping[str, tuple[Stitch, ...]]
    weights: Mapping[str, Mapping[str, np.ndarray]]
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
    rivals: Mapping[str, int] | None = None,
    state: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingResult:
    """Train until the work is done; the weights of the best validation are what it ends with.

    A validation is the KL of every configuration that is still drawn on images of the rank split; what shares no
    variable is judged apart. ``rivals`` are anchors that a front has to beat, with their MACs. ``keep`` is given
    the state at each validation; training goes on from a ``state``. Raises ``RestnetError`` where features or a loss
    are not finite.
    """
    trainer = _Trainer(net, configurations, train, rank, recipe, rivals or {})
    if state is None:
        trainer.begin()
    else:
        trainer.restore(state)
    while trainer.phase < _CHECKS:
        for index in trainer.sequence():
            trainer.step(index)
            progress(*trainer.steps)
        trainer.validate()
        keep(trainer.state())
    return trainer.result()


class _Trainer:
    def __init__(
        self,
        net: Supernet,
        configurations: Sequence[Configuration],
        train: Rows,
        rank: Rows,
        recipe: Recipe,
        rivals: Mapping[str, int],
    ) -> None:
        import tensorflow as tf

        self._net, self._all, self._train, self._rank, self._recipe = net, list(configurations), train, rank, recipe
        passes = 2 if net.stretches.exact else 3  # forwards, and backwards to the features, and to the weights
        pieces = [net.pieces(c) for c in self._all]
        forward = [net.stretches.work(p) for p in pieces]
        self._work = [passes * w for w in forward]
        self._macs = [passes * net.stretches.macs(p) for p in pieces]
        held = max(net.stretches.held(p) for p in pieces)
        images = recipe.work // int(np.mean(self._work))
        stitches = len({name for c in self._all for name in c.windows})
        most = images // (_LEAST_UPDATES * max(1, stitches))
        self._batch = min(len(train), batches.size(min(_BATCH, most), held))
        self._optimizer = SparseAdam(net.variables)
        self._apart = _apart([net.trained(c) for c in self._all])
        count = int(_JUDGE_SHARE * recipe.work / (_CHECKS + 2)) // sum(forward)
        self._judges = np.linspace(0, len(rank) - 1, min(len(rank), max(_LEAST_JUDGES, count))).astype(int)
        self._rivals = [(macs, self._whole(role)) for role, macs in rivals.items()]
        self.phase, self._alive = 0, list(range(len(self._all)))
        self._drawn = np.zeros(len(self._all), np.int64)  # steps of each
        self._best, self._kls, self._before = self._values(), np.zeros(len(self._all)), np.zeros(len(self._all))
        # Its dozen operators and their gradients, run one by one, take as long as the stretches of a small network.
        self._loss = tf.function(distillation, autograph=False, reduce_retracing=True)

    @property
    def steps(self) -> tuple[int, int]:
        """How many are taken, and of about how many."""
        taken = int(self._drawn.sum())
        return taken, round(taken * self._recipe.work / self._spent())

    def begin(self) -> None:
        """Where every configuration stands before it is trained."""
        self._before = np.array([self._kl(c) for c in self._all])
        self._kls = self._before.copy()

    def sequence(self) -> list[int]:
        """What the steps to the next validation draw: until its part of the work is spent."""
        left = self._recipe.work * (self.phase + 1) // _CHECKS - self._spent()
        macs, seed = [c.plan.macs for c in self._all], [self._recipe.seed, 0, self.phase]
        drawn: list[int] = []
        for index in draws.endless(self._alive, macs, self._recipe.sampling, seed):
            left -= self._batch * self._work[index]
            if left < 0 and (drawn or self._drawn.any()):
                return drawn
            drawn.append(index)
        raise AssertionError("draws do not end")

    def step(self, index: int) -> None:
        """One configuration on one batch."""

        rows = self._rows(int(self._drawn.sum()))
        self._drawn[index] += 1
        configuration = self._all[index]
        places = self._net.trained(configuration)
        variables = [self._net.variables[i] for i in places]
        x, teacher, labels = self._train.batch(configuration, rows)
        with gradients.tape() as tape:
            for variable in variables:
                tape.watch(variable)
            loss = self._loss(teacher, self._net.logits(configuration, x), labels)
        rate = _RATE * warmed_cosine(min(1.0, self._spent() / self._recipe.work))
        for i, gradient in zip(places, tape.gradient(loss, variables), strict=True):
            if gradient is not None:
                share = _ANCHOR_SHARE if i in self._net.anchored else 1.0
                self._optimizer.apply(i, gradient, rate * share)

    def validate(self) -> None:
        """Keep the weights that are the best so far, and say what is drawn on."""
        kls = self._kls.copy()
        kls[self._alive] = [self._kl(self._all[i]) for i in self._alive]
        for members, places in self._apart:
            judged = [i for i in members if i in self._alive]
            if judged and np.mean(kls[judged]) < np.mean(self._kls[judged]):
                self._kls[judged] = kls[judged]
                for i in places:
                    self._best[i] = np.asarray(self._net.variables[i]).copy()
        if self._recipe.sampling == "front":
            macs = [c.plan.macs for c in self._all]
            whole = [i for i in self._alive if not self._all[i].windows]  # anchors in training, which stay
            self._alive = draws.hopeful(self._alive, macs, self._kls.tolist(), self._rivals)
            self._alive = sorted({*self._alive, *whole})
        self.phase += 1

    def result(self) -> TrainingResult:
        """What the best weights give."""
        if not np.isfinite(self._kls).all():
            raise RestnetError("joint training diverged: the loss is not finite at any validation")
        self._put(self._best)
        spent = {}
        for index, configuration in enumerate(self._all):
            images = self._batch * int(self._drawn[index])
            cost = images * self._macs[index], images * self._work[index]
            spent[configuration.name] = RungResult(self._net.rung, self._kl(configuration), images, *cost)
        before = {c.name: float(kl) for c, kl in zip(self._all, self._before, strict=True)}
        stitches = {c.name: self._net.stitches(c) for c in self._all}
        return TrainingResult(stitches, self._net.weights(), before, spent, self.steps[0], self._batch)

    def state(self) -> State:
        """All that further training depends on."""
        groups = {"now": self._values(), "best": self._best, "adam": self._optimizer.state()}
        arrays = {f"{name}.{i}": value for name, values in groups.items() for i, value in enumerate(values)}
        arrays |= {"phase": np.array(self.phase), "alive": np.array(self._alive), "drawn": self._drawn.copy()}
        return arrays | {"kls": self._kls.copy(), "before": self._before}

    def restore(self, state: State) -> None:
        """Go on from there."""

        def group(name: str) -> list[np.ndarray]:
            return [state[f"{name}.{i}"] for i in range(sum(key.startswith(f"{name}.") for key in state))]

        self._put(group("now"))
        self._best = group("best")
        self._optimizer.restore(group("adam"))
        self.phase, self._alive, self._drawn = int(state["phase"]), state["alive"].tolist(), np.array(state["drawn"])
        self._kls, self._before = np.array(state["kls"]), np.array(state["before"])

    def _spent(self) -> int:
        return self._batch * sum(n * work for n, work in zip(self._drawn.tolist(), self._work, strict=True))

    def _kl(self, configuration: Configuration) -> float:
        """NaN where a weight that it trains is not finite: a fused ReLU would hide that from the loss."""
        if not all(np.isfinite(np.asarray(self._net.variables[i])).all() for i in self._net.trained(configuration)):
            return float("nan")
        total = 0.0
        for at in range(0, len(self._judges), self._batch):
            x, teacher, _ = self._rank.batch(configuration, self._judges[at : at + self._batch])
            total += float(np.sum(kl_divergence(teacher, self._net.logits(configuration, x))))
        return total / len(self._judges)

    def _whole(self, role: str) -> float:
        return float(np.mean(kl_divergence(*self._rank.whole(role, self._judges))))

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


def _apart(held: Sequence[Sequence[int]]) -> list[tuple[list[int], list[int]]]:
    """Groups that have no variable in common: the configurations of each, and its variables."""
    groups: list[tuple[set[int], set[int]]] = []
    for index, places in enumerate(held):
        members, variables = {index}, set(places)
        rest = []
        for group in groups:
            if group[1] & variables:
                members, variables = members | group[0], variables | group[1]
            else:
                rest.append(group)
        groups = [*rest, (members, variables)]
    return [(sorted(members), sorted(variables)) for members, variables in groups]
