"""Cascades in an elastic file and in their own, opened: running, thresholds, budgets, a mean cost to hold."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import networks
import numpy as np
import pytest

from tflite_export import cascades, link
from tflite_export.cascades import Stage
from tflite_export.confidence import CONFIDENCES
from tflite_export.convert import compile_object
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Model, Signature, Subgraph, called, read, write
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY
from tflite_export.runtime import ElasticModel, LatencyController, MeanCostController

pytestmark = pytest.mark.slow

PAIR, THREE = "small>large", "small>middle>large"
SIZES = {"small": ((4, 6), 1, 2), "middle": ((6, 8), 1, 4), "large": ((6, 10), 3, 1)}
DIAL = {
    "stages": ["small", "large"],
    "confidence": "max",
    "thresholds": [0.5],
    "macs": [1e4, 9e4],
    "latency": [100, 900],
    "reach": [1.0, 0.5],
    "curve": [{"thresholds": [0.45], "reach": [1.0, 0.25], "score": 0.7}],
}
DIALS = {**DIAL, "stages": ["small", "middle", "large"], "thresholds": [0.5, 0.45], "reach": [1.0, 0.5, 0.2]}
DIALS |= {"macs": [1e4, 3e4, 9e4], "latency": [100, 300, 900], "curve": []}
CASCADE = {"name": PAIR, "kind": "cascade", "rank_score": 0.9, "macs": 1e5, "latency": 1000, "cascade": DIAL}
ENTRIES = (
    {"name": "small", "rank_score": 0.6, "macs": 1e4, "latency": 100},
    {"name": "large", "rank_score": 0.8, "macs": 9e4, "latency": 900},
    CASCADE | {"mean_macs": 5.5e4, "mean_latency": 550},
    {"name": THREE, "rank_score": 0.7, "macs": 1.3e5, "latency": 1300, "mean_macs": 4.3e4, "cascade": DIALS},
)


def graph(content: bytes) -> Subgraph:
    return link.subgraph(link.Route(link.Object(content)), "float32", share=False)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Each network's own."""
    found = {}
    for name, (widths, blocks, seed) in SIZES.items():
        anchor = networks.anchor(widths, blocks, seed=seed, name=name)
        found[name] = compile_object(anchor.model, {}, "float32", [])
    return found


def elastic(files: dict[str, bytes], entries: Any) -> bytes:
    """Signatures of two networks, a cascade of them, and one of three."""
    signatures = []
    for name in ("small", "large"):
        own = graph(files[name])
        signatures.append(Signature(name, own, {INPUT_KEY: own.inputs[0]}, {OUTPUT_KEY: own.outputs[0]}))
    for name in (PAIR, THREE):
        stages = [Stage(graph(files[stage])) for stage in name.split(">")]
        signatures.append(cascades.signature(stages, "max", name))
    model = Model(called([s.subgraph for s in signatures]), signatures)
    link.finish(model, [read(content) for content in files.values()], {"points": entries})
    return write(model)


