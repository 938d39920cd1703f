"""The anchors of those who named none, trained into the run on what the demo reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restnet_tf.anchors import demo
from restnet_tf.work import sources, tasks
from restnet_tf.work.sources import DataSource, ModelSource
from restnet_tf.work.tasks import Progress, Task

if TYPE_CHECKING:
    from restnet_tf.progress import Reporter
    from restnet_tf.run.directory import Run
    from restnet_tf.work.tasks import Executor


@dataclass(frozen=True)
class AnchorTraining:
    """All that decides one: where the anchor goes, its role, and the images."""

    path: Path
    role: str
    images: DataSource


def named(run: Run, data: str, images: DataSource, execute: Executor, report: Reporter) -> dict[str, ModelSource]:
    """The anchors by role; trained where the run has them not yet."""
    files = {role: demo.file(run.anchors_path, data, role, images.seed) for role in demo.NETS}
    work = [AnchorTraining(path, role, images) for role, path in files.items() if not path.exists()]
    each = [Task(f"training the {one.role} demo anchor", trained, one, kind=tasks.TRAINING) for one in work]
    tasks.finish(execute, each, report)
    return {role: ModelSource(str(path.absolute())) for role, path in files.items()}


def trained(given: AnchorTraining, progress: Progress) -> None:
    """Train one anchor into its file."""
    demo.train(given.path, given.role, sources.data(given.images), given.images.seed, progress)
