"""The command line: every bad input is one clean line and exit code 1; what the commands print and write."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from restnet_tf.cli.main import main
from restnet_tf.graph import cuts
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, File, OperatingPoint, Score
from restnet_tf.run.directory import Run

keras = networks.keras
layers = keras.layers
COMMANDS = (
    "train",
    "build",
    "compose",
    "inspect",
    "similarity",
    "bench",
    "export",
    "select",
    "optimize",
    "verify",
    "report",
)


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that an error leaves; the lines before it tell the stages, if anything."""
        *before, last = self.err.splitlines()
        assert last.startswith("restnet-tf: "), self.err
        assert "Traceback" not in self.err
        assert "Error" not in last.split(":")[0]
        assert all(line in ("reading the images", "loading the anchors") or "images to fit" in line for line in before)
        assert len(last) < 600
        return last


def ask(*words: Any) -> Answer:
    found = CliRunner().invoke(main, [str(word) for word in words])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Answer(found.exit_code, found.stdout, found.stderr)


def refused(*words: Any) -> str:
    """The complaint of a command that has to end in exit code 1 without a result."""
    answer = ask(*words)
    assert answer.code == 1, answer
    assert answer.out == ""
    return answer.complaint


# ---- inputs, good and bad --------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """large.keras, small.keras and data.npz, which go together."""
    folder = tmp_path_factory.mktemp("inputs")
    for role, anchor in networks.pair()[0].items():
        anchor.model.save(folder / f"{role}.keras")
    np.savez(folder / "data.npz", x=networks.images(60), y=np.arange(60) % networks.CLASSES)
    return folder


def build(inputs: Path, out: Path, *words: Any, **changes: Any) -> list[Any]:
    given = {"large": inputs / "large.keras", "small": inputs / "small.keras", "data": inputs / "data.npz"}
    options = [word for name, value in {**given, **changes}.items() for word in (f"--{name}", value)]
    return ["build", *options, "--out", out, *words]


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def two_inputs(path: Path) -> Path:
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Add()([a, b])))
    return saved(keras.Model([a, b], layers.Dense(3, activation="softmax")(x)), path)


def uncuttable(path: Path) -> Path:
    image = keras.Input((8, 8, 3))
    x = layers.Dense(3, activation="softmax")(layers.Flatten()(image))
    return saved(keras.Model(image, x, name="one_layer"), path)


def with_nan(path: Path) -> Path:
    model = networks.anchor((6, 10), 3, seed=1, name="large").model
    kernel = model.get_layer("0.1.conv1").kernel
    value = np.array(kernel)
    value[0, 0, 0, 0] = np.nan
    kernel.assign(value)
    return saved(model, path)


def other_weights(path: Path) -> Path:
    networks.pair()[0]["large"].model.save_weights(path)
    return path


def text_file(path: Path) -> Path:
    path.write_text("no model\n")
    return path


def images_in(folder: Path, classes: int, each: int) -> Path:
    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        for i, pixels in enumerate(networks.images(each, seed=c)):
            Image.fromarray(pixels).save(folder / f"class{c}" / f"{i}.png")
    return folder


def corrupt(folder: Path) -> Path:
    images_in(folder, 2, 10)
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def same_label(path: Path) -> Path:
    np.savez(path, x=networks.images(60), y=np.zeros(60, int))
    return path


def few(path: Path) -> Path:
    np.savez(path, x=networks.images(15), y=np.arange(15) % 3)
    return path


