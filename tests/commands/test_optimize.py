"""`optimize`: what was asked for holds in the weights that come back, and nothing is left half done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import needs
import networks
import numpy as np
import paths
import pytest
from click.testing import CliRunner, Result

from restnet_tf.cli.main import main
from restnet_tf.commands import build, optimize
from restnet_tf.commands.optimize import Treatment
from restnet_tf.family import opening
from restnet_tf.graph.tokens import PositionBias
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points.points import DOMINATED, read
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.stitches import stitch
from restnet_tf.tfmot import port, worker

keras = networks.keras
layers = keras.layers
POINT = "L1-S0"

needs_tfmot = needs.TFMOT.mark


def mobile(width: int, blocks: int, name: str, seed: int) -> Any:
    """A small mobile network: norms, ReLU6, depthwise convolutions, residual adds."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="stem")(layers.Rescaling(1 / 255)(image))
    x = layers.ReLU(6.0, name="stem.out")(layers.BatchNormalization()(x))
    for i in range(blocks):
        y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
        y = layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(y))
        x = layers.ReLU(6.0, name=f"block{i}")(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(layers.Dropout(0.2)(x))
    model = keras.Model(image, layers.Dense(networks.CLASSES, activation="softmax", name="classes")(x), name=name)
    return networks.stirred(model, seed)


def command(*words: Any) -> Result:
    return CliRunner().invoke(main, ["optimize", *map(str, words)], catch_exceptions=False)


@pytest.fixture(scope="session")
def built(once: paths.Once) -> Path:
    """A finished run of two small mobile networks, its inputs beside it."""
    return once("optimize", build_in) / "run"


def build_in(folder: Path) -> None:
    mobile(12, 3, "large", 1).save(folder / "large.keras")
    mobile(8, 1, "small", 2).save(folder / "small.keras")
    np.savez(folder / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)
    inputs = {name: str(folder / name) for name in ("large.keras", "small.keras", "data.npz")}
    options = Options(
        large=inputs["large.keras"],
        small=inputs["small.keras"],
        data=inputs["data.npz"],
        **{
            "out": folder / "run",
            "effort": 0.001,
            "max_points": 2,
            "precision": "float32",
            "controls": False,
            "anyway": True,
        },
    )
    build.build("restnet", options, Silent())


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "run")


def points(run: Path) -> list[str]:
    return sorted(p.name for p in plans_file.read_plans(run / "plans.json") if p.status == "chosen")


