"""`build --method snnet` from end to end on small anchors: its files, going on after interruptions, bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import networks
import numpy as np
import paths
import points_schema
import pytest
from click.testing import CliRunner, Result

from restnet_tf.anchors import applications, training
from restnet_tf.cli.main import main
from restnet_tf.commands import build as job
from restnet_tf.commands import verify
from restnet_tf.family import opening
from restnet_tf.family.references import of_family
from restnet_tf.methods.snnet import method, outlook, steps
from restnet_tf.methods.snnet.options import Options
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CONTROL, DISTILLED, SHIPPED, STITCHED
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.work import sources as work
from restnet_tf.work import times
from tflite_export.runtime import ElasticModel

# Everything of a real build, with hardly any training: what is tested here is not how well it learns.
QUICK = Options(effort=0.0002, precision="float32", ship_all=True)
FAMILY: tuple[str, ...] = ("large", "small", "middle")
ROUTES: dict[str, Any] = {"two_stitch": True}


@pytest.fixture(scope="session")
def sources(once: paths.Once) -> Path:
    """Three anchors of equal depth and one of another, of three classes, and images as ``.npz``."""
    return once("snnet sources", save_sources)


def save_sources(folder: Path) -> None:
    widths = {"small": ((4, 6), 1), "middle": ((6, 8), 1), "large": ((8, 12), 1), "deep": ((8, 12), 2)}
    for seed, (name, (width, blocks)) in enumerate(widths.items()):
        (folder / f"{name}.keras").write_bytes(
            training.as_file(networks.anchor(width, blocks, convolutions=1, seed=seed, name=name).model)
        )
    twin = networks.anchor((4, 6), 1, convolutions=1, seed=9, name="twin")
    (folder / "twin.keras").write_bytes(training.as_file(twin.model))
    images, labels = networks.images(160), np.arange(160) % networks.CLASSES
    np.savez(folder / "data.npz", x=images, y=labels)
    np.savez(folder / "unlabelled.npz", x=images)


def asked(sources: Path, out: Path, *names: str, **changes: Any) -> Options:
    files = tuple(str(sources / f"{name}.keras") for name in names)
    return replace(QUICK, anyway=True, anchor=files, data=str(sources / "data.npz"), out=out, **changes)


def build(question: Options, report: Any = None) -> job.Done:
    return job.build("snnet", question, report or Silent())


def settled(folder: Path) -> dict[str, bytes]:
    """The files that the inputs decide to the byte: all but those that hold latencies of this host."""
    timed = ("points.json", "points.png", "times.json", ".lock")
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {
        n: p.read_bytes()
        for p in files
        if (n := str(p.relative_to(folder))) not in timed and not n.startswith(("elastic.", "cache/"))
    }


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


class Interrupted(Silent):
    """Presses Ctrl-C once in every stage: at its third sign of progress, or when the next stage begins."""

    def __init__(self, known: set[str]) -> None:
        super().__init__()
        self._known, self._now, self._signs = known, "", 0

    def stage(self, title: str) -> None:
        self._strike()
        self._now, self._signs = title, 0

    def progress(self, done: int, total: int) -> None:
        self._signs += 1
        if self._signs == 3:
            self._strike()

    def _strike(self) -> None:
        if self._now and self._now not in self._known:
            self._known.add(self._now)
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def run(sources: Path, once: paths.Once) -> Path:
    """Three anchors with two-stitch routes, uninterrupted."""

    def fill(folder: Path) -> None:
        report = Listening()
        build(asked(sources, folder / "run", *FAMILY, **ROUTES), report)
        (folder / "said").write_text("\n".join(report.said), encoding="utf-8")

    return once("snnet", fill) / "run"


@pytest.mark.slow
def test_what_it_takes_is_said_first_and_the_work_is_what_was_foretold(run: Path, sources: Path) -> None:
    """Within a factor of 2."""
    said = (run.parent / "said").read_text(encoding="utf-8")
    assert re.search(r"about .* here, .* of memory a process, .* of disk in .*/run$", said, re.MULTILINE)
    family = method.open(asked(sources, run, *FAMILY, **ROUTES), Silent())
    plans = [p for p in plans_file.read_plans(run / "plans.json") if p.status == "chosen"]
    fits = [fit for name in Run(run).fitted_names() if (fit := Run(run).load_fitted(name)) is not None]
    work = sum(rung.work for fit in fits for rung in fit.rungs)
    told = outlook.fitting(family, plans)
    assert len(fits) == len(plans) + 2
    assert 0.5 < told.work / work < 2


@pytest.mark.slow
def test_every_configuration_is_measured_and_the_anchors_have_letters_by_cost(run: Path):
    meta, found = points.read(run / "points.json")
    assert meta["anchors"] == {"A": "small", "B": "middle", "C": "large"}
    macs = {p.name: p.macs for p in found}
    assert macs["A"] < macs["B"] < macs["C"]
    plans = json.loads((run / "plans.json").read_text())["plans"]
    chosen = {p["name"] for p in plans if p["status"] == "chosen"}
    assert {p.name for p in found if p.kind == STITCHED} == chosen
    assert len(chosen) >= 8
    assert any(len(p["route"]) == 3 for p in plans if p["status"] == "chosen")
    assert all(p["reason"] for p in plans if p["status"] == "rejected")
    assert [p.name for p in found if p.kind == DISTILLED] == ["A*"]
    assert [p.name for p in found if p.kind == CONTROL] == ["random-front"]


@pytest.mark.slow
def test_each_configuration_is_scored_by_a_task_of_its_own_and_all_are_trained_by_one(run: Path):
    plans = [p for p in plans_file.read_plans(run / "plans.json") if p.status == "chosen"]
    (call,) = times.read(run / "times.json").calls
    titles = [task.title for task in call.tasks if not task.alone]
    assert titles.count("answers of the points on the rank and test split") == len(plans)
    assert [task.title for task in call.tasks if task.alone] == [f"training {len(plans)} configurations together"]


@pytest.mark.slow
def test_its_points_are_as_the_schema_says(run: Path):
    assert points_schema.faults_of(run) == []


@pytest.mark.slow
def test_one_elastic_file_holds_every_shipped_point(run: Path):
    _, found = points.read(run / "points.json")
    model = ElasticModel(run / "elastic.float32.tflite")
    assert {p.name for p in model.points} == {p.name for p in found if p.files}
    assert (run / "elastic.float32.tflite").stat().st_size < sum(
        p.files["float32"].flash_bytes for p in found if p.files
    )
    shipped = {p.name for p in found if p.status == SHIPPED and p.kind != CONTROL}
    assert shipped <= {p.name for p in found if p.files}


@pytest.mark.slow
def test_a_build_that_is_stopped_in_every_stage_ends_in_the_same_bytes(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of two anchors and few routes, which go through all stages; the anchors are read once for all attempts."""
    monkeypatch.setattr(work.ModelSource, "load", cache(work.ModelSource.load))
    known: set[str] = set()
    few: dict[str, Any] = {**ROUTES, "max_points": 2}
    build(asked(sources, tmp_path / "whole", "small", "middle", **few))
    question = asked(sources, tmp_path / "run", "small", "middle", **few)
    for _ in range(40):
        try:
            build(question, Interrupted(known))
            break
        except KeyboardInterrupt:
            pass
    assert any("together" in title for title in known)
    expected, found = settled(tmp_path / "whole"), settled(tmp_path / "run")
    assert set(found) == set(expected)
    same = {name for name in expected if found[name] == expected[name]}
    assert same == set(expected)


