"""``.tflite`` files as members of a pool: what is composed of them answers as its parts do, in their integers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import keras
import needs
import networks
import numpy as np
import paths
import pytest

import restnet_tf
from restnet_tf.commands.build import Done
from restnet_tf.methods.stitchnet import file_members, method
from restnet_tf.methods.stitchnet.composition import Composition
from restnet_tf.methods.stitchnet.options import Options
from restnet_tf.points.points import STITCHED, OperatingPoint
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.stitches import stitch
from tflite_export.convert import convert
from tflite_export.flatbuffer import only, read
from tflite_export.fragment import Runner, stretch
from tflite_export.precision import check_file
from tflite_export.runtime import ElasticModel

pytestmark = pytest.mark.slow

SIDE = 8
# "large" has no suffix: what it is, its content says.
INTEGERS, FLOATS, KERAS = "small.tflite", "large", "third.keras"
OPTIONS = Options(images=18, least=-1.0, least_overall=0.0, depth=6, nets=4, max_points=4, cascades=0, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of random weights as files of every kind, and labelled images of three colours."""
    path = tmp_path_factory.mktemp("files")
    small, large, third = (
        networks.anchor(widths, seed=seed, name=name).model
        for name, widths, seed in (("small", (4, 6), 1), ("large", (6, 10), 2), ("third", (4, 8), 3))
    )
    images = [networks.images(20).astype(np.float32)]
    (path / INTEGERS).write_bytes(convert(small, "int8", images))
    (path / FLOATS).write_bytes(convert(large, "float32", images))
    (path / "large.int8.tflite").write_bytes(convert(large, "int8", images))
    third.save(path / KERAS)
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    pixels = rng.integers(0, 120, (90, SIDE, SIDE, 3))
    pixels[np.arange(90), :, :, labels] += 60
    np.savez(path / "colours.npz", x=pixels.astype(np.uint8), y=labels)
    return path


def options(folder: Path, out: str, *members: str, **others: object) -> Options:
    pool = tuple(str(folder / member) for member in members)
    places = {"data": str(folder / "colours.npz"), "out": folder / out, "pool_dir": folder / "pool"}
    return replace(OPTIONS, pool=pool, **places, **others)


def composed(chosen: Options) -> Done:
    return restnet_tf.compose(**{name: value for name, value in vars(chosen).items() if name != "also"})


def nets(done: Done) -> list[OperatingPoint]:
    listed = [p for p in done.points if p.kind == STITCHED]
    assert listed
    return listed


def by_hand(composition: Composition, point: OperatingPoint, images: np.ndarray) -> np.ndarray:
    """What the parts of a net answer one behind the other, as the search runs them, stitches in NumPy."""
    run = composition.run
    plan = next(p for p in plans_file.read_plans(run.plans_path) if p.name == point.name)
    fitted = run.load_fitted(point.name)
    assert fitted is not None
    x = images
    for piece, one in zip(plan.route[:-1], fitted.stitches, strict=True):
        part = stretch(composition.object(piece.anchor, "float32"), piece.start, [str(piece.stop)])
        x = stitch.applied(one, Runner(part)(x)[0].reshape(len(x), *one.source.shape))
    logits = x.reshape(len(x), -1).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def integers(content: bytes) -> set[bytes]:
    """The int8 kernels that a file reads."""
    read_there = [t for op in only(read(content)).operators for t in op.inputs if t is not None and t.constant]
    return {t.buffer.digest for t in read_there if t.type == "INT8" and len(t.shape) == 4}


@pytest.fixture(scope="module")
def mixed(folder: Path) -> tuple[Options, Done]:
    chosen = options(folder, "mixed", INTEGERS, FLOATS, KERAS)
    return chosen, composed(chosen)


def test_files_of_a_mixed_pool_answer_as_the_search_saw(mixed: tuple[Options, Done], folder: Path) -> None:
    chosen, done = mixed
    composition = method.open(chosen, Silent())
    assert sorted(composition.names.values()) == ["head", "large", "small", "third"]
    images = np.load(folder / "colours.npz")["x"][:12]
    roles = set()
    for point in nets(done):
        answers = Runner((done.path / point.files["float32"].path).read_bytes())(images)[0]
        # An integer that is rounded otherwise in one of many thousand moves little.
        np.testing.assert_allclose(answers, by_hand(composition, point, images), atol=0.03)
        assert point.files["float32"].rank.hits == point.rank.hits
        elastic = ElasticModel(composition.run.elastic_path("float32")).run(images[0], point=point.name)
        np.testing.assert_allclose(elastic, answers[0], atol=0.03)
        plan = next(p for p in plans_file.read_plans(composition.run.plans_path) if p.name == point.name)
        roles |= {composition.names[piece.anchor] for piece in plan.route}
    assert {"small", "large"} <= roles, roles


def test_integers_of_a_member_are_in_the_net(mixed: tuple[Options, Done], folder: Path) -> None:
    own = integers((folder / INTEGERS).read_bytes())
    with_it = [p for p in nets(mixed[1]) if "small" in p.route]
    assert with_it
    for point in with_it:
        kernels = integers((mixed[1].path / point.files["float32"].path).read_bytes())
        assert kernels
        assert kernels <= own


