"""One piece of work, and the seam that runs many: here one after the other, in ``processes`` several at once.

A task is a function of a module and a plain record of paths, hashes and numbers: any process on any machine that sees
these paths does the same with it, and leaves the same bytes. No task holds a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from restnet_tf.progress import Reporter
from tflite_export import gradients

# What tasks are about, which a table of times sums up by.
STATISTICS, TRIALS, FEATURES, FITS = "statistics", "trials", "features", "fits"
TRAINING, CONVERSIONS, SCORINGS, SEARCH = "training", "conversions", "scorings", "search"

Given = TypeVar("Given")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Task(Generic[Given, Result]):
    """What is to be done: ``function(given, progress)``; ``title`` is what a user reads meanwhile.

    ``alone``: it makes use of all cores by itself, and runs in the process of the build. ``kind`` is what times are
    summed up by.
    """

    title: str
    function: Callable[[Given, Progress], Result]
    given: Given
    alone: bool = False
    kind: str = ""

    def run(self, progress: Progress) -> Result:
        """Do it, in this process; what it traced for it needs no gradient any more."""
        with gradients.dropped():
            return self.function(self.given, progress)


# Runs tasks that do not wait for each other, and gives their results in the order of the tasks.
Executor = Callable[[Iterable[Task[Any, Any]], Reporter], Iterator[Any]]


def finish(execute: Executor, work: Iterable[Task[Any, None]], report: Reporter) -> None:
    """Run tasks that leave files and hand nothing back."""
    for result in execute(work, report):
        assert result is None


def serially(tasks: Iterable[Task[Any, Any]], report: Reporter) -> Iterator[Any]:
    """One task after the other, in this process; those of one title are one stage."""
    stage = ""
    for task in tasks:
        if task.title != stage:
            report.stage(task.title)
        stage = task.title
        yield task.run(report.progress)