@pytest.mark.slow
def test_training_all_keeps_its_anchors_and_lists_the_old_ones(sources: Path, tmp_path: Path):
    out = tmp_path / "run"
    done = build(asked(sources, out, "small", "middle", train="all", max_points=3))
    by_name = {p.name: p for p in done.points}
    assert by_name["A before"].kind == by_name["B before"].kind == CONTROL
    assert by_name["A"].kind == ANCHOR
    model = ElasticModel(out / "elastic.float32.tflite")
    image = networks.images(1)[0]
    with job.reopened(out, Silent()) as family:
        trained = networks.forward(family.anchors["A"].model, image[None])[0]
        work.forget()  # as another process, which has to find the trained weights
        assert work.anchor(family.sources["A"]).sha256 == family.anchors["A"].sha256
        found = verify.check(family, of_family(family), ["float32"], 8)
    verify.judge(found)
    np.testing.assert_allclose(model.run(image, point="A"), trained, atol=1e-4)
    before = networks.forward(keras.models.load_model(sources / "small.keras"), image[None])[0]
    assert np.abs(before - trained).max() > 1e-4


@pytest.mark.slow
def test_tuned_norms_are_linked_behind_every_stitch_of_a_route(sources: Path, tmp_path: Path):
    """Routes of three pieces have two sets of them; the anchors answer as they did."""
    out = tmp_path / "run"
    changes = {"train": "norms", "sampling": "front", "precision": "float32,int8", "max_points": 3}
    build(asked(sources, out, "small", "middle", controls=False, **ROUTES, **changes))
    image = networks.images(1)[0]
    with job.reopened(out, Silent()) as family:
        fits = {name: family.run.load_fitted(name) for name in family.run.fitted_names()}
        verify.judge(verify.check(family, of_family(family), ["float32", "int8"], 8))
        exact = networks.forward(family.anchors["B"].model, image[None])[0]
    assert {f.rung for f in fits.values() if f and f.rungs} == {"norm"}
    twice = [f for f in fits.values() if f and len(f.stitches) == 2]
    assert any(made.tuned for f in twice for made in f.before)
    model = ElasticModel(out / "elastic.float32.tflite")
    np.testing.assert_allclose(model.run(image, point="B"), exact, atol=1e-4)


