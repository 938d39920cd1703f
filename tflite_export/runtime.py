"""Run an elastic file: one interpreter, every operating point, switching without a reload.

Needs LiteRT and NumPy alone, so the file can go with it to a device that has no TensorFlow.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tflite_export import budget, link
from tflite_export.chatter import captured
from tflite_export.errors import TfliteError
from tflite_export.integers import dequantise, quantise
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY


@dataclass(frozen=True)
class Point:
    """One operating point as the file describes it.

    ``figures`` are by the names that a budget uses: counts, bytes, microseconds; where a figure comes
    from stands in ``ElasticModel.sources``. ``score``, 0..1, is that on test images, None where it was
    not measured; ``rank_score``, on validation images, decides between points where the file has it.
    """

    name: str
    route: str
    score: float | None
    figures: dict[str, float] = field(default_factory=dict)
    rank_score: float | None = None

    @property
    def merit(self) -> float:
        """What points are chosen by."""
        return self.rank_score or self.score or 0.0

    @property
    def macs(self) -> float | None:
        """Multiplications with additions of one image; None where the file does not say."""
        return self.figures.get("macs")

    @property
    def params(self) -> float | None:
        """Count of weights; None where the file does not say."""
        return self.figures.get("params")

    @property
    def flash(self) -> float | None:
        """Bytes of the point's own file; None where the file does not say."""
        return self.figures.get("flash")

    @property
    def ram(self) -> float | None:
        """Bytes of the arena, planned; None where the file does not say."""
        return self.figures.get("ram")

    @property
    def latency(self) -> float | None:
        """Microseconds on the host that made the file; None where the file does not say."""
        return self.figures.get("latency")


