"""The Coral harness. No board was at hand: its script runs here on a stand-in for tflite_runtime, made of LiteRT."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cascade_files
import numpy as np
import pytest
from bench_files import files

from tflite_export import confidence
from tflite_export.devices import captures, coral, host
from tflite_export.devices.exports import Parcel, PointFile, StageLoop
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject
from tflite_export.errors import TfliteError

SCRIPT = captures.HARNESS / "coral.py"
STAND_IN = """
from ai_edge_litert import interpreter
class Interpreter(interpreter.Interpreter):
    def __init__(self, model_path, experimental_delegates=(), num_threads=1):
        super().__init__(model_path=model_path, num_threads=num_threads)
def load_delegate(name):
    raise ValueError(f"Failed to load delegate from {name}")
"""


@pytest.fixture(scope="module")
def subject() -> Subject:
    return files(["int8"])["int8"]


def line(subject: Subject, **changes: Any) -> str:
    """A line as the script prints it; typed, for what the stand-in cannot do."""
    content = {
        "harness": "coral",
        "board": "mendel",
        "machine": "aarch64",
        "runtime": "2.5.0.post1",
        "file": f"{subject.name}.tflite",
        "sha256": subject.sha256,
        "edgetpu": False,
        "threads": 1,
        "repeats_us": [3.0, 1.0, 2.0],
    }
    return json.dumps({key: value for key, value in (content | changes).items() if value is not None})


def end(count: int) -> str:
    return json.dumps({"harness": "coral", "end": count})


def measured(subject: Subject, path: Path, *lines: str) -> list[Findings]:
    path.write_text("\n".join(lines) + "\n")
    return list(coral.measure([subject], DeviceOptions(log=path)))


def run(folder: Path, *arguments: str) -> str:
    (folder / "tflite_runtime").mkdir(exist_ok=True)
    (folder / "tflite_runtime" / "__init__.py").write_text("__version__ = 'stand-in'\n")
    (folder / "tflite_runtime" / "interpreter.py").write_text(STAND_IN)
    command = f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); sys.argv = {['coral.py', *arguments]!r}"
    program = f"{command}; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_script_prints_is_read(tmp_path: Path, subject: Subject) -> None:
    file = tmp_path / "p.int8.tflite"
    file.write_bytes(subject.content)
    said = run(tmp_path, "--cpu", "--repeats", "5", "--warmups", "1", str(file))
    (found,) = measured(subject, tmp_path / "log", "Mendel GNU/Linux", said)
    (m,) = found.measurements
    assert m.device.startswith("coral:")
    assert (m.figure, m.kind, len(m.repeats)) == ("latency", "device", 5)
    assert m.value == sorted(m.repeats)[2]
    assert m.tool.startswith("tflite_runtime stand-in (processor), 1 thread(s), ")


def test_a_file_that_fails_on_the_board_costs_only_its_own_times(tmp_path: Path, subject: Subject) -> None:
    good, bad = tmp_path / "p.int8.tflite", tmp_path / "bad.int8.tflite"
    good.write_bytes(subject.content)
    bad.write_bytes(b"nothing")
    (tmp_path / "log").write_text(run(tmp_path, "--cpu", "--repeats", "2", str(bad), str(good)))
    both = [subject, Subject("bad", "int8", b"nothing")]
    fine, wrong = coral.measure(both, DeviceOptions(log=tmp_path / "log"))
    assert len(fine.measurements) == 1
    assert "bad.int8: the board could not run it: " in wrong.failures[0]


def test_without_an_edge_tpu_the_script_says_so(tmp_path: Path, subject: Subject) -> None:
    file = tmp_path / "p.int8.tflite"
    file.write_bytes(subject.content)
    (found,) = measured(subject, tmp_path / "log", run(tmp_path, str(file)))
    assert "Failed to load delegate from libedgetpu" in found.failures[0]


def test_the_script_needs_nothing_of_the_project() -> None:
    assert imported(SCRIPT) == {"numpy", "tflite_runtime"}


def imported(path: Path) -> set[str]:
    """What a script imports beside the standard library; it must be one of Python 3.6."""
    tree = ast.parse(path.read_text(), feature_version=(3, 6))
    names = {n.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    names |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return names - set(sys.stdlib_module_names)


def test_a_compiled_file_goes_before_the_one_it_was_made_from(tmp_path: Path, subject: Subject) -> None:
    compiled = line(subject, file="p.int8_edgetpu.tflite", sha256="ab" * 32, edgetpu=True, repeats_us=[0.5])
    (found,) = measured(subject, tmp_path / "log", line(subject), compiled, end(2))
    (m,) = found.measurements
    assert (m.value, m.device, m.sha256) == (0.5, "coral:mendel", subject.sha256)
    assert "(Edge TPU, compiled file abababababab)" in m.tool


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "ab" * 32}, "ran another file of that name"),
        ({"repeats_us": []}, "has no times"),
        ({"repeats_us": [1.0, 0.0]}, "has no times"),
        ({"repeats_us": None}, "not understood: KeyError 'repeats_us'"),
        ({"repeats_us": ["fast"]}, "not understood: ValueError"),
        ({"file": "other.int8.tflite"}, "p.int8: not in"),
    ],
)
def test_a_line_that_says_nothing_of_the_file(
    tmp_path: Path, subject: Subject, changes: dict[str, Any], words: str
) -> None:
    found = measured(subject, tmp_path / "log", line(subject, **changes), end(1))
    assert not any(f.measurements for f in found)
    assert words in found[-1].failures[0]


def test_without_a_capture_it_says_how_to_make_one(subject: Subject) -> None:
    with pytest.raises(TfliteError, match=r"needs --log FILE: copy .*harness/coral\.py .* python3 coral\.py"):
        list(coral.measure([subject], DeviceOptions()))


def test_a_capture_cut_off_anywhere_is_refused(tmp_path: Path, subject: Subject) -> None:
    whole = "\n".join([line(subject), line(subject, file="q.int8.tflite"), end(2)])
    for length in range(0, len(whole) - 1, 13):
        with pytest.raises(TfliteError, match=r"cut off or damaged|without the harness's last|holds no line"):
            measured(subject, tmp_path / "log", whole[:length])


def test_lines_lost_on_the_way_are_seen(tmp_path: Path, subject: Subject) -> None:
    with pytest.raises(TfliteError, match="line 2: 1 lines where the harness printed 2; some are lost"):
        measured(subject, tmp_path / "log", line(subject), end(2))


def test_captures_of_another_harness_and_no_file(tmp_path: Path, subject: Subject) -> None:
    with pytest.raises(TfliteError, match="capture of the harness 'mcu', not of 'coral'"):
        measured(subject, tmp_path / "log", '{"harness":"mcu","end":0}')
    with pytest.raises(TfliteError, match=r"cannot read .*/none: No such file"):
        list(coral.measure([subject], DeviceOptions(log=tmp_path / "none")))


LOOP = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from cascade import CoralCascade
cascade = CoralCascade(sys.argv[1] + "/cascades.json", sys.argv[2])
cascade.thresholds = json.loads(sys.argv[3]) or cascade.thresholds
answers = [cascade.run(image) for image in np.load(sys.argv[1] + "/images.npy")]
np.savez(sys.argv[1] + "/answers.npz", scores=[s for s, _ in answers], stages=[stage for _, stage in answers])
"""


