"""What a build starts from: anchors by role, images, settings, and the run directory where results go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from restnet_tf.family.options import BuildOptions
from restnet_tf.fitting import views
from restnet_tf.graph import costs, cuts
from restnet_tf.graph.costs import Costs
from restnet_tf.work import tasks

if TYPE_CHECKING:
    from restnet_tf.anchors.head import HeadFit
    from restnet_tf.data.splits import Data
    from restnet_tf.family.mixing import Mixing
    from restnet_tf.progress import Reporter
    from restnet_tf.records import Anchor, Cut, Plan
    from restnet_tf.run.directory import Run
    from restnet_tf.work.sources import AnchorSource, DataSource
    from restnet_tf.work.tasks import Executor
    from tflite_export.budget import Term

Chosen = TypeVar("Chosen", bound=BuildOptions)
TEACHER = "teacher"  # the role of a model that teaches and is none of the anchors


@dataclass(frozen=True)
class Settings:
    """What the options that all methods share mean."""

    order: str
    max_points: int
    precisions: tuple[str, ...]
    cascade_precisions: tuple[str, ...]  # may name one a stage
    cascades: int
    effort: float
    seed: int
    ship_all: bool
    max_elastic: float | None
    also: tuple[str, ...]
    converter: str
    recalibrate: bool
    uint8_input: bool
    lower: tuple[str, ...]
    mixed: Mixing
    controls: bool
    budget: tuple[Term, ...]
    plans: tuple[Plan, ...] | None


@dataclass(frozen=True)
class Prospect:
    """What a build would be of: anchors by role, images and settings.

    Two anchors have the roles "large" and "small", more of them a letter each.
    """

    anchors: Mapping[str, Anchor]
    data: Data
    settings: Settings

    @cached_property
    def cut_lists(self) -> dict[str, tuple[Cut, ...]]:
        """Cuts by role."""
        return {role: cuts.find(anchor.model) for role, anchor in self.anchors.items()}

    @cached_property
    def places(self) -> dict[str, tuple[Cut, ...]]:
        """By role, where jumps go on: the cuts, and behind them the classes."""
        return {role: cuts.places(anchor) for role, anchor in self.anchors.items()}

    @cached_property
    def costs(self) -> dict[str, Costs]:
        """Whole anchors' costs by role."""
        calls = {role: costs.nodes(anchor.model) for role, anchor in self.anchors.items()}
        return {role: Costs(costs.macs(c), costs.params(c)) for role, c in calls.items()}

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


@dataclass(frozen=True)
class Family(Prospect, Generic[Chosen]):
    """A build of these in its run directory, by a user's options.

    ``sources`` say how any process loads the anchors, by role, and the teacher where it is none of them; ``heads`` are
    classifiers that were fitted for them.
    """

    run: Run
    options: Chosen
    report: Reporter
    sources: Mapping[str, AnchorSource]
    images: DataSource
    teacher: Anchor | None = None
    heads: tuple[HeadFit, ...] = ()
    execute: Executor = tasks.serially

    @property
    def named(self) -> dict[str, AnchorSource]:
        """How any process loads the anchors alone, by role."""
        return {role: self.sources[role] for role in self.anchors}

    @cached_property
    def mirror(self) -> bool:
        """Whether mirror images are fair views of this data."""
        return views.mirrors(self.anchors[self.largest], self.data.rank)

    @property
    def budget(self) -> tuple[Term, ...]:
        """The user's limits."""
        return self.settings.budget

    @property
    def metric(self) -> str:
        """What scores count: right answers, or the same answer as the largest anchor's."""
        return "accuracy" if self.data.labelled else "agreement"
