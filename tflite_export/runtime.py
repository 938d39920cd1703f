"""Run an elastic file: one interpreter, every operating point, switching without a reload.

Needs LiteRT and NumPy alone, so the file can go with it to a device that has no TensorFlow.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tflite_export import budget, link
from tflite_export.cascades import STAGE_KEY, threshold_key
from tflite_export.chatter import captured
from tflite_export.entries import ALWAYS, Point, described
from tflite_export.errors import TfliteError
from tflite_export.integers import dequantise, quantise
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY, SIGNATURE
from tflite_export.regulator import Regulator


class ElasticModel:
    """An elastic file, or a cascade's own, open and ready; begins at the point that ranks highest.

    ``stage`` is the place of the stage that answered the last image, 0 for the first and for what is no cascade.
    Not for use by several threads at once: all points run in one arena each of one interpreter. Raises
    TfliteError for a file that cannot be opened or that has no operating points in it.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise TfliteError(f"cannot read {path}: {error.strerror}") from None
        notes = link.points(content)
        self._interpreter = _opened(content, threads, str(path))
        self._runners: dict[str, Any] = {}
        self.points = tuple(described(entry) for entry in notes.get("points") or ())
        self.labels: tuple[str, ...] = tuple(notes.get("labels") or ())
        self.sources: dict[str, str] = notes.get("sources", {})
        signatures = self._interpreter.get_signature_list()
        self._keys = _keys(self.points, signatures)
        absent = {p.name for p in self.points} - set(self._keys)
        if absent or not self.points:
            raise TfliteError(f"{path} describes points that it does not hold: {', '.join(sorted(absent)) or 'none'}")
        for point in self.points:
            _check_thresholds(point, signatures[self._keys[point.name]]["inputs"], path)
        self.stage = 0
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

        Of a cascade these are its worst case; ``mean.macs<=20M`` and ``mean.latency`` limit the mean of all images.
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
        missing = [t.name for t in terms if any(t.name not in p.costs for p in self.points)]
        if missing:
            raise TfliteError(f"the file does not say {missing[0]} of its points")
        fitting = [p for p in self.points if not budget.over(terms, p.costs)]
        if not fitting:
            nearest = min(self.points, key=lambda p: max(budget.over(terms, p.costs).values()))
            missed = budget.over(terms, nearest.costs)
            words = ", ".join(f"{t.text} by {share:.0%}" for t, share in missed.items())
            raise TfliteError(f"no point meets the budget; the nearest, {nearest.name}, misses {words}")
        return self.switch(max(fitting, key=lambda p: (p.merit, -p.figures.get("macs", 0.0))))

    def run(
        self, image: np.ndarray, point: str | Point | None = None, thresholds: Sequence[float] | None = None
    ) -> np.ndarray:
        """Scores ``(classes,)`` float32 of one raw image ``(h, w, c)`` of 0..255; ``stage`` says which stage gave them.

        Signals ``(t, c)`` and other values are taken as the training data had them.
        ``point`` is for this image alone; None takes the current one. ``thresholds``, one behind each stage but the
        last, turn a cascade's dial for this image: at 0 that stage always answers, above 1 it never does; None takes
        those that the file was tried with. Raises TfliteError for an image of another shape: points with different
        fronts may take different sizes (``input_shape``); for one with values that are not finite; and for thresholds
        that are not the cascade's.
        """
        current = self.point if point is None else self.named(point)
        runner = self._runner(current.name)
        entry = runner.get_input_details()[INPUT_KEY]
        shape = tuple(int(size) for size in entry["shape"][1:])
        if np.shape(image) != shape:
            raise TfliteError(f"the image is {np.shape(image)}; {current.name} takes {shape}")
        dial = _dial(current, thresholds)
        outputs = runner(**{INPUT_KEY: quantise(np.asarray(image), entry)[None], **dial})
        self.stage = int(outputs[STAGE_KEY][0]) if current.cascade else 0
        return dequantise(outputs[OUTPUT_KEY][0], runner.get_output_details()[OUTPUT_KEY])

    def input_shape(self, point: str | Point | None = None) -> tuple[int, ...]:
        """``(h, w, c)`` of the images that a point, or the current one, takes; ``(t, c)`` of signals."""
        current = self.point if point is None else self.named(point)
        shape = self._runner(current.name).get_input_details()[INPUT_KEY]["shape"]
        return tuple(int(size) for size in shape[1:])

    def warm(self) -> None:
        """Run every point once, all stages of it: the first run of each packs its weights, which takes milliseconds."""
        for point in self.points:
            everywhere = (ALWAYS,) * len(point.cascade.thresholds) if point.cascade else None
            self.run(np.zeros(self.input_shape(point), np.float32), point, everywhere)
        self.stage = 0

    def named(self, point: str | Point) -> Point:
        """A point by its name; raises TfliteError that lists the points."""
        current = self.point
        try:
            return self.switch(point)
        finally:
            self.point = current

    def _runner(self, name: str) -> Any:
        if name not in self._runners:
            with captured():
                try:
                    self._runners[name] = self._interpreter.get_signature_runner(self._keys[name])
                except (ValueError, RuntimeError) as error:
                    raise TfliteError(f"LiteRT cannot run {name}: {error}") from error
        return self._runners[name]