@pytest.fixture(scope="module")
def path(files, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("elastic") / "elastic.float32.tflite"
    place.write_bytes(elastic(files, ENTRIES))
    return place


@pytest.fixture
def model(path: Path) -> ElasticModel:
    return ElasticModel(path)


def noted(path: Path, folder: Path, entries: Any) -> Path:
    """A copy of a file with other points in its notes."""
    copy = read(path.read_bytes())
    copy.metadata[link.METADATA] = Buffer(np.frombuffer(json.dumps({"points": entries}).encode(), np.uint8))
    (folder / "noted.tflite").write_bytes(write(copy))
    return folder / "noted.tflite"


def sure(model: ElasticModel, images: np.ndarray, name: str = "small") -> np.ndarray:
    return CONFIDENCES["max"].of(np.stack([model.run(x, name) for x in images]))


# --- running --------------------------------------------------------------------------------------


def test_a_cascade_answers_as_the_stage_that_is_sure_enough(model: ElasticModel):
    images = networks.images(20)
    confidences = sure(model, images)
    middle = float(np.sort(confidences)[10])
    for x, confidence in zip(images, confidences, strict=True):
        scores = model.run(x, PAIR, (middle,))
        assert model.stage == int(confidence < middle)
        stage = ("small", "large")[model.stage]
        np.testing.assert_array_equal(scores, model.run(x, stage))
        assert model.stage == 0  # a network alone


def test_the_thresholds_of_the_file_are_taken_where_none_are_given(model: ElasticModel, path: Path, tmp_path: Path):
    images = networks.images(20)
    confidences = sure(model, images)
    middle = float(np.sort(confidences)[10])
    entries = [*ENTRIES[:2], {**CASCADE, "cascade": DIAL | {"thresholds": [middle]}}, ENTRIES[3]]
    found = ElasticModel(noted(path, tmp_path, entries))
    found.switch(PAIR)
    stages = []
    for x in images:
        found.run(x)
        stages.append(found.stage)
    assert stages == (confidences < np.float32(middle)).astype(int).tolist()


@pytest.mark.parametrize(
    ("thresholds", "stage"),
    [((0, 0), 0), ((-1, 2), 0), ((1.1, 0), 1), ((2, 2), 2), ((np.inf, np.inf), 2), ((-np.inf, 0), 0)],
)
def test_0_always_answers_and_above_1_always_goes_on(model: ElasticModel, thresholds: tuple[float, float], stage: int):
    model.run(networks.images(1)[0], THREE, thresholds)
    assert model.stage == stage


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.5), (float("nan"),), 0.5, "ab", ("a",), [[0.5]]])
def test_thresholds_that_are_not_the_cascades_are_refused(model: ElasticModel, thresholds: Any):
    with pytest.raises(TfliteError, match=rf"^thresholds=.*; {PAIR} takes 1, each a number: at 0 that stage [^\n]*$"):
        model.run(networks.images(1)[0], PAIR, thresholds)


def test_a_network_takes_no_thresholds(model: ElasticModel):
    with pytest.raises(TfliteError, match=r"large is no cascade and takes no thresholds, but thresholds=\(0.5,\)"):
        model.run(networks.images(1)[0], "large", (0.5,))


def test_warming_runs_every_stage(model: ElasticModel, monkeypatch: pytest.MonkeyPatch):
    ran = []
    run = model.run

    def noting(*arguments: Any) -> np.ndarray:
        scores = run(*arguments)
        ran.append(model.stage)
        return scores

    monkeypatch.setattr(model, "run", noting)
    model.warm()
    assert ran == [0, 0, 1, 2]


def test_a_cascades_own_file_opens_alike(model: ElasticModel, files, tmp_path: Path):
    stages = [Stage(graph(files[name])) for name in ("small", "large")]
    own = tmp_path / "small-then-large.float32.tflite"
    entry = {**CASCADE, "cascade": {name: value for name, value in DIAL.items() if name != "latency"}}
    own.write_bytes(cascades.file(stages, "max", {"points": [entry]}))
    alone = ElasticModel(own)
    assert (alone.point.name, alone.input_shape()) == (PAIR, (8, 8, 3))
    alone.warm()
    for x in networks.images(6):
        for thresholds in ((0.0,), (0.5,), (1.1,)):
            expected = model.run(x, PAIR, thresholds)
            np.testing.assert_array_equal(alone.run(x, thresholds=thresholds), expected)
            assert alone.stage == model.stage
    # Latencies are not in it: they are another machine's.
    with pytest.raises(TfliteError, match="does not say 'latency' of its stages; give added"):
        MeanCostController(alone, PAIR, 500.0, "latency")
    assert MeanCostController(alone, PAIR, 500.0, "latency", added=(100.0, 900.0)).thresholds
    with pytest.raises(TfliteError, match="does not say the latency of its points"):
        LatencyController(alone, 500)


