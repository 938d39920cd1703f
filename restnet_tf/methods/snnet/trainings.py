"""One training as a task: configurations together, or one of them alone, from cached features into the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restnet_tf import atomic
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.results import Fitted, RungResult
from restnet_tf.graph import cuts
from restnet_tf.methods.snnet import training
from restnet_tf.methods.snnet.supernet import Configuration, Stretches, Supernet
from restnet_tf.methods.snnet.training import Recipe, Rows, State, TrainingResult
from restnet_tf.records import Anchor, Stitch
from restnet_tf.run.directory import Run
from restnet_tf.stitches import variant
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource
from restnet_tf.work.tasks import Progress


@dataclass(frozen=True)
class Training:
    """All that decides one training.

    ``caches`` are the folders of the training views and of the rank split, ``teacher`` a role in them. Where the
    anchors are trained too (not ``exact``), ``whole`` are the anchors as configurations, and what they became goes to
    ``trained``. ``state`` is a file that it keeps what it needs to go on in, None where it starts anew.
    """

    run: Path
    trained: Path
    anchors: Mapping[str, AnchorSource]
    caches: tuple[Path, Path]
    teacher: str
    configurations: tuple[Configuration, ...]
    starts: Mapping[str, Stitch]
    recipe: Recipe
    rivals: Mapping[str, int]
    exact: bool
    tunes_norms: bool
    low_rank: int | None
    whole: tuple[Configuration, ...] = ()
    state: Path | None = None


@dataclass(frozen=True)
class Gain:
    """What a training gave: mean KLs before and after, over so many configurations, in so many steps."""

    count: int
    before: float
    after: float
    steps: int
    batch: int

    @property
    def sentence(self) -> str:
        """For a person."""
        steps = f"{self.steps} steps of {self.batch} views"
        return (
            f"mean KL of {self.count} configurations {self.before:.3f} in closed form, {self.after:.3f} after {steps}"
        )


def trained(job: Training, progress: Progress) -> Gain:
    """Train the configurations of a job and save the stitches of each in its run."""
    views, ranked = (Rows(Cache(folder), job.teacher, job.exact) for folder in job.caches)
    path = job.state
    result = training.train(
        _supernet(job),
        [*job.configurations, *job.whole],
        views,
        ranked,
        job.recipe,
        rivals=job.rivals if path else {},
        state=_state(path),
        keep=lambda state: atomic.write_npz(path, state) if path else None,
        progress=progress,
    )
    if result.weights:
        arrays = {f"{role}:{at}": value for role, of in result.weights.items() for at, value in of.items()}
        atomic.write_npz(job.trained, arrays)
    run, count = Run(job.run), len(job.configurations)
    for c in job.configurations:
        run.save_fitted(c.name, _fitted(c, result, count))
    kls = [(result.before[c.name], result.spent[c.name].kl) for c in job.configurations]
    before, after = (float(np.mean(side)) for side in zip(*kls, strict=True))
    return Gain(count, before, after, result.steps, result.batch)


def _supernet(job: Training) -> Supernet:
    """The configurations as one network."""
    anchors: dict[str, Anchor] = {role: sources.anchor(source) for role, source in job.anchors.items()}
    if not job.exact:
        anchors = {role: variant.copied(anchor) for role, anchor in anchors.items()}
    cut_lists = {role: cuts.find(anchor.model) for role, anchor in anchors.items()}
    behind = {name: p.anchor for c in job.configurations for name, p in zip(c.windows, c.plan.route[1:], strict=True)}
    tuned = behind if job.tunes_norms else {}
    stretches = Stretches(anchors, cut_lists, exact=job.exact)
    return Supernet(stretches, dict(job.starts), low_rank=job.low_rank, seed=job.recipe.seed, tuned=tuned)


def _state(path: Path | None) -> State | None:
    if path is None or not path.exists():
        return None
    with np.load(path) as arrays:
        return dict(arrays)


def _fitted(configuration: Configuration, result: TrainingResult, count: int) -> Fitted:
    """A configuration's stitches; what anchors' own steps took is shared out evenly."""
    name = configuration.name
    spent = result.spent[name]
    rest = [own for other, own in result.spent.items() if not result.stitches[other]]
    more = [sum(getattr(r, figure) for r in rest) // count for figure in ("images", "macs", "work")]
    images, macs, work = (own + extra for own, extra in zip((spent.images, spent.macs, spent.work), more, strict=True))
    *before, last = result.stitches[name]
    rung = RungResult(spent.rung, spent.kl, images, macs, work)
    return Fitted(last, rung.rung, rung.kl, result.before[name], (rung,), tuple(before))