class LatencyController:
    """Keep an elastic model within a latency by moving between its points as the device allows.

    The file's latencies say how points compare; the device, loaded or hot, says by what factor all of
    them are slower now. That factor is the median over the last ``window`` runs, whatever point ran;
    the best point that is predicted to fit is taken, a cascade by its worst case. Going up needs ``margin`` to
    spare, so that a device at the limit does not swing between two points.
    """

    def __init__(self, model: ElasticModel, target_us: float, *, window: int = 9, margin: float = 0.1) -> None:
        if not target_us > 0 or window < 1 or not 0 <= margin < 1:
            raise TfliteError(
                f"target_us={target_us}, window={window}, margin={margin}; give a time above 0, at least 1 run, "
                "a share from 0 to below 1"
            )
        if not all(p.figures.get("latency", 0) > 0 and _taken(p, 0) > 0 for p in model.points):
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
        self._factors.append(latency_us / _taken(self._model.point, self._model.stage))
        factor = median(self._factors)
        return self._model.switch(self._best([p for p in self._model.points if self._fits(p, factor)]))

    def _fits(self, point: Point, factor: float) -> bool:
        room = 1.0 if point.figures["latency"] <= self._model.point.figures["latency"] else 1 - self._margin
        return point.figures["latency"] * factor <= self._target * room

    def _best(self, fitting: Sequence[Point]) -> Point:
        if not fitting:
            return min(self._model.points, key=lambda p: p.figures["latency"])
        return max(fitting, key=lambda p: (p.merit, -p.figures["latency"]))


