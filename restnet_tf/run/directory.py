"""The run directory: the only place that knows its file names; every write is atomic.

A build killed at any moment leaves whole files only, and the next build into the same directory goes
on from them. A directory that holds a run with other inputs is refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.anchors.head import HeadFit
from restnet_tf.atomic import write_bytes, write_npz
from restnet_tf.fitting.results import Fitted
from restnet_tf.records import RestnetError
from restnet_tf.run import stitch_arrays
from restnet_tf.schema import SCHEMA
from restnet_tf.similarity.features import Statistics
from restnet_tf.similarity.pair_sums import PairKey
from restnet_tf.stitches.step import Solution

_FORMAT = 4
_STATE = "state:"  # of a fit that goes on: what the names of its arrays begin with
_RATED = "rated"  # the array of those pairs of cuts that have an R2 alone
_CUTS = "cuts:"  # what the names of arrays of cuts' names begin with


@dataclass(frozen=True)
class RunRecord:
    """``run.json``: what decides its points, the options, which steps are done, what made files by precision."""

    format: int
    inputs: dict[str, Any]
    steps: dict[str, str]
    options: dict[str, Any] | None = None
    forms: dict[str, str] = field(default_factory=dict)


class Run:
    """One run directory, opened for one set of inputs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def record_path(self) -> Path:
        """What the run is and how far it got."""
        return self.path / "run.json"

    @property
    def points_path(self) -> Path:
        """The operating points with their measurements."""
        return self.path / "points.json"

    @property
    def measurements_path(self) -> Path:
        """What devices, interpreters and compilers said of the files."""
        return self.path / "measurements.json"

    @property
    def report_path(self) -> Path:
        """The page for people; its tables lie beside it."""
        return self.path / "report.html"

    @property
    def plot_path(self) -> Path:
        """Accuracy against cost."""
        return self.path / "points.png"

    @property
    def similarity_plot_path(self) -> Path:
        """The CKA heat map."""
        return self.path / "similarity.png"

    @property
    def plans_path(self) -> Path:
        """All plans, the rejects with their reasons."""
        return self.path / "plans.json"

    @property
    def anchors_path(self) -> Path:
        """Where the demo keeps the anchors that it trained, and any build the classifiers that it fitted."""
        return self.path / "anchors"

    @property
    def trained_path(self) -> Path:
        """Weights of the anchors, where a build trained them too."""
        return self.anchors_path / "trained.npz"

    @property
    def seconds_path(self) -> Path:
        """What the parts of a composition took."""
        return self.path / "seconds.json"

    @property
    def times_path(self) -> Path:
        """Where the time of each call of a command went."""
        return self.path / "times.json"

    @property
    def taught_path(self) -> Path:
        """Weights of the small anchor that the large one taught."""
        return self.anchors_path / "distilled.npz"

    def search_path(self, start: str) -> Path:
        """What the search for nets came upon from one start."""
        return self.path / "search" / f"{start}.json"

    def cache_path(self, name: str) -> Path:
        """A folder of cached features; it may be deleted at any time."""
        return self.path / "cache" / name

    def drop_caches(self) -> None:
        """Delete all cached features, which take gigabytes and which a finished run no longer reads."""
        shutil.rmtree(self.path / "cache", ignore_errors=True)

    def tflite_path(self, point: str, precision: str) -> Path:
        """A point's file in one precision."""
        return self.path / "tflite" / f"{_in_files(point)}.{_in_files(precision)}.tflite"

    def examples_path(self, point: str) -> Path:
        """A picture of test images that a cascade answers early or late."""
        return self.path / "examples" / f"{_in_files(point)}.png"

    def elastic_path(self, precision: str) -> Path:
        """All points in one file."""
        return self.path / f"elastic.{precision}.tflite"

    def object_path(self, name: str, precision: str, key: str) -> Path:
        """An anchor, or the back of one variant, compiled once; ``key`` stands for all it is made from."""
        return self.path / "objects" / f"{_in_files(name)}.{precision}.{key}.tflite"

    def map_path(self, role: str) -> Path:
        """Which operators of an anchor's mixed files compute in sixteen bits."""
        return self.path / "mixed" / f"{_in_files(role)}.json"

    def object_paths(self, name: str) -> tuple[Path, ...]:
        """What is there of an anchor, compiled, in any precision."""
        return tuple(sorted((self.path / "objects").glob(f"{name}.*.tflite")))

    @contextmanager
    def opened(self, inputs: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Hold the directory for a build from these inputs; raises ``RestnetError`` where it cannot.

        ``options`` are those by which the inputs can be found again; the last ones given are kept.
        Refused: a path that cannot be written, a folder that holds something else, a run of other
        inputs (the message names the first that differs), a run that another process is building.
        """
        self.create()
        with self._held():
            try:
                self._claim(inputs)
            except RestnetError:
                if not self.record_path.exists():
                    self._lock_path.unlink()  # a folder that is not ours stays as it was
                raise
            if options is not None:
                self.remember(options)
            yield

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The lock of the directory; imported here, since the library brings asyncio."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._lock_path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RestnetError(f"another build is writing {self.path}; wait for it or give another --out") from None
        try:
            yield
        finally:
            lock.release()

    @property
    def _lock_path(self) -> Path:
        return self.path / ".lock"

    def done(self, step: str) -> bool:
        """Whether a step has been finished by this build or an earlier one."""
        return self._record().steps.get(step) == "done"

    def finish(self, step: str) -> None:
        """Record a finished step."""
        record = self._record()
        self._write(replace(record, steps=record.steps | {step: "done"}))

    def forms(self) -> dict[str, str]:
        """What made the files, by precision."""
        return self._record().forms

    def note_forms(self, forms: Mapping[str, str]) -> None:
        """Keep what made files of these precisions."""
        record = self._record()
        self._write(replace(record, forms=record.forms | dict(forms)))

    def inputs(self) -> dict[str, Any]:
        """What the run was built from."""
        return self._record().inputs

    def options(self) -> dict[str, Any] | None:
        """The options that it was built with; None where a version built it that kept none."""
        return self._record().options

    def write_json(self, path: Path, content: Any) -> None:
        """Readable JSON."""
        write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())

    def save_statistics(self, statistics: Statistics, cuts: Mapping[str, Sequence[str]]) -> None:
        """``similarity.npz``: the CKA matrix with the cuts' names by role, R2, and the closed-form stitches."""
        arrays: dict[str, Any] = {"n": statistics.n, "batch": statistics.batch, "cka": statistics.cka}
        arrays |= {f"{_CUTS}{role}": np.array(names) for role, names in cuts.items()}
        for pair, solution in statistics.solutions.items():
            arrays |= stitch_arrays.solution_arrays(_stem(pair), solution)
        arrays |= {_RATED: np.array([*map(_stem, statistics.rated)]), "r2": np.array([*statistics.rated.values()])}
        write_npz(self.path / "similarity.npz", arrays)

    def load_statistics(self) -> Statistics:
        """What ``save_statistics`` wrote, or an older version, which kept the stitches of all pairs."""
        with np.load(self.path / "similarity.npz") as arrays:
            solutions = {_pair(stem): solution for stem, solution in stitch_arrays.solutions(arrays).items()}
            pairs, r2 = (arrays[name].tolist() if name in arrays else [] for name in (_RATED, "r2"))
            rated = dict(zip(map(_pair, pairs), r2, strict=True))
            return Statistics(int(arrays["n"]), int(arrays["batch"]), arrays["cka"], solutions, rated)

    def save_starts(self, starts: Mapping[str, Solution]) -> None:
        """``cache/closed-form.npz``: what the stitches of windows start at."""
        arrays = {
            name: value
            for stem, solution in starts.items()
            for name, value in stitch_arrays.solution_arrays(stem, solution).items()
        }
        write_npz(self._starts_path, arrays)

    def load_starts(self) -> dict[str, Solution] | None:
        """What ``save_starts`` wrote; None where it is not there yet."""
        if not self._starts_path.exists():
            return None
        with np.load(self._starts_path) as arrays:
            return stitch_arrays.solutions(arrays)

    @property
    def _starts_path(self) -> Path:
        return self.cache_path("closed-form.npz")

    def save_head(self, head: HeadFit) -> None:
        """``anchors/head-<key>.npz``: a new classifier, which takes minutes to fit."""
        facts = {name: value for name, value in vars(head).items() if name not in ("kernel", "bias")}
        write_npz(self.head_path(head.key), {"told": json.dumps(facts), "kernel": head.kernel, "bias": head.bias})

    def load_head(self, key: str) -> HeadFit | None:
        """What ``save_head`` wrote; None where this head is not kept."""
        path = self.head_path(key)
        if not path.exists():
            return None
        with np.load(path) as arrays:
            return HeadFit(**json.loads(str(arrays["told"])), kernel=arrays["kernel"], bias=arrays["bias"])

    def head_path(self, key: str) -> Path:
        """A classifier that was fitted."""
        return self.anchors_path / f"head-{key}.npz"

    def load_similarity(self) -> np.ndarray:
        """The CKA matrix ``(large cuts, small cuts)`` alone."""
        with np.load(self.path / "similarity.npz") as arrays:
            return arrays["cka"]

    def load_cuts(self) -> dict[str, tuple[str, ...]]:
        """The cuts' names by role, in the order of the CKA matrix; of no role where an older version kept none."""
        with np.load(self.path / "similarity.npz") as arrays:
            roles = [name.removeprefix(_CUTS) for name in arrays.files if name.startswith(_CUTS)]
            return {role: tuple(str(name) for name in arrays[f"{_CUTS}{role}"]) for role in roles}

    def fitted_names(self) -> tuple[str, ...]:
        """The points that have a fitted stitch."""
        return tuple(sorted(path.stem for path in (self.path / "stitches").glob("*.npz")))

    def save_fitted(self, point: str, fitted: Fitted) -> None:
        """``stitches/<point>.npz``."""
        write_npz(self.stitch_path(point), stitch_arrays.fit_arrays(fitted))

    def load_fitted(self, point: str) -> Fitted | None:
        """What ``save_fitted`` wrote; None where the point is not fitted yet."""
        path = self.stitch_path(point)
        if not path.exists():
            return None
        with np.load(path) as arrays:
            return stitch_arrays.fit(arrays)

    def save_begun(self, point: str, fitted: Fitted, state: Mapping[str, np.ndarray]) -> None:
        """A fit before its costly rungs, with all that these start from."""
        arrays = stitch_arrays.fit_arrays(fitted) | {f"{_STATE}{name}": value for name, value in state.items()}
        write_npz(self._begun_path(point), arrays)

    def load_begun(self, point: str) -> tuple[Fitted, dict[str, np.ndarray]] | None:
        """What ``save_begun`` wrote; None where the fit has not come so far."""
        path = self._begun_path(point)
        if not path.exists():
            return None
        with np.load(path) as arrays:
            names = [name for name in arrays.files if name.startswith(_STATE)]
            return stitch_arrays.fit(arrays), {name.removeprefix(_STATE): arrays[name] for name in names}

    def _begun_path(self, point: str) -> Path:
        return self.cache_path("begun") / f"{point}.npz"

    def stitch_path(self, point: str) -> Path:
        """A point's fitted stitch."""
        return self.path / "stitches" / f"{point}.npz"

    def create(self) -> None:
        """Make the directory; raises ``RestnetError`` where it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock_path.touch()
        except OSError as error:
            raise RestnetError(f"cannot write to {self.path}: {error.strerror}; give another --out") from None

    def _claim(self, inputs: Mapping[str, Any]) -> None:
        if not self.record_path.exists():
            ours = {self._lock_path.name, self.anchors_path.name}
            strangers = sorted(
                path.name for path in self.path.iterdir() if path.name not in ours and ".tmp" not in path.name
            )
            if strangers:
                raise RestnetError(
                    f"{self.path} is not a run directory and holds {strangers[0]}; give an empty folder as --out"
                )
            self._write(RunRecord(_FORMAT, dict(inputs), {}))
            return
        there = self.inputs()
        now = json.loads(json.dumps(dict(inputs)))  # as the file keeps them: it has lists for tuples
        for name in {**there, **now}:
            if there.get(name) != now.get(name):
                raise RestnetError(
                    f"{self.path} holds a run with another {name}: {_short(there.get(name))} there,"
                    f" {_short(now.get(name))} now; give another --out, or delete it"
                )

    def remember(self, options: Mapping[str, Any]) -> None:
        """Keep the options that the run has by now."""
        record = self._record()
        if record.options != options:
            self._write(replace(record, options=dict(options)))

    def _write(self, record: RunRecord) -> None:
        write_bytes(self.record_path, SCHEMA.text(record))

    def _record(self) -> RunRecord:
        try:
            content = SCHEMA.load(dict[str, Any], self.record_path)
            if content.get("format", _FORMAT) == _FORMAT:
                return SCHEMA.read(RunRecord, content)
        except FileNotFoundError:
            raise RestnetError(f"{self.path} is not a run directory: it has no run.json") from None
        except (OSError, ValueError) as error:
            raise RestnetError(f"{self.record_path} cannot be read: {error}") from None
        raise RestnetError(
            f"{self.record_path} is of format {content['format']} and this version keeps runs in format {_FORMAT}:"
            " build it again into another --out, or use the version that built it"
        )


def _stem(pair: PairKey) -> str:
    """A pair of cuts, as the names of its arrays begin."""
    return ".".join(map(str, pair))


def _pair(stem: str) -> PairKey:
    source, i, j = str(stem).split(".")
    return source, int(i), int(j)


def _in_files(name: str) -> str:
    """As files are called, where a shell would take the name of a cascade for a redirection, and a * for many."""
    return name.replace("*", "-distilled").replace(">", "-then-")


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:24]}..."
