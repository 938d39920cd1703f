"""``restnet-tf compose`` as a user calls it: files that answer as Keras does, resumed to the same bytes, refusals."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import networks
import numpy as np
import points_schema
import pytest
from click.testing import CliRunner, Result

from restnet_tf.anchors import zoo
from restnet_tf.cli.main import main
from restnet_tf.commands import report
from restnet_tf.methods.stitchnet import fragments, method, outlook
from restnet_tf.methods.stitchnet.options import Options
from restnet_tf.points import points, select
from restnet_tf.points.points import ANCHOR, STITCHED
from restnet_tf.progress import Silent
from restnet_tf.records import Anchor
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.stitches import variant
from tflite_export import budget
from tflite_export.fragment import Runner
from tflite_export.runtime import ElasticModel

pytestmark = pytest.mark.slow

SIDE = 8
# No joint is too bad. No net is longer than a member, so that the search ends before a start has enough of them.
LIMITS = ["--least", "-1", "--least-overall", "0", "--depth", "5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two small networks as files, and labelled images of three colours."""
    path = tmp_path_factory.mktemp("compose")
    for name, widths, seed in (("small", (4, 6), 1), ("large", (6, 10), 2)):
        networks.anchor(widths, 2, convolutions=1, seed=seed, name=name).model.save(path / f"{name}.keras")
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = rng.integers(0, 120, (90, SIDE, SIDE, 3))
    images[np.arange(90), :, :, labels] += 60
    np.savez(path / "colours.npz", x=images.astype(np.uint8), y=labels, class_names=np.array(["red", "green", "blue"]))
    return path


def compose(folder: Path, out: str, *options: str, members: tuple[str, ...] = ("small", "large")) -> Result:
    pool = [word for name in members for word in ("--pool", f"{folder / name}.keras")]
    places = ["--pool-dir", str(folder / "pool"), "--out", str(folder / out), "--data", str(folder / "colours.npz")]
    return CliRunner().invoke(main, ["compose", *pool, *places, *options])


@pytest.fixture(scope="module")
def finished(folder) -> tuple[Path, str]:
    done = compose(folder, "run", "--images", "18", "--precision", "float32,int8", "--seed", "1", *LIMITS)
    assert done.exit_code == 0, done.output
    return folder / "run", done.output


def head_anchor(classes: int) -> Anchor:
    logits = keras.Input((1, 1, classes))
    flat = keras.layers.Flatten()(logits)
    model = keras.Model(logits, keras.layers.Softmax()(flat))
    return Anchor("head", model, flat, flat, None, "head")


def members(folder: Path) -> dict[str, Anchor]:
    """The pool in Keras, each to its features as a cut that a stitch can read."""
    found = {}
    for role, name in (("A", "small"), ("B", "large")):
        anchor = zoo.load(str(folder / f"{name}.keras"))
        whole = fragments.trunk(anchor)
        end = keras.Model(whole.inputs[0], keras.layers.Flatten(name="end")(whole.outputs[0]))
        found[role] = Anchor(name, end, end.outputs[0], end.outputs[0], None, name)
    return found | {"head": head_anchor(3)}


def test_files_answer_as_the_same_nets_in_keras(folder, finished):
    run = Run(finished[0])
    plans = {p.name: p for p in plans_file.read_plans(run.plans_path)}
    anchors = members(folder)
    images = np.load(folder / "colours.npz")["x"][:30]
    made = [p for p in points.read(run.points_path)[1] if p.kind == STITCHED]
    assert any(p.rank.value > 0.5 for p in made)
    told = []
    for point in made:
        fitted = run.load_fitted(point.name)
        assert fitted is not None
        net = variant.assemble(plans[point.name], anchors, *fitted.stitches)
        wanted = networks.forward(net, images)
        content = (run.path / point.files["float32"].path).read_bytes()
        np.testing.assert_allclose(Runner(content)(images)[0], wanted, atol=1e-4)
        rough = Runner((run.path / point.files["int8"].path).read_bytes())(images)[0]
        if point.rank.value > 0.5:  # a head that only knows that classes are equally likely has ties
            told.append(np.mean(rough.argmax(axis=1) == wanted.argmax(axis=1)))
        elastic = ElasticModel(run.elastic_path("float32"))
        np.testing.assert_allclose(elastic.run(images[0], point=point.name), wanted[0], atol=1e-4)
    assert np.mean(told) > 0.8


def test_its_points_are_as_the_schema_says(finished):
    assert points_schema.faults_of(finished[0]) == []


