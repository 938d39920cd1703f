"""``restnet-tf bench``: which files go to which device, what is kept of them, and what a failure costs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cascade_files
import needs
import numpy as np
import pytest
from bench_files import files
from click.testing import CliRunner

from restnet_tf.cli.main import main
from restnet_tf.commands import bench, build
from restnet_tf.methods.restnet import options as restnet
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CASCADE, CONTROL, Cascade, File, OperatingPoint, Score
from restnet_tf.progress import Silent
from restnet_tf.records import RestnetError
from restnet_tf.report import terminal
from restnet_tf.run.directory import Run
from tflite_export import budget, memory
from tflite_export.devices import devices, measurements
from tflite_export.devices.device import Device
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject
from tflite_export.errors import TfliteError

SCORE = Score.of(np.arange(200) < 150, 0.1)
PRECISIONS = ("float32", "int8")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two points of the same files, and a control."""
    made = Run(tmp_path / "run")
    for name in ("small", "L1-S0"):
        for precision, subject in files(PRECISIONS).items():
            path = made.tflite_path(name, precision)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(subject.content)
    known = [
        point(made, "small", ANCHOR),
        point(made, "L1-S0", "stitched"),
        replace(point(made, "small", CONTROL), name="distilled", files={}),
    ]
    made.write_json(made.points_path, points.to_json(known, {"metric": "accuracy"}))
    return made


