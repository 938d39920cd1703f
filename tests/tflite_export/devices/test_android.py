"""Android over adb. No phone was at hand: adb is a script here, and what benchmark_model prints is typed, not captured.

The typed output follows the sources of TensorFlow Lite's benchmark tool and logs that others published.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cascade_files
import pytest
from bench_files import elastic, files

from tflite_export.devices import android
from tflite_export.devices.android import Phone
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject
from tflite_export.errors import TfliteError

OUTPUT = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [50]
INFO: Num threads: [1]
INFO: Graph: [/data/local/tmp/restnet-tf/p.int8.tflite]
INFO: Use xnnpack: [1]
INFO: Loaded model /data/local/tmp/restnet-tf/p.int8.tflite
INFO: Initialized TensorFlow Lite runtime.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 0.302
INFO: Initialized session in 5.579ms.
INFO: Running benchmark for at least 10 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=24 first=23876 curr=20437 min=20305 max=23876 avg=20830.4 std=712 p5=20306 median=20500 p95=23001

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=52 first=20527 curr=20571 min=20310 max=21100 avg=20560.2 std=139 p5=20311 median=20540 p95=20900

INFO: Inference timings in us: Init: 5579, First inference: 23876, Warmup (avg): 20830.4, Inference (avg): 20560.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual \
memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=2.43359 overall=8.67578
INFO: Overall peak memory footprint (MB) via periodic monitoring: 13.5
"""
END = "restnet-tf-exit=0\n"
# As older versions print: no levels, no percentiles.
OLD = """STARTING!
count=24 first=23876 curr=20437 min=20305 max=23876 avg=20830.4 std=712

count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565

Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, Inference (avg): 1.24027e+06
Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832
"""
LIST = """List of devices attached
{}
"""
PIXEL = "R58M123ABC             device usb:1-1 product:oriole model:Pixel_6 device:oriole transport_id:1"
BOARD = "192.168.1.5:5555       device product:evk model:EVK_8MM device:evk transport_id:2"


def test_the_median_and_the_peak_are_read() -> None:
    found = android.parsed(OUTPUT + END)
    assert (found.latency_us, found.peak_bytes, found.xnnpack) == (20540, 13.5 * 1024**2, True)
    assert found.taken == "median of 52 runs (average 20560.2, 5 % 20311, 95 % 20900 us)"


def test_older_output_has_an_average_alone() -> None:
    found = android.parsed(OLD + END)
    assert (found.latency_us, found.taken) == (1_240_270, "average of 50 runs")
    assert (found.peak_bytes, found.xnnpack) == (None, False)  # a difference is no peak


@pytest.mark.parametrize("length", range(0, len(OUTPUT), 97))
def test_output_cut_off_anywhere_is_refused(length: int) -> None:
    with pytest.raises(TfliteError, match="cut off behind"):
        android.parsed(OUTPUT[:length])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "ERROR: Failed to load model\nERROR: Benchmarking failed.\nrestnet-tf-exit=1\n",
            "code 1: ERROR: Failed to load",
        ),
        (
            "/system/bin/sh: benchmark_model: not executable: 64-bit ELF\nrestnet-tf-exit=126\n",
            "not executable: 64-bit",
        ),
        ("STARTING!\nSegmentation fault\nrestnet-tf-exit=139\n", "exit code 139: 'Segmentation fault'"),
        ("STARTING!\nrestnet-tf-exit=0\n", "no inference timings"),
    ],
)
def test_a_failure_is_told(text: str, words: str) -> None:
    with pytest.raises(TfliteError, match=words):
        android.parsed(text)


def test_the_list_of_devices() -> None:
    text = "* daemon not running; starting now at tcp:5037\n" + LIST.format(
        f"{PIXEL}\nemulator-5554 offline transport_id:3\nXYZ no permissions (udev); see [url] usb:2\n\n"
    )
    assert android.listed(text) == (
        Phone("R58M123ABC", "device", "Pixel_6"),
        Phone("emulator-5554", "offline", "unknown model"),
        Phone("XYZ", "no permissions", "unknown model"),
    )


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a script called adb on the PATH; returns where it notes its arguments."""

    def install(devices: Sequence[str], *, output: str = OUTPUT + END, push: str = "exit 0") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "list").write_text(LIST.format("\n".join(devices)))
        (folder / "output").write_text(output)
        script = folder / "adb"
        script.write_text(
            f"""#!/bin/sh
echo "$@" >> {folder}/calls
[ "$1" = devices ] && exec cat {folder}/list
serial=$2; shift 2
case "$1 $2" in
  push*) {push} ;;
  "shell mkdir"*|"shell chmod"*) exit 0 ;;
  shell*benchmark_model*) exec cat {folder}/output ;;