def test_integer_members_make_integer_nets(folder: Path) -> None:
    chosen = options(folder, "integers", INTEGERS, "large.int8.tflite", precision="int8")
    done = composed(chosen)
    composition = method.open(chosen, Silent())
    images = np.load(folder / "colours.npz")["x"]
    own = integers((folder / INTEGERS).read_bytes()) | integers((folder / "large.int8.tflite").read_bytes())
    same = []
    for point in nets(done):
        content = (done.path / point.files["int8"].path).read_bytes()
        check_file(content, "int8")
        # Stitches, the head and resized shortcuts have 1x1 kernels of their own; every other is a member's.
        assert len(integers(content) & own) > 3
        same.append(Runner(content)(images)[0].argmax(1) == by_hand(composition, point, images).argmax(1))
    assert np.mean(same) > 0.8


@pytest.mark.parametrize(("member", "alone"), [("large.int8.tflite", True), (KERAS, True), (FLOATS, False)])
def test_float_files_of_integers_are_said_to_be_of_both_kinds(folder: Path, member: str, alone: bool) -> None:
    report = Silent()
    method.open(options(folder, "said", INTEGERS, member), report)
    said = next(line for line in report.lines if line.startswith("small is int8 and stays so"))
    assert ("--precision int8 makes nets of integers alone" in said) is alone


class Doubling(Runner):
    """Runs a file on features twice as large as it should be; images, which are bytes, it leaves alone."""

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        return super().__call__(x if x.dtype == np.uint8 else 2 * x)


def test_a_file_whose_parts_are_not_the_whole_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_members, "Runner", Doubling)
    composition = method.open(options(folder, "parts", FLOATS), Silent())
    with pytest.raises(
        RestnetError, match=r"^large: from \S+Relu on it gives \S+ of the largest value at \S+ else than"
    ):
        composition.object("A", "float32")


def test_a_file_is_no_part_of_a_precision_that_it_is_not(folder: Path) -> None:
    with pytest.raises(RestnetError, match=r"^large is float32, .* of int8 nets it can be no part; give --precision f"):
        composed(options(folder, "refused", INTEGERS, FLOATS, precision="int8"))
    assert not Run(folder / "refused").path.exists()


@pytest.fixture(scope="module")
def saturating(folder: Path) -> Path:
    """A network of values of 0 to 1, as a file and in Keras: of photos as they are it sees white."""
    layers = keras.layers
    x = image = keras.Input((SIDE, SIDE, 3))
    for name in ("one", "two"):
        layer = layers.Conv2D(3, 1, name=name)
        x = layers.ReLU(6.0)(layer(x))
        layer.set_weights([4 * np.eye(3, dtype=np.float32)[None, None], np.full(3, 0.1, np.float32)])
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Softmax()(x))
    model.save(folder / "unit.keras")
    (folder / "unit.tflite").write_bytes(convert(model, "float32", []))
    return folder


@pytest.mark.parametrize("name", ["unit.tflite", "unit.keras"])
def test_a_member_that_is_shown_other_values_stops_with_the_option(saturating: Path, name: str) -> None:
    chosen = options(saturating, "looked", name, INTEGERS, images=45)
    composition = method.open(chosen, Silent())
    with pytest.raises(
        RestnetError, match=r"unit\) has .* and .* % with --preprocess=\S+: give that; --anyway"
    ) as told:
        method.check(composition)
    mode = str(told.value).partition("--preprocess=")[2].partition(":")[0]
    method.check(method.open(replace(chosen, preprocess=mode), Silent()))
    method.check(method.open(replace(chosen, anyway=True), Silent()))


def test_a_member_at_chance_stops(folder: Path) -> None:
    shutil.copy(folder / "colours.npz", folder / "shuffled.npz")
    with np.load(folder / "colours.npz") as arrays:
        np.savez(folder / "shuffled.npz", x=arrays["x"], y=np.random.default_rng(0).permutation(arrays["y"]))
    chosen = replace(options(folder, "chance", INTEGERS, images=45), data=str(folder / "shuffled.npz"))
    with pytest.raises(RestnetError, match=r"no better than chance: .*; if not, leave it out of the pool; --anyway"):
        method.check(method.open(chosen, Silent()))


@needs.ANCHORS.mark
def test_real_files_of_integers_compose(tmp_path: Path) -> None:
    pool = tuple(str(paths.SHARED / "anchors" / f"mlperf_resnet{n}_int8.tflite") for n in ("8", "_large"))
    data = str(paths.SHARED / "data" / "cifar10_subset.npz")
    few = replace(OPTIONS, images=20, fragments=3, nets=3, max_points=1, precision="int8", out=tmp_path / "run")
    done = composed(replace(few, pool=pool, data=data, pool_dir=tmp_path / "pool"))
    assert {p.name for p in done.points} >= {"A", "B"}
    for point in done.points:
        content = (done.path / point.files["int8"].path).read_bytes()
        check_file(content, "int8")
        assert point.files["int8"].test.value > 0.2