def files(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


# ---- what comes back --------------------------------------------------------------------------


@pytest.mark.slow
@needs_tfmot
def test_pruning_holds_and_touches_the_stitch_alone(run: Path) -> None:
    before, point = files(run), points(run)[0]
    answer = command(run, "--point", point, "--prune", 0.5, "--epochs", 1)
    assert answer.exit_code == 0, answer.output
    name = f"{point}.prune50"
    after = files(run)
    # Half a stitch, trained for no time, is beaten by others: it has no files, and the elastic file does not grow.
    beaten = next(p for p in read(run / "points.json")[1] if p.name == name)
    assert beaten.status == DOMINATED
    assert set(after) - set(before) == {f"stitches/{name}.npz"}
    assert f"{name} has no files: " in answer.stdout
    assert "costs no more and does no worse; restnet-tf link " in answer.stdout
    # What speaks of all points speaks of the new one too; nothing else is touched.
    whole = {"points.json", "points.png", "elastic.float32.tflite"}
    assert {path for path, content in before.items() if after[path] != content} <= whole
    old, new = (Run(run).load_fitted(n) for n in (point, name))
    assert old is not None
    assert new is not None
    size = new.stitch.kernel.size
    assert np.sum(new.stitch.kernel == 0) >= size // 2
    assert np.sum(new.stitch.kernel == 0) < size
    assert np.sum(old.stitch.kernel == 0) < size // 4
    assert not np.array_equal(new.stitch.bias, old.stitch.bias)
    assert set(new.stitch.tuned) == set(old.stitch.tuned)
    for path, value in old.stitch.tuned.items():
        np.testing.assert_array_equal(new.stitch.tuned[path], value)
    assert (new.stitch.clamp, new.stitch.source) == (old.stitch.clamp, old.stitch.source)
    assert new.rung == "prune50"
    assert new.rungs[:-1] == old.rungs
    assert new.rungs[-1].images > 0
    assert new.rungs[-1].kl == new.kl
    # Zeros take no room in an update that is compressed, and as much as other weights in the file.
    sent = read(run / "points.json")[0]["sent"]
    was, now = (sent[n]["float32"] for n in (point, name))
    assert now["update_packed"] < 0.8 * was["update_packed"]
    assert was["update"] == now["update"] < now["file"]
    assert f"bytes, an update of what the anchors lack {was['update_packed']:,} -> " in answer.stdout
    assert answer.stdout.startswith(f"wrote {run}/stitches/{name}.npz\n  rank: accuracy ")
    assert f"-> {new.kl:.4f}\n  test: accuracy " in answer.stdout
    linked = CliRunner().invoke(main, ["link", str(run), "--point", name], catch_exceptions=False)
    assert linked.exit_code == 0, linked.output
    assert set(files(run)) - set(after) == {f"tflite/{name}.float32.tflite"}
    # What tfmot does to its process, it did not do to ours.
    assert not {"tf_keras", "tensorflow_model_optimization"} & set(sys.modules)
    assert "TF_USE_LEGACY_KERAS" not in os.environ


@pytest.mark.slow
@needs_tfmot
@pytest.mark.usefixtures("one_process")
def test_clustering_and_its_seed(run: Path) -> None:
    point = points(run)[0]
    wanted = Treatment("cluster", 4, epochs=1, seed=3)
    first = optimize.optimize(run, point, wanted, Silent())
    content = first.path.read_bytes()
    assert optimize.optimize(run, point, wanted, Silent()).path.read_bytes() == content
    assert first.name == f"{point}.cluster4"
    fitted = Run(run).load_fitted(first.name)
    assert fitted is not None
    assert 1 < len(np.unique(fitted.stitch.kernel)) <= 4


@pytest.mark.slow
@needs_tfmot
@pytest.mark.usefixtures("one_process")
def test_quantised_kernels_are_on_the_grid(run: Path) -> None:
    done = optimize.optimize(run, points(run)[0], Treatment("qat", epochs=1), Silent())
    new, old = (Run(run).load_fitted(n) for n in (done.name, points(run)[0]))
    assert new is not None
    assert old is not None
    assert done.name.endswith(".qat")
    kernel = new.stitch.kernel
    steps = kernel / (np.abs(kernel).max(axis=0) / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    # Trained, and no more than that: a kernel that was merely rounded would be within half a step.
    assert np.abs(kernel - old.stitch.kernel).max() > 0.5 * np.abs(old.stitch.kernel).max() / 127
    assert np.abs(kernel - old.stitch.kernel).max() < 0.5 * np.abs(old.stitch.kernel).max()
    # Norms are trained with it, and no kernel of the anchors.
    assert {path.rpartition("/")[2] for path in new.stitch.tuned} == {"gamma", "beta"}
    assert done.integers is not None
    before, after = (scores["rank"].kl for scores in done.integers)
    assert before is not None
    assert after is not None
    assert after < 1.1 * before + 0.01
    assert done.after["rank"].kl is not None
    assert done.after["rank"].kl < 1.5 * (done.before["rank"].kl or 0) + 0.01


@pytest.mark.slow
@needs_tfmot
@pytest.mark.usefixtures("one_process")
def test_relu_features_of_a_stitch_are_trained_with_it(run: Path) -> None:
    point = points(run)[0]
    plain = Run(run).load_fitted(point)
    assert plain is not None
    features = np.random.default_rng(0).uniform(0, 6, (4, *plain.stitch.source.shape)).astype(np.float32)
    wide = stitch.widened(plain.stitch, features, 0)
    Run(run).save_fitted(point, replace(plain, stitch=wide))
    done = optimize.optimize(run, point, Treatment("qat", scope="stitch", epochs=1), Silent())
    new = Run(run).load_fitted(done.name)
    assert new is not None
    assert done.name == f"{point}.qat.stitch"
    assert stitch.hidden(new.stitch) == stitch.hidden(wide)
    assert not np.array_equal(new.stitch.parts["hidden_kernel"], wide.parts["hidden_kernel"])
    assert new.stitch.tuned.keys() == plain.stitch.tuned.keys()


@pytest.mark.slow
@needs_tfmot
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    ("method", "amount", "suffix"), [("prune", 0.5, "prune50.back"), ("qat", 0, "qat.back")], ids=["prune", "qat"]
)
def test_the_back_on_request(run: Path, method: str, amount: float, suffix: str) -> None:
    point = points(run)[0]
    done = optimize.optimize(run, point, Treatment(method, amount, scope="back", epochs=1), Silent())
    assert done.name == f"{point}.{suffix}"
    fitted = Run(run).load_fitted(done.name)
    assert fitted is not None
    kernels = {path: value for path, value in fitted.stitch.tuned.items() if path.endswith("/kernel")}
    assert any("classes" in path or path.startswith("dense") for path in kernels)
    assert not [path for path in kernels if "depthwise" in path]
    for value in kernels.values():
        if method == "prune":
            assert abs(float(np.mean(value == 0)) - 0.5) <= 1 / value.size
        else:
            axes = tuple(range(value.ndim - 1))
            steps = value / (np.abs(value).max(axis=axes, keepdims=True) / 127)
            np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def test_a_back_gets_more_passes_than_a_stitch() -> None:
    treatments = [Treatment("prune"), Treatment("qat"), Treatment("qat", scope="back"), Treatment("qat", epochs=5)]
    assert [treatment.passes for treatment in treatments] == [2, 4, 8, 5]
    names = [Treatment("prune", 0.125), Treatment("cluster", 16), Treatment("qat", scope="back")]
    assert [wanted.suffix for wanted in names] == ["prune12.5", "cluster16", "qat.back"]
    unusual = [Treatment("prune", 0.5, scope="norm"), Treatment("qat", scope="stitch"), Treatment("qat", scope="norm")]
    assert [wanted.suffix for wanted in unusual] == ["prune50.norm", "qat.stitch", "qat"]
    assert [wanted.options[-2:] for wanted in unusual[1:]] == [("--scope", "stitch"), ("--qat",)]


@pytest.mark.parametrize(
    ("scope", "shares", "beside"),
    [
        ("stitch", True, {"positions"}),
        ("norm", True, {"positions", "folded"}),
        ("norm", False, {"positions", "folded", "norm"}),
        ("back", True, {"positions", "folded", "norm"}),
    ],
)
def test_norms_that_would_have_a_shared_back_calibrated_anew_are_left(
    scope: str, shares: bool, beside: set[str]
) -> None:
    x, cut = keras.Input((4, 3)), keras.Input((4, 5))
    joint = keras.Model(x, PositionBias(name="positions")(layers.Dense(5, name="project")(x)), name="stitch")
    y = layers.LayerNormalization(name="norm")(layers.BatchNormalization(name="folded")(cut))
    back = keras.Model(cut, layers.Dense(2, name="classes")(layers.Flatten()(y)), name="back")
    ported = port.describe(keras.Model(x, back(joint(x))))
    treatment = Treatment("qat", scope=scope)
    targets = optimize._targets(ported, treatment)
    assert {ported.layers[i].name for i in targets} == {"project"} | ({"classes"} if scope == "back" else set())
    chosen = optimize._beside(ported, treatment, targets, shares=shares)
    assert {ported.layers[i].name for i in chosen} == beside


# ---- the worker, without a run ----------------------------------------------------------------


class Heard(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int, int]] = []

    def progress(self, done: int, total: int) -> None:
        self.steps.append((done, total))


