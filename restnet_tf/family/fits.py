"""Fits as tasks: a stitch in front of a back, trained on cached features, into the run directory.

Points are fitted in rounds, a stint of each fit that has one (``stints.Contest``). No fit of a round waits for another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from restnet_tf.family.family import Family
from restnet_tf.fitting import cache, ladder
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.examples import Examples
from restnet_tf.fitting.results import Fitted
from restnet_tf.fitting.rungs import RUNGS
from restnet_tf.fitting.stints import Contest, Standing, Stint
from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Piece, RestnetError, Stitch
from restnet_tf.run.directory import Run
from restnet_tf.stitches import variant
from restnet_tf.work import sources, tasks
from restnet_tf.work.sources import AnchorSource
from restnet_tf.work.tasks import FITS, Progress, Task


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

    def examples(self, *, exits: bool) -> Examples:
        """The arrays; of no more views than the teacher has answered. Behind an exit ``back`` computes nothing."""
        back = None if exits else self.back
        return Examples.of(Cache(self.features), Cache(self.answers), (self.front, self.cut), back, self.teacher)


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
    work = [Task(f"fitting {job.name}", fitted, job, kind=FITS) for job in jobs if not _saved(family, job)]
    _done(family, work)
    return _loaded(family, jobs)


@dataclass(frozen=True)
class Assignment:
    """A stint of a fit that has so many results by now."""

    job: Fit
    stint: Stint
    results: int


def unshares(fit: Fitted) -> bool:
    """Whether the rung that was kept left a fit weights of its own."""
    return any(rung.unshares for rung in RUNGS if rung.name == fit.rung)


def climb(family: Family, jobs: Sequence[Fit], contest: Contest) -> dict[str, Fitted]:
    """The fits by name, by the rounds of a contest; from the run or made into it.

    Those that the contest drops are not saved.
    """
    if not all(_saved(family, job) for job in jobs):
        results: Counter[str] = Counter()
        for stints in contest.rounds(lambda: _standings(family, jobs, results)):
            due = [Assignment(job, stints[job.name], results[job.name]) for job in jobs if job.name in stints]
            _done(family, [_task(one) for one in due if _results(family, one.job) == one.results])
            results.update({name: len(stint.rungs) for name, stint in stints.items()})
        for job in jobs:
            if job.name not in contest.dropped:
                family.run.save_fitted(job.name, _begun(family, job))
    return _loaded(family, jobs)


def fitted(job: Fit, progress: Progress) -> None:
    """Do one fit and save it in its run."""
    fit = ladder.fit(*_material(job), **_settings(job, progress))
    Run(job.run).save_fitted(job.name, fit)


def begun(one: Assignment, progress: Progress) -> None:
    """Do the first stint of a fit, and save it with its state."""
    fit, state = ladder.begin(*_material(one.job), stint=one.stint, **_settings(one.job, progress))
    Run(one.job.run).save_begun(one.job.name, fit, state)


def proceeded(one: Assignment, progress: Progress) -> None:
    """Do the next stint of a fit that was begun, and save it with its state."""
    job, run = one.job, Run(one.job.run)
    earlier = run.load_begun(job.name)
    if earlier is None:
        raise RestnetError(f"the fit of {job.name} was begun and is gone from {run.path}; run the build again")
    fit, state = ladder.proceed(earlier[0], earlier[1], *_material(job), stint=one.stint, **_settings(job, progress))
    run.save_begun(job.name, fit, state)


def _material(job: Fit) -> tuple[Stitch | None, Any, Examples, Examples]:
    exits = job.start is not None and job.start.target.vector
    train, ranked = (reading.examples(exits=exits) for reading in job.reads)
    return job.start, back(job.anchor, job.cut), train, ranked


def _settings(job: Fit, progress: Progress) -> dict[str, Any]:
    """What all of a ladder's calls take by name."""
    before = [(one.stitch, stretch(one.anchor, one.start, one.stop)) for one in job.before]
    steps = {"progress": lambda rung, done, total: progress(done, total)}
    return {"rungs": job.rungs, "before": before, "seed": job.seed, **steps}


def _task(one: Assignment) -> Task[Assignment, None]:
    if one.results:
        return Task(f"fitting {one.job.name} further", proceeded, one, kind=FITS)
    return Task(f"fitting {one.job.name}", begun, one, kind=FITS)


def _standings(family: Family, jobs: Sequence[Fit], results: Mapping[str, int]) -> dict[str, Standing]:
    """Where each fit stood after so many results, by name: one that was interrupted may have more."""
    return {job.name: _begun(family, job).standing(results[job.name]) for job in jobs}


def _begun(family: Family, job: Fit) -> Fitted:
    begun = family.run.load_begun(job.name)
    assert begun is not None  # by the first round
    return begun[0]


def _results(family: Family, job: Fit) -> int:
    """How many the run has."""
    begun = family.run.load_begun(job.name)
    return 0 if begun is None else len(begun[0].rungs)


def _saved(family: Family, job: Fit) -> bool:
    return family.run.stitch_path(job.name).exists()


def _loaded(family: Family, jobs: Sequence[Fit]) -> dict[str, Fitted]:
    return {job.name: saved for job in jobs if (saved := family.run.load_fitted(job.name)) is not None}


def _done(family: Family, work: Sequence[Task[Any, None]]) -> None:
    tasks.finish(family.execute, work, family.report)


def back(source: AnchorSource, cut: str) -> Any:
    """From a cut of an anchor, or ``cache.INPUT``, to ``[penultimate features, logits]``: of an exit the logits."""
    return sources.part(source, ("back", cut), partial(_back, cut=cut))


def _back(anchor: Anchor, cut: str) -> Any:
    start = anchor.model.inputs[0] if cut == cache.INPUT else cuts.tensor(anchor.model, cut)
    features = anchor.logits if start is anchor.logits else anchor.features
    return cuts.between(anchor.model, start, [features, anchor.logits])


def stretch(source: AnchorSource, start: str, stop: str) -> Any:
    """From a cut of an anchor to a later one."""
    return sources.part(source, (start, stop), partial(_stretch, start=start, stop=stop))


def _stretch(anchor: Anchor, start: str, stop: str) -> Any:
    return variant.piece(anchor, start, cuts.tensor(anchor.model, stop), {})