# --- what the file says ---------------------------------------------------------------------------


def test_a_cascades_entry_is_read(model: ElasticModel):
    point = model.points[2]
    assert point.cascade is not None
    assert (point.macs, point.mean) == (1e5, {"macs": 5.5e4, "latency": 550.0})
    assert (point.cascade.stages, point.cascade.confidence) == (("small", "large"), "max")
    assert (point.cascade.thresholds, point.cascade.reach) == ((0.5,), (1.0, 0.5))
    assert (point.cascade.macs, point.cascade.latency) == ((1e4, 9e4), (100.0, 900.0))
    assert [(p.thresholds, p.reach, p.score) for p in point.cascade.curve] == [((0.45,), (1.0, 0.25), 0.7)]
    assert model.points[0].cascade is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stages": ["small"]}, r"cascade.stages: two names or more"),
        ({"stages": "small>large"}, r"cascade.stages: two names or more"),
        ({"confidence": None}, "cascade.confidence: a name"),
        ({"thresholds": [0.5, 0.5]}, r"cascade.thresholds: 1 numbers of 0 or more belong here, not \[0.5, 0.5\]"),
        ({"thresholds": ["a"]}, "cascade.thresholds: 1 numbers"),
        ({"thresholds": [float("nan")]}, "cascade.thresholds: 1 numbers"),
        ({"macs": [1e4]}, "cascade.macs: 2 numbers"),
        ({"latency": [1]}, "cascade.latency: 2 numbers"),
        ({"latency": [1, -1]}, "cascade.latency: 2 numbers"),
        ({"reach": [0.5, 1.0]}, "cascade.reach: shares from 1 down"),
        ({"curve": 3}, "cascade.curve: a list"),
        ({"curve": [3]}, r"cascade.curve\[0\]: an object"),
        ({"curve": [{"thresholds": [0.5]}]}, r"cascade.curve\[0\].reach: 2 numbers"),
    ],
)
def test_an_entry_that_is_broken_is_refused(path: Path, tmp_path: Path, change: dict[str, Any], reason: str):
    entries = [*ENTRIES[:2], {**CASCADE, "cascade": DIAL | change}, ENTRIES[3]]
    with pytest.raises(TfliteError, match=rf"^a point in the file is not understood: {reason}[^\n]*$"):
        ElasticModel(noted(path, tmp_path, entries))


def test_an_entry_of_another_network_is_refused(path: Path, tmp_path: Path):
    for entry in ({"name": THREE}, {"name": THREE, "cascade": DIAL}):
        with pytest.raises(TfliteError, match=f"describes {THREE} with other thresholds .*threshold_1, threshold_2"):
            ElasticModel(noted(path, tmp_path, [entry]))
    with pytest.raises(TfliteError, match="a point in the file is not understood: cascade: an object belongs here"):
        ElasticModel(noted(path, tmp_path, [{"name": PAIR, "cascade": [3]}]))


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ("mean.macs<=60K, macs<=140K", PAIR),
        ("mean.macs<=60K, macs<=99K", "small"),
        ("mean.macs<=50K", THREE),
        ("mean.macs<=40K", "small"),
        ("macs<=99K", "large"),
        ("latency<=1s", PAIR),
    ],
)
def test_a_budget_knows_both_costs(path: Path, tmp_path: Path, limits: str, name: str):
    assert ElasticModel(path).select(limits).name == name


def test_the_nearest_miss_of_a_mean_is_told_and_a_mean_that_is_not_there(model: ElasticModel):
    with pytest.raises(TfliteError, match=r"the nearest, small, misses mean.macs<=5K by 100%"):
        model.select("mean.macs<=5K")
    with pytest.raises(TfliteError, match=r"the file does not say mean\.latency of its points"):
        model.select("mean.latency<=1s")
    with pytest.raises(TfliteError, match=r"the file does not hold mean\.host\.latency"):
        model.select("mean.host.latency<=1s")


