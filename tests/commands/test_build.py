"""`build` from end to end on the embedded default: its files, going on after interruptions, edited plans."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import networks
import numpy as np
import paths
import points_schema
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from restnet_tf.anchors import demo, zoo
from restnet_tf.cli.main import main
from restnet_tf.commands import build as job
from restnet_tf.data import splits
from restnet_tf.family import forecast
from restnet_tf.methods.restnet import method, outlook
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CASCADE, CONTROL, DISTILLED, STITCHED
from restnet_tf.progress import Silent
from restnet_tf.run.directory import Run
from tflite_export.cascades import in_files
from tflite_export.devices import host
from tflite_export.flatbuffer import only, read
from tflite_export.runtime import ElasticModel

pytestmark = pytest.mark.slow

# Everything of a real build, with hardly any training: what is tested here is not how well it learns.
QUICK = Options(data="digits", effort=0.001, max_points=2, precision="float32", fine_tune="norm", ship_all=True)
# The same by the command line.
WORDS = [
    "build",
    "--data",
    "digits",
    "--effort",
    "0.001",
    "--max-points",
    "2",
    "--precision",
    "float32",
    "--fine-tune",
    "norm",
    "--ship-all",
]
BRIEF = {"large": 3, "small": 8}
ANCHOR_FILES = ("seed-0/digits-large.keras", "seed-0/digits-small.keras")


def build(options: Options, report: Any = None) -> job.Done:
    return job.build("restnet", options, report or Silent())


def content(folder: Path, *, cached: bool = False) -> dict[str, bytes]:
    """Every file of a run by its path; the caches, which are large, only where asked for."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    names = {str(p.relative_to(folder)): p for p in files}
    return {name: p.read_bytes() for name, p in names.items() if cached or not name.startswith("cache/")}


def settled(folder: Path) -> dict[str, bytes]:
    """The files that the inputs decide to the byte: all but those that hold latencies of this host."""
    timed = ("points.json", "points.png", "times.json", ".lock")
    return {n: b for n, b in content(folder).items() if n not in timed and not n.startswith("elastic.")}