class MeanCostController:
    """Hold the mean cost of a cascade by turning its dial after every image, through whatever comes.

    The mean of any ``window`` images in a row, the first ones too, is within ``tolerance`` of the target, also where
    the images become harder half-way: then fewer of them go on than would at the file's thresholds. This holds
    whatever the images are (``tflite_export.regulator``), as long as the stages cost what ``added`` says. A longer
    window keeps the thresholds steadier.

    ``cost`` is "macs", counted by the stages that ran, or "latency" in microseconds, by the clock; the file says what
    each stage adds. ``added`` gives that for this device, or for a cost of any other name, such as the energy of an
    image; a caller that has a meter runs the model itself with ``thresholds`` and reports each cost to ``observe``.
    Raises TfliteError for a point that is no cascade, for a target that its stages cannot have as a mean, and for a
    window that is too short.
    """

    def __init__(
        self,
        model: ElasticModel,
        point: str | Point,
        target: float,
        cost: str = "macs",
        *,
        added: Sequence[float] | None = None,
        window: int = 1000,
        tolerance: float = 0.05,
    ) -> None:
        self._model, self._point, self._cost = model, model.named(point), cost
        cascade = self._point.cascade
        if cascade is None:
            cascades = ", ".join(p.name for p in model.points if p.cascade) or "none"
            raise TfliteError(
                f"{self._point.name} is no cascade, it has no dial to turn; the file's cascades: {cascades}"
            )
        named = {"macs": cascade.macs, "latency": cascade.latency}
        self._added = tuple(named.get(cost, ()) if added is None else added)
        if not self._added:
            raise TfliteError(f"the file does not say {cost!r} of its stages; give added, what each of them adds")
        self._regulator = Regulator(cascade, self._added, target, window=window, tolerance=tolerance)
        self._costs: deque[float] = deque(maxlen=window)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Those for the next image."""
        return self._regulator.thresholds

    @property
    def mean(self) -> float | None:
        """Of the last ``window`` costs, or of as many as there are; None before the first."""
        return sum(self._costs) / len(self._costs) if self._costs else None

    def run(self, image: np.ndarray) -> np.ndarray:
        """Scores of an image as ``ElasticModel.run`` gives them; its cost turns the dial for the next one."""
        start = time.perf_counter_ns()
        scores = self._model.run(image, self._point, self.thresholds)
        took = (time.perf_counter_ns() - start) / 1000
        self.observe(took if self._cost == "latency" else sum(self._added[: self._model.stage + 1]))
        return scores

    def observe(self, cost: float) -> None:
        """Take note of what an image cost that ran at ``thresholds``, and turn the dial for the next one."""
        self._regulator.observe(cost)
        self._costs.append(cost)


def _opened(content: bytes, threads: int, name: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    if threads < 1:
        raise TfliteError(f"threads={threads}; at least 1 is needed")
    with captured():
        try:
            return Interpreter(model_content=content, num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise TfliteError(f"LiteRT cannot open {name}: {error}") from error


def _keys(points: Sequence[Point], signatures: Collection[str]) -> dict[str, str]:
    """The signatures of points by their names; a point alone in a file has the one that every single file has."""
    if len(points) == 1 and points[0].name not in signatures and SIGNATURE in signatures:
        return {points[0].name: SIGNATURE}
    return {p.name: p.name for p in points if p.name in signatures}


def _check_thresholds(point: Point, inputs: Sequence[str], path: str | Path) -> None:
    """Refuse an entry that is of another network than the signature."""
    count = len(point.cascade.thresholds) if point.cascade else 0
    described, there = {threshold_key(n) for n in range(count)}, set(inputs) - {INPUT_KEY}
    if described != there:
        takes, words = ", ".join(sorted(there)) or "none", ", ".join(sorted(described)) or "none"
        raise TfliteError(f"{path} describes {point.name} with other thresholds ({words}) than it takes ({takes})")


def _taken(point: Point, stage: int) -> float:
    """Microseconds of a run by the file: of a cascade, up to the stage that answered."""
    return sum(point.cascade.latency[: stage + 1]) if point.cascade else point.figures["latency"]


def _dial(point: Point, thresholds: Sequence[float] | None) -> dict[str, np.ndarray]:
    """The inputs of a point beside the image."""
    if point.cascade is None:
        if thresholds is not None:
            raise TfliteError(f"{point.name} is no cascade and takes no thresholds, but thresholds={thresholds}")
        return {}
    count = len(point.cascade.thresholds)
    try:
        values = np.asarray(point.cascade.thresholds if thresholds is None else thresholds, np.float32)
    except (TypeError, ValueError):
        values = np.full(count, np.nan, np.float32)
    if values.shape != (count,) or np.isnan(values).any():
        raise TfliteError(
            f"thresholds={thresholds}; {point.name} takes {count}, each a number: at 0 that stage always answers,"
            " above 1 it never does"
        )
    return {threshold_key(n): values[n : n + 1] for n in range(count)}
