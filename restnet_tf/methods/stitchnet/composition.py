"""What a composition starts from: a pool's members, one user's few images, and what the search is to keep within."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.methods.stitchnet import fewshot, fragments
from restnet_tf.methods.stitchnet.activations import PoolActivations
from restnet_tf.methods.stitchnet.budgets import Budget
from restnet_tf.methods.stitchnet.fragments import FLOAT, Fragment
from restnet_tf.methods.stitchnet.options import Options
from restnet_tf.methods.stitchnet.pool import PoolMember
from restnet_tf.methods.stitchnet.search import HEAD, Limits, SearchSpace
from restnet_tf.progress import Reporter
from restnet_tf.run.directory import Run
from restnet_tf.work import tasks
from restnet_tf.work.tasks import Executor

if TYPE_CHECKING:
    from restnet_tf.anchors.head import HeadFit
    from restnet_tf.data.splits import Data
    from tflite_export.budget import Term
    from tflite_export.link import Object


@dataclass(frozen=True)
class CompositionSettings:
    """What a composition was asked for; all of it is part of the run's identity."""

    fragments: int
    score: str
    rank_by: str
    limits: Limits
    max_points: int
    precisions: tuple[str, ...]
    budget: tuple[Term, ...]
    seed: int


@dataclass(frozen=True)
class Composition:
    """A pool's members by role, from A, the cheapest, on; the few images (``data.fit``), and where results go.

    ``order`` are their roles as they were named.
    """

    run: Run
    members: Mapping[str, PoolMember]
    order: tuple[str, ...]
    data: Data
    options: Options
    settings: CompositionSettings
    report: Reporter
    heads: tuple[HeadFit, ...] = ()  # the head of a net is its last stitch
    execute: Executor = tasks.serially

    @property
    def budget(self) -> tuple[Term, ...]:
        """The user's limits."""
        return self.settings.budget

    @cached_property
    def pool(self) -> dict[str, tuple[Fragment, ...]]:
        """Fragments by member."""
        return {role: fragments.split(role, e.member, self.settings.fragments) for role, e in self.members.items()}

    @cached_property
    def names(self) -> dict[str, str]:
        """What members are called, by role."""
        return {role: entry.member.name for role, entry in self.members.items()} | {HEAD: "head"}

    @cached_property
    def labels(self) -> np.ndarray:
        """Of the few images."""
        return np.asarray(self.data.fit.labels)

    @cached_property
    def classes(self) -> int:
        """How many the head tells apart."""
        return 1 + int(self.labels.max())

    @cached_property
    def folds(self) -> tuple[np.ndarray, ...]:
        """Of the few images, for stitches and heads alike."""
        return fewshot.folds(self.labels, self.settings.seed)

    def object(self, role: str, precision: str) -> Object:
        """A member compiled."""
        return self.members[role].object(precision, lambda: self.images(role))

    def compile(self) -> None:
        """Every member in every precision that is asked for, and in float32, which the search runs."""
        for role, entry in self.members.items():
            for precision in dict.fromkeys((FLOAT, *self.settings.precisions)):
                self.object(role, precision)
            entry.release()

    def images(self, role: str) -> np.ndarray:
        """The few images as a member takes them, uint8 ``(n, h, w, c)``."""
        return self.pixels(self.members[role].member.input_shape, "fit")

    def pixels(self, shape: tuple[int, ...], split: str) -> np.ndarray:
        """A split as a net of that input takes it, uint8 ``(n, h, w, c)``."""
        if (shape, split) not in self._read:
            self._read[shape, split] = fewshot.pixels(getattr(self.data, split), shape)
        return self._read[shape, split]

    @cached_property
    def _read(self) -> dict[tuple[tuple[int, ...], str], np.ndarray]:
        return {}

    @cached_property
    def activations(self) -> PoolActivations:
        """The pool on the few images, filled."""
        folder = self.run.cache_path("native")
        objects = {role: self.object(role, "float32") for role in self.members}
        activations = PoolActivations(objects, folder, debiased=self.settings.score == "cka")
        self.report.stage(
            f"activations of {len(self.members)} pool members on {len(self.labels)} {self.data.kind.many}"
        )
        activations.fill(self.pool, {role: self.images(role) for role in self.members}, self.report)
        return activations

    @cached_property
    def space(self) -> SearchSpace:
        """What is searched for."""
        chosen = self.settings
        return SearchSpace(
            self.pool,
            self.activations,
            self.folds,
            self.classes,
            self.judged,
            Budget(self.budget, self.settings.precisions, self.object).refuse,
            chosen.score,
            chosen.rank_by,
            chosen.limits,
        )

    def judged(self, features: np.ndarray) -> tuple[float, float, float, tuple[bool, ...]]:
        """Log loss, accuracy, the neighbours' accuracy and the right images of a head in cross-validation."""
        verdict = fewshot.validated(features, self.labels, self.folds)
        return verdict.loss, verdict.accuracy, verdict.knn, tuple(bool(r) for r in verdict.right)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add to the seconds that a part of the work has taken in this run."""
        start = time.perf_counter()
        yield
        seconds = self.seconds
        seconds[what] = round(seconds.get(what, 0.0) + time.perf_counter() - start, 1)
        if self.run.record_path.exists():
            self.run.write_json(self.run.seconds_path, seconds)
        else:  # the directory is not claimed yet
            self._spent.update(seconds)

    @property
    def seconds(self) -> dict[str, float]:
        """What the parts of the work took, by the clock."""
        path = self.run.seconds_path
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else dict(self._spent)

    @cached_property
    def _spent(self) -> dict[str, float]:
        return {}
