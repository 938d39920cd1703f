"""One build: its inputs, what it was asked for, and what all its steps share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.data.splits import Data
from restnet_tf.fitting import cache, ladder, views
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.ladder import Examples, Fitted
from restnet_tf.graph import costs, cuts
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor, Cut, Plan, Stitch
from restnet_tf.run.directory import Run

if TYPE_CHECKING:
    from tflite_export.budget import Term

FINE_TUNES: dict[str, tuple[str, ...]] = {
    "stitch": ("stitch",),
    "norm": ("stitch", "norm"),
    "relu": ("stitch", "norm", "relu"),
    "back": ("stitch", "norm", "back"),
    "auto": ("stitch", "norm", "relu", "back"),
}
# Training compute is counted in MACs and work (``fit.RungResult``), not seconds, so that the same build
# gives the same result on any machine; two server cores do about 6e10 a second.
_VIEW_MACS = 3.0e12
_RUNG_WORK = {"stitch": 0.7e12, "norm": 4.8e12, "relu": 0.7e12, "back": 2.7e12}
_LEAST_IMAGES = 1_000  # that a stitch is trained on
# Untrained stitches are told apart by few images: their KLs differ by more than their errors.
_TRIAL_MACS, _MIN_TRIAL_IMAGES = 2.0e12, 32
_CACHE_BYTES = 8 * 2**30
_VIEWS_PER_IMAGE = 8
_VIEW_BATCH = 64
STATISTICS_IMAGES = 1024


@dataclass(frozen=True)
class Settings:
    """What a build was asked for; all of it is part of the run's identity."""

    order: str
    rank_by: str
    max_points: int
    precisions: tuple[str, ...]
    fine_tune: str
    effort: float
    seed: int
    ship_all: bool
    converter: str
    recalibrate: bool
    uint8_input: bool
    lower: tuple[str, ...]
    controls: bool
    budget: tuple[Term, ...]
    plans: tuple[Plan, ...] | None
    joint: Joint | None = None


@dataclass(frozen=True)
class Joint:
    """What is asked of SN-Net beyond that: its windows, routes and training."""

    window: int = 2
    stride: int = 1
    share: bool = True
    two_stitch: bool = False
    train: str = "stitches"
    sampling: str = "uniform"
    low_rank: int | None = None
    teacher: str | None = None  # a role; None: the largest anchor, or a model of its own
    most: int | None = None  # configurations; None: all