BAD = {
    "missing model": ("large", lambda t: t / "gone.keras", r"gone\.keras"),
    "missing data": ("data", lambda t: t / "gone.npz", r"gone\.npz.*(folder|\.npz)"),
    "no model": ("large", lambda t: text_file(t / "notes.keras"), r"notes\.keras is not a Keras model; expected a \."),
    "no model, small": ("small", lambda t: text_file(t / "notes.h5"), r"notes\.h5 is not a Keras model; expected"),
    "weights alone": (
        "large",
        lambda t: other_weights(t / "net.weights.h5"),
        r"no architecture; name it.*--large-arch",
    ),
    "two inputs": ("small", lambda t: two_inputs(t / "two.keras"), r"two has 2 inputs; an anchor takes one image"),
    "no cut": ("small", lambda t: uncuttable(t / "flat.keras"), r"cannot be cut: .*(block|live)"),
    "a NaN weight": ("large", lambda t: with_nan(t / "nan.keras"), r"nan: weight 0\.1\.conv1/kernel holds 1 NaN"),
    "empty folder": ("data", lambda t: empty(t / "none"), r"none: no images in it .*\.png.*; give"),
    "one class folder": ("data", lambda t: images_in(t / "one", 1, 20), r"one: one class only \(class0\); give two"),
    "one label": ("data", lambda t: same_label(t / "one.npz"), r"one\.npz: .*one class only; give two"),
    "all corrupt": ("data", lambda t: corrupt(t / "bad"), r"bad: none of its 20 images can be decoded, such as .*png"),
    "too few": ("data", lambda t: few(t / "few.npz"), r"few\.npz: 15 images; at least 16 are needed"),
}


@pytest.mark.parametrize(("option", "make", "words"), BAD.values(), ids=BAD)
def test_bad_inputs_are_one_clean_line_and_leave_nothing(
    inputs: Path, tmp_path: Path, option: str, make: Any, words: str
) -> None:
    given = make(tmp_path)
    out = tmp_path / "out" / "run"
    assert re.search(words, refused(*build(inputs, out, **{option: given})))
    assert not out.parent.exists()


def test_weights_of_another_architecture_name_both(inputs: Path, tmp_path: Path) -> None:
    path, out = other_weights(tmp_path / "net.weights.h5"), tmp_path / "out"
    said = refused(*build(inputs, out, "--large-arch", "MobileNetV2:alpha=0.35,input=32", large=path))
    assert "net.weights.h5" in said
    assert "MobileNetV2" in said
    assert not out.exists()


def test_anchors_the_wrong_way_round_bind_no_directory(inputs: Path, tmp_path: Path) -> None:
    swapped = {"large": inputs / "small.keras", "small": inputs / "large.keras"}
    said = refused(*build(inputs, tmp_path / "out", **swapped))
    assert re.search(r"large anchor small costs [\d.]+M MACs .* large, [\d.]+M; --large must be the costlier", said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--budget", "speed<=3", r"unknown budget term 'speed'; terms are: macs, .*latency"),
        ("--budget", "macs=3", r"'macs=3' is not understood; write name<=number"),
        ("--budget", "macs<=3KB", r"macs has no unit 'KB'; units: "),
        ("--precision", "float32,int4", r"unknown precision 'int4'; choose one of .*int8"),
        ("--precision", ",", r"unknown precision ''; choose one of"),
    ],
)
def test_words_that_mean_nothing_are_refused_before_any_work(
    inputs: Path, tmp_path: Path, option: str, value: str, words: str
) -> None:
    answer = ask(*build(inputs, tmp_path / "out", option, value))
    assert (answer.code, answer.out) == (1, "")
    assert re.search(words, answer.complaint)
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


PLANS = {
    "missing": (None, r"plans\.json is not a plans file"),
    "no JSON": ("{", r"plans\.json is not a plans file"),
    "no plans": ('{"format": 1}', r"plans\.json is not a plans file"),
    "no route": ('{"plans": [{"name": "a"}]}', r"plans\.json: plan 0 is not understood"),
}
GOOD_PLAN: dict[str, Any] = {
    "name": "L1-S0",
    "route": [
        {"anchor": "large", "start": None, "stop": "0.1.out"},
        {"anchor": "small", "start": "0.0.out", "stop": None},
    ],
    **{"macs": 1, "params": 1, "cka": 0.5, "r2": None, "kl": 0.1, "status": "chosen", "reason": ""},
}


def edited(**changes: Any) -> str:
    return json.dumps({"format": 1, "plans": [{**GOOD_PLAN, **changes}]})