def point(run: Run, name: str, kind: str) -> OperatingPoint:
    found = {}
    for precision, subject in files(PRECISIONS).items():
        path = str(run.tflite_path(name, precision).relative_to(run.path))
        planned = memory.plan(memory.ranges(subject.content)).size
        size = len(subject.content)
        found[precision] = File(path, subject.sha256, size, planned, SCORE, SCORE, 5.0, 6.0, (5.0,), 1, "LiteRT")
    return OperatingPoint(name, kind, name, 1000, 100, SCORE, SCORE, files=found)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A device "d" that takes int8 and notes what it is given; "L1-S0" fails on it."""
    given: list[str] = []

    def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
        for subject in subjects:
            given.append(subject.name)
            if subject.point == "small":
                yield Findings(subject.measured("d", {"cycles": 7}, kind="compiler", tool="t"), ("small: odd",))
            else:
                yield Findings(failures=(f"{subject.name}: it smokes",))

    monkeypatch.setitem(devices.DEVICES, "d", Device("d", measure, ("int8",)))
    return given


def ask(*words: Any) -> Any:
    found = CliRunner().invoke(main, [str(word) for word in words])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


def kept(run: Run) -> set[tuple[str, str, str, str]]:
    return {(m.device, m.point, m.precision, m.figure) for m in measurements.read(run.measurements_path)}


def test_a_device_gets_the_precisions_it_takes(run: Run, device: list[str]) -> None:
    report = Silent()
    done = bench.bench(run.path, ["d", "d"], DeviceOptions(), report)
    assert device == ["small.int8", "L1-S0.int8"]
    assert report.lines == ["d: 2 files left out; it takes int8 (--precision asks anyway)", "warning: small: odd"]
    assert done.failures == ("d: L1-S0.int8: it smokes",)
    assert kept(run) == {("d", "small", "int8", "cycles")}


def test_named_points_and_precisions_alone(run: Run, device: list[str]) -> None:
    bench.bench(run.path, ["d"], DeviceOptions(), Silent(), only_points=["small"], precisions=["float32"])
    assert device == ["small.float32"]


def test_what_failed_is_told_in_one_line_after_the_rest_was_written(run: Run, device: list[str]) -> None:
    done = ask("bench", run.path, "--device", "d")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "restnet-tf: d: L1-S0.int8: it smokes"
    assert "wrote 1 figure to" in done.stdout
    assert f'next: restnet-tf select {run.path} --budget "d.cycles<=7"' in done.stdout


def test_a_device_that_cannot_work_at_all_does_not_cost_the_others(run: Run, device: list[str]) -> None:
    done = ask("bench", run.path, "--device", "coral", "--device", "d", "--point", "small")
    assert done.exit_code == 1
    assert "restnet-tf: coral needs --log FILE" in done.stderr.splitlines()[-1]
    assert kept(run) == {("d", "small", "int8", "cycles")}


def test_later_figures_join_and_replace_earlier_ones(run: Run, device: list[str]) -> None:
    bench.bench(run.path, ["d"], DeviceOptions(), Silent(), only_points=["small"])
    bench.bench(run.path, ["host"], DeviceOptions(repeats=2), Silent(), only_points=["small"], precisions=["int8"])
    bench.bench(run.path, ["d"], DeviceOptions(), Silent(), only_points=["small"])
    assert kept(run) == {("d", "small", "int8", "cycles"), ("host", "small", "int8", "latency")}


def test_what_was_measured_before_a_stop_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
        yield Findings(subjects[0].measured("d", {"cycles": 7}, kind="compiler", tool="t"))
        raise KeyboardInterrupt

    monkeypatch.setitem(devices.DEVICES, "d", Device("d", measure, ("int8",)))
    with pytest.raises(KeyboardInterrupt):
        bench.bench(run.path, ["d"], DeviceOptions(), Silent())
    assert kept(run) == {("d", "small", "int8", "cycles")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "tpu"], "unknown device 'tpu'; known are host, tflm, ethos-u55-32"),
        (["--device", "host", "--point", "L9"], "has no files of the point 'L9'; it has small, L1-S0"),
        (["--device", "host", "--precision", "int4"], "no files of the precision 'int4'; it has float32, int8"),
    ],
)
def test_what_is_not_there_is_named(run: Run, words: list[str], message: str) -> None:
    done = ask("bench", run.path, *words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_run_a_lost_file_a_changed_file_and_broken_measurements(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RestnetError, match=r"points\.json is missing"):
        bench.bench(tmp_path / "none", ["host"], DeviceOptions(), Silent())
    path = run.tflite_path("small", "int8")
    content = path.read_bytes()
    path.write_bytes(content + b"0")
    with pytest.raises(RestnetError, match=r"is not the file that points\.json describes"):
        bench.bench(run.path, ["host"], DeviceOptions(), Silent())
    path.unlink()
    with pytest.raises(RestnetError, match=r"cannot read .*small\.int8\.tflite: No such file"):
        bench.bench(run.path, ["host"], DeviceOptions(), Silent())
    path.write_bytes(content)
    run.measurements_path.write_text("{}")
    with pytest.raises(TfliteError, match="not a list of measurements"):
        bench.bench(run.path, ["host"], DeviceOptions(), Silent())


def test_a_precision_that_the_device_does_not_take_by_itself(run: Run, device: list[str]) -> None:
    known = json.loads(run.points_path.read_text())
    for entry in known["points"]:
        entry["files"].pop("int8", None)
    run.write_json(run.points_path, known)
    done = bench.bench(run.path, ["d"], DeviceOptions(), Silent())
    assert done.failures == ("d takes int8, the run has float32",)


@needs.MICRO.mark
@needs.VELA.mark
def test_all_three_at_once_on_every_int8_file(run: Run) -> None:
    words = ["--device", "tflm", "--device", "ethos-u55-128", "--device", "host", "--precision", "int8"]
    done = ask("bench", run.path, *words)
    assert (done.exit_code, "warning" in done.stderr) == (0, False)
    _, known = points.read(run.points_path)
    said = {(m.point, m.device, m.figure): m.value for m in measurements.read(run.measurements_path)}
    for name in ("small", "L1-S0"):
        planned = next(p for p in known if p.name == name).files["int8"].arena_bytes
        assert said[name, "tflm", "head"] == planned
        assert said[name, "tflm", "arena"] > planned
        assert said[name, "ethos-u55-128", "cycles"] > 0
        assert said[name, "ethos-u55-128", "sram"] > 0
        assert said[name, "host", "latency"] > 0
    for head in ("tflm", "ethos-u55-128", "host", "(interpreter)", "(compiler)", "(device)", "(plan)"):
        assert head in done.stdout
    chosen = ask("select", run.path, "--budget", "tflm.arena<=1MB, ethos-u55-128.cycles<=2M, host.latency<=1s")
    assert chosen.exit_code == 0, chosen.stderr
    assert "tflm.arena" in chosen.stdout
    assert "(run by an interpreter, tflite-micro" in chosen.stdout
    assert "(estimated by a compiler, vela" in chosen.stdout


def test_the_table_says_what_is_measured_and_what_is_estimated(run: Run) -> None:
    from rich.console import Console

    _, known = points.read(run.points_path)
    subject = files(["int8"])["int8"]
    found = [
        m
        for device, figures, kind in (
            ("tflm", {"arena": 12_345, "difference": 2}, "interpreter"),
            ("host", {"latency": 1234.5}, "device"),
        )
        for m in replace(subject, point="small").measured(device, figures, kind=kind, tool="t")
    ]
    with (console := Console(width=200)).capture() as captured:
        console.print(terminal.measured(found, known))
    said = captured.get()
    assert "12.3" in said
    assert "1.234" in said or "1.235" in said
    assert "difference steps" in said


# ---- budgets of a build --------------------------------------------------------------------------


def summary(run: Run, limits: str) -> tuple[str, str]:
    content = json.loads(run.points_path.read_text())
    large = {**content["points"][0], "name": "large", "macs": 5000}
    if len(content["points"]) < 4:
        content["points"].append(large)
    run.write_json(run.points_path, content)
    lines, shortfall = build.within(run, budget.parse(limits), points.read(run.points_path)[1])
    return "\n".join(lines), shortfall


def test_a_build_tells_which_device_its_budget_waits_for(run: Run) -> None:
    said, shortfall = summary(run, "macs<=1M, tflm.arena<=1KB")
    assert shortfall == ""
    line = f"not known yet: tflm.arena of the budget; restnet-tf bench {run.path} --device tflm, then restnet-tf select"
    assert line in said.splitlines()
    assert "within the rest of the budget: small int8, " in said
    assert "misses flash<=1" in summary(run, "flash<=1, tflm.arena<=1KB")[1]


def test_a_build_whose_devices_have_measured_tells_the_best_point(run: Run, device: list[str]) -> None:
    bench.bench(run.path, ["d"], DeviceOptions(), Silent())
    assert "within the budget: small int8, " in summary(run, "d.cycles<=7, host.latency<=1ms")[0]
    assert "misses d.cycles<=6" in summary(run, "d.cycles<=6")[1]


def test_an_unknown_device_is_refused_before_a_build_begins(tmp_path: Path) -> None:
    options = restnet.Options(budget="macs<=1M, tpu.latency<=1ms", out=tmp_path / "out")
    with pytest.raises(TfliteError, match="unknown device 'tpu' in the budget; known are host"):
        build.build("restnet", options, Silent())
    assert not (tmp_path / "out").exists()


# ---- cascades ------------------------------------------------------------------------------------


@pytest.fixture
def cascading(run: Run) -> Run:
    """The run with a cascade beside its points."""
    name, files_ = "small>large", {}
    for precision in ("int8", "int8>float32"):
        content = cascade_files.cascade(name, precision, (0.5,))
        subject, path = Subject(name, precision, content), run.tflite_path(name, precision)
        path.write_bytes(content)
        relative = str(path.relative_to(run.path))
        files_[precision] = File(relative, subject.sha256, 1, 1, SCORE, SCORE, 5.0, 6.0, (5.0,), 1, "LiteRT")
    cascade = Cascade(("small", "large"), (10, 100), "max", (0.5,), (1.0, 0.5), (1.0, 0.5))
    joined = OperatingPoint(name, CASCADE, name, 110, 100, SCORE, SCORE, files=files_, cascade=cascade)
    meta, every = points.read(run.points_path)
    run.write_json(run.points_path, points.to_json([*every, joined], {"metric": meta["metric"]}))
    return run


@pytest.mark.slow
def test_a_device_that_runs_no_if_leaves_cascades_out_with_a_word(cascading: Run, monkeypatch: Any) -> None:
    given: list[str] = []

    def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
        given.extend(subject.name for subject in subjects)
        yield Findings()

    monkeypatch.setitem(devices.DEVICES, "d", Device("d", measure, ("int8",), cascades=False))
    report = Silent()
    done = bench.bench(cascading.path, ["d"], DeviceOptions(), report)
    assert done.failures == ()
    assert given == ["small.int8", "L1-S0.int8"]
    assert "d: small>large left out; it runs no IF, and what their stages take adds up" in report.lines
    assert bench.bench(cascading.path, ["d"], DeviceOptions(), report, only_points=["small>large"]).failures == ()


@pytest.mark.slow
@needs.MICRO.mark
def test_cascades_are_measured_where_they_run_in_every_precision_of_their_stages(cascading: Run) -> None:
    words = ["--device", "tflm", "--device", "host", "--repeats", "3", "--point", "small>large"]
    done = ask("bench", cascading.path, *words)
    assert done.exit_code == 0, done.stderr
    figures = {(m.device, m.precision, m.figure) for m in measurements.read(cascading.measurements_path)}
    for precision in ("int8", "int8>float32"):
        assert ("host", precision, "latency") in figures
        assert ("tflm", precision, "arena") in figures
    assert "warning" not in done.stderr


def test_only_devices_without_if_leave_cascades_out() -> None:
    assert {d.name.split("-")[0] for d in devices.DEVICES.values() if not d.cascades} == {"ethos", "coral", "c"}


# ---- examples ------------------------------------------------------------------------------------


@pytest.fixture
def tasting(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A device "d" that takes example inputs and notes them, three of 4x4x1; None where there are none."""
    given: list[Any] = []

    def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
        given.append(options.examples and options.examples((4, 4, 1), 3))
        yield Findings(notes=("open this",))

    monkeypatch.setitem(devices.DEVICES, "d", Device("d", measure, ("int8",), options=("examples",)))
    return given


def test_a_device_gets_test_inputs_of_the_run_s_data(run: Run, tasting: list[Any], tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "tiny.npz", x=pixels, y=np.arange(40) % 2)
    report, whole = Silent(), Run(tmp_path / "whole")
    with whole.opened({"data": "tiny"}, {"method": "restnet", "data": str(tmp_path / "tiny.npz")}):
        whole.finish("points")
    shutil.copytree(run.path, whole.path, dirs_exist_ok=True)
    bench.bench(whole.path, ["d"], DeviceOptions(), report)
    (examples,) = tasting
    assert examples.shape == (3, 4, 4, 1)
    assert {*map(bytes, examples.astype(np.uint8))} <= {*map(bytes, pixels)}
    assert report.lines[-1] == "open this"
    assert not any("warning" in line for line in report.lines)


def test_data_that_are_gone_cost_the_real_inputs_and_a_word(run: Run, tasting: list[Any]) -> None:
    report = Silent()
    bench.bench(run.path, ["d"], DeviceOptions(), report)
    assert tasting == [None]
    assert report.lines[0].startswith("warning: the examples are seeded, no real ones: ")