@pytest.mark.slow
def test_separate_training_gives_every_configuration_a_stitch_of_its_own(sources: Path, tmp_path: Path):
    out = tmp_path / "run"
    build(asked(sources, out, "small", "middle", train="separate", controls=False))
    kernels = {}
    for path in (out / "stitches").glob("*.npz"):
        with np.load(path) as arrays:
            kernels[path.stem] = arrays["0:kernel"]
    assert len(kernels) >= 3
    values = [k.tobytes() for k in kernels.values()]
    assert len(set(values)) == len(values)
    # Of the same compute each has an equal share.
    shares = [sum(r.work for r in fit.rungs) for name in kernels if (fit := Run(out).load_fitted(name)) is not None]
    assert sum(shares) <= QUICK.effort * steps._WORK
    assert len(set(shares)) == 1


def command(*words: str) -> Result:
    return CliRunner().invoke(main, ["build", "--method", "snnet", *words], catch_exceptions=False)


def told(result: Result) -> str:
    """The one line that a refused command ends with."""
    assert result.exit_code in (1, 2), result.output
    assert "Traceback" not in result.output
    return result.output.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--anchor", "a.keras", "--data", "digits"], "stitches two anchors or more; --anchor was given 1 times"),
        (["--anchor", "a.keras", "--anchor", "b.keras"], "give --data"),
        (
            ["--large", "a.keras", "--small", "b.keras", "--data", "digits"],
            "--large is of --method restnet, not of snnet: give --anchor once for each anchor",
        ),
        (
            ["--anchor", "a", "--anchor", "b", "--data", "digits", "--fine-tune", "norm"],
            "--fine-tune is of --method restn",
        ),
        (["--anchor", "a.keras", "--anchor", "b.keras", "--data", "digits", "--window", "0"], "0 is not in the range"),
        (["--anchor", "no.keras", "--anchor", "b.keras", "--data", "digits"], "no.keras"),
    ],
)
def test_options_that_do_not_fit_are_told_in_one_line(words: list[str], message: str, tmp_path: Path):
    assert message in told(command(*words, "--out", str(tmp_path / "run")))
    assert not (tmp_path / "run" / "run.json").exists()