def exported(
    folder: Path, name: str, precision: str, thresholds: tuple[float, ...], measure: str = "max", every: bool = False
) -> None:
    loop = StageLoop(name, precision, tuple(name.split(">")), measure, thresholds)
    files_ = tuple(PointFile(n, p, cascade_files.stage(n, p)) for n, p in loop.files)
    for file, content in coral.export(Parcel("demo", files_, (), None, (loop,), every=every)).files.items():
        (folder / file).write_bytes(content)


def looped(folder: Path, name: str, dial: tuple[float, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    np.save(folder / "images.npy", cascade_files.PIXELS)
    words = [sys.executable, "-c", LOOP, str(folder), name, json.dumps(dial)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "answers.npz") as arrays:
        return arrays["scores"], arrays["stages"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "float32", "int8>float32"])
@pytest.mark.parametrize("name", ["small>large", "small>middle>large"])
def test_the_loop_of_a_cascade_answers_as_its_file(tmp_path: Path, name: str, precision: str) -> None:
    thresholds = cascade_files.dial(name, precision.split(">")[0])
    exported(tmp_path, name, precision, thresholds)
    scores, stages = looped(tmp_path, name)
    expected, places = host.answers(cascade_files.cascade(name, precision, thresholds), [cascade_files.PIXELS])
    np.testing.assert_array_equal(stages, places)
    assert len(set(stages.tolist())) == len(name.split(">"))
    np.testing.assert_array_equal(scores, expected)
    for dial, stage in ((0.0, 0), (1.5, len(thresholds))):
        assert set(looped(tmp_path, name, (dial,) * len(thresholds))[1].tolist()) == {stage}


@pytest.mark.slow
@pytest.mark.parametrize("measure", list(confidence.CONFIDENCES))
def test_the_confidences_of_the_loop_are_those_of_the_files(tmp_path: Path, measure: str) -> None:
    threshold = cascade_files.between("small", "int8", measure)
    exported(tmp_path, "small>large", "int8", (threshold,), measure)
    stages = looped(tmp_path, "small>large")[1]
    content = cascade_files.cascade("small>large", "int8", (threshold,), measure)
    np.testing.assert_array_equal(stages, host.stages(content, [cascade_files.PIXELS]))
    assert set(stages.tolist()) == {0, 1}


def test_the_loop_needs_nothing_of_the_project() -> None:
    assert imported(captures.HARNESS / "cascade.py") == {"numpy", "tflite_runtime", "ai_edge_litert"}


@pytest.mark.slow
def test_a_compiled_stage_goes_to_the_accelerator(tmp_path: Path) -> None:
    exported(tmp_path, "small>large", "int8", (0.5,))
    compiled = (tmp_path / "large.int8.tflite").read_bytes()
    (tmp_path / "large.int8_edgetpu.tflite").write_bytes(compiled)
    np.save(tmp_path / "images.npy", cascade_files.PIXELS)
    words = [sys.executable, "-c", LOOP, str(tmp_path), "small>large", "[]"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert "libedgetpu" in done.stderr


FAMILY = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from cascade import CoralFamily
family = CoralFamily(sys.argv[1])
image = np.load(sys.argv[1] + "/images.npy")[0]
names = sys.argv[2:]
np.savez(sys.argv[1] + "/answers.npz", scores=[family.run(image, n)[0] for n in names],
         stages=[family.run(image, n)[1] for n in names])
assert family.cascades["small>large"].stages == [family.points["small"], family.points["large"]]
"""


@pytest.mark.slow
def test_a_family_switches_between_points_and_cascades(tmp_path: Path) -> None:
    exported(tmp_path, "small>large", "int8", (2.0,), every=True)
    np.save(tmp_path / "images.npy", cascade_files.PIXELS)
    names = ["large", "small", "small>large", "large"]
    done = subprocess.run(
        [sys.executable, "-c", FAMILY, str(tmp_path), *names], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "answers.npz") as arrays:
        scores, stages = arrays["scores"], arrays["stages"]
    assert stages.tolist() == [0, 0, 1, 0]
    for name, row in zip(["large", "small", "large", "large"], scores, strict=True):
        (expected,) = host.scores(cascade_files.stage(name, "int8"), [cascade_files.PIXELS[:1]])
        np.testing.assert_array_equal(row, expected)


@pytest.mark.slow
def test_all_points_are_compiled_in_one_call_in_the_order_given(tmp_path: Path) -> None:
    exported(tmp_path, "small>large", "int8", (0.5,), every=True)
    compiler = tmp_path / "bin" / "edgetpu_compiler"
    compiler.parent.mkdir()
    compiler.write_text('#!/bin/sh\necho "$@"\n')
    compiler.chmod(0o755)
    for words, called in (
        ([], "-s small.int8.tflite large.int8.tflite\n"),
        (["large.int8.tflite", "small.int8.tflite"], "-s large.int8.tflite small.int8.tflite\n"),
    ):
        done = subprocess.run(
            ["/bin/sh", tmp_path / "compile.sh", *words],
            env={"PATH": f"{compiler.parent}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.stdout == called
    assert json.loads((tmp_path / "points.json").read_text()) == {
        "small": "small.int8.tflite",
        "large": "large.int8.tflite",
    }
    check = (tmp_path / "check.txt").read_text()
    assert 'SOFTMAX: one dimension of at most 16000 values ("TensorFlow models on the Edge TPU", Supported op' in check


def test_a_compiled_file_is_held_against_the_one_it_was_made_from(tmp_path: Path, subject: Subject) -> None:
    other = files(["int8"], "tanh")["int8"]
    (tmp_path / "p.int8.tflite").write_bytes(subject.content)
    for content, differs in ((subject.content, False), (other.content, True)):
        (tmp_path / "p.int8_edgetpu.tflite").write_bytes(content)
        said = run(tmp_path, "--cpu", "--repeats", "2", str(tmp_path / "p.int8_edgetpu.tflite"))
        assert (json.loads(said.splitlines()[0])["difference"] > 0) == differs


def test_a_compiled_file_that_answers_otherwise_is_refused(tmp_path: Path, subject: Subject) -> None:
    compiled = {"file": "p.int8_edgetpu.tflite", "sha256": "ab" * 32, "edgetpu": True}
    (close,) = measured(subject, tmp_path / "log", line(subject, **compiled, difference=2), end(1))
    assert {m.figure: m.value for m in close.measurements} == {"latency": 2.0, "difference": 2.0}
    (wrong,) = measured(subject, tmp_path / "log", line(subject, **compiled, difference=90), end(1))
    assert not wrong.measurements
    assert "90 steps off the one it was made from; compile it alone: edgetpu_compiler -s p.int8" in wrong.failures[0]