def work_folder(folder: Path, **changes: Any) -> Path:
    """What the worker reads: a stitch with a pool before it and a little back, 200 rows of features."""
    folder.mkdir()
    x = keras.Input((8, 8, 4))
    y = layers.Conv2D(6, 1, name="project")(layers.AveragePooling2D(2)(x))
    y = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(layers.ReLU(6.0)(y)))
    model = networks.stirred(keras.Model(x, layers.Dense(3, name="classes")(y)))
    ported = port.describe(model)
    port.save(ported, folder)
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 3, (200, 8, 8, 4)).astype(np.float16)
    np.save(folder / "x.npy", features)
    np.save(folder / "teacher.npy", rng.normal(size=(200, 3)).astype(np.float32))
    np.save(folder / "labels.npy", np.zeros((200, 0), np.float32))
    check = features[:4].astype(np.float32)
    np.savez(folder / worker.CHECK, x=check, logits=networks.forward(model, check))
    projected = networks.forward(keras.Model(x, model.layers[2].output), check)
    np.savez(folder / worker.ROUNDED, x=check, grids=np.array([[-6.0, 6.0], [0.0, 3.0]]), **{"0": projected})
    content = {
        **{"method": "prune", "amount": 0.75, "targets": [1], "beside": [], "epochs": 1, "seed": 0},
        "files": {name: str(folder / f"{name}.npy") for name in ("x", "teacher", "labels")},
    }
    (folder / worker.JOB).write_text(json.dumps(content | changes))
    return folder