def test_options_of_snnet_are_refused_by_restnet_and_stitchnet_names_its_command():
    runner = CliRunner()
    for words, message in (
        (["--window", "3"], "--window is of --method snnet, not of restnet"),
        (["--own"], "--own is of --method snnet"),
        (["--anchor", "a.keras"], "--anchor is of --method snnet"),
        (["--method", "stitchnet"], "restnet-tf compose --pool A --pool B"),
    ):
        assert message in told(runner.invoke(main, ["build", *words], catch_exceptions=False))


def test_switches_are_switches(monkeypatch: pytest.MonkeyPatch):
    """The published code parses them with ``type=bool``, by which any word is true."""
    seen: list[Options] = []

    def note(method: str, question: Options, report: Any, **how: Any) -> None:
        assert method == "snnet"
        seen.append(question)
        raise RestnetError("noted")

    monkeypatch.setattr(job, "build", note)
    words = ["--anchor", "a.keras", "--anchor", "b.keras", "--data", "digits"]
    for more in ([], ["--two-stitch", "--own", "--no-controls"], ["--share"]):
        assert "noted" in told(command(*words, *more))
    assert [(a.two_stitch, a.own, a.controls) for a in seen] == [
        (False, False, True),
        (True, True, False),
        (False, False, True),
    ]
    assert "False" in told(command(*words, "--two-stitch", "False"))  # an argument too many, not a value


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("small", "twin"), {}, "small and twin cost the same"),
        (("small", "middle"), {"window": 9}, "a window of 9 blocks is larger than the deepest stage"),
        (("small", "middle"), {"stride": 3}, "a stride of 3 leaves out blocks"),
        (("small", "middle"), {"budget": "macs<=1"}, r"nothing is left to stitch: of \d+ routes"),
        (("small", "middle"), {"teacher": "Z"}, "Z"),
        (("small",), {}, "--anchor was given 1 times"),
    ],
)
def test_anchors_that_cannot_be_stitched_leave_no_run_behind(
    names: tuple[str, ...], changes: dict[str, Any], message: str, sources: Path, tmp_path: Path
):
    with pytest.raises(RestnetError, match=message):
        build(asked(sources, tmp_path / "run", *names, **changes))
    assert not (tmp_path / "run").exists()


def test_unlabelled_images_want_anchors_of_the_same_classes(sources: Path, tmp_path: Path):
    other = tmp_path / "four.keras"
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", padding="same")(image)
    x = keras.layers.Conv2D(4, 3, activation="relu", padding="same")(x)
    x = keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(image, x, name="four").save(other)
    files = (str(sources / "small.keras"), str(sources / "middle.keras"), str(other))
    question = replace(QUICK, anchor=files, data=str(sources / "unlabelled.npz"), out=tmp_path / "run")
    with pytest.raises(RestnetError, match=r"four has 4 classes|and four 4"):
        build(question)


def test_a_file_with_its_architecture_is_taken_apart_and_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("w.weights.h5", "odd@name.keras"):
        (tmp_path / name).touch()
    assert applications.divided("w.weights.h5@MobileNet:alpha=0.25") == ("w.weights.h5", "MobileNet:alpha=0.25")
    assert applications.divided("odd@name.keras") == ("odd@name.keras", None)
    assert applications.divided("MobileNetV2") == ("MobileNetV2", None)
    given = ("w.weights.h5@MobileNet:alpha=0.25", "MobileNetV2:alpha=0.35")
    question = Options(anchor=given, data="digits", out=Path("x"))
    kept = json.loads(json.dumps(opening.kept("snnet", question)))
    assert kept["anchor"] == [f"{tmp_path / 'w.weights.h5'}@MobileNet:alpha=0.25", "MobileNetV2:alpha=0.35"]
    assert job.recalled(kept, Path("x"))[1] == replace(question, anchor=tuple(kept["anchor"]))
    assert str(opening.default_out(question.models, question.data)) == "runs/w-MobileNetV2-digits"
