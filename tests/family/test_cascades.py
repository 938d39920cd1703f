"""Cascades of a build: joined of its files, resumed, kept by later commands, made alike anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import colours
import numpy as np
import paths
import pytest
from stage_answers import CLASSES, candidate, labels

import restnet_tf
from restnet_tf.cascades.thresholds import hand
from restnet_tf.commands import link, verify
from restnet_tf.commands.build import Done
from restnet_tf.family import cascades, stage_runs
from restnet_tf.family.cascades import Rest, Scope
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CASCADE, DOMINATED, Cascade, OperatingPoint, Rating, Score
from restnet_tf.progress import Silent
from restnet_tf.run.directory import Run
from tflite_export import link as link_objects
from tflite_export.devices import host
from tflite_export.flatbuffer import only, read
from tflite_export.mixed import groups, maps, sensitivity
from tflite_export.mixed.maps import MapGroup, WidthMap, WidthTrial
from tflite_export.runtime import ElasticModel

QUICK = {"effort": 0.001, "max_points": 4, "fine_tune": "stitch", "controls": False, "precision": "float32"}
CHAIN = "L1-S1>large"


def built(folder: Path, out: Path, **options: Any) -> Done:
    models = {role: str(folder / f"{role}.keras") for role in ("large", "small")}
    return restnet_tf.build(**{**models, "data": str(folder / "data.npz"), "out": out, **QUICK, **options})


@pytest.fixture(scope="session")
def stitched(once: paths.Once) -> Path:
    """A folder with two models to cut, images, and a finished ``run`` with a stitched point as a first stage.

    ``killed`` is the run as it was when its cascades were about to be timed.
    """

    def fill(folder: Path) -> None:
        colours.stitchable(folder)
        timed = host.stage_latencies

        def kept(*args: Any, **how: Any) -> Any:
            if not (folder / "killed").exists():
                shutil.copytree(folder / "run", folder / "killed")
            return timed(*args, **how)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(host, "stage_latencies", kept)
            built(folder, folder / "run")

    return once("stitched", fill)


@pytest.fixture(scope="session")
def in_int8(stitched: Path, once: paths.Once) -> Path:
    """A folder with that run, which has gained int8, and what was ``said`` of it."""

    def fill(folder: Path) -> None:
        said = Said()
        link.link(shutil.copytree(stitched / "run", folder / "run"), said, precisions=["int8", "int8>float32"])
        (folder / "said").write_text("\n".join(said.lines))

    return once("stitched int8", fill)


@pytest.fixture
def run(stitched: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stitched / "run", tmp_path / "run")


def chains(run: Path) -> dict[str, OperatingPoint]:
    return {p.name: p for p in points.read(run / "points.json")[1] if p.kind == CASCADE}


def batch(folder: Path, n: int = 80) -> np.ndarray:
    with np.load(folder / "data.npz") as arrays:
        return np.asarray(arrays["x_test"][:n], np.float32)


def contents(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


def check_by_hand(run: Path, point: OperatingPoint, precision: str, x: np.ndarray) -> None:
    cascade, file = point.cascade, point.files[precision]
    assert cascade is not None
    assert file.dial is not None
    words = stage_runs.each(precision, len(cascade.stages))
    own = [Run(run).tflite_path(name, word).read_bytes() for name, word in zip(cascade.stages, words, strict=True)]
    apart = [host.scores(content, [x]) for content in own]
    for thresholds in (file.dial.thresholds, (0.0,) * len(file.dial.thresholds), (1.01,) * len(file.dial.thresholds)):
        scores, stage = host.answers((run / file.path).read_bytes(), [x], thresholds=thresholds)
        expected, place = hand(apart, thresholds, cascade.confidence)
        np.testing.assert_array_equal(stage, place)
        np.testing.assert_array_equal(scores, expected)


# ---- without networks ------------------------------------------------------------------------


def test_a_word_names_the_precision_of_each_stage() -> None:
    assert stage_runs.each("int8", 3) == ("int8",) * 3
    assert stage_runs.each("int8>float32", 3) == ("int8", "float32", "float32")
    assert stage_runs.title(["int8", "int8"]) == "int8"
    assert stage_runs.title(["int8", "float32"]) == "int8>float32"
    assert stage_runs.single(["float32", "int8>float32>int16x8"]) == ("float32", "int8", "int16x8")
    scope = Scope(None, ("float32",), 4, own={"b": "int8"})
    assert scope.of("float32>float16", ["a", "b", "c"]) == ("float32", "int8", "float16")


def test_a_stage_goes_on_from_a_front_of_its_own_precision() -> None:
    chain = Cascade(("a", "b", "c"), (1, 2, 3), "max", (0.5, 0.5), (1, 1, 1), (1, 1, 1), resumes=("b",))
    assert stage_runs.joinable(chain, ("int8", "int8", "float32"))
    assert not stage_runs.joinable(chain, ("int8", "float32", "float32"))
    rests = {"b": {"a": Rest(7, 8)}}
    assert cascades.resumes(Scope(None, ("int8>float32", "int8"), 4, rests=rests), "b") == {"a": 7}
    assert cascades.resumes(Scope(None, ("int8>float32",), 4, rests=rests), "b") == {}


def static(name: str, macs: int) -> OperatingPoint:
    unknown = Score.of(np.zeros(0, bool))
    return OperatingPoint(name, ANCHOR, f"the way of {name}", macs, macs // 10, unknown, unknown)


class Said(Silent):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def planned(skills: Mapping[str, float], n: int = 300, **scope: Any) -> tuple[tuple[OperatingPoint, ...], list[str]]:
    truth = labels(n)
    candidates = [candidate(name, skill, truth) for name, skill in skills.items()]
    statics, said = [static(c.name, c.macs) for c in candidates], Said()
    made = cascades.planned(candidates, statics, Scope(truth, ("float32",), 4, **scope), said)
    return made, said.lines


SKILLS = {"small": 0.5, "large": 2.0}


def test_a_chain_is_a_point_of_two_costs() -> None:
    (point,), lines = planned(SKILLS)
    assert (point.name, point.kind, point.macs, point.params) == ("small>large", CASCADE, 110_000_000, 11_000_000)
    assert point.route == "the way of small, where unsure the way of large"
    assert point.cascade is not None
    assert point.cascade.macs == (10_000_000, 100_000_000)
    assert 10_000_000 < point.mean_macs < 110_000_000
    assert not lines
    last = point.cascade.notches[-1]
    assert (last.thresholds, last.rank, last.test) == (point.cascade.thresholds, point.rank, point.test)
    means = [one.mean_macs for one in points.turned(point)]
    assert means == sorted(means)


def test_stages_are_shipped_in_the_precisions_that_they_are_joined_in() -> None:
    small, large, between = static("small", 10), static("large", 100), static("L1-S1", 50)
    rank = between.rank
    ratings = {"float32": Rating(1, 1, rank), "int8": Rating(1, 1, rank, DOMINATED)}
    family = [replace(p, kind=ANCHOR) for p in (small, large)] + [replace(between, ratings=ratings)]
    names = {
        word: [p.name for p in cascades._statics(family, Scope(None, (word,), 4))]
        for word in ("float32", "int8", "int8>float32")
    }
    whole = ["small", "L1-S1", "large"]
    assert names == {"float32": whole, "int8": ["small", "large"], "int8>float32": whole}
    both = "float32", "int8"
    absent: dict[str, Any] = {"shop": None, "scope": None, "labels": {}, "meta": {}, "earlier": {}}
    stock = cascades._Stock(**absent, there={"small": both, "L1-S1": ("float32",), "large": both})
    chain = Cascade(("small", "L1-S1"), (10, 50), "max", (0.5,), (1.0, 0.5), (1.0, 0.5))
    assert stock._hindrance(chain, ("float32", "float32")) == ""
    assert stock._hindrance(chain, ("int8", "int8")) == "L1-S1 int8 is not shipped"


def test_few_images_choose_nothing_and_are_told() -> None:
    assert planned(SKILLS, n=12) == (
        (),
        ["no cascades: 12 rank images are too few to choose thresholds on; 50 or more are needed"],
    )


def test_scores_that_are_no_probabilities_are_left_out_and_told() -> None:
    truth = labels()
    candidates = [candidate(name, skill, truth) for name, skill in (SKILLS | {"middle": 1.2}).items()]
    logits = {split: 9 * values for split, values in candidates[1].probabilities.items()}
    candidates[1] = type(candidates[1])("large", candidates[1].macs, logits)
    said = Said()
    statics = [static(c.name, c.macs) for c in candidates]
    made = cascades.planned(candidates, statics, Scope(truth, ("float32",), 4), said)
    assert [p.name for p in made] == ["small>middle"]
    assert said.lines == ["in no cascade: large, its scores are no probabilities; end the models in a softmax"]
    assert CLASSES > 2


# ---- of a build ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stitched_point_and_the_anchor_of_its_front_make_a_resumed_cascade(stitched: Path) -> None:
    point = chains(stitched / "run")[CHAIN]
    listed = {p.name: p for p in points.read(stitched / "run/points.json")[1]}
    first, large = listed["L1-S1"], listed["large"]
    assert point.cascade is not None
    assert point.cascade.resumes == ("large",)
    assert point.cascade.macs[0] == first.macs
    assert point.cascade.macs[1] < large.macs
    assert point.macs == sum(point.cascade.macs) < first.macs + large.macs
    assert point.params < first.params + large.params
    check_by_hand(stitched / "run", point, "float32", batch(stitched))
    joined = read((stitched / "run" / point.files["float32"].path).read_bytes())
    rest = [op for graph in joined.subgraphs[1:] for op in graph.operators if op.name == "CONV_2D"]
    whole = read((stitched / "run/tflite/large.float32.tflite").read_bytes())
    assert 0 < len(rest) < sum(op.name == "CONV_2D" for op in whole.subgraphs[0].operators)


@pytest.mark.slow
def test_the_elastic_file_holds_it_with_weights_once(stitched: Path) -> None:
    path = stitched / "run/elastic.float32.tflite"
    model, x = ElasticModel(path), batch(stitched, 20)
    own = (stitched / "run" / chains(stitched / "run")[CHAIN].files["float32"].path).read_bytes()
    scores, stage = host.answers(own, [x])
    assert set(stage.tolist()) == {0, 1}
    for image, row, place in zip(x, scores, stage, strict=True):
        np.testing.assert_array_equal(model.run(image, CHAIN), row)
        assert model.stage == place
    every = [t for graph in read(path.read_bytes()).subgraphs for t in graph.tensors if t.constant]
    buffers = {id(t.buffer): t.buffer.data.tobytes() for t in every}
    assert len(every) > len(buffers) == len(set(buffers.values()))


@pytest.mark.slow
def test_verify_takes_a_build_with_cascades(stitched: Path) -> None:
    checks = verify.check_run(stitched / "run", "float32", 40, Silent())
    verify.judge(checks)
    assert [v.point for v in checks.cascades] == [CHAIN] * 3
    assert {"small", "large", "L1-S1"} <= {v.point for v in checks.networks}


@pytest.mark.slow
def test_a_second_build_changes_nothing(stitched: Path, run: Path) -> None:
    before = contents(run)
    built(stitched, run)
    assert contents(run) == before


@pytest.mark.slow
def test_a_resumed_cascade_gains_a_precision_that_both_stages_have(stitched: Path, in_int8: Path) -> None:
    before, run = contents(stitched / "run"), in_int8 / "run"
    point = chains(run)[CHAIN]
    assert list(point.files) == ["float32", "int8"]  # what is resumed has one for both
    lines = (in_int8 / "said").read_text().splitlines()
    assert [line for line in lines if line.startswith(f"{CHAIN} has no file of int8>float32: large goes on")]
    for precision in point.files:
        check_by_hand(run, point, precision, batch(stitched))
    kept = [name for name in before if name.startswith("tflite/")]
    assert {name: contents(run)[name] for name in kept} == {name: before[name] for name in kept}


@pytest.mark.slow
def test_cascades_are_left_out_and_come_back(stitched: Path, run: Path) -> None:
    before = contents(run)
    built(stitched, run, cascades=0)
    assert not chains(run)
    assert not list((run / "tflite").glob("*-then-*"))
    assert CHAIN not in {p.name for p in ElasticModel(run / "elastic.float32.tflite").points}
    assert {p.kind for p in points.read(run / "points.json")[1]} >= {ANCHOR}
    built(stitched, run)
    assert {name: c for name, c in contents(run).items() if name.startswith("tflite/")} == {
        name: c for name, c in before.items() if name.startswith("tflite/")
    }


@pytest.mark.slow
def test_an_interrupted_build_goes_on_and_makes_the_same_files(
    stitched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First killed, then stopped by a person at the same place."""

    def stopped(*args: object, **how: object) -> None:
        raise KeyboardInterrupt

    shutil.copytree(stitched / "killed", tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(host, "stage_latencies", stopped)
        with pytest.raises(KeyboardInterrupt):
            built(stitched, tmp_path / "run")
    assert not (tmp_path / "run/points.json").exists()
    built(stitched, tmp_path / "run")
    parts = [contents(folder / "run") for folder in (stitched, tmp_path)]
    whole, later = ({name: c for name, c in part.items() if name.startswith("tflite/")} for part in parts)
    assert later == whole
    assert any("-then-" in name for name in whole)


@pytest.mark.slow
def test_anchors_alone_are_joined_where_no_point_is_asked_for(colours_to_cut: Path, tmp_path: Path) -> None:
    done = built(colours_to_cut, tmp_path / "run", max_points=0)
    assert {p.kind for p in done.points} == {ANCHOR, CASCADE}
    assert list(chains(done.path)) == ["small>large"]
    check_by_hand(done.path, chains(done.path)["small>large"], "float32", batch(colours_to_cut))
    (path,) = (done.path / "tflite").glob("*-then-*")
    (note,) = json.loads(read(path.read_bytes()).metadata["restnet_tf"].data.tobytes())["points"]
    assert note["cascade"]["stages"] == ["small", "large"]


@pytest.fixture(scope="session")
def colours_to_cut(colours: Path, once: paths.Once) -> Path:
    """``small`` and ``larger`` of ``colours``, which is ``large`` here."""

    def fill(folder: Path) -> None:
        shutil.copy(colours / "small.keras", folder / "small.keras")
        shutil.copy(colours / "larger.keras", folder / "large.keras")
        shutil.copy(colours / "data.npz", folder / "data.npz")

    return once("to cut", fill)


@pytest.mark.slow
def test_mixed_files_and_cascades_of_them_follow_the_map_of_the_run(
    stitched: Path, in_int8: Path, tmp_path: Path
) -> None:
    """With a map that is in the run already, as a person left it: whatever is made of the anchors follows it."""
    run, wide = shutil.copytree(in_int8 / "run", tmp_path / "run"), {}
    for role in ("large", "small"):
        eight = next((run / "objects").glob(f"{role}.int8.*.tflite")).read_bytes()
        every = groups.of(link_objects.Object(eight).graph)
        chosen = tuple(MapGroup(g.name, g.name.startswith("convolutions"), g.operators) for g in every)
        trial = WidthTrial(0.1, 1.0)
        one = WidthMap(chosen, sensitivity.LIMIT, 1, trial, trial)
        wide[role] = len(one.wide)
        (run / "mixed").mkdir(exist_ok=True)
        (run / "mixed" / f"{role}.json").write_bytes(maps.text(one))
    said = Said()
    link.link(run, said, precisions=["mixed"])
    for role in ("large", "small"):
        (line,) = (line for line in said.lines if line.startswith(f"{role} mixed:"))
        assert "convolutions" in line
    for role in ("large", "small"):
        content = next((run / "objects").glob(f"{role}.mixed.*.tflite")).read_bytes()
        convolved = [op for op in only(read(content)).operators if "CONV_2D" in op.name]
        assert sum(op.outputs[0].type == "INT16" for op in convolved) == wide[role] == len(convolved)
    point = chains(run)[CHAIN]
    check_by_hand(run, point, "mixed", batch(stitched))
    checks = verify.check_run(run, "mixed", 20, Silent())
    assert {v.point for v in checks.networks} >= {"L1-S1", "large"}
    names = {p.name for p in ElasticModel(run / "elastic.mixed.tflite").points}
    assert {"L1-S1", "large", CHAIN} <= names