PLANS |= {
    "status": (edited(status="maybe"), r"plan L1-S0 has status 'maybe'; use one of .*chosen"),
    "extra word": (edited(colour="red"), r"plan 0 is not understood: .*colour"),
    "one piece": (edited(route=GOOD_PLAN["route"][:1]), r"plan L1-S0 has 1 pieces; a stitched route has two"),
    "no such cut": (
        edited(route=[{"anchor": "large", "start": None, "stop": "9.9"}, GOOD_PLAN["route"][1]]),
        r"the large anchor has no cut named 9\.9; it has: .*0\.1\.out",
    ),
    "no adapter": (
        edited(route=[{"anchor": "large", "start": None, "stop": "pool"}, GOOD_PLAN["route"][1]]),
        r"plan L1-S0 cannot be built: |no cut named pool; it has",
    ),
}


@pytest.mark.parametrize(("content", "words"), PLANS.values(), ids=PLANS)
def test_a_broken_plans_file_is_refused(inputs: Path, tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "plans.json"
    if content is not None:
        path.write_text(content)
    assert re.search(words, refused(*build(inputs, tmp_path / "out", "--plans", path)))
    assert not (tmp_path / "out").exists()


# ---- outputs that cannot be used -------------------------------------------------------------


def test_an_output_below_a_file_cannot_be_written(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = refused(*build(inputs, tmp_path / "file" / "run"))
    assert re.search(r"cannot write to .*file/run: .*file is no folder; give another --out", said)
    assert (tmp_path / "file").read_text() == "mine"
    said = refused(*build(inputs, tmp_path / "file"))
    assert "cannot write to" in said


def test_similarity_too_says_where_it_cannot_write(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = refused("similarity", *build(inputs, tmp_path / "file" / "map")[1:])
    assert re.search(r"cannot write to .*file: .*file is no folder; give another --out", said)


def test_a_folder_of_something_else_is_left_alone(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("dear")
    said = refused(*build(inputs, tmp_path))
    assert re.search(r"is not a run directory and holds photo\.jpg; give an empty folder as --out", said)
    assert {p.name for p in tmp_path.iterdir()} == {"photo.jpg"}


@pytest.fixture(scope="module")
def another_run(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a build that ended early, as a budget can make it, but which is claimed."""
    out = tmp_path_factory.mktemp("claimed") / "run"
    said = refused_late(*build(inputs, out, "--budget", "macs<=1"))
    assert re.search(
        r"no pair of cuts is left to stitch: .* over the budget macs<=1; .*plans\.json has every reason", said
    )
    return out


def refused_late(*words: Any) -> str:
    answer = ask(*words)
    assert answer.code == 1, answer
    assert "Traceback" not in answer.err
    last = answer.err.splitlines()[-1]
    assert last.startswith("restnet-tf: ")
    return last


def test_a_budget_below_every_plan_says_so_in_the_plans(another_run: Path) -> None:
    reasons = {p["reason"] for p in json.loads((another_run / "plans.json").read_text())["plans"]}
    assert any(reason.startswith("over the budget macs<=1: ") for reason in reasons)
    assert not (another_run / "points.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "changes", "named"),
    [
        (["--seed", "3"], {}, "data"),
        (["--precision", "int8"], {}, "precisions"),
        (["--max-points", "2"], {}, "max_points"),
        ([], {"small": "tiny.keras"}, "small anchor"),
        ([], {"data": "more.npz"}, "data"),
    ],
)
def test_the_output_of_another_run_names_what_differs(
    inputs: Path, another_run: Path, tmp_path: Path, words: list[str], changes: dict[str, str], named: str
) -> None:
    networks.anchor((4, 5), 1, seed=5, name="tiny").model.save(tmp_path / "tiny.keras")
    np.savez(tmp_path / "more.npz", x=networks.images(50), y=np.arange(50) % networks.CLASSES)
    before = {p: p.read_bytes() for p in another_run.rglob("*") if p.is_file()}
    given = {option: tmp_path / name for option, name in changes.items()}
    said = refused(*build(inputs, another_run, "--budget", "macs<=1", *words, **given))
    assert f"holds a run with another {named}: " in said
    assert said.endswith("now; give another --out, or delete it")
    assert {p: p.read_bytes() for p in another_run.rglob("*") if p.is_file()} == before


# ---- usage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["build", "--large", "a.keras"],
        ["build", "--small", "a.keras", "--data", "digits"],
        ["build", "--large", "a.keras", "--small", "b.keras"],
        ["build", "--order", "sideways"],
        ["build", "--rank-by", "luck"],
        ["build", "--fine-tune", "all"],
        ["build", "--large-preprocess", "magic"],
        ["build", "--effort", "0"],
        ["build", "--max-points", "0"],
        ["build", "--seed", "-1"],
        ["build", "--no-such-option"],
        ["similarity", "--large", "a", "--small", "b"],
        ["select", "runs/demo"],
        ["inspect"],
        ["assemble"],
        ["train", "ViT"],
    ],
    ids=" ".join,
)
def test_usage_errors_are_exit_code_2(words: list[str]) -> None:
    answer = ask(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Usage: ")
    assert "Traceback" not in answer.err


def test_one_anchor_alone_says_what_goes_together() -> None:
    assert "--large, --small and --data together, or none" in " ".join(ask("build", "--large", "x").err.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_of_the_command(command: str) -> None:
    answer = ask(command, "--help")
    assert answer.code == 0
    example = re.search(r"Example:\n +restnet-tf (\w+) ", answer.out)
    assert example is not None
    assert example[1] == command


def test_every_command_is_known_here() -> None:
    assert tuple(sorted(main.commands)) == tuple(sorted(COMMANDS))


def test_an_example_is_understood(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask("inspect", "MobileNetV2:alpha=0.35,input=96", "--weights", "none", "--json")
    assert len(json.loads(answer.out)["cuts"]) > 10


# ---- inspect and similarity ------------------------------------------------------------------


def test_inspect_lists_the_cuts(inputs: Path) -> None:
    answer = ask("inspect", inputs / "small.keras")
    assert answer.code == 0, answer
    for cut in cuts.find(networks.pair()[0]["small"].model):
        row = next(line for line in answer.out.splitlines() if f" {cut.name} " in line)
        assert "x".join(map(str, cut.shape)) in row
        assert f"{cut.params_after:,}" in row


def test_inspect_gives_json(inputs: Path) -> None:
    answer = ask("inspect", inputs / "small.keras", "--json")
    content = json.loads(answer.out)
    assert content["anchor"] == "small"
    expected = cuts.find(networks.pair()[0]["small"].model)
    assert [c["name"] for c in content["cuts"]] == [c.name for c in expected]
    first = content["cuts"][0]
    assert (first["shape"], first["macs_before"]) == (list(expected[0].shape), expected[0].macs_before)


@pytest.mark.parametrize(
    ("make", "words"), [(v[1], v[2]) for k, v in BAD.items() if v[0] != "data" and "missing" not in k]
)
def test_inspect_refuses_the_same_models(tmp_path: Path, make: Any, words: str) -> None:
    assert re.search(words, refused("inspect", make(tmp_path)))


def test_inspect_of_what_is_not_there_says_what_would_work(tmp_path: Path) -> None:
    assert re.search(r"gone\.keras", refused("inspect", tmp_path / "gone.keras"))
    assert re.search(r"MobileNetV2", refused("inspect", "MobileNetV22"))


@pytest.mark.slow
def test_similarity_writes_a_picture_and_the_matrix(inputs: Path, tmp_path: Path) -> None:
    answer = ask("similarity", *build(inputs, tmp_path / "deep" / "map.v1")[1:])
    assert answer.code == 0, answer
    assert answer.out.count("\n") == 1
    files = tmp_path / "deep" / "map.v1.png", tmp_path / "deep" / "map.v1.npz"
    assert all(str(path) in answer.out for path in files)
    assert sorted(files) == sorted((tmp_path / "deep").iterdir())
    with Image.open(files[0]) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100
    _, lists = networks.pair()
    with np.load(files[1]) as found:
        assert found["large"].tolist() == [c.name for c in lists["large"]]
        assert found["small"].tolist() == [c.name for c in lists["small"]]
        assert found["cka"].shape == (len(lists["large"]), len(lists["small"]))
        assert np.isfinite(found["cka"]).all()
        assert found["cka"].max() <= 1 + 1e-9


def test_similarity_of_bad_input_leaves_nothing(inputs: Path, tmp_path: Path) -> None:
    bad = few(tmp_path / "few.npz")
    assert "15 images" in refused("similarity", *build(inputs, tmp_path / "out" / "map", data=bad)[1:])
    assert not (tmp_path / "out").exists()
    answer = ask("similarity", "--data", "digits", "--small", inputs / "small.keras", "--out", tmp_path / "out" / "m")
    assert answer.code == 1
    assert answer.complaint.endswith("no large anchor was named; give --large a name or a file")


# ---- select ----------------------------------------------------------------------------------


def score(right: int, kl: float | None = None) -> Score:
    return Score.of(np.arange(200) < right, kl)


def file(path: str, flash: int, right: int, latency: float) -> File:
    times = (latency, latency)
    return File(path, "0" * 64, flash, flash // 4, score(right), score(right - 2), latency, latency, times, 1, "LiteRT")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with points as a build writes them."""

    def point(name: str, kind: str, macs: int, right: int, **more: Any) -> OperatingPoint:
        files = {"float32": file(f"tflite/{name}.float32.tflite", macs // 10, right, macs / 1e5)}
        figures = {"rank": score(right, 0.1), "test": score(right - 2, 0.1), "files": files}
        return OperatingPoint(name, kind, f"the way of {name}", macs, macs // 100, **{**figures, **more})

    found = (
        point("small", ANCHOR, 1_000_000, 150),
        point("L1-S0", "stitched", 3_000_000, 180),
        point("L2-S1", "stitched", 4_000_000, 170, status=DOMINATED, files={}),
        point("large", ANCHOR, 9_000_000, 195),
        point("distilled", CONTROL, 1_000_000, 199, status=CONTROL, files={}),
    )
    made = Run(tmp_path / "run")
    made.create()
    made.write_json(made.points_path, points.to_json(found, {"metric": "accuracy"}))
    return made.path


def test_select_says_which_file_and_why(run: Path) -> None:
    answer = ask("select", run, "--budget", "macs<=4M, flash<=400KB")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("L1-S0 float32: the way of L1-S0\n")
    assert "accuracy 89.0 % [" in answer.out
    assert "of 200 test images" in answer.out
    assert "macs 3 M (counted in the graph)" in answer.out
    assert "flash 300 KB (size of the point's own file)" in answer.out
    assert answer.out.rstrip().endswith(f"file {run / 'tflite/L1-S0.float32.tflite'}")


def test_select_gives_json(run: Path) -> None:
    answer = ask("select", run, "--budget", "macs<=10M", "--json")
    expected = {"point": "large", "precision": "float32", "file": str(run / "tflite/large.float32.tflite")}
    assert json.loads(answer.out) == expected


def test_a_budget_that_nothing_meets_says_what_the_nearest_misses(run: Path) -> None:
    said = refused("select", run, "--budget", "macs<=2M, flash<=50KB")
    assert (
        "no point meets the budget; the nearest, small float32, misses flash<=50KB (it has 100 KB, 100% over)" in said
    )
    assert "no point meets" in refused("select", run, "--budget", "macs<=2M, flash<=50KB", "--json")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("speed<=3", "unknown budget term 'speed'; terms are: macs"),
        ("", "is empty; terms are"),
        ("ram<3parsec", "unit"),
    ],
)
def test_select_names_the_term_it_does_not_know(run: Path, budget: str, words: str) -> None:
    assert words in refused("select", run, "--budget", budget)


def test_select_of_no_run(tmp_path: Path, run: Path) -> None:
    assert re.search(r"nowhere/points\.json is missing", refused("select", tmp_path / "nowhere", "--budget", "macs<=1"))
    (run / "points.json").write_text('{"points": [{"name": "a"}]}')
    assert "points.json is not a list of operating points" in refused("select", run, "--budget", "macs<=1")


# ---- the process itself ----------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_exit_130(inputs: Path, tmp_path: Path) -> None:
    words = [str(word) for word in build(inputs, tmp_path / "out", "--effort", "50", "--no-controls")]
    code = "from restnet_tf.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in its background has all of them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("similarity of all pairs"):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, "".join(lines) + err
    assert out == ""
    last = err.splitlines()[-1]
    assert last == "restnet-tf: stopped; what was finished is kept, run the same command to go on"
    assert "Traceback" not in err
    assert (tmp_path / "out" / "run.json").exists()
    assert not list((tmp_path / "out").rglob("*.tmp*"))
