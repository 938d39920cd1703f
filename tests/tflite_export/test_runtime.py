"""An elastic file, opened: its points, running, choosing by a budget, keeping to a latency."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import networks
import numpy as np
import pytest

from restnet_tf.graph import cuts
from restnet_tf.records import Layout, Stitch
from restnet_tf.stitches.stitch import pipeline
from tflite_export import budget, link
from tflite_export.convert import compile_object
from tflite_export.devices.host import scores
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, read, write
from tflite_export.link import Object, Route
from tflite_export.precision import PRECISIONS
from tflite_export.runtime import ElasticModel, LatencyController, Point

pytestmark = pytest.mark.slow

SIDES = {"large": 16, "small": 8, "both": 16}
# Base units: counts, bytes, microseconds.
POINTS = (
    {"name": "small", "route": "small", "score": 0.6, "macs": 1e5, "flash": 2e3, "latency": 200},
    {"name": "both", "route": "large:0.0.out>small:0.0.out", "score": 0.8, "macs": 3e5, "flash": 3e3, "latency": 500},
    {"name": "large", "route": "large", "score": 0.9, "macs": 9e5, "flash": 8e3, "latency": 1000},
)
METADATA = {"points": POINTS, "labels": ["a", "b", "c"], "sources": {"latency": "a stopwatch"}}


@pytest.fixture(scope="module")
def routes() -> dict[str, dict[str, Route]]:
    """By precision: two anchors of different image sizes, and the front of one stitched to the back of the other."""
    anchors = {
        "large": networks.anchor((6, 16), 1, side=16, seed=1),
        "small": networks.anchor((8, 12), 1, side=8, seed=2),
    }
    rng = np.random.default_rng(4)
    kernel, bias = rng.normal(0, 0.4, (6, 8)).astype(np.float32), rng.normal(0, 0.2, 8).astype(np.float32)
    stitch = Stitch(kernel, bias, Layout((16, 16, 6)), Layout((8, 8, 8)), (0.0, None))
    found = {}
    for precision in PRECISIONS:
        objects = {}
        for role, anchor in anchors.items():
            tensor = {"0.0.out": cuts.tensor(anchor.model, "0.0.out")}
            calibration = [networks.images(16, side=SIDES[role])]
            objects[role] = Object(compile_object(anchor.model, tensor, precision, calibration))
        large, small = objects["large"], objects["small"]
        whole = {role: Route(one) for role, one in objects.items()}
        found[precision] = {**whole, "both": Route(large, "0.0.out", pipeline(stitch), small, "0.0.out")}
    return found


@pytest.fixture(scope="module")
def paths(routes, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("elastic")
    for precision, found in routes.items():
        content = link.elastic(found, precision=precision, metadata=METADATA)
        (folder / f"{precision}.tflite").write_bytes(content)
    return {precision: folder / f"{precision}.tflite" for precision in routes}


@pytest.fixture
def model(paths) -> ElasticModel:
    return ElasticModel(paths["int8"])


def image(name: str, seed: int = 7) -> np.ndarray:
    return networks.images(1, side=SIDES[name], seed=seed)[0]


def noted(path: Path, folder: Path, metadata: Any) -> Path:
    """A copy of a file with other notes, or none."""
    found = read(path.read_bytes())
    found.metadata.pop(link.METADATA)
    if metadata is not None:
        found.metadata[link.METADATA] = Buffer(np.frombuffer(json.dumps(metadata).encode(), np.uint8))
    (folder / "noted.tflite").write_bytes(write(found))
    return folder / "noted.tflite"


# --- what the file says ---------------------------------------------------------------------------


def test_points_are_those_that_the_linker_noted(model: ElasticModel):
    assert [p.name for p in model.points] == ["small", "both", "large"]
    assert model.points[1] == Point(
        "both", "large:0.0.out>small:0.0.out", 0.8, {"macs": 3e5, "flash": 3e3, "latency": 500.0}
    )
    assert model.labels == ("a", "b", "c")
    assert model.sources == {"latency": "a stopwatch"}


def test_the_best_point_is_the_first_to_run(model: ElasticModel):
    assert model.point.name == "large"


def test_unscored_points_are_taken_last_and_ties_go_to_the_cheaper(paths, tmp_path: Path):
    entries: list[Mapping[str, Any]] = [
        {"name": "large", "score": None},
        {"name": "both", "score": 0.5, "macs": 9},
        {"name": "small", "score": 0.5, "macs": 3},
    ]
    found = ElasticModel(noted(paths["int8"], tmp_path, {"points": entries}))
    assert found.point.name == "small"
    assert (found.labels, found.sources, found.points[0].score) == ((), {}, None)


def test_a_points_figures_are_its_attributes(model: ElasticModel):
    small = model.points[0]
    assert (small.macs, small.flash, small.latency, small.params, small.ram) == (1e5, 2e3, 200.0, None, None)
    assert {name for name in budget.UNITS if isinstance(getattr(Point, name), property)} == set(budget.UNITS)
    full = Point("p", "r", None, {name: float(place) for place, name in enumerate(budget.UNITS)})
    assert {name: getattr(full, name) for name in budget.UNITS} == full.figures


# --- running --------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_point_answers_as_its_single_file(routes, paths, precision: str):
    found = ElasticModel(paths[precision])
    found.warm()
    # In turns, so that one point's arena would show in another's answers.
    for seed in range(3):
        for name, wanted in routes[precision].items():
            x = image(name, seed)
            expected = scores(link.variant(wanted, precision=precision), [x[None]])[0]
            answer = found.run(x, name)
            assert (answer.shape, answer.dtype) == ((3,), np.float32)
            limit = 0 if precision in ("int8", "int16x8") else 1e-6
            np.testing.assert_allclose(answer, expected, atol=limit, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_finite_is_refused(paths, precision: str, value: float):
    found = ElasticModel(paths[precision])
    x = image("large").astype(np.float32)
    x[3, 5, 1] = value
    with pytest.raises(TfliteError, match=r"^1 of 768 values for .* are not finite \(NaN or infinite\); [^\n]*$"):
        found.run(x)
    assert np.isfinite(found.run(image("large"))).all()


def test_validation_decides_and_test_images_only_report(paths, tmp_path: Path):
    entries = [
        {"name": "large", "score": 0.9, "rank_score": 0.7, "latency": 9},
        {"name": "both", "score": 0.5, "rank_score": 0.8, "latency": 8},
        {"name": "small", "score": 0.6, "rank_score": 0.6, "latency": 2},
    ]
    found = ElasticModel(noted(paths["float32"], tmp_path, {"points": entries}))
    assert (found.point.name, found.point.score) == ("both", 0.5)
    assert found.select("latency<=100us").name == "both"


def test_answers_of_points_and_images_differ(model: ElasticModel):
    answers = [model.run(image("large", seed), name) for name in ("large", "both") for seed in range(2)]
    assert len({a.tobytes() for a in answers}) == 4


def test_an_answer_outlives_the_next_run(model: ElasticModel):
    first = model.run(image("large", 1))
    kept = first.copy()
    model.run(image("large", 2))
    np.testing.assert_array_equal(first, kept)


def test_a_switch_is_for_all_runs_that_follow(model: ElasticModel):
    expected = model.run(image("both"), "both")
    assert model.point.name == "large"  # that one image alone
    assert model.switch("both").name == "both"
    np.testing.assert_array_equal(model.run(image("both")), expected)
    assert model.switch(model.points[0]) is model.points[0]
    assert model.point is model.points[0]


def test_points_with_different_fronts_take_different_sizes(model: ElasticModel):
    assert [model.input_shape(name) for name in ("large", "small", "both")] == [(16, 16, 3), (8, 8, 3), (16, 16, 3)]
    model.switch("small")
    assert model.input_shape() == (8, 8, 3)


def test_a_point_that_is_not_there_is_refused_with_those_that_are(model: ElasticModel):
    for call in (model.switch, model.input_shape, lambda name: model.run(image("large"), name)):
        with pytest.raises(TfliteError, match="no point 'tiny' in the file; it has: small, both, large"):
            call("tiny")
    assert model.point.name == "large"


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 16, 16, 3), (16, 16), (16, 16, 1), ()])
def test_an_image_of_another_shape_is_refused(model: ElasticModel, shape: tuple[int, ...]):
    with pytest.raises(TfliteError, match=r"the image is .*; large takes \(16, 16, 3\)"):
        model.run(np.zeros(shape))


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ("macs<=1M", "large"),
        ("macs<=0.3M", "both"),
        ("macs<=299999", "small"),
        ("latency<=0.5ms", "both"),
        ("macs<=1M, flash<=3KB", "both"),
        ("macs<=100K, latency<=1s", "small"),
    ],
)
def test_the_best_point_within_a_budget_is_taken(model: ElasticModel, limits: str, name: str):
    assert model.select(limits).name == name
    assert model.point.name == name


def test_a_budget_that_no_point_meets_names_the_nearest(model: ElasticModel):
    with pytest.raises(TfliteError, match=r"the nearest, small, misses latency<=100us by 100%"):
        model.select("latency<=100us")
    assert model.point.name == "large"  # as it was


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ("speed<=3", "unknown budget term 'speed'"),
        ("", "is empty"),
        ("ram<=4KB", "does not say ram of its points"),
        ("macs<=1M, tflm.arena<=4KB", r"does not hold tflm\.arena: .*restnet-tf select RUN"),
        ("tflm.speed<=1", "unknown budget term"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(model: ElasticModel, limits: str, reason: str):
    with pytest.raises(TfliteError, match=reason):
        model.select(limits)


# --- files that cannot be used --------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(TfliteError, match=r"cannot read .*none\.tflite: No such file"):
        ElasticModel(tmp_path / "none.tflite")
    with pytest.raises(TfliteError, match="Is a directory"):
        ElasticModel(tmp_path)


def test_another_file_is_refused(tmp_path: Path):
    (tmp_path / "text.tflite").write_bytes(b"not at all a flatbuffer")
    with pytest.raises(TfliteError, match=r"not a \.tflite file"):
        ElasticModel(tmp_path / "text.tflite")


def test_a_file_that_litert_cannot_run_is_refused(paths, tmp_path: Path):
    """Well formed, but of an operator that no kernel is for."""
    found = read(paths["int8"].read_bytes())
    found.subgraphs[0].operators[0].code.version = 999
    (tmp_path / "new.tflite").write_bytes(write(found))
    with pytest.raises(TfliteError, match=r"LiteRT cannot (open|run)"):
        ElasticModel(tmp_path / "new.tflite").run(image("large"))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "no operating points in it"),
        ({}, "describes points that it does not hold: none"),
        ({"points": []}, "describes points that it does not hold: none"),
        ({"points": [*POINTS, {"name": "huge", "score": 1}]}, "describes points that it does not hold: huge"),
        ({"points": [{"score": 1}]}, "a point in the file is not understood"),
        ({"points": [{"name": "large", "macs": "many"}]}, "a point in the file is not understood"),
        ({"points": [{"name": "large", "score": "good"}]}, "a point in the file is not understood"),
        ({"points": ["large"]}, "a point in the file is not understood"),
        ({"points": None}, "describes points that it does not hold: none"),
    ],
)
def test_notes_that_do_not_fit_the_file_are_refused(paths, tmp_path: Path, metadata: Any, reason: str):
    with pytest.raises(TfliteError, match=reason):
        ElasticModel(noted(paths["int8"], tmp_path, metadata))


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused(paths, threads: int):
    with pytest.raises(TfliteError, match="at least 1"):
        ElasticModel(paths["int8"], threads=threads)


# --- a latency to keep to -------------------------------------------------------------------------


class Device:
    """A simulated device that needs ``slow`` times the latencies that the file says."""

    def __init__(self, model: ElasticModel, target_us: float, **options: Any) -> None:
        self.model, self.slow = model, 1.0
        self.controller = LatencyController(model, target_us, **options)
        self.visited: list[str] = []

    def runs(self, count: int = 1) -> str:
        for _ in range(count):
            latency = self.slow * self.model.point.figures["latency"]
            assert self.controller.observe(latency) is self.model.point
            self.visited.append(self.model.point.name)
        return self.model.point.name

    @property
    def switches(self) -> int:
        return sum(one != other for one, other in zip(self.visited, self.visited[1:], strict=False))


@pytest.mark.parametrize(("target", "name"), [(2000, "large"), (600, "both"), (300, "small")])
@pytest.mark.parametrize("first", ["large", "small"])
def test_the_best_point_within_the_target_is_reached(model: ElasticModel, target: float, name: str, first: str):
    model.switch(first)
    device = Device(model, target)
    assert device.runs(20) == name
    assert device.switches <= 1


def test_a_target_that_nothing_meets_gives_the_fastest_point(model: ElasticModel):
    assert Device(model, 10).runs() == "small"


def test_it_goes_down_when_the_device_slows_and_up_when_it_recovers(model: ElasticModel):
    device = Device(model, 1200, window=9)
    assert device.runs(20) == "large"
    device.slow = 2.0
    # More than half a window must have seen it: one slow run is none.
    assert device.runs(4) == "large"
    assert device.runs(2) == "both"
    assert device.runs(20) == "both"
    device.slow = 4.0
    assert device.runs(20) == "small"
    device.slow = 1.0
    assert device.runs(20) == "large"
    assert device.switches == 3


def test_a_single_slow_run_changes_nothing(model: ElasticModel):
    device = Device(model, 1200, window=5)
    device.runs(5)
    device.slow = 50
    device.runs(1)
    device.slow = 1
    assert device.runs(10) == "large"
    assert device.switches == 0


@pytest.mark.parametrize(("margin", "steady"), [(0.1, True), (0.0, False)])
def test_a_device_at_the_limit_does_not_swing_between_points(model: ElasticModel, margin: float, steady: bool):
    device, rng = Device(model, 1000, window=3, margin=margin), np.random.default_rng(0)
    for _ in range(300):
        device.slow = rng.uniform(0.95, 1.05)
        device.runs()
    assert (device.switches <= 1) == steady  # the margin is what does it


def test_going_up_needs_the_margin_to_spare_and_staying_does_not(model: ElasticModel):
    model.switch("both")
    device = Device(model, 1050, margin=0.1)
    assert device.runs(10) == "both"  # 1000 of 1050 us, but not of 945
    model.switch("large")
    assert device.runs(10) == "large"


def test_running_observes_and_answers(model: ElasticModel):
    expected = model.run(image("large"))
    controller = LatencyController(model, 1e9)
    np.testing.assert_array_equal(controller.run(image("large")), expected)
    assert model.point.name == "large"
    # A microsecond is too little for any of them: the clock was read.
    LatencyController(model, 1e-3).run(image("large"))
    assert model.point.name == "small"


@pytest.mark.parametrize(
    ("target", "options"),
    [(0, {}), (-5, {}), (100, {"window": 0}), (100, {"margin": 1.0}), (100, {"margin": -0.1}), (float("nan"), {})],
)
def test_bad_arguments_are_refused(model: ElasticModel, target: float, options: dict[str, Any]):
    with pytest.raises(TfliteError, match="give a time above 0"):
        LatencyController(model, target, **options)


@pytest.mark.parametrize("latency", [None, 0])
def test_points_without_a_latency_cannot_be_compared(paths, tmp_path: Path, latency: float | None):
    entries = [{**POINTS[0], "latency": latency}, *POINTS[1:]]
    found = ElasticModel(noted(paths["int8"], tmp_path, {"points": entries}))
    with pytest.raises(TfliteError, match="does not say the latency of its points"):
        LatencyController(found, 100)