class ElasticModel:
    """An elastic file, open and ready; begins at the point that ranks highest.

    Not for use by several threads at once: all points run in one arena each of one interpreter.
    Raises TfliteError for a file that cannot be opened or that has no operating points in it.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise TfliteError(f"cannot read {path}: {error.strerror}") from None
        notes = link.points(content)
        self._interpreter = _opened(content, threads, str(path))
        self._runners: dict[str, Any] = {}
        self.points = tuple(_point(entry) for entry in notes.get("points") or ())
        self.labels: tuple[str, ...] = tuple(notes.get("labels") or ())
        self.sources: dict[str, str] = notes.get("sources", {})
        absent = {p.name for p in self.points} - set(self._interpreter.get_signature_list())
        if absent or not self.points:
            raise TfliteError(f"{path} describes points that it does not hold: {', '.join(sorted(absent)) or 'none'}")
        self.point = max(self.points, key=lambda p: (p.merit, -p.figures.get("macs", 0.0)))

    def switch(self, point: str | Point) -> Point:
        """Make a point the one that ``run`` takes; raises TfliteError that lists the points."""
        name = point.name if isinstance(point, Point) else point
        match = next((p for p in self.points if p.name == name), None)
        if match is None:
            raise TfliteError(f"no point {name!r} in the file; it has: {', '.join(p.name for p in self.points)}")
        self.point = match
        return match

    def select(self, limits: str) -> Point:
        """Switch to the point that ranks highest within a budget such as ``macs<=30M, latency<=5ms``.

        Ties go to the cheaper. Raises TfliteError where a term is not understood, or no point fits; and for
        figures of named devices, which stand in the run that made the file, not in the file.
        """
        terms = budget.parse(limits)
        foreign = next((t for t in terms if t.device), None)
        if foreign is not None:
            raise TfliteError(
                f"the file does not hold {foreign.name}: what devices say stands in the run that made it"
                f" (restnet-tf select RUN --budget); the file's points have {', '.join(budget.UNITS)}"
            )
        missing = [t.name for t in terms if any(t.name not in p.figures for p in self.points)]
        if missing:
            raise TfliteError(f"the file does not say {missing[0]} of its points")
        fitting = [p for p in self.points if not budget.over(terms, p.figures)]
        if not fitting:
            nearest = min(self.points, key=lambda p: max(budget.over(terms, p.figures).values()))
            missed = budget.over(terms, nearest.figures)
            words = ", ".join(f"{t.text} by {share:.0%}" for t, share in missed.items())
            raise TfliteError(f"no point meets the budget; the nearest, {nearest.name}, misses {words}")
        return self.switch(max(fitting, key=lambda p: (p.merit, -p.figures.get("macs", 0.0))))

    def run(self, image: np.ndarray, point: str | Point | None = None) -> np.ndarray:
        """Scores ``(classes,)`` float32 of one raw image ``(h, w, c)`` of 0..255.

        ``point`` is for this image alone; None takes the current one. Raises TfliteError for an image
        of another shape: points with different fronts may take different sizes (``input_shape``); and for
        one with values that are not finite.
        """
        current = self.point if point is None else self._named(point)
        runner = self._runner(current.name)
        entry = runner.get_input_details()[INPUT_KEY]
        shape = tuple(int(size) for size in entry["shape"][1:])
        if np.shape(image) != shape:
            raise TfliteError(f"the image is {np.shape(image)}; {current.name} takes {shape}")
        scores = runner(**{INPUT_KEY: quantise(np.asarray(image), entry)[None]})[OUTPUT_KEY]
        return dequantise(scores[0], runner.get_output_details()[OUTPUT_KEY])

    def input_shape(self, point: str | Point | None = None) -> tuple[int, int, int]:
        """``(h, w, c)`` of the images that a point, or the current one, takes."""
        current = self.point if point is None else self._named(point)
        _, h, w, c = self._runner(current.name).get_input_details()[INPUT_KEY]["shape"]
        return int(h), int(w), int(c)

    def warm(self) -> None:
        """Run every point once: the first run of each packs its weights, which takes milliseconds."""
        for point in self.points:
            self.run(np.zeros(self.input_shape(point), np.float32), point)

    def _named(self, point: str | Point) -> Point:
        current = self.point
        try:
            return self.switch(point)
        finally:
            self.point = current

    def _runner(self, name: str) -> Any:
        if name not in self._runners:
            with captured():
                try:
                    self._runners[name] = self._interpreter.get_signature_runner(name)
                except (ValueError, RuntimeError) as error:
                    raise TfliteError(f"LiteRT cannot run {name}: {error}") from error
        return self._runners[name]


class LatencyController:
    """Keep an elastic model within a latency by moving between its points as the device allows.

    The file's latencies say how points compare; the device, loaded or hot, says by what factor all of
    them are slower now. That factor is the median over the last ``window`` runs, whatever point ran;
    the best point that is predicted to fit is taken. Going up needs ``margin`` to spare, so that a
    device at the limit does not swing between two points.
    """

    def __init__(self, model: ElasticModel, target_us: float, *, window: int = 9, margin: float = 0.1) -> None:
        if not target_us > 0 or window < 1 or not 0 <= margin < 1:
            raise TfliteError(
                f"target_us={target_us}, window={window}, margin={margin}; give a time above 0, at least 1 run, "
                "a share from 0 to below 1"
            )
        if not all(p.figures.get("latency", 0) > 0 for p in model.points):
            raise TfliteError("the file does not say the latency of its points, so they cannot be compared")
        self._model, self._target, self._margin = model, target_us, margin
        self._factors: deque[float] = deque(maxlen=window)

    def run(self, image: np.ndarray) -> np.ndarray:
        """Run the current point on an image, then choose the point for the next one."""
        start = time.perf_counter_ns()
        scores = self._model.run(image)
        self.observe((time.perf_counter_ns() - start) / 1000)
        return scores

    def observe(self, latency_us: float) -> Point:
        """Take note of a run of the current point, and switch to the point for the next one."""
        self._factors.append(latency_us / self._model.point.figures["latency"])
        factor = median(self._factors)
        return self._model.switch(self._best([p for p in self._model.points if self._fits(p, factor)]))

    def _fits(self, point: Point, factor: float) -> bool:
        room = 1.0 if point.figures["latency"] <= self._model.point.figures["latency"] else 1 - self._margin
        return point.figures["latency"] * factor <= self._target * room

    def _best(self, fitting: Sequence[Point]) -> Point:
        if not fitting:
            return min(self._model.points, key=lambda p: p.figures["latency"])
        return max(fitting, key=lambda p: (p.merit, -p.figures["latency"]))


def _opened(content: bytes, threads: int, name: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    if threads < 1:
        raise TfliteError(f"threads={threads}; at least 1 is needed")
    with captured():
        try:
            return Interpreter(model_content=content, num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise TfliteError(f"LiteRT cannot open {name}: {error}") from error


def _point(entry: dict[str, Any]) -> Point:
    try:
        figures = {name: float(entry[name]) for name in budget.UNITS if entry.get(name) is not None}
        score, rank = (None if entry.get(k) is None else float(entry[k]) for k in ("score", "rank_score"))
        return Point(entry["name"], entry.get("route", ""), score, figures, rank)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"a point in the file is not understood: {error}") from None