def litert(path: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    start, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for image in images:
        interpreter.set_tensor(start["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(end["index"])[0].copy())
    return np.stack(outputs)


def some_digits(n: int = 20) -> np.ndarray:
    split = splits.load("digits", seed=0).test
    return np.asarray(next(iter(split.batches((8, 8, 1), n))))


class Interrupted(Silent):
    """Presses Ctrl-C in the middle of every stage that has not been interrupted before.

    In the middle is at the stage's first sign of progress, or where it gives none, when the next begins.
    """

    def __init__(self, known: set[str]) -> None:
        super().__init__()
        self._known, self._now = known, ""

    def stage(self, title: str) -> None:
        self._strike()
        self._now = title

    def progress(self, done: int, total: int) -> None:
        self._strike()

    def _strike(self) -> None:
        if self._now and self._now not in self._known:
            self._known.add(self._now)
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def finished(once: paths.Once) -> Path:
    """The embedded default, uninterrupted, by the command; its anchors are trained for a third of their epochs."""

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demo, "NETS", {role: replace(net, epochs=BRIEF[role]) for role, net in demo.NETS.items()})
            result = CliRunner().invoke(main, [*WORDS, "--out", str(folder / "run")], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        (folder / "printed").write_text(result.stdout)

    return once("demo", fill) / "run"


@pytest.fixture(scope="session")
def small_family(once: paths.Once) -> Options:
    """Two networks of three classes and their images, whose family is built in a fraction of the demo's time.

    The labels are the large one's answers, so that a stitch to it is better than the small one and has twins to beat.
    """

    def fill(folder: Path) -> None:
        large = networks.anchor((6, 10), 2, convolutions=1, seed=6, name="large").model
        small = networks.anchor((4, 6), 1, convolutions=1, seed=2, name="small").model
        images = networks.images(90)
        labels = networks.decisive(large, images)
        for model in (large, small):
            model.save(folder / f"{model.name}.keras")
        np.savez(folder / "data.npz", x=images, y=labels)

    folder = once("small family", fill)
    sources = {"large": "large.keras", "small": "small.keras", "data": "data.npz"}
    return replace(QUICK, anyway=True, **{option: str(folder / name) for option, name in sources.items()})


@pytest.fixture(scope="session")
def small_run(small_family: Options, once: paths.Once) -> Path:
    """The small family, uninterrupted."""

    def fill(folder: Path) -> None:
        build(replace(small_family, out=folder / "run"))

    return once("small run", fill) / "run"


def sources(family: Options) -> list[str]:
    """The words that name its inputs on the command line."""
    return ["--large", str(family.large), "--small", str(family.small), "--data", str(family.data), "--anyway"]


def test_its_points_are_as_the_schema_says(finished: Path, small_run: Path) -> None:
    assert [points_schema.faults_of(run) for run in (finished, small_run)] == [[], []]


def test_all_files_are_there(finished: Path) -> None:
    _, found = points.read(finished / "points.json")
    stitched = [p.name for p in found if p.kind == STITCHED]
    twins = [p.name for p in found if p.kind == CONTROL]
    expected = {f"tflite/{name}.float32.tflite" for name in ("large", "small", "small-distilled", *stitched)}
    expected |= {f"stitches/{name}.npz" for name in ("distilled", *twins, *stitched)}
    expected |= {f"anchors/{name}" for name in (*ANCHOR_FILES, "distilled.npz")}
    expected |= {"points.json", "points.png", "plans.json", "run.json", "similarity.npz", "similarity.png", ".lock"}
    expected |= {"elastic.float32.tflite", "times.json"}
    # There is a cascade worth having, for all that nothing was trained well.
    chains = [in_files(p.name) for p in found if p.kind == CASCADE]
    assert chains
    expected |= {f"tflite/{name}.float32.tflite" for name in chains} | {f"examples/{name}.png" for name in chains}
    assert len(stitched) == 2
    found_files = set(content(finished))
    objects = {name.split(".")[0] for name in found_files if name.startswith("objects/")}
    assert {name for name in found_files if not name.startswith("objects/")} == expected
    anchors = {"objects/large", "objects/small", "objects/small-distilled"}
    assert anchors <= objects <= {*anchors, *(f"objects/{name}" for name in stitched)}


def test_agreement_with_the_large_anchor_stands_beside_accuracy(finished: Path) -> None:
    test = splits.load("digits", seed=0).test
    images = np.asarray(next(iter(test.batches((8, 8, 1), len(test)))))
    files = {role: finished / "anchors" / "seed-0" / f"digits-{role}.keras" for role in ("large", "small")}
    answers = {role: np.asarray(zoo.load(str(path)).model(images)).argmax(axis=1) for role, path in files.items()}
    found = {p.name: p for p in points.read(finished / "points.json")[1]}
    assert found["large"].test.agreement == 1.0
    assert found["small"].test.agreement == pytest.approx(np.mean(answers["large"] == answers["small"]))
    assert found["large"].test.agreement != found["large"].test.value
    assert "as large %" in (finished.parent / "printed").read_text()


def test_the_elastic_file_answers_as_the_points_own_files(finished: Path) -> None:
    model = ElasticModel(finished / "elastic.float32.tflite")
    _, found = points.read(finished / "points.json")
    assert [p.name for p in model.points] == [p.name for p in found if p.files]
    images = some_digits()
    files = {p.name: finished / "tflite" / f"{in_files(p.name)}.float32.tflite" for p in model.points}
    for p in model.points:
        if ">" not in p.name:  # cascades have thresholds among their inputs
            own = litert(files[p.name], images)
            np.testing.assert_allclose([model.run(image, p) for image in images], own, atol=1e-5)
    parts = [len(path.read_bytes()) for path in files.values()]
    assert (finished / "elastic.float32.tflite").stat().st_size < 0.9 * sum(parts)


def test_verify_holds_the_files_against_the_converter(small_run: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(small_run), "--precision", "float32", "--images", "20"])
    assert result.exit_code == 0, result.output
    assert "time ratio" in result.output
    missing = CliRunner().invoke(main, ["verify", str(small_run), "--precision", "int8"])
    assert missing.exit_code == 1
    assert "has no files of int8 to verify" in missing.output


def test_verify_tells_a_file_that_answers_otherwise(small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(small_run, copy)
    shutil.copy(copy / "tflite" / "small.float32.tflite", copy / "tflite" / "large.float32.tflite")
    result = CliRunner().invoke(main, ["verify", str(copy), "--precision", "float32", "--images", "20"])
    assert result.exit_code == 1
    assert "1 linked float32 files differ from TensorFlow's conversion by more than 1e-05; large by" in result.output


def test_the_old_way_converts_every_variant_and_shares_nothing(
    small_family: Options, small_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    build(replace(small_family, out=out, converter="tf", controls=False))
    files = content(out)
    assert not [name for name in files if name.startswith(("objects/", "elastic."))]
    name = next(n for n in files if n.startswith("tflite/S"))
    images = networks.images(20).astype(np.float32)
    np.testing.assert_allclose(litert(out / name, images), litert(small_run / name, images), atol=1e-5)


def test_cameras_bytes_are_taken_on_request(small_family: Options, tmp_path: Path) -> None:
    asked = replace(small_family, precision="int8", uint8_input=True, max_points=1, controls=False, fine_tune="norm")
    build(replace(asked, out=tmp_path / "run"))
    images = networks.images(20)
    model = ElasticModel(tmp_path / "run" / "elastic.int8.tflite")
    for p in model.points:
        own = (tmp_path / "run" / "tflite" / f"{p.name}.int8.tflite").read_bytes()
        assert only(read(own)).inputs[0].type == "UINT8"
        np.testing.assert_array_equal([model.run(image, p) for image in images], host.scores(own, [images]))


def test_the_plots_are_png(finished: Path) -> None:
    for name in ("points.png", "similarity.png"):
        with Image.open(finished / name) as picture:
            picture.verify()
            assert picture.format == "PNG"
            assert min(picture.size) > 200


def test_the_points_tell_all(finished: Path) -> None:
    meta, found = points.read(finished / "points.json")
    assert (meta["metric"], meta["anchors"]) == ("accuracy", {"large": "digits-large", "small": "digits-small"})
    assert meta["class_names"] == [str(digit) for digit in range(10)]
    assert 0 < meta["distilling_macs"] < meta["training_macs"]
    kinds = [p.kind for p in found]
    assert (kinds.count(ANCHOR), kinds.count(STITCHED), kinds.count(DISTILLED)) == (2, 2, 1)
    small, large = (next(p for p in found if p.name == name) for name in ("small", "large"))
    for p in found:
        assert (set(p.files) == {"float32"}) == (p.kind != CONTROL)
        if p.kind == STITCHED:
            assert small.macs < p.macs < large.macs
        for f in p.files.values():
            content = (finished / f.path).read_bytes()
            assert f.flash_bytes == len(content)
            assert 0 < f.latency_median_us <= f.latency_p90_us
            assert f.test.n == 269
            # Float32 in LiteRT and in Keras: the same answers, but for a near tie.
            assert abs(f.test.value - p.test.value) < 0.01


def test_the_anchors_files_are_the_users_models(finished: Path) -> None:
    images = some_digits()
    for role in ("large", "small"):
        model = keras.models.load_model(finished / "anchors" / "seed-0" / f"digits-{role}.keras")
        outputs = litert(finished / "tflite" / f"{role}.float32.tflite", images)
        np.testing.assert_allclose(outputs, np.asarray(model(images, training=False)), atol=1e-5)


def test_a_stitched_file_computes_its_route(finished: Path) -> None:
    """Front, stitch and back from the saved parts alone, without the project's own assembly."""
    images = some_digits()
    plans = {p["name"]: p for p in json.loads((finished / "plans.json").read_text())["plans"]}
    anchors = {
        r: keras.models.load_model(finished / "anchors" / "seed-0" / f"digits-{r}.keras") for r in ("large", "small")
    }
    _, found = points.read(finished / "points.json")
    for point in (p for p in found if p.kind == STITCHED):
        first, last = plans[point.name]["route"]
        front, back = anchors[first["anchor"]], anchors[last["anchor"]]
        x = keras.Model(front.input, front.get_layer(first["stop"]).output)(images, training=False)
        with np.load(finished / "stitches" / f"{point.name}.npz") as fitted:
            (meta,) = json.loads(str(fitted["meta"]))["stitches"]
            ratio = x.shape[1] // meta["target"]["shape"][0]
            if ratio > 1:
                x = keras.ops.average_pool(x, ratio)
            assert tuple(x.shape[1:3]) == tuple(meta["target"]["shape"][:2]), "a resize: pick another way to check it"
            x = keras.ops.relu(x @ fitted["0:kernel"] + fitted["0:bias"])
            assert meta["clamp"] == [0.0, None]
            copy = keras.models.clone_model(back)
            copy.set_weights(back.get_weights())
            weights = {v.path: v for v in copy.weights}
            for name in fitted.files:
                if name.startswith("0:tuned:"):
                    weights[name.removeprefix("0:tuned:")].assign(fitted[name])
        tail = keras.Model(copy.get_layer(last["start"]).output, copy.output)
        outputs = litert(finished / point.files["float32"].path, images)
        np.testing.assert_allclose(outputs, np.asarray(tail(x, training=False)), atol=1e-4)


def test_what_is_printed(finished: Path) -> None:
    printed = (finished.parent / "printed").read_text()
    _, found = points.read(finished / "points.json")
    for p in found:
        assert f" {p.name} " in printed
    between = sum(p.kind == STITCHED and p.status == "shipped" for p in found)
    first = {0: "no point between the anchors is shipped", 1: "1 point between the anchors is shipped"}
    assert first.get(between, f"{between} points between the anchors are") in printed
    assert f"files in {finished}: tflite/, elastic.*.tflite, points.json, points.png" in printed
    assert "distilling the small anchor took" in printed
    following = printed.rstrip().splitlines()[-1]
    assert following.startswith(f'next: restnet-tf select {finished} --budget "mean.macs<=')  # there is a cascade
    budget = following.split('"')[1]
    chosen = CliRunner().invoke(main, ["select", str(finished), "--budget", budget])
    assert chosen.exit_code == 0, chosen.output


def test_again_does_nothing_but_print(finished: Path) -> None:
    before = content(finished, cached=True)
    times = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and p.name != ".lock"}
    heard = Stages()
    done = build(replace(QUICK, out=finished), heard)
    assert content(finished, cached=True) == before
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert not [t for t in heard.titles if t.startswith(("fitting", "training", "converting", "similarity"))]
    assert done.points == points.read(finished / "points.json")[1]
    assert done.summary.splitlines()[-1] in (finished.parent / "printed").read_text()


class Stages(Silent):
    """Keeps the titles of the stages."""

    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []

    def stage(self, title: str) -> None:
        self.titles.append(title)


def killed_at(family: Options, out: Path, stage: str) -> None:
    """Build in a process of its own and kill it, without a chance to tidy up, when a stage begins."""
    code = "from restnet_tf.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *WORDS, *sources(family), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(stage):
                process.kill()
                return
    pytest.fail(f"the build never said {stage!r}")


def interruptions(family: Options, out: Path) -> Iterator[str]:
    """Interrupt a build in every stage once, going on each time; the stages, as they are hit."""
    known: set[str] = set()
    while True:
        before = set(known)
        try:
            build(replace(family, out=out), Interrupted(known))
        except KeyboardInterrupt:
            yield (known - before).pop()
        else:
            return


def test_training_that_is_interrupted_ends_in_the_same_anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for their archives, whose entries carry the time of day."""
    brief = {"blocks": (1,), "epochs": 2, "batch": 64, "rate": 3e-3}
    nets = {"large": demo.DemoNet((8,), **brief), "small": demo.DemoNet((4,), **brief)}
    monkeypatch.setattr(demo, "NETS", nets)
    finished, out, hit = tmp_path / "whole", tmp_path / "run", []
    data = splits.load("digits", seed=0)
    for role in nets:
        demo.train(demo.file(finished / "anchors", data.name, role, 0), role, data, 0, lambda done, total: None)
    for stage in interruptions(replace(QUICK, anyway=True), out):
        hit.append(stage)
        assert not list(out.rglob("*.tmp*")), stage
        if stage.startswith("a first look"):  # the anchors are there
            break
    for word in ("reading", "training the large", "training the small"):
        assert any(stage.startswith(word) for stage in hit), f"{word} was not interrupted: {hit}"
    for name in ANCHOR_FILES:
        pair = [keras.models.load_model(folder / "anchors" / name) for folder in (out, finished)]
        assert pair[0].get_config() == pair[1].get_config()
        for a, b in zip(*(model.get_weights() for model in pair), strict=True):
            np.testing.assert_array_equal(a, b)


def test_interrupted_at_every_step_and_killed_it_ends_the_same(
    small_family: Options, small_run: Path, tmp_path: Path
) -> None:
    out, hit, killed = tmp_path / "run", [], False
    for stage in interruptions(small_family, out):
        hit.append(stage)
        if (out / "points.json").exists():
            points.read(out / "points.json")
        for plans in out.glob("plans.json"):
            json.loads(plans.read_text())
        assert not list(out.rglob("*.tmp*")), stage
        if stage.startswith("features of") and not killed:
            killed = True
            killed_at(small_family, out, "fitting")
            assert not (out / "points.json").exists()
    assert killed
    words = (
        *("reading", "similarity", "closed form", "features"),
        *("fitting S", "fitting distilled", "fitting random-S", "accuracy", "making", "latency", "scores"),
    )
    for word in words:
        assert any(stage.startswith(word) for stage in hit), f"{word} was not interrupted: {hit}"
    same_family(out, small_run)


def same_family(out: Path, finished: Path) -> None:
    found, expected = settled(out), settled(finished)
    assert set(found) == set(expected)
    for name in expected:
        assert found[name] == expected[name], name
    ours, theirs = (points.read(folder / "points.json")[1] for folder in (out, finished))
    for a, b in zip(ours, theirs, strict=True):
        assert (a.name, a.status, a.reason, a.rank, a.test) == (b.name, b.status, b.reason, b.rank, b.test)
        assert {k: f.sha256 for k, f in a.files.items()} == {k: f.sha256 for k, f in b.files.items()}


def test_an_edited_plan_is_built(small_family: Options, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    content = json.loads((small_run / "plans.json").read_text())
    wanted = next(p for p in content["plans"] if p["status"] == "rejected" and p["kl"] is not None)
    for plan in content["plans"]:
        if plan["status"] == "chosen":
            plan["status"], plan["reason"] = "rejected", "I say so"
    wanted["status"], wanted["reason"] = "chosen", ""
    (tmp_path / "mine.json").write_text(json.dumps(content))
    words = ["--plans", str(tmp_path / "mine.json"), "--fine-tune", "stitch", "--budget", "flash<=1KB"]
    result = quick(out, *sources(small_family), *words)
    _, found = points.read(out / "points.json")
    assert [p.name for p in found if p.kind == STITCHED] == [wanted["name"]]
    assert {p.name for p in (out / "stitches").iterdir()} == {f"{wanted['name']}.npz"}
    kept = json.loads((out / "plans.json").read_text())["plans"]
    assert sum(p["reason"] == "I say so" for p in kept) == 2
    # Nothing meets that budget: the build is whole all the same, and says so last.
    assert result.exit_code == 1
    said = result.stderr.splitlines()[-1]
    assert said.startswith("restnet-tf: no point meets the budget; the nearest, ")
    assert "misses flash<=1KB (it has " in said
    assert f"files in {out}" in result.stdout


def quick(out: Path, *words: str) -> Result:
    common = ["build", "--effort", "0.001", "--max-points", "1", "--precision", "float32", "--no-controls"]
    return CliRunner().invoke(main, [*common, "--out", str(out), *words], catch_exceptions=False)


def test_what_no_file_can_be_made_of_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    """By the name that the user gave."""
    for name, width in (("big", 8), ("little", 4)):
        image = keras.Input((8, 8, 1), dtype="uint8")
        x = keras.layers.Resizing(12, 12, interpolation="bicubic")(image)
        for _ in range(2):
            x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = keras.layers.Dense(10, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
        keras.Model(image, x).save(tmp_path / f"{name}.keras")
    out = tmp_path / "run"
    anchors = ("--large", str(tmp_path / "big.keras"), "--small", str(tmp_path / "little.keras"))
    result = quick(out, "--data", "digits", "--anyway", *anchors)
    assert result.exit_code == 1
    assert "cannot convert 'big' to float32: TensorFlow Lite has no such operators" in result.stderr
    assert "ResizeBicubic" in result.stderr
    assert {path.name for path in out.iterdir() if path.is_file()} == {".lock", "run.json"}


def test_the_work_of_the_fits_is_what_was_foretold(small_family: Options, small_run: Path) -> None:
    """Within a factor of 2; candidates that were dropped took some more."""
    foretold = method.open(replace(small_family, out=small_run), Silent())
    run, listed = Run(small_run), points.read(small_run / "points.json")[1]
    names = [p.name for p in listed if p.kind == STITCHED]
    every = [fit for name in (*names, DISTILLED) if (fit := run.load_fitted(name)) is not None]
    assert len(every) == 3
    work = sum(rung.work for fit in every for rung in fit.rungs)
    count = forecast.fits(foretold, outlook.share(foretold, foretold.options))
    assert 0.5 < count / work < 2


def test_unlabelled_images_are_enough(small_family: Options, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(networks.images(120)):
        Image.fromarray(image).save(folder / f"{i}.png")
    asked = replace(small_family, data=str(folder), out=tmp_path / "run", max_points=1)
    done = build(asked)
    assert done.metric == "agreement"
    meta, found = points.read(tmp_path / "run" / "points.json")
    assert meta["metric"] == "agreement"
    large = next(p for p in found if p.name == "large")
    assert (large.test.value, large.test.kl) == (1.0, pytest.approx(0, abs=1e-6))
    assert large.files["float32"].test.value == 1.0
    assert {p.name for p in found if p.kind == DISTILLED} == {"small*"}
    assert {p.twin_of for p in found if p.kind == CONTROL and p.twin_of} <= {
        p.name for p in found if p.kind == STITCHED
    }
    # Agreement is with the large anchor's answers, not with labels.
    test = splits.load(str(folder), seed=0).test
    images = np.asarray(next(iter(test.batches((8, 8, 3), len(test)))))
    answers = [np.asarray(zoo.load(str(path)).model(images)).argmax(axis=1) for path in (asked.large, asked.small)]
    small = next(p for p in found if p.name == "small")
    assert small.test.value == pytest.approx(np.mean(answers[0] == answers[1]))
    assert all(p.test.agreement == pytest.approx(p.test.value) for p in found)
    chosen = CliRunner().invoke(main, ["select", str(tmp_path / "run"), "--budget", "macs<=1G"])
    assert "agreement" in chosen.output
