"""What a method is: the names that its module has, and what stands behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    from restnet_tf.anchors.head import HeadFit
    from restnet_tf.data.splits import Data
    from restnet_tf.family.family import Family
    from restnet_tf.family.options import Options
    from restnet_tf.family.references import References
    from restnet_tf.points.points import OperatingPoint
    from restnet_tf.progress import Reporter
    from restnet_tf.report.contents import Wording
    from restnet_tf.run.directory import Run
    from restnet_tf.work.tasks import Executor
    from tflite_export.budget import Term


class EmptyError(RestnetError):
    """The inputs leave nothing to build: a run directory that was made for them is of no use."""


class Work(Protocol):
    """The inputs of one build, loaded and checked: a ``Family``, or what a method has in its place."""

    @property
    def run(self) -> Run:
        """Where results go."""

    @property
    def data(self) -> Data:
        """The images."""

    @property
    def report(self) -> Reporter:
        """Who is told."""

    @property
    def heads(self) -> tuple[HeadFit, ...]:
        """Classifiers that were fitted for it, which the run keeps."""

    @property
    def budget(self) -> tuple[Term, ...]:
        """The user's limits."""


class Method(Protocol):
    """A module ``method`` of a folder of ``methods``; ``WORDING`` is how a report speaks of its points."""

    WORDING: Wording

    def open(self, options: Options, report: Reporter, execute: Executor) -> Work:
        """Load the inputs; ``execute`` does the tasks of the work. Raises the domain error of the stage."""

    def identity(self, work: Work) -> Mapping[str, Any]:
        """All that decides the result; a run directory refuses to go on with another."""

    def check(self, work: Work) -> None:
        """Refuse (``RestnetError``) what cannot be built from, before a run directory is bound to it."""

    def build(self, work: Work) -> None:
        """Build or finish in the opened run directory: every point and control, measured, in ``points.json``."""

    def out(self, options: Options) -> Path:
        """The run directory: the user's, or the one of these inputs."""

    def extend(self, work: Work) -> None:
        """Make the files that the options of a finished run ask for and it lacks; nothing is fitted."""

    def reopen(self, work: Work) -> Family:
        """The family of a finished run, with the anchors that the build left; refused where there is none."""

    def references(self, work: Work) -> References:
        """What the files of a finished run are held against; refused (``RestnetError``) where there is nothing."""

    def summary(self, work: Work, meta: Mapping[str, Any], listed: Sequence[OperatingPoint]) -> list[str]:
        """What came of it, in lines for a person; ``meta`` and points are those of ``points.json``."""