@pytest.mark.slow
@needs_tfmot
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("method", "amount"), [("prune", 0.75), ("qat", 0), ("cluster", 2)])
def test_the_worker_changes_its_targets_alone(tmp_path: Path, method: str, amount: float) -> None:
    heard = Heard()
    found = optimize._work(work_folder(tmp_path / "w", method=method, amount=amount), heard)
    assert set(found) - {"rounded"} == {"1/kernel", "1/bias", "logits", "images"}
    assert found.get("rounded", 2) == 2  # the input and what the file rounds too
    assert heard.steps[-1] == (20, 20)
    assert found["images"] == 20 * 128
    kernel = found["1/kernel"]
    assert {
        "prune": np.mean(kernel == 0) == 0.75,
        "cluster": len(np.unique(kernel)) == 2,
        "qat": len(np.unique(kernel)) > 12,
    }[method]


@pytest.mark.slow
@needs_tfmot
@pytest.mark.usefixtures("one_process")
def test_a_transformer_is_trained_behind_rounding(tmp_path: Path) -> None:
    """Maps to heads on their grids, norms beside them; whatever the file holds is rounded, before heads and in them."""
    folder = tmp_path / "w"
    folder.mkdir()
    x = keras.Input((5, 4))
    y = layers.LayerNormalization(name="norm")(layers.Dense(6, name="project")(x))
    y = layers.MultiHeadAttention(2, 3, name="attend")(y, y)
    model = networks.stirred(keras.Model(x, layers.Dense(3, name="classes")(layers.Flatten()(y))))
    ported = port.describe(model)
    port.save(ported, folder)
    features = np.random.default_rng(0).normal(size=(64, 5, 4)).astype(np.float32)
    check = features[:4]
    np.savez(folder / worker.CHECK, x=check, logits=networks.forward(model, check))
    inside = {str(i): networks.forward(keras.Model(x, model.layers[i + 1].output), check) for i in (0, 1, 2)}
    grids = np.array([[-float(np.abs(v).max()), float(np.abs(v).max())] for v in (*inside.values(), check)])
    np.savez(folder / worker.ROUNDED, x=check, grids=grids, **inside)
    arrays = {"x": features, "teacher": np.ones((64, 3), np.float32), "labels": np.zeros((64, 0), np.float32)}
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    heads = [i for i, layer in enumerate(ported.layers) if layer.class_name == "EinsumDense"]
    norm = next(i for i, layer in enumerate(ported.layers) if layer.name == "norm")
    job = worker.Optimisation(
        "qat", 0.0, tuple(heads), (norm,), 1, 0, {name: str(folder / f"{name}.npy") for name in arrays}
    )
    (folder / worker.JOB).write_text(json.dumps(asdict(job)))
    trained = optimize._work(folder, Silent())
    assert trained["rounded"] == 4
    assert {f"{i}/kernel" for i in heads} | {f"{norm}/gamma", f"{norm}/beta"} <= set(trained)
    kernel = trained[f"{heads[0]}/kernel"]
    steps = kernel / (np.abs(kernel).max(axis=0) / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


@pytest.mark.slow
@needs_tfmot
def test_a_port_that_is_not_exact_is_refused(tmp_path: Path) -> None:
    folder = work_folder(tmp_path / "w")
    with np.load(folder / worker.CHECK) as check:
        np.savez(folder / worker.CHECK, x=check["x"], logits=check["logits"] + 1)
    with pytest.raises(RestnetError, match="the port to tf_keras gives other outputs"):
        optimize._work(folder, Silent())
    assert not (folder / worker.RESULT).exists()


def test_a_worker_that_fails_leaves_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RestnetError) as error:
        optimize._work(tmp_path, Silent())
    said = str(error.value)
    assert said.startswith("tensorflow-model-optimization failed: ")
    assert "Error" in said
    assert "\n" not in said
    monkeypatch.setattr(optimize.sys, "executable", shutil.which("true"))
    with pytest.raises(RestnetError, match="failed: exit code 0"):
        optimize._work(tmp_path, Silent())


