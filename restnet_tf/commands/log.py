"""From a finished run to an experiment tracker: to add one is to add one entry to ``TRACKERS``, and its test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from restnet_tf.commands import report as reporting
from restnet_tf.records import RestnetError
from restnet_tf.report import mlflow_log, sheets, tensorboard_log, tracked
from restnet_tf.report.tracked import Tracked
from restnet_tf.run.directory import Run


@dataclass(frozen=True)
class Tracker:
    """What keeps runs: its package, which an extra of that name brings; what names one; ``check`` before the work."""

    package: str
    place: str
    check: Callable[[str], None]
    write: Callable[[str, Tracked], str]


TRACKERS = {
    "mlflow": Tracker("mlflow", "URI", mlflow_log.check, mlflow_log.write),
    "tensorboard": Tracker("tensorboard", "DIR", tensorboard_log.check, tensorboard_log.write),
}
FORMS = " or ".join(f"{name}:{tracker.place}" for name, tracker in TRACKERS.items())


@dataclass(frozen=True)
class Log:
    """Where runs are to be told: a tracker by its name, and its server, database or folder."""

    tracker: str
    place: str

    def check(self) -> None:
        """Raise ``RestnetError`` where the package is missing or the place takes no runs, before anything is built."""
        package = TRACKERS[self.tracker].package
        if find_spec(package) is None:
            raise RestnetError(
                f"--log {self.tracker}:{self.place} needs {package}: pip install 'restnet-tf[{self.tracker}]'"
            )
        TRACKERS[self.tracker].check(self.place)

    def write(self, path: Path) -> str:
        """Tell a finished run, with its report, which is written; returns a sentence that says where it is now."""
        pages = reporting.write(path)
        run = Run(path)
        report = reporting.gather(run)
        told = tracked.of(report, run.options() or {}, sheets.markdown(report), _files(run, pages))
        try:
            where = TRACKERS[self.tracker].write(self.place, told)
        except RestnetError as error:
            raise RestnetError(f"{path} is finished, but not logged: {error}; the same command tries again") from None
        return f"logged to {self.tracker} at {self.place}: {where}"


def logs(words: Iterable[str]) -> tuple[Log, ...]:
    """Where to log, in words; raises ``RestnetError`` for a tracker that there is not."""
    return tuple(map(_log, words))


def _log(word: str) -> Log:
    tracker, _, place = word.partition(":")
    if tracker not in TRACKERS or not place:
        raise RestnetError(f"{word!r} names no tracker; give {FORMS}")
    return Log(tracker, place)


def _files(run: Run, pages: Iterable[Path]) -> dict[str, Path]:
    """What is kept of a run: its report, its records and plots, and all that is shipped."""
    records = (run.points_path, run.record_path, run.measurements_path, run.plot_path, run.similarity_plot_path)
    shipped = (*sorted(run.path.glob("elastic.*.tflite")), *sorted(run.path.glob("tflite/*.tflite")))
    return {str(p.relative_to(run.path)): p for p in (*pages, *records, *shipped) if p.exists()}
