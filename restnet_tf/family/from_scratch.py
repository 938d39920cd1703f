"""A control: the network of a point with nothing that its anchors know, trained from nothing with the point's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.family import caches
from restnet_tf.family.controls import Control
from restnet_tf.family.fits import Fit, Reading
from restnet_tf.fitting import cache, ladder, scratch
from restnet_tf.fitting.results import Fitted, RungResult
from restnet_tf.graph import costs, cuts
from restnet_tf.points.points import FROM_SCRATCH
from restnet_tf.records import Layout, Piece, Plan, Stitch
from restnet_tf.run.directory import Run
from restnet_tf.stitches import stitch, variant
from restnet_tf.work import sources, tasks
from restnet_tf.work.sources import AnchorSource
from restnet_tf.work.tasks import Progress, Task

if TYPE_CHECKING:
    import keras

    from restnet_tf.family.family import Family
    from restnet_tf.records import Anchor


@dataclass(frozen=True)
class Scratch:
    """All that decides it: a point that the run has a fit of, the images and what they are taught by, the work.

    The run keeps it by its ``name``.
    """

    run: Path
    name: str
    plan: Plan
    anchors: Mapping[str, AnchorSource]
    reads: Reading
    work: int
    seed: int


@dataclass(frozen=True)
class ScratchNetwork:
    """The network of a plan with the weights that the run has of this training."""

    run: Path
    name: str
    plan: Plan
    anchors: Mapping[str, AnchorSource]
    seed: int

    @property
    def fits(self) -> tuple[Path, ...]:
        """That of the point, for its shapes, and its own weights."""
        return Run(self.run).stitch_path(self.plan.name), Run(self.run).stitch_path(FROM_SCRATCH)

    def model(self) -> keras.Model:
        """From raw images to logits."""
        run, anchors = Run(self.run), {p.anchor: sources.anchor(self.anchors[p.anchor]) for p in self.plan.route}
        fitted, saved = run.load_fitted(self.plan.name), run.load_fitted(self.name)
        assert fitted is not None  # it is a control of that point
        assert saved is not None  # by its training
        network = _untaught(self.plan, anchors, fitted, self.seed)
        network.set_weights([saved.stitch.tuned[str(i)] for i in range(len(network.weights))])
        return network


def control(
    family: Family, plan: Plan, job: Fit, fitted: Fitted, *, named: bool = False, twin: bool = False
) -> Control:
    """The network of a plan, trained whole; from the run or trained into it.

    One of several is ``named`` by its plan; as a ``twin`` it decides whether the point is shipped.
    """
    work, seed = sum(r.work for r in fitted.rungs), family.settings.seed
    name = f"{FROM_SCRATCH}-{plan.name}" if named else FROM_SCRATCH
    if not family.run.stitch_path(name).exists():
        front = plan.route[0].anchor
        views = caches.of_views(
            family, f"views-{FROM_SCRATCH}-{front}", {front: family.sources[front]}, {front: [cache.INPUT]}
        )
        reads = replace(job.reads[0], features=views.folder, front=front, cut=cache.INPUT)
        given = Scratch(family.run.path, name, plan, family.sources, reads, work, seed)
        task = Task(f"training {plan.name} from nothing", trained, given, alone=True, kind=tasks.TRAINING)
        tasks.finish(family.execute, [task], family.report)
    saved = family.run.load_fitted(name)
    assert saved is not None  # it has just been trained
    macs, params = (sum(more) for more in zip(*map(stitch.widening, fitted.stitches), strict=True))
    return Control(
        name,
        f"the network of {plan.name}, trained from nothing with its work",
        ScratchNetwork(family.run.path, name, plan, family.sources, seed),
        plan.macs + macs,
        plan.params + params,
        rung=FROM_SCRATCH,
        unshared=plan.params + params,
        twin_of=plan.name if twin else "",
        spent=saved.spent,
    )


def trained(given: Scratch, progress: Progress) -> None:
    """Train it into the run; a task."""
    run = Run(given.run)
    fitted = run.load_fitted(given.plan.name)
    assert fitted is not None  # it is a control of that point
    anchors = {piece.anchor: sources.anchor(given.anchors[piece.anchor]) for piece in given.plan.route}
    network = _untaught(given.plan, anchors, fitted, given.seed)
    pieces = _pieces(given.plan, anchors)
    values = sum(costs.held(costs.nodes(piece)) for piece in pieces)
    images = given.work // (scratch.PASSES * ladder.work(*pieces))
    examples = given.reads.examples(exits=fitted.stitch.target.vector)
    seen = scratch.train(network, examples, images, values, given.seed, progress)
    run.save_fitted(given.name, _kept(network, seen, given.plan.macs))


def _untaught(plan: Plan, anchors: Mapping[str, Anchor], fitted: Fitted, seed: int) -> keras.Model:
    """From images to logits with freshly drawn weights; those of the anchors stay as they are."""
    drawn = {role: variant.randomised(anchors[role], seed) for role in {piece.anchor for piece in plan.route}}
    rng = np.random.default_rng(seed)
    stitches = [replace(one, kernel=_kernel(rng, one.kernel.shape), tuned={}) for one in fitted.stitches]
    return variant.assemble(plan, drawn, *stitches, logits=True)


def _kernel(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Drawn as the anchors' are (He et al. 2015)."""
    return rng.normal(0, np.sqrt(2 / shape[0]), shape).astype(np.float32)


def _pieces(plan: Plan, anchors: Mapping[str, Anchor]) -> list[keras.Model]:
    """The stretches of a route: a pass through all of them is what training takes most of."""
    ends = [a.logits if p.stop is None else cuts.tensor(a.model, p.stop) for p, a in _of(plan, anchors)]
    return [variant.piece(a, p.start, end, {}) for (p, a), end in zip(_of(plan, anchors), ends, strict=True)]


def _of(plan: Plan, anchors: Mapping[str, Anchor]) -> list[tuple[Piece, Anchor]]:
    return [(piece, anchors[piece.anchor]) for piece in plan.route]


def _kept(network: keras.Model, seen: int, macs: int) -> Fitted:
    """All of its weights, as a fit of a whole network is kept."""
    weights = {str(i): np.asarray(v) for i, v in enumerate(network.weights)}
    whole, none = Layout(network.input_shape[1:]), (np.zeros((0, 0), np.float32), np.zeros(0, np.float32))
    spent = seen * scratch.PASSES * macs
    result = RungResult(FROM_SCRATCH, nan, seen, spent, spent)
    return Fitted(Stitch(*none, whole, whole, (None, None), tuned=weights), FROM_SCRATCH, nan, nan, (result,))