def test_the_last_words_of_a_process() -> None:
    log = "2026 I oneDNN\nTraceback (most recent call last):\n  File x\nfoo.bar.BadError: no luck\nE0000 bye\n\n"
    assert optimize._last_words(log, 1) == "foo.bar.BadError: no luck"
    assert optimize._last_words("some words\n", 1) == "some words"
    assert optimize._last_words("", 7) == "exit code 7"
    assert optimize._last_words(log, -9) == "its process was killed by signal 9 (is there memory enough?)"


class CtrlC(Silent):
    def progress(self, done: int, total: int) -> None:
        raise KeyboardInterrupt


@pytest.mark.slow
@needs_tfmot
def test_ctrl_c_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    class Spied(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(optimize.subprocess, "Popen", Spied)
    folder = work_folder(tmp_path / "w", epochs=10_000)
    with pytest.raises(KeyboardInterrupt):
        optimize._work(folder, CtrlC())
    assert started[0].returncode == -9
    assert not (folder / worker.RESULT).exists()


# ---- refusals ---------------------------------------------------------------------------------


def refused(*words: Any) -> str:
    answer = command(*words)
    assert answer.exit_code == 1, answer.output
    assert answer.stdout == ""
    *_, last = answer.stderr.splitlines()
    assert "Traceback" not in answer.stderr
    assert last.startswith("restnet-tf: ")
    return last


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give exactly one of --qat, --prune and --cluster"),
        (("--qat", "--prune", "0.5"), "give exactly one of --qat, --prune and --cluster"),
        (("--prune", "0"), "0<x<1"),
        (("--prune", "1"), "0<x<1"),
        (("--cluster", "1"), "x>=2"),
        (("--cluster", "4", "--epochs", "0"), "1<=x<=1000"),
        (("--qat", "--scope", "front"), "'front' is not one of"),
    ],
)
def test_usage_errors(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    answer = command(tmp_path, "--point", POINT, *words)
    assert answer.exit_code == 2
    assert told in answer.stderr


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "find_spec", lambda name: None if name == "tf_keras" else object())
    said = refused(tmp_path, "--point", POINT, "--qat")
    assert said.endswith("this needs tf_keras, which the extra tfmot brings: pip install 'restnet-tf[tfmot]'")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra were there: what is refused before it is needed."""
    monkeypatch.setattr(optimize, "check_installed", lambda: None)


@pytest.mark.usefixtures("installed")
def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert "is not a run directory: it has no run.json" in refused(tmp_path, "--point", POINT, "--qat")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_an_unknown_point_lists_the_points(run: Path) -> None:
    said = refused(run, "--point", "L9-S9", "--qat")
    assert said.endswith(f"has no fitted point L9-S9; it has {', '.join(points(run))}")
    assert "has no fitted point large" in refused(run, "--point", "large", "--qat")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_runs_that_cannot_be_loaded_again(run: Path) -> None:
    record, point = json.loads((run / "run.json").read_text()), points(run)[0]

    def changed(**changes: Any) -> str:
        (run / "run.json").write_text(json.dumps({**record, **changes}))
        return refused(run, "--point", point, "--qat")

    assert "did not keep its options; run its build command again" in changed(options=None)
    assert "is not finished; run its build again" in changed(steps={**record["steps"], "points": "begun"})
    assert "holds options of another version" in changed(options={**record["options"], "colour": "red"})
    assert "another max_points: 2 there, 3 now" in changed(options={**record["options"], "max_points": 3})
    assert "no such file" in changed(options={**record["options"], "data": str(run / "gone.npz")})
    assert set(files(run)) == set(files(run.parent / "run"))


@pytest.mark.slow
def test_more_values_than_weights(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "check_installed", lambda: None)
    with pytest.raises(RestnetError, match=r"^1000 values are no fewer than the \d+ weights there are; give less$"):
        optimize.optimize(run, points(run)[0], Treatment("cluster", 1000), Silent())
    assert not (run / "cache").exists()


# ---- what a run keeps of its options ----------------------------------------------------------


@pytest.mark.slow
def test_a_run_keeps_its_options_and_a_later_build_adds_them(built: Path, run: Path) -> None:
    inputs = built.parent
    kept = Run(run).options()
    assert kept is not None
    assert "out" not in kept
    method, asked = build.recalled(kept, run)
    assert isinstance(asked, Options)
    assert (method, asked.large, asked.data) == ("restnet", str(inputs / "large.keras"), str(inputs / "data.npz"))
    assert (asked.effort, asked.controls, asked.out) == (0.001, False, run)
    record = json.loads((run / "run.json").read_text())
    del record["options"]
    (run / "run.json").write_text(json.dumps(record))
    build.build(method, asked, Silent())
    assert Run(run).options() == kept


def test_paths_are_kept_absolute_and_words_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.keras", "w.h5", "d.npz", "plans.json"):
        (tmp_path / name).touch()
    for name in ("digits", "none", "MobileNetV2"):
        (tmp_path / name).mkdir()
    small = "MobileNetV2:alpha=0.35,input=96"
    asked = Options(large="a.keras", small=small, data="d.npz", plans=Path("plans.json"), out=Path("x"))

    def keeping(**changes: Any) -> dict[str, Any]:
        return opening.kept("restnet", replace(asked, **changes))

    kept = keeping()
    assert kept["large"] == str(tmp_path / "a.keras")
    assert kept["small"] == "MobileNetV2:alpha=0.35,input=96"
    assert (kept["data"], kept["plans"]) == (str(tmp_path / "d.npz"), str(tmp_path / "plans.json"))
    assert (kept["weights"], kept["weights_dir"]) == ("imagenet", None)
    assert keeping(data="digits")["data"] == "digits"
    assert keeping(weights="none")["weights"] == "none"
    assert keeping(large="w.h5:alpha=0.35")["large"] == f"{tmp_path / 'w.h5'}:alpha=0.35"
    assert keeping(weights_dir=Path("none"))["weights_dir"] == str(tmp_path / "none")
    assert build.recalled(json.loads(json.dumps(kept)), Path("y"))[1] == replace(
        asked, large=kept["large"], data=kept["data"], plans=tmp_path / "plans.json", out=Path("y")
    )
