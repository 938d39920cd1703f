"""Exits in a family from end to end: answers in Keras, NumPy and files, shared integers, first stages of cascades."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import colours
import keras
import needs
import numpy as np
import paths
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from networks import forward

from restnet_tf.anchors import zoo
from restnet_tf.cascades.thresholds import hand
from restnet_tf.commands import build as job
from restnet_tf.commands import optimize, verify
from restnet_tf.commands.optimize import Treatment
from restnet_tf.fitting.results import Fitted
from restnet_tf.graph import costs, cuts
from restnet_tf.graph.costs import Costs
from restnet_tf.methods.restnet import jumps
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points import points
from restnet_tf.points.points import STITCHED
from restnet_tf.progress import Silent
from restnet_tf.records import Anchor
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.stitches import stitch
from tflite_export.devices import host, tflm_wheel
from tflite_export.flatbuffer import only, read
from tflite_export.runtime import ElasticModel

pytestmark = pytest.mark.slow

NAMES = ("L5-exit", "L1-L2-L4-exit")
CHAIN = "L5-exit>large"


@pytest.fixture(scope="session")
def run(once: paths.Once) -> Path:
    """A family of one network, of two exits that a person chose: one of them behind a block that is left out."""

    def fill(folder: Path) -> None:
        colours.stitchable(folder, convolutions=1)
        network = zoo.load(str(folder / "large.keras"))
        places = {"large": cuts.places(network)}
        calls, last = costs.nodes(network.model), len(places["large"]) - 1
        whole = {"large": Costs(costs.macs(calls), costs.params(calls))}
        exits = ((5, last),), ((1, 2), (4, last))
        every = [tuple((("large", i), ("large", j)) for i, j in path) for path in exits]
        listed = [replace(jumps.plan(path, places, whole), status="chosen", reason=None) for path in every]
        plans_file.write_plans(folder / "plans.json", listed)
        options = Options(large=str(folder / "large.keras"), data=str(folder / "data.npz"), effort=0.001, ship_all=True)
        job.build("restnet", replace(options, out=folder / "run", plans=folder / "plans.json"), Silent())

    return once("run of exits", fill) / "run"


@pytest.fixture(scope="module")
def network(run: Path) -> Anchor:
    return zoo.load(str(run.parent / "large.keras"))


@pytest.fixture(scope="module")
def x(run: Path) -> np.ndarray:
    with np.load(run.parent / "data.npz") as arrays:
        return np.asarray(arrays["x_test"][:60], np.float32)


def fitted(run: Path, name: str) -> Fitted:
    fit = Run(run).load_fitted(name)
    assert fit is not None
    return fit


def by_hand(network: Anchor, fit: Fitted, x: np.ndarray) -> np.ndarray:
    """Features in front of an exit of one jump, its map in NumPy, and a softmax."""
    cut = cuts.find(network.model)[5].name
    front = keras.Model(network.model.inputs[0], cuts.tensor(network.model, cut))
    logits = stitch.applied(fit.stitch, forward(front, x)).astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def test_an_exit_answers_alike_in_numpy_and_files(run: Path, network: Anchor, x: np.ndarray):
    listed = {p.name: p for p in points.read(run / "points.json")[1]}
    assert {name for name, p in listed.items() if p.kind == STITCHED} == set(NAMES)
    assert listed["L5-exit"].macs < listed["large"].macs
    expected = by_hand(network, fitted(run, "L5-exit"), x)
    content = Run(run).tflite_path("L5-exit", "float32").read_bytes()
    np.testing.assert_allclose(host.scores(content, [x]), expected, atol=1e-5)
    rounded = host.scores(Run(run).tflite_path("L5-exit", "int8").read_bytes(), [x])
    assert np.mean(rounded.argmax(1) == expected.argmax(1)) > 0.9
    for name in NAMES:
        own = Run(run).tflite_path(name, "float32").read_bytes()
        elastic = ElasticModel(run / "elastic.float32.tflite")
        elastic.switch(name)
        answers = np.stack([elastic.run(one) for one in x[:4]])
        np.testing.assert_allclose(answers, host.scores(own, [x[:4]]), atol=1e-5)


def test_the_integers_of_an_exit_are_those_of_the_network(run: Path):
    """All but its own map; alone and in the elastic file, where every buffer is there once."""
    whole = _integers(run / "tflite/large.int8.tflite")
    for name in NAMES:
        own = [s.kernel.size for s in fitted(run, name).stitches]
        assert sorted(map(len, _integers(run / f"tflite/{name}.int8.tflite") - whole)) == sorted(own)
    elastic = (run / "elastic.int8.tflite").stat().st_size
    alone = (run / "tflite/large.int8.tflite").stat().st_size
    assert elastic < 2.5 * alone


def _integers(path: Path) -> set[bytes]:
    """The int8 weights of a file."""
    tensors = only(read(path.read_bytes())).tensors
    return {t.values().tobytes() for t in tensors if t.constant and t.type == "INT8"}


def test_a_cascade_goes_on_from_the_cut_of_an_exit(run: Path, x: np.ndarray):
    listed = {p.name: p for p in points.read(run / "points.json")[1]}
    point, first, large = listed[CHAIN], listed["L5-exit"], listed["large"]
    assert point.cascade is not None
    assert point.cascade.resumes == ("large",)
    own = fitted(run, "L5-exit").stitch
    assert point.cascade.macs == (first.macs, large.macs - (first.macs - stitch.macs(own.source, own.target)))
    for precision, file in point.files.items():
        alone = {name: _convolutions(run / f"tflite/{name}.{precision}.tflite") for name in CHAIN.split(">")}
        assert alone["large"] <= _convolutions(run / file.path) < sum(alone.values())  # none is computed twice
        apart = [host.scores(Run(run).tflite_path(name, precision).read_bytes(), [x]) for name in CHAIN.split(">")]
        assert file.dial is not None
        for thresholds in (file.dial.thresholds, (0.0,), (1.01,)):
            scores, stage = host.answers((run / file.path).read_bytes(), [x], thresholds=thresholds)
            expected, place = hand(apart, thresholds, point.cascade.confidence)
            np.testing.assert_array_equal(stage, place)
            np.testing.assert_array_equal(scores, expected)


def _convolutions(path: Path) -> int:
    """Those of all graphs of a file."""
    return sum(op.name == "CONV_2D" for graph in read(path.read_bytes()).subgraphs for op in graph.operators)


def test_verify_takes_exits(run: Path):
    checks = verify.check_run(run, "int8", 40, Silent())
    verify.judge(checks)
    assert {"large", *NAMES} <= {v.point for v in checks.networks}


@needs.TFMOT.mark
@pytest.mark.usefixtures("one_process")
def test_the_last_map_of_a_route_of_several_is_trained_behind_rounding(run: Path, tmp_path: Path):
    """All before it stays; behind an exit's nothing is left to train."""
    copy = shutil.copytree(run, tmp_path / "run")
    done = optimize.optimize(copy, "L1-L2-L4-exit", Treatment("qat", epochs=1), Silent())
    old, new = fitted(copy, "L1-L2-L4-exit"), fitted(copy, done.name)
    for before, after in zip(old.before, new.before, strict=True):
        np.testing.assert_array_equal(before.kernel, after.kernel)
    assert not np.array_equal(old.stitch.kernel, new.stitch.kernel)
    assert not new.stitch.tuned
    assert done.integers is not None
    before, after = (scores["test"] for scores in done.integers)
    assert after.value > before.value - 0.1


@needs.MICRO.mark
def test_an_exit_runs_in_tensorflow_lite_micro(run: Path, x: np.ndarray):
    content = Run(run).tflite_path("L5-exit", "int8").read_bytes()
    end = only(read(content)).inputs[0]
    steps = np.rint(x[:6] / end.scales[0] + end.zero_points[0]).clip(-128, 127).astype(np.int8)
    ran = tflm_wheel.run(content, steps, 1 << 22)
    expected = [on_reference(content, one) for one in steps]
    np.testing.assert_allclose(ran.scores[0].astype(int), expected, atol=2)


def on_reference(content: bytes, image: np.ndarray) -> np.ndarray:
    """What LiteRT's reference kernels answer; those of XNNPACK round otherwise than a microcontroller's."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].astype(int)
