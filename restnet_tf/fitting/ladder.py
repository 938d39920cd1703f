"""Training a stitch behind cached front features, and the ladder above it.

What each rung trains stands in ``rungs.RUNGS``. Each starts from where the rung below ended. The anchors themselves
are never touched: what a rung changes is a copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.fitting import lead, trainee
from restnet_tf.fitting.curve import Curve
from restnet_tf.fitting.examples import Examples, orders
from restnet_tf.fitting.lead import Joint, Lead
from restnet_tf.fitting.loss import kl_divergence
from restnet_tf.fitting.results import CLOSED_FORM, Fitted, RungResult
from restnet_tf.fitting.rungs import Rung, rung_named
from restnet_tf.fitting.stints import CHECKS, Stint
from restnet_tf.fitting.trainee import Regimen, Trainee
from restnet_tf.graph import batches, costs
from restnet_tf.records import Layout, RestnetError, Stitch
from restnet_tf.stitches import stitch

if TYPE_CHECKING:
    import keras

_DEPTHWISE = frozenset(["DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"])
_BATCH = 128
_LEAST_STEPS = 60  # where the work is for few images, smaller batches still make so many steps of them
_LEAST_JUDGES = 128  # images that validations see where all of them would take longer than the training
# From the second validation without a gain on, training goes on from the best weights at a part of the rate: what suits
# a net of CIFAR is too much for one of ImageNet. The first may be the hill before the valley.
_CALM_FROM, _CALMER = 2, 0.3
_MIN_GAIN = 0.02
# A value that a layer puts out takes as long to move, forwards and backwards, as so many MACs (measured:
# ResNets of 16 channels train at 21 GMAC/s, of 64 at 40), and calls take what the least of networks takes.
_MACS_A_VALUE = 335
_LEAST_WORK = 2_000_000
_MAX_REPEATS = 6  # of the views in a rung: a small back would else see them dozens of times
_FUSED_WORK = 9e11
_HEAD = 128  # images whose features tell how high those of a front reach

# Where a fit stands behind its cheap rungs: arrays alone, for ``np.savez`` and for ``proceed`` in another process.
State = Mapping[str, np.ndarray]
# Hears of the rung, the steps taken and all its steps.
Progress = Callable[[str, int, int], None]


def fit(
    start: Stitch | None,
    back: keras.Model,
    train: Examples,
    rank: Examples,
    *,
    rungs: Mapping[str, int],
    before: Sequence[Joint] = (),
    enough: float = 0.0,
    seed: int = 0,
    progress: Progress = lambda rung, done, total: None,
) -> Fitted:
    """Climb ``rungs``, which give the work (``RungResult``) of each, from the closed-form ``start``.

    ``back`` maps the target cut to ``[penultimate features, logits]``; where ``start`` is None there
    is no stitch and ``back`` is a whole anchor. ``before`` are the joints between the front and ``start``.
    A rung is kept where it lowers the KL on the rank split by 2 % of what it was; the first is kept where it
    gains at all. The costly rungs are tried only where the KL is still above ``enough``. Raises
    ``RestnetError`` where features or the KL are not finite.
    """
    cheap, costly = _phases(rungs)
    with trainee.taken(start, before, back) as net:
        trainer = _Trainer(net, start, train, _judges(rank, back, before, rungs), seed)
        fitted = _climbed(trainer, _at_start(trainer), cheap, progress)
        return _climbed(trainer, fitted, costly, progress, enough)


def begin(
    start: Stitch | None,
    back: keras.Model,
    train: Examples,
    rank: Examples,
    *,
    rungs: Mapping[str, int],
    stint: Stint | None = None,
    before: Sequence[Joint] = (),
    seed: int = 0,
    progress: Progress = lambda rung, done, total: None,
) -> tuple[Fitted, State]:
    """The first stint of a fit, with the arguments of ``fit``; else the rungs before the first costly one.

    ``rungs`` are all of the ladder, as ``proceed`` will be given them. Which points go on, ``stints`` says.
    """
    stint = stint or Stint({rung.name: budget for rung, budget in _phases(rungs)[0]})
    with trainee.taken(start, before, back) as net:
        trainer = _Trainer(net, start, train, _judges(rank, back, before, rungs), seed)
        return _stint(trainer, _at_start(trainer), stint, progress), trainer.state()


def proceed(
    fitted: Fitted,
    state: State,
    start: Stitch | None,
    back: keras.Model,
    train: Examples,
    rank: Examples,
    *,
    rungs: Mapping[str, int],
    stint: Stint | None = None,
    before: Sequence[Joint] = (),
    seed: int = 0,
    progress: Progress = lambda rung, done, total: None,
) -> tuple[Fitted, State]:
    """The next stint behind those of ``begin``, or an earlier call; else the next rung: the bytes of ``fit`` in one.

    The other arguments are those of ``begin``. Raises ``RestnetError`` where no rung is left.
    """
    left = [name for name in rungs if name not in fitted.shares]
    if not (left or stint):
        raise RestnetError(f"all rungs have been tried: {', '.join(rungs)}")
    with trainee.taken(start, before, back) as net:
        trainer = _Trainer(net, start, train, _judges(rank, back, before, rungs), seed)
        trainer.resume(state)
        return _stint(trainer, fitted, stint or Stint({left[0]: rungs[left[0]]}), progress), trainer.state()


def _phases(rungs: Mapping[str, int]) -> tuple[list[tuple[Rung, int]], list[tuple[Rung, int]]]:
    """The rungs before the first costly one with their work, and those from it on."""
    ladder = [(rung_named(name), budget) for name, budget in rungs.items()]
    cheap = list(takewhile(lambda step: not step[0].costly, ladder))
    return cheap, ladder[len(cheap) :]


def _at_start(trainer: _Trainer) -> Fitted:
    kl = trainer.validate()
    return Fitted(trainer.result(), CLOSED_FORM, kl, kl, (), trainer.lead.stitches(None))


def _climbed(
    trainer: _Trainer, fitted: Fitted, rungs: Iterable[tuple[Rung, int]], progress: Progress, enough: float = 0.0
) -> Fitted:
    """The fit after these rungs too; it ends before a costly one where the KL is enough."""
    for rung, budget in rungs:
        if rung.costly and fitted.kl <= enough:
            break
        fitted = _stint(trainer, fitted, Stint({rung.name: budget}), progress)
    return fitted


def _stint(trainer: _Trainer, fitted: Fitted, stint: Stint, progress: Progress) -> Fitted:
    """The fit after the rungs of a stint too."""
    last = [*stint.rungs][-1:]
    for name, budget in stint.rungs.items():
        reach = stint.reach if name in last else inf
        fitted = _one_rung(trainer, fitted, rung_named(name), budget, progress, reach, stint.checks)
    return fitted


def _one_rung(
    trainer: _Trainer, fitted: Fitted, rung: Rung, budget: int, progress: Progress, reach: float, checks: int
) -> Fitted:
    first, wider = not fitted.rungs, rung.widens and trainer.widen()
    result = trainer.climb(rung, budget, progress, match=first and trainer.stitched, reach=reach, checks=checks)
    if not np.isfinite(result.kl):
        raise RestnetError(f"training the {rung.name} rung diverged: the loss is not finite at any validation")
    fitted = replace(fitted, rungs=(*fitted.rungs, result))
    paid = first or rung.name == fitted.rung  # whatever it gains
    if result.kl < fitted.kl * (1 - (0 if paid else _MIN_GAIN)):
        stitch, before = trainer.result(rung), trainer.lead.stitches(rung)
        return replace(fitted, stitch=stitch, before=before, rung=rung.name, kl=result.kl)
    if wider:
        trainer.narrow()
    return fitted


def _judges(rank: Examples, back: keras.Model, before: Sequence[Joint], rungs: Mapping[str, int]) -> Examples:
    """As many images of the rank split, evenly spread, as validations can see while a rung of mean work trains."""
    budget = sum(rungs.values()) // max(1, len(rungs))
    count = max(_LEAST_JUDGES, budget // ((CHECKS + 2) * work(*(stretch for _, stretch in before), back)))
    return rank if count >= len(rank.x) else rank.spread(count)


def work(*stretches: keras.Model) -> int:
    """What one pass of an image through what is trained takes, in MACs, with what moving values takes beside them."""
    calls = [node for stretch in stretches for node in costs.nodes(stretch)]
    return max(_LEAST_WORK, costs.macs(calls) + _MACS_A_VALUE * costs.values(calls))


def room(back: keras.Model, budget: float) -> int:
    """Bytes that the values of a batch take in the training of a back, at most, where a rung has so much work."""
    batch = max(batches.LEAST, min(_BATCH, int(budget / (2 * work(back)) / _LEAST_STEPS)))
    return min(batches.BYTES, batches.held(batch, costs.held(costs.nodes(back))))


class _Trainer:
    """One stitched model in training: its variables, its data order, its best state."""

    def __init__(self, net: Trainee, start: Stitch | None, train: Examples, rank: Examples, seed: int) -> None:
        self._net, self._start, self._train, self._rank, self._seed = net, start, train, rank, seed
        self._plain: tuple[Stitch, keras.Model, list[np.ndarray]] | None = None
        stretches = [*self.lead.stretches, net.back]
        calls = [node for stretch in stretches for node in costs.nodes(stretch)]
        self._macs, self._work = costs.macs(calls), work(*stretches)
        self._held = costs.held(calls)
        self._depthwise = any(type(node.operation).__name__ in _DEPTHWISE for node in calls)
        self._rng = np.random.default_rng(seed)
        self._judged = 0  # images that the validations of a rung have seen
        self._match_scale = 1 / (float(np.var(train.match)) + 1e-12)

    @property
    def lead(self) -> Lead:
        """The joints before the last stitch."""
        return self._net.lead

    @property
    def stitched(self) -> bool:
        """Whether there is a stitch: a whole anchor has none."""
        return self._start is not None

    def climb(
        self,
        rung: Rung,
        budget: int,
        progress: Progress,
        *,
        match: bool,
        reach: float = inf,
        checks: int = CHECKS,
    ) -> RungResult:
        """Train one rung; leaves the weights at the best validation, the start included."""
        import tensorflow as tf

        passes = rung.passes
        images = min(_MAX_REPEATS * len(self._train.x), budget // (passes * self._work))
        batch = min(len(self._train.x), batches.size(min(_BATCH, images // _LEAST_STEPS), self._held))
        steps = max(checks, images // batch)
        # Compiling takes seconds, and on a CPU depthwise convolutions are slower in XLA (five times, of MobileNetV2).
        fused = rung.fuses and not self._depthwise and steps * batch * passes * self._work > _FUSED_WORK
        regimen = Regimen(rung, steps, batch, self._train.classes, self._match_scale, fused)
        step, optimizer = self._net.step(regimen)
        self._judged = 0
        curve, weights, seen, matched = Curve(self.validate(), reach), self._weights(), 0, None
        for index, rows in enumerate(orders(self._rng, len(self._train.x), steps, batch)):
            # Matching first: it needs no labels and finds the way where the task loss alone fails.
            step(*self._train.tensors(rows), tf.constant(match and index < steps // 4))
            taken, seen = index + 1, seen + len(rows)
            progress(rung.name, taken, steps)
            if match and taken == steps // 4:
                matched = self.validate()
            if taken * checks % steps < checks or taken == steps:
                curve.add(self.validate())
                if not curve.stale:
                    weights = self._weights()
                if curve.over or taken == steps:
                    break
                if curve.stale >= _CALM_FROM:
                    self._restore(weights)
                    optimizer.calm(_CALMER)
        self._restore(weights)
        passed, macs, given_up = seen * passes, self._macs, curve.hopeless and taken < steps
        judging = self._judged * macs
        return RungResult(rung.name, curve.best, seen, passed * macs, passed * self._work, matched, judging, given_up)

    def widen(self) -> bool:
        """Give the map ReLU features to read, where it has none; what it computes stays the same until they train."""
        assert self._start is not None  # a whole anchor has no stitch to widen
        if stitch.hidden(self._start):
            return False
        now = stitch.trained(self._start, self._net.edge)
        self._plain = now, self._net.edge, self._weights()
        self._start = stitch.widened(now, self._head(), self._seed)
        self._net.put(stitch.build(self._start))
        return True

    def narrow(self) -> None:
        """Take them away again, with what was trained beside them."""
        assert self._plain is not None
        self._start, edge, weights = self._plain
        self._net.put(edge)
        self._restore(weights)

    def validate(self) -> float:
        """Mean KL to the large anchor on the rank split; NaN where a weight is not finite, which a ReLU may hide."""
        if not all(np.isfinite(np.asarray(v)).all() for v in self._net.variables):
            return float("nan")
        total = 0.0
        self._judged += len(self._rank.x)
        batch = batches.size(2 * _BATCH, self._held)
        for at in range(0, len(self._rank.x), batch):
            x, teacher, _ = self._rank.arrays(slice(at, at + batch))
            total += float(np.sum(kl_divergence(teacher, self._net(x)[1])))
        return total / len(self._rank.x)

    def result(self, rung: Rung | None = None) -> Stitch:
        """The stitch as it stands, with what the rung changed in the back."""
        tuned = lead.tuned(rung, self._net.back) if rung else {}
        if self._start is None:
            whole = Layout(self._train.x.shape[1:])
            none = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
            return Stitch(*none, whole, whole, (None, None), tuned=tuned)
        return replace(stitch.balanced(stitch.trained(self._start, self._net.edge), self._head()), tuned=tuned)

    def state(self) -> State:
        """All that further rungs depend on: every variable, those of rungs that were not kept too, and the chances."""
        arrays = {str(i): value for i, value in enumerate(self._weights())}
        wide = self._start is not None and stitch.hidden(self._start) > 0
        return arrays | {"wide": np.array(wide), "random": np.array(json.dumps(self._rng.bit_generator.state))}

    def resume(self, state: State) -> None:
        """Go on from there."""
        if state["wide"]:
            self.widen()
        self._restore([state[str(i)] for i in range(len(self._net.variables))])
        self._rng.bit_generator.state = json.loads(str(state["random"]))

    def _head(self) -> np.ndarray:
        return np.asarray(self.lead(self._train.x[:_HEAD].astype(np.float32)))

    def _weights(self) -> list[np.ndarray]:
        return [np.asarray(v).copy() for v in self._net.variables]

    def _restore(self, weights: Iterable[np.ndarray]) -> None:
        for variable, value in zip(self._net.variables, weights, strict=True):
            variable.assign(value)