# --- costs to keep to -----------------------------------------------------------------------------


def test_the_worst_case_of_a_cascade_is_kept_to_whichever_stage_answered(model: ElasticModel):
    controller = LatencyController(model, 1200)
    x = networks.images(1)[0]
    for threshold, latency in ((0.0, 100), (2.0, 1000)) * 10:
        model.run(x, PAIR, (threshold,))
        assert controller.observe(latency).name == PAIR  # as fast as the file says, whoever answered
    model.run(x, PAIR, (0.0,))
    controller = LatencyController(model, 1200)
    assert controller.observe(130).name == "large"  # a slower device: 1000 would take 1300


def stream(n: int) -> np.ndarray:
    """Images of which the first half is easier: from a pool by how sure the small network is of them."""
    rng = np.random.default_rng(5)
    return np.concatenate([rng.integers(120, 200, n // 2), rng.integers(0, 80, n - n // 2)])


def test_a_mean_is_held_through_images_that_become_harder(model: ElasticModel):
    pool = networks.images(200)
    pool = pool[np.argsort(sure(model, pool))]
    target, window = 4e4, 400
    controller = MeanCostController(model, PAIR, target, window=window)
    paid = {"held": [], "fixed": []}
    fixed = controller.thresholds
    for number in stream(3000):
        before = controller.thresholds
        scores = controller.run(pool[number])
        stage = model.stage
        paid["held"].append(sum((1e4, 9e4)[: stage + 1]))
        np.testing.assert_array_equal(scores, model.run(pool[number], PAIR, before))
        model.run(pool[number], PAIR, fixed)
        paid["fixed"].append(sum((1e4, 9e4)[: model.stage + 1]))
    held, left = (np.convolve(paid[way], np.full(window, 1 / window), "valid") for way in ("held", "fixed"))
    assert np.abs(held / target - 1).max() < 0.05
    assert np.abs(left / target - 1).max() > 0.5
    assert controller.mean == pytest.approx(held[-1])


def test_a_mean_latency_is_read_from_the_clock_and_any_cost_is_reported(model: ElasticModel):
    x = networks.images(1)[0]
    controller = MeanCostController(model, PAIR, 500.0, "latency")
    assert controller.mean is None
    controller.run(x)
    assert controller.mean is not None
    assert controller.mean not in (100.0, 1000.0)
    energy = MeanCostController(model, THREE, 3.0, "energy", added=(1.0, 1.0, 5.0))
    before = energy.thresholds
    model.run(x, THREE, before)
    energy.observe(2.5)
    energy.observe(1.5)
    assert energy.mean == 2.0
    assert all(later > earlier for earlier, later in zip(before, energy.thresholds, strict=True))


def test_the_mean_is_that_of_the_window(model: ElasticModel):
    controller = MeanCostController(model, PAIR, 5e4, window=100)
    for cost in [9e4] * 50 + [5e4] * 100:
        controller.observe(cost)
    assert controller.mean == 5e4


def test_what_no_dial_can_hold_is_refused(model: ElasticModel):
    with pytest.raises(TfliteError, match=f"large is no cascade, .*; the file's cascades: {PAIR}, {THREE}"):
        MeanCostController(model, "large", 5e4)
    with pytest.raises(TfliteError, match="no point 'huge' in the file"):
        MeanCostController(model, "huge", 5e4)
    with pytest.raises(TfliteError, match="the file does not say 'energy' of its stages; give added"):
        MeanCostController(model, PAIR, 5e4, "energy")
    with pytest.raises(TfliteError, match=r"a mean of 5000 cannot be held: .* it is 10000 where .*, and 100000 where"):
        MeanCostController(model, PAIR, 5e3)
    with pytest.raises(TfliteError, match="window=10 is too short"):
        MeanCostController(model, PAIR, 5e4, window=10)