@dataclass(frozen=True)
class Family:
    """Anchors by role, images, settings, and where results go.

    Two anchors have the roles "large" and "small", more of them a letter each.
    """

    run: Run
    anchors: Mapping[str, Anchor]
    data: Data
    settings: Settings
    report: Reporter
    teacher: Anchor | None = None  # where it is none of the anchors

    @cached_property
    def cut_lists(self) -> dict[str, tuple[Cut, ...]]:
        """Cuts by role."""
        return {role: cuts.find(anchor.model) for role, anchor in self.anchors.items()}

    @cached_property
    def costs(self) -> dict[str, costs.Costs]:
        """Whole anchors' costs by role."""
        calls = {role: costs.nodes(anchor.model) for role, anchor in self.anchors.items()}
        return {role: costs.Costs(costs.macs(c), costs.params(c)) for role, c in calls.items()}

    @cached_property
    def by_cost(self) -> tuple[str, ...]:
        """Roles from the cheapest anchor to the costliest."""
        return tuple(sorted(self.anchors, key=lambda role: (self.costs[role].macs, role)))

    @property
    def largest(self) -> str:
        """The role of the costliest anchor, which all others are taught by and held against."""
        return self.by_cost[-1]

    @property
    def smallest(self) -> str:
        """The role of the cheapest anchor."""
        return self.by_cost[0]

    @cached_property
    def views(self) -> int:
        """How many views of the fit images are trained on: bounded by compute, and by disk."""
        macs = sum(c.macs for c in self.costs.values())
        widest = max(np.prod(c.shape) for found in self.cut_lists.values() for c in found)
        on_disk = _CACHE_BYTES // int(2 * widest * self.settings.max_points)
        wanted = min(_VIEWS_PER_IMAGE * len(self.data.fit), int(self.settings.effort * _VIEW_MACS / macs))
        return max(_VIEW_BATCH, min(wanted, on_disk))

    def trial_images(self, macs: int) -> int:
        """How many rank images try out closed-form stitches that together cost ``macs`` an image."""
        return min(len(self.data.rank), max(_MIN_TRIAL_IMAGES, int(_TRIAL_MACS / max(1, macs))))

    @cached_property
    def mirror(self) -> bool:
        """Whether mirror images are fair views of this data."""
        return views.mirrors(self.anchors[self.largest], self.data.rank)

    def back(self, role: str, cut: str) -> Any:
        """From a cut, or ``cache.INPUT``, to ``[penultimate features, logits]``."""
        anchor = self.anchors[role]
        start = anchor.model.inputs[0] if cut == cache.INPUT else cuts.tensor(anchor.model, cut)
        return cuts.between(anchor.model, start, [anchor.features, anchor.logits])

    def cached_views(self, name: str, anchors: Mapping[str, Anchor], wanted: Mapping[str, list[str]]) -> Cache:
        """Features of the training views, kept in the run under a name: of fewer, where they would fill the disk."""
        views = max(_VIEW_BATCH, min(self.views, _CACHE_BYTES // cache.bytes_per_image(anchors, wanted)))
        self.report.stage(f"features of {views} views of {len(self.data.fit)} images")
        batches, folder = self._view_batches(anchors, views), self.run.cache_path(name)
        return cache.fill(folder, anchors, wanted, batches, views, self.report.progress)

    def cached_rank(self, name: str, anchors: Mapping[str, Anchor], wanted: Mapping[str, list[str]]) -> Cache:
        """Features of the rank split, kept in the run under a name."""
        split, folder = self.data.rank, self.run.cache_path(name)
        return cache.fill(folder, anchors, wanted, cache.plain(split, anchors), len(split))

    def fit(
        self,
        name: str,
        rungs: Mapping[str, int],
        start: Stitch | None,
        back: Any,
        train: Examples,
        ranked: Examples,
        *,
        enough: float = 0.0,
    ) -> Fitted:
        """Fit a stitched model, or take it from the run; ``rungs`` gives the work of each."""
        known = self.run.load_fitted(name)
        if known is not None:
            return known
        self.report.stage(f"fitting {name}")
        fitted = ladder.fit(
            start,
            back,
            train,
            ranked,
            rungs=rungs,
            enough=enough,
            seed=self.settings.seed,
            progress=lambda rung, done, total: self.report.progress(done, total),
        )
        self.run.save_fitted(name, fitted)
        return fitted

    def enough(self, cheaper: Iterable[Fitted]) -> float:
        """The KL below which a fit need not climb to the back, given the fits that cost less.

        ``auto`` climbs there only where a point would else be no nearer to the large anchor than one
        that costs less: it could not ship, so there is nothing to lose by not sharing its weights.
        """
        if self.settings.fine_tune != "auto":
            return 0.0
        return min([self._small_kl, *(f.kl for f in cheaper)])

    @cached_property
    def _small_kl(self) -> float:
        """KL of the small anchor to the large one on the rank split."""
        ranked = Cache(self.run.cache_path("rank"))
        return float(np.mean(ladder.kl_divergence(ranked.logits("large"), ranked.logits("small"))))

    def rungs(self, back: Any) -> dict[str, int]:
        """The ladder that the settings ask for behind a ``back``, with the work of each rung.

        Large backs would leave the stitch too few images of its small share: it gets some of the norms'.
        """
        shares = {rung: _RUNG_WORK[rung] * self.settings.effort for rung in FINE_TUNES[self.settings.fine_tune]}
        least = min(2 * _LEAST_IMAGES * ladder.work(back), (shares["stitch"] + shares.get("norm", 0)) / 2)
        lent = max(0.0, least - shares["stitch"])
        shares["stitch"] += lent
        if "norm" in shares:
            shares["norm"] -= lent
        return {rung: int(share) for rung, share in shares.items()}

    def _view_batches(self, anchors: Mapping[str, Anchor], count: int) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        large = self.anchors[self.largest]
        stream = views.stream(
            self.data.fit,
            large.input_shape,
            count,
            _VIEW_BATCH,
            classes=large.classes,
            mirror=self.mirror,
            seed=self.settings.seed,
        )
        for images, labels in stream:
            yield {role: views.resized(images, a.input_shape) for role, a in anchors.items()}, labels


def examples(filled: Cache, role: str, cut: str, back: str, teacher: str = "large") -> Examples:
    """What a fit reads of a cache: features at a front's cut, matched to the anchor of the back."""
    return Examples(filled.features(role, cut), filled.logits(teacher), filled.penultimate(back), filled.labels())