esac
echo "unexpected: $@" >&2; exit 9
"""
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder / "calls"

    return install


@pytest.fixture
def options(tmp_path: Path) -> DeviceOptions:
    (tmp_path / "benchmark_model").write_bytes(b"binary")
    return DeviceOptions(binary=tmp_path / "benchmark_model", threads=2, repeats=7, xnnpack=False)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return files(["int8"])["int8"]


def measured(subject: Subject, options: DeviceOptions) -> list[Findings]:
    return list(android.measure([subject], options))


def test_a_file_is_pushed_and_run(adb: Callable[..., Path], options: DeviceOptions, subject: Subject) -> None:
    calls = adb([PIXEL])
    (found,) = measured(subject, options)
    assert {(m.figure, m.value) for m in found.measurements} == {("latency", 20540), ("memory", 13.5 * 1024**2)}
    for m in found.measurements:
        assert (m.device, m.kind, m.sha256) == ("android:R58M123ABC", "device", subject.sha256)
        assert m.tool.startswith("benchmark_model ")
        assert " on Pixel_6, 2 threads, XNNPACK, median of 52 runs" in m.tool
    said = calls.read_text()
    assert f"-s R58M123ABC push {options.binary} /data/local/tmp/restnet-tf/benchmark_model" in said
    assert "--graph=/data/local/tmp/restnet-tf/p.int8.tflite --num_threads=2" in said
    assert "--num_runs=7 --use_xnnpack=false" in said
    assert "rm -f /data/local/tmp/restnet-tf/p.int8.tflite" in said


def test_several_devices_by_their_serials(adb: Callable[..., Path], options: DeviceOptions, subject: Subject) -> None:
    adb([PIXEL, BOARD])
    both = DeviceOptions(binary=options.binary, serials=("R58M123ABC", "192.168.1.5:5555"))
    found = [m for findings in measured(subject, both) for m in findings.measurements]
    assert {m.device for m in found} == {"android:R58M123ABC", "android:192.168.1.5:5555"}
    with pytest.raises(TfliteError, match=r"several devices; name them by --serial: R58M123ABC \(Pixel_6\), 192"):
        measured(subject, options)
    with pytest.raises(TfliteError, match="sees no device abc; it sees R58M123ABC"):
        measured(subject, DeviceOptions(binary=options.binary, serials=("abc",)))


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ([], "adb sees no device; plug one in"),
        (["R58M123ABC unauthorized usb:1-1"], "R58M123ABC has not allowed this computer; unlock it"),
        (["R58M123ABC offline usb:1-1"], "R58M123ABC is offline"),
        (["R58M123ABC no permissions (udev); see [url] usb:1-1"], "R58M123ABC may not be opened"),
        (["R58M123ABC recovery usb:1-1"], "is in the state 'recovery'"),
    ],
)
def test_devices_that_cannot_be_used(
    adb: Callable[..., Path], options: DeviceOptions, subject: Subject, devices: list[str], words: str
) -> None:
    adb(devices)
    with pytest.raises(TfliteError, match=words):
        measured(subject, options)


def test_a_device_that_goes_away_costs_its_own_figures(
    adb: Callable[..., Path], options: DeviceOptions, subject: Subject
) -> None:
    adb([PIXEL, BOARD], push='[ "$serial" = R58M123ABC ] && { echo "error: device not found" >&2; exit 1; }; exit 0')
    both = DeviceOptions(binary=options.binary, serials=("R58M123ABC", "192.168.1.5:5555"))
    found = measured(subject, both)
    assert [f for findings in found for f in findings.failures] == ["R58M123ABC: adb failed: error: device not found"]
    assert {m.device for findings in found for m in findings.measurements} == {"android:192.168.1.5:5555"}


def test_cut_off_output_is_a_failure_of_the_file(
    adb: Callable[..., Path], options: DeviceOptions, subject: Subject
) -> None:
    adb([PIXEL], output=OUTPUT[:900])
    (found,) = measured(subject, options)
    assert "R58M123ABC: p.int8: benchmark_model's output was cut off" in found.failures[0]


def test_an_elastic_file_is_refused(adb: Callable[..., Path], options: DeviceOptions) -> None:
    adb([PIXEL])
    (found,) = measured(elastic(), options)
    assert "it has 2 signatures" in found.failures[0]


def test_no_adb(monkeypatch: pytest.MonkeyPatch, options: DeviceOptions, subject: Subject) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TfliteError, match="needs adb, which is not on the PATH"):
        measured(subject, options)


def test_no_binary(tmp_path: Path, subject: Subject) -> None:
    with pytest.raises(TfliteError, match="needs --binary PATH"):
        measured(subject, DeviceOptions())
    with pytest.raises(TfliteError, match=r"no file .*/nothing"):
        measured(subject, DeviceOptions(binary=tmp_path / "nothing"))


@pytest.mark.slow
def test_all_stages_of_a_cascade_run(adb: Callable[..., Path], options: DeviceOptions) -> None:
    calls = adb([PIXEL])
    content = cascade_files.cascade("small>middle>large", "int8", (0.5, 0.25))
    (found,) = measured(Subject("small>middle>large", "int8", content), options)
    assert len(found.measurements) == 2
    said = calls.read_text()
    assert "small-then-middle-then-large.int8.tflite" in said
    assert ",threshold_1,threshold_2 --input_layer_shape=1,8,8,3:1:1" in said.replace("'", "")
    assert "--input_layer_value_range=threshold_1,2,2:threshold_2,2,2" in said.replace("'", "")