def test_the_run_says_what_it_found(finished):
    path, said = finished
    run = Run(path)
    meta, found = points.read(run.points_path)
    assert {p.name for p in found if p.kind == ANCHOR} == {"A", "B"}
    kept = [p for p in found if p.kind == STITCHED]
    plans = plans_file.read_plans(run.plans_path)
    assert {p.name for p in kept} == {p.name for p in plans if p.status == "chosen"}
    assert all(p.reason for p in plans if p.status == "rejected")
    assert meta["nets"] == sum(p.kl is not None for p in plans)
    for p in kept:  # on the front of MACs and log loss, members among the rivals
        assert not [r for r in found if r is not p and r.macs <= p.macs and r.rank.kl <= p.rank.kl]
        assert p.rank.n == 18
        assert p.files["float32"].rank.hits == p.rank.hits
    for words in ("Pearson", "Spearman", "seconds: pool", "best member of all", "were new to the pool"):
        assert words in said, said
    assert select.select(found, budget.parse("macs<=100M"), (), path).file.flash_bytes > 0
    page, _, _ = report.write(path)
    assert "small" in page.read_text()


def test_what_it_takes_is_said_first_and_grows_with_what_is_asked_for(folder, finished):
    assert re.search(r"about \d.* here, .* of memory a process, .* of disk in .*/run$", finished[1], re.MULTILINE)
    pool = tuple(str(folder / f"{name}.keras") for name in ("small", "large"))
    asked = Options(pool=pool, data=str(folder / "colours.npz"), images=18, pool_dir=folder / "pool")
    least = outlook.forecast(method.open(asked, Silent()))
    for more in ({"nets": 60}, {"images": 45}, {"precision": "float32,int8"}, {"pool_dir": folder / "new"}):
        whole = method.open(replace(asked, **more), Silent())
        other = outlook.forecast(whole)
        assert (other.seconds, other.disk) > (least.seconds, least.disk)
        assert bool(outlook.new(whole)) == ("pool_dir" in more)


def test_the_test_split_and_what_is_validated_on_share_no_image(finished):
    """What the files score on the test split is what the files give, not what the search saw."""
    found = points.read(Run(finished[0]).points_path)[1]
    assert {p.test.n for p in found} == {points.read(Run(finished[0]).points_path)[1][0].test.n}
    assert found[0].test.n != found[0].rank.n


