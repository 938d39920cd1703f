"""Fits as tasks: a stitch in front of a back, trained on cached features, into the run directory.

Points are fitted in two halves. Rungs that cost a point nothing come first, for all points, none of which waits for
another; their KLs decide which points go on to the costly ones (``rungs.decide``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from restnet_tf.work import sources
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
class Fit:
    """All that decides one fit: the back begins at a cut of an anchor (``cache.INPUT``: it is all of it)."""

    run: Path
    name: str
    anchor: AnchorSource
    cut: str
    start: Stitch | None
    reads: tuple[Reading, Reading]  # of the views that it trains on, and of the rank split that judges
    rungs: Mapping[str, int]  # with the work of each
    seed: int
    enough: float = 0.0  # the KL below which costly rungs are not tried


def reads(train: Cache, ranked: Cache, front: Piece, back: str, teacher: str) -> tuple[Reading, Reading]:
    """What a stitch behind a front of the anchors' own reads of both caches."""
    one, other = (Reading(c.folder, c.folder, front.anchor, str(front.stop), back, teacher) for c in (train, ranked))
    return one, other


def fit(family: Family, jobs: Sequence[Fit]) -> dict[str, Fitted]:
    """The fits by name, each with all of its rungs in one go; from the run or made into it."""
    _done(family, [Task(f"fitting {job.name}", fitted, job) for job in jobs if not _saved(family, job)])
    return _loaded(family, jobs)


def begin(family: Family, jobs: Sequence[Fit]) -> dict[str, Fitted]:
    """The fits by name, with the rungs that cost a point nothing; none of them waits for another."""
    _done(
        family,
        [Task(f"fitting {job.name}", begun, job) for job in jobs if family.run.load_begun(job.name) is None],
    )
    return {job.name: half[0] for job in jobs if (half := family.run.load_begun(job.name)) is not None}


def proceed(family: Family, jobs: Sequence[Fit], enough: Mapping[str, float]) -> dict[str, Fitted]:
    """The fits that ``begin`` left, by name: those in ``enough`` go on to their costly rungs, the others stay."""
    for job in jobs:
        if job.name not in enough and not _saved(family, job) and (half := family.run.load_begun(job.name)):
            family.run.save_fitted(job.name, half[0])
    onward = [replace(job, enough=enough[job.name]) for job in jobs if job.name in enough]
    _done(family, [Task(f"fitting {job.name} on", proceeded, job) for job in onward if not _saved(family, job)])
    return _loaded(family, jobs)


def fitted(job: Fit, progress: Progress) -> None:
    """Do one fit and save it in its run."""
    made = ladder.fit(*_material(job), rungs=job.rungs, enough=job.enough, seed=job.seed, progress=_of_all(progress))
    Run(job.run).save_fitted(job.name, made)


def begun(job: Fit, progress: Progress) -> None:
    """Do the first half of a fit and save it with its state."""
    half, state = ladder.begin(*_material(job), rungs=job.rungs, seed=job.seed, progress=_of_all(progress))
    Run(job.run).save_begun(job.name, half, state)


def proceeded(job: Fit, progress: Progress) -> None:
    """Do the second half of a fit, from what the first one left, and save it."""
    run, material = Run(job.run), _material(job)
    half = run.load_begun(job.name)
    if half is None:
        raise RestnetError(f"the first half of the fit of {job.name} is gone from {run.path}; run the build again")
    whole = ladder.proceed(
        half[0], half[1], *material, rungs=job.rungs, enough=job.enough, seed=job.seed, progress=_of_all(progress)
    )
    run.save_fitted(job.name, whole)


def _material(job: Fit) -> tuple[Stitch | None, Any, Examples, Examples]:
    train, ranked = (reading.examples() for reading in job.reads)
    return job.start, back(job.anchor, job.cut), train, ranked


def _of_all(progress: Progress) -> Callable[[str, int, int], None]:
    return lambda rung, done, total: progress(done, total)


def _saved(family: Family, job: Fit) -> bool:
    return family.run.stitch_path(job.name).exists()


def _loaded(family: Family, jobs: Sequence[Fit]) -> dict[str, Fitted]:
    return {job.name: saved for job in jobs if (saved := family.run.load_fitted(job.name)) is not None}


def _done(family: Family, work: Sequence[Task[Fit, None]]) -> None:
    for _ in family.execute(work, family.report):
        pass


def back(source: AnchorSource, cut: str) -> Any:
    """From a cut of an anchor, or ``cache.INPUT``, to ``[penultimate features, logits]``."""
    anchor = sources.anchor(source)
    start = anchor.model.inputs[0] if cut == cache.INPUT else cuts.tensor(anchor.model, cut)
    return cuts.between(anchor.model, start, [anchor.features, anchor.logits])
