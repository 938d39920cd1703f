"""What files answer as tasks: any process that sees a file and the images asks it for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.family import answering
from restnet_tf.work import resources, sources, tasks
from restnet_tf.work.sources import DataSource
from restnet_tf.work.tasks import Progress, Task
from tflite_export.devices import host

if TYPE_CHECKING:
    from restnet_tf.family.answers import Key
    from restnet_tf.progress import Reporter
    from restnet_tf.run.directory import Run
    from restnet_tf.work.tasks import Executor


@dataclass(frozen=True)
class FileQuestion:
    """A file, the images that it is given, and which split of them, in what shape."""

    path: Path
    images: DataSource
    split: str
    shape: tuple[int, ...]


def answered(question: FileQuestion, progress: Progress) -> np.ndarray:
    """The scores ``(n, classes)``; a task."""
    split = getattr(sources.data(question.images), question.split)
    return host.scores(question.path.read_bytes(), answering.images(split, question.shape), threads=resources.threads())


def together(
    run: Run, images: DataSource, execute: Executor, report: Reporter
) -> Callable[[str, Sequence[Key]], Iterator[np.ndarray]]:
    """Asks many files of a run about a split at once."""

    def ask(split: str, keys: Sequence[Key]) -> Iterator[np.ndarray]:
        title = f"answers of {len(keys)} files on the {split} split, run by the interpreter"
        questions = [
            FileQuestion(run.tflite_path(point, precision).absolute(), images, split, shape)
            for point, precision, shape in keys
        ]
        return execute([Task(title, answered, question, kind=tasks.SCORINGS) for question in questions], report)

    return ask