def test_a_stopped_run_goes_on_to_the_same_bytes(folder, finished):
    first = Run(finished[0])
    second = Run(shutil.copytree(first.path, folder / "again"))
    kept = {p.relative_to(second.path) for p in second.path.rglob("*.tflite")}
    for name in ("points.json", "elastic.float32.tflite", "search/B.json"):
        (second.path / name).unlink()
    victim = sorted((second.path / "tflite").iterdir())[0]
    victim.unlink()
    record = json.loads((second.path / "run.json").read_text())
    record["steps"].pop("points")
    (second.path / "run.json").write_text(json.dumps(record))
    resumed = compose(folder, "again", "--images", "18", "--precision", "float32,int8", "--seed", "1", *LIMITS)
    assert resumed.exit_code == 0, resumed.output
    assert "every member was in the pool already" in resumed.output
    assert {p.relative_to(second.path) for p in second.path.rglob("*.tflite")} == kept
    for name in ("plans.json", "search/B.json"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name
    for path in kept:
        if path.parts[0] == "tflite":
            assert (first.path / path).read_bytes() == (second.path / path).read_bytes(), path
    other = compose(folder, "again", "--images", "12", "--seed", "1", *LIMITS)
    assert other.exit_code == 1
    assert "holds a run with another images" in other.output


def test_a_second_user_needs_no_tensorflow(folder, finished):
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from restnet_tf.cli.main import main\n"
        "done = CliRunner().invoke(main, sys.argv[1:])\n"
        "assert done.exit_code == 0, done.output\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    arguments = ["compose", "--pool", f"{folder}/small.keras", "--pool", f"{folder}/large.keras"]
    arguments += ["--pool-dir", f"{folder}/pool", "--data", f"{folder}/colours.npz", "--out", f"{folder}/second"]
    arguments += ["--images", "12", "--seed", "3", *LIMITS]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("term", ["flash", "ram", "macs"])
def test_a_budget_on_files_loses_no_net_that_fits(folder, finished, term):
    """The unlimited search's nets, filtered by their own figures, are all found within the budget."""
    _, everything = points.read(Run(finished[0]).points_path)
    made = [p for p in everything if p.kind == STITCHED]
    figure = select.FIGURES[term]
    limit = max(figure.of(p, p.files["float32"]) for p in made)
    unit = "B" if term in ("flash", "ram") else ""
    done = compose(
        folder, f"within-{term}", "--images", "18", "--seed", "1", *LIMITS, "--budget", f"{term}<={limit:.0f}{unit}"
    )
    assert done.exit_code == 0, done.output
    names = {p.name for p in plans_file.read_plans(Run(folder / f"within-{term}").plans_path) if p.status == "chosen"}
    assert {p.name for p in made} <= names


def test_a_full_disk_leaves_the_search_in_place_and_a_finished_run_gains_a_precision(folder, finished, monkeypatch):
    words = ["--images", "18", "--seed", "1", *LIMITS]
    rename = Path.replace

    def full(self, target):
        if Path(target).suffix == ".tflite" and "tflite" in Path(target).parts:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        done = compose(folder, "filled", *words)
    assert done.exit_code == 1
    assert done.output.strip().splitlines()[-1].endswith(".tflite: No space left on device")
    run = Run(folder / "filled")
    searched = {path: path.stat().st_mtime_ns for path in (run.path / "search").iterdir()}
    assert len(searched) == 3  # both members' starts, and the members themselves
    assert compose(folder, "filled", *words).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in searched} == searched
    done = CliRunner().invoke(main, ["link", str(run.path), "--precision", "int8"])
    assert done.exit_code == 0, done.output
    assert {frozenset(p.files) for p in points.read(run.points_path)[1]} == {frozenset({"float32", "int8"})}
    assert {path: path.stat().st_mtime_ns for path in searched} == searched
    assert {p.name for p in ElasticModel(run.elastic_path("int8")).points} == {
        p.name for p in points.read(run.points_path)[1]
    }
    # All of it was made anew, and is what another run of the same inputs made.
    other = Run(finished[0])
    assert run.plans_path.read_bytes() == other.plans_path.read_bytes()
    files = {path.name: path.read_bytes() for path in (run.path / "tflite").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (other.path / "tflite").iterdir()}


def test_one_member_gives_what_is_left_of_it(folder):
    done = compose(folder, "one", "--images", "18", *LIMITS, members=("large",))
    assert done.exit_code == 0, done.output
    assert "one pool member alone" in done.output


REFUSALS = {
    "images": (("--images", "3"), "3 images are too few for 3 classes"),
    "class": (("--classes", "red,pink"), "no class 'pink'; its classes are: red, green, blue"),
    "budget": (("--images", "18", "--budget", "macs<=10"), "no net of this pool is within the budget"),
    "flash": (("--images", "18", "--budget", "flash<=10B"), "no net of this pool is within the budget"),
    "term": (("--images", "18", "--budget", "mac<=10"), "unknown budget term 'mac'"),
    "overall": (("--images", "18", "--least-overall", "1"), "lower --least-overall"),
    "least": (("--images", "18", "--least", "1", "--least-overall", "0"), "lower --least,"),
    "nets": (("--images", "18", "--nets", "1", *LIMITS), "raise --nets"),
    "precision": (("--images", "18", "--precision", "int7"), "int7"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_composed(folder, name):
    options, words = REFUSALS[name]
    done = compose(folder, f"bad-{name}", *options)
    assert done.exit_code == 1, done.output
    last = done.output.strip().splitlines()[-1]
    assert last.startswith("restnet-tf: ")
    assert words in last
    assert "Traceback" not in done.output
    assert not (folder / f"bad-{name}").exists()


def test_data_without_labels_and_members_without_cuts(folder):
    images = networks.images(40, side=SIDE)
    np.savez(folder / "bare.npz", x=images)
    pool = ["--pool", f"{folder}/small.keras", "--pool-dir", f"{folder}/pool"]
    done = CliRunner().invoke(main, ["compose", *pool, "--data", f"{folder}/bare.npz", "--out", f"{folder}/x"])
    assert done.exit_code == 1
    assert "no labels" in done.output
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Dense(4)(keras.layers.Flatten()(image))
    keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(3)(x))).save(folder / "uncut.keras")
    done = compose(folder, "y", "--images", "18", members=("small", "uncut"))
    assert done.exit_code == 1
    assert "leave uncut out of the pool" in done.output
    done = compose(folder, "z", members=("nothing",))
    assert done.exit_code == 1
    assert "no file" in done.output
