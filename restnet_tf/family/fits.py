"""Fits as tasks: a stitch in front of a back, trained on cached features, into the run directory.

Points are fitted in rounds: rungs that cost a point nothing first, for all points, then one more rung of those that
need it (``rungs.onward``). No fit of a round waits for another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restnet_tf.family.family import Family
from restnet_tf.fitting import cache, ladder
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.examples import Examples
from restnet_tf.fitting.ladder import Fitted
from restnet_tf.graph import cuts
from restnet_tf.records import Piece, RestnetError, Stitch
from restnet_tf.run.directory import Run
from restnet_tf.stitches import variant
from restnet_tf.work import sources, tasks
from restnet_tf.work.sources import AnchorSource
from restnet_tf.work.tasks import Progress, Task


@dataclass(frozen=True)
class Reading:
    """What a fit reads: the features of a front at a cut, and the answers that it is taught by.

    ``features`` and ``answers`` are folders of a ``Cache``, the same one but behind another front than the anchor's.
    ``front`` and ``back`` are the roles of the anchors there.
    """

    features: Path
    answers: Path
    front: str
    cut: str
    back: str
    teacher: str

    def examples(self) -> Examples:
        """The arrays; of no more views than the teacher has answered."""
        return Examples.of(Cache(self.features), Cache(self.answers), (self.front, self.cut), self.back, self.teacher)


@dataclass(frozen=True)
class Stretch:
    """A stitch before a route's last one, and what it leads to: an anchor from a cut to the next stitch's."""

    stitch: Stitch
    anchor: AnchorSource
    start: str
    stop: str


@dataclass(frozen=True)
class Fit:
    """All that decides one fit: the back begins at a cut of an anchor (``cache.INPUT``: it is all of it).

    ``before`` are the stretches between the front and the last stitch, which is ``start``.
    """

    run: Path
    name: str
    anchor: AnchorSource
    cut: str
    start: Stitch | None
    reads: tuple[Reading, Reading]  # of the views that it trains on, and of the rank split that judges
    rungs: Mapping[str, int]  # with the work of each
    seed: int
    before: tuple[Stretch, ...] = ()


def reads(train: Cache, ranked: Cache, front: Piece, back: str, teacher: str) -> tuple[Reading, Reading]:
    """What a stitch behind a front of the anchors' own reads of both caches."""
    one, other = (Reading(c.folder, c.folder, front.anchor, str(front.stop), back, teacher) for c in (train, ranked))
    return one, other


def fit(family: Family, jobs: Sequence[Fit]) -> dict[str, Fitted]:
    """The fits by name, each with all of its rungs in one go; from the run or made into it."""
    _done(family, [Task(f"fitting {job.name}", fitted, job) for job in jobs if not _saved(family, job)])
    return _loaded(family, jobs)


def climb(
    family: Family, jobs: Sequence[Fit], onward: Callable[[Mapping[str, Fitted]], Sequence[str]]
) -> dict[str, Fitted]:
    """The fits by name, in rounds of tasks that do not wait for each other; from the run or made into it.

    The first round is of the rungs that cost a point nothing; then each round is of the next rung of those points that
    ``onward`` names, from where all of them stand, until it names none.
    """
    by_name = {job.name: job for job in jobs}
    if not all(_saved(family, job) for job in jobs):
        new = [job for job in jobs if family.run.load_begun(job.name) is None]
        _done(family, [Task(f"fitting {job.name}", begun, job) for job in new])
        while names := onward(_standing(family, jobs)):
            _done(family, [Task(f"fitting {name} further", proceeded, by_name[name]) for name in names])
        for name, fit in _standing(family, jobs).items():
            family.run.save_fitted(name, fit)
    return _loaded(family, jobs)


def fitted(job: Fit, progress: Progress) -> None:
    """Do one fit and save it in its run."""
    fit = ladder.fit(*_material(job), **_settings(job, progress))
    Run(job.run).save_fitted(job.name, fit)


def begun(job: Fit, progress: Progress) -> None:
    """Try the rungs of a fit that cost a point nothing, and save it with its state."""
    fit, state = ladder.begin(*_material(job), **_settings(job, progress))
    Run(job.run).save_begun(job.name, fit, state)


def proceeded(job: Fit, progress: Progress) -> None:
    """Try the next rung of a fit that was begun, and save it with its state."""
    run = Run(job.run)
    earlier = run.load_begun(job.name)
    if earlier is None:
        raise RestnetError(f"the fit of {job.name} was begun and is gone from {run.path}; run the build again")
    fit, state = ladder.proceed(earlier[0], earlier[1], *_material(job), **_settings(job, progress))
    run.save_begun(job.name, fit, state)


def _material(job: Fit) -> tuple[Stitch | None, Any, Examples, Examples]:
    train, ranked = (reading.examples() for reading in job.reads)
    return job.start, back(job.anchor, job.cut), train, ranked


def _settings(job: Fit, progress: Progress) -> dict[str, Any]:
    """What all of a ladder's calls take by name."""
    before = [(one.stitch, stretch(one.anchor, one.start, one.stop)) for one in job.before]
    steps = {"progress": lambda rung, done, total: progress(done, total)}
    return {"rungs": job.rungs, "before": before, "seed": job.seed, **steps}


def _standing(family: Family, jobs: Sequence[Fit]) -> dict[str, Fitted]:
    """Where each fit that was begun stands, by name."""
    return {job.name: begun[0] for job in jobs if (begun := family.run.load_begun(job.name)) is not None}


def _saved(family: Family, job: Fit) -> bool:
    return family.run.stitch_path(job.name).exists()


def _loaded(family: Family, jobs: Sequence[Fit]) -> dict[str, Fitted]:
    return {job.name: saved for job in jobs if (saved := family.run.load_fitted(job.name)) is not None}


def _done(family: Family, work: Sequence[Task[Fit, None]]) -> None:
    tasks.finish(family.execute, work, family.report)


def back(source: AnchorSource, cut: str) -> Any:
    """From a cut of an anchor, or ``cache.INPUT``, to ``[penultimate features, logits]``."""
    anchor = sources.anchor(source)
    start = anchor.model.inputs[0] if cut == cache.INPUT else cuts.tensor(anchor.model, cut)
    return cuts.between(anchor.model, start, [anchor.features, anchor.logits])


def stretch(source: AnchorSource, start: str, stop: str) -> Any:
    """From a cut of an anchor to a later one."""
    anchor = sources.anchor(source)
    return variant.piece(anchor, start, cuts.tensor(anchor.model, stop), {})
