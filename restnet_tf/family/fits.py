"""One fit as a task: a stitch in front of a back, trained on cached features, into the run directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restnet_tf.family.family import Family
from restnet_tf.fitting import cache, ladder
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.examples import Examples
from restnet_tf.fitting.ladder import Fitted
from restnet_tf.graph import cuts
from restnet_tf.records import Piece, Stitch
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
    rungs: Mapping[str, int]
    enough: float
    seed: int


def reads(train: Cache, ranked: Cache, front: Piece, back: str, teacher: str) -> tuple[Reading, Reading]:
    """What a stitch behind a front of the anchors' own reads of both caches."""
    one, other = (Reading(c.folder, c.folder, front.anchor, str(front.stop), back, teacher) for c in (train, ranked))
    return one, other


def fit(family: Family, jobs: Iterable[Fit]) -> dict[str, Fitted]:
    """The fits by name, from the run or made into it."""
    jobs = tuple(jobs)
    missing = [job for job in jobs if family.run.load_fitted(job.name) is None]
    for _ in family.execute([Task(f"fitting {job.name}", fitted, job) for job in missing], family.report):
        pass
    return {job.name: saved for job in jobs if (saved := family.run.load_fitted(job.name)) is not None}


def fitted(job: Fit, progress: Progress) -> None:
    """Do one fit and save it in its run."""
    made = ladder.fit(
        job.start,
        back(job.anchor, job.cut),
        *(reading.examples() for reading in job.reads),
        rungs=job.rungs,
        enough=job.enough,
        seed=job.seed,
        progress=lambda rung, done, total: progress(done, total),
    )
    Run(job.run).save_fitted(job.name, made)


def back(source: AnchorSource, cut: str) -> Any:
    """From a cut of an anchor, or ``cache.INPUT``, to ``[penultimate features, logits]``."""
    anchor = sources.anchor(source)
    start = anchor.model.inputs[0] if cut == cache.INPUT else cuts.tensor(anchor.model, cut)
    return cuts.between(anchor.model, start, [anchor.features, anchor.logits])
