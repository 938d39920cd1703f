"""Android: any file with a class that runs it; latency and memory over adb by TensorFlow Lite's ``benchmark_model``.

The binary is the user's: TensorFlow's project publishes it for ``android_aarch64`` and ``android_arm``. What it prints
is read as its sources write it (``tensorflow/lite/tools/benchmark/benchmark_model.cc``).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tflite_export import carray, cascades, kotlin, template
from tflite_export.devices.device import Device
from tflite_export.devices.exports import Export, Parcel, Target
from tflite_export.devices.rules import Rules
from tflite_export.devices.subjects import DeviceError, DeviceOptions, Findings, Subject, opened, tried
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model
from tflite_export.precision import EVERY

_FOLDER = "/data/local/tmp/restnet-tf"  # on the device, where its shell may write and run programs
_PROGRAM = f"{_FOLDER}/benchmark_model"
_WARMUPS = 10
_TIMEOUT = 600  # seconds a command
_MIB = 1024**2
_PACKAGE = "restnet.family"
_GRADLE = ("settings.gradle.kts", "build.gradle.kts")
# Behind what the program prints: old adbs hide its exit code, and without this line the output was cut off.
_END = "restnet-tf-exit="
_STATES = {
    "unauthorized": "has not allowed this computer; unlock it and accept its question about USB debugging",
    "offline": "is offline; plug it in again, or restart adb with: adb kill-server",
    "no permissions": "may not be opened by this user; see adb's documentation on udev rules",
}
_COMMAND = (
    "{{ program }} {% for name, value in flags.items() %}{{ ('--' ~ name ~ '=' ~ value) | shell }} {% endfor %}2>&1;"
    " echo {{ end }}$?; rm -f {{ remote | shell }}"
)
_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_TIMINGS = re.compile(rf"Inference timings in us: .*Inference \(avg\): {_NUMBER}")
_SPREAD = re.compile(rf"count=(\d+).* p5={_NUMBER} median={_NUMBER} p95={_NUMBER}")
_COUNT = re.compile(r"count=(\d+) ")
_PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}")


@dataclass(frozen=True)
class Phone:
    """A device of adb's list; ``state`` is "device" where it can be used."""

    serial: str
    state: str
    model: str


@dataclass(frozen=True)
class Timing:
    """What ``benchmark_model`` says: microseconds an inference, how they were taken, bytes at the peak (or None)."""

    latency_us: float
    taken: str
    peak_bytes: float | None
    xnnpack: bool


def export(parcel: Parcel) -> Export:
    """The elastic file where no single point was asked for, else the points' own; and a class that runs each.

    One file of photos comes inside a Gradle project, several and those of signals without.
    """
    files = {f"{point.stem}.tflite": point.content for point in parcel.points}
    if parcel.elastic is not None:
        files = {parcel.elastic.name: parcel.elastic.read_bytes()}
    if len(files) == 1 and parcel.kind.photos:
        return _project(*next(iter(files.items())), parcel)
    texts = {
        f"{_stem(name, len(files))}.kt": kotlin.snippet(files[name], name, parcel.labels, parcel.kind) for name in files
    }
    advice = "put the .tflite file into src/main/assets and the .kt file beside your sources"
    return Export(files | {name: text.encode() for name, text in texts.items()}, (), advice)


def _project(file: str, content: bytes, parcel: Parcel) -> Export:
    """A Gradle project of one file: an app that takes a photo, turns the dial and shows the answer."""
    manifest = (kotlin.TEMPLATES / "AndroidManifest.xml").read_text(encoding="utf-8")
    texts = {name: (kotlin.TEMPLATES / name).read_text(encoding="utf-8") for name in _GRADLE}
    texts |= {
        "src/main/AndroidManifest.xml": template.text(manifest, label=parcel.run),
        "src/main/kotlin/StitchedClassifier.kt": kotlin.snippet(content, file, parcel.labels, parcel.kind, _PACKAGE),
        "src/main/kotlin/MainActivity.kt": kotlin.activity(content, file, _PACKAGE),
    }
    files = {name: text.encode() for name, text in texts.items()} | {f"src/main/assets/{file}": content}
    remark = "the project was compiled against stand-ins; no Android SDK, LiteRT or phone was at hand"
    return Export(files, (remark,), "open {out} in Android Studio, or copy src/main/assets and StitchedClassifier.kt")


def _stem(name: str, count: int) -> str:
    return "StitchedClassifier" if count == 1 else f"StitchedClassifier_{carray.identifier(Path(name).stem)}"


def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """Latency and peak memory of every file on the devices of ``--serial``, all of them at the same time.

    Those of a cascade are its worst case, where all stages run. Without a serial there must be one device. Raises
    ``TfliteError`` without adb, the binary or a usable device.
    """
    binary = _binary(options)
    phones = _chosen(listed(_adb("devices", "-l")), options.serials)
    with ThreadPoolExecutor(len(phones)) as pool:
        prepared = list(pool.map(partial(_prepared, binary=binary), phones))
        yield from (findings for findings in prepared if findings.failures)
        ready = [phone for phone, findings in zip(phones, prepared, strict=True) if not findings.failures]
        for subject in subjects:
            yield from pool.map(partial(_told, subject, options=options, binary=binary), ready)


def listed(text: str) -> tuple[Phone, ...]:
    """The devices that ``adb devices -l`` prints."""
    phones = []
    for line in text.splitlines():
        match = re.fullmatch(r"(\S+)\s+(no permissions|\S+)(.*)", line.strip())
        if match and not line.startswith(("*", "List of devices")):
            model = re.search(r"\bmodel:(\S+)", match[3])
            phones.append(Phone(match[1], match[2], model[1] if model else "unknown model"))
    return tuple(phones)


def parsed(text: str) -> Timing:
    """What one run of ``benchmark_model`` printed; raises ``TfliteError`` where it failed or was cut off."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    end = next((line for line in reversed(lines) if line.startswith(_END)), None)
    wrong = next(
        (line for line in lines if re.match(r"ERROR\b|.*(Benchmarking failed|not executable|not found)", line)), ""
    )
    before = [line for line in lines if not line.startswith(_END)]
    last = repr(before[-1]) if before else "nothing"
    if end is None:
        raise TfliteError(f"benchmark_model's output was cut off behind {last}; is the device still connected?")
    if end != f"{_END}0":
        raise TfliteError(f"benchmark_model failed with exit code {end.removeprefix(_END)}: {wrong or last}")
    timings = _TIMINGS.search(text)
    if timings is None:
        raise TfliteError(f"benchmark_model printed no inference timings: {wrong or last}")
    counts, spread, peak = _COUNT.findall(text), _SPREAD.findall(text), _PEAK.search(text)
    average, runs = float(timings[1]), f"{counts[-1] if counts else 'unknown'} runs"
    # The first line of the two is the warm-up's.
    if len(spread) == len(counts) > 0:
        _, low, middle, high = spread[-1]
        latency, taken = float(middle), f"median of {runs} (average {average:g}, 5 % {low}, 95 % {high} us)"
    else:
        latency, taken = average, f"average of {runs}"
    return Timing(latency, taken, _MIB * float(peak[1]) if peak else None, "XNNPACK delegate for CPU" in text)


def _binary(options: DeviceOptions) -> Path:
    if options.binary is None:
        raise DeviceError("android needs --binary PATH: TensorFlow Lite's benchmark_model, built for the device")
    if not options.binary.is_file():
        raise DeviceError(f"android: no file {options.binary}; give --binary TensorFlow Lite's benchmark_model")
    return options.binary


def _chosen(phones: Sequence[Phone], serials: Sequence[str]) -> list[Phone]:
    """The devices to use; raises ``TfliteError`` where one is missing or not usable."""
    there = ", ".join(f"{phone.serial} ({phone.model})" for phone in phones) or "none"
    if not phones:
        raise TfliteError("adb sees no device; plug one in and allow USB debugging in its developer options")
    if not serials and len(phones) > 1:
        raise TfliteError(f"adb sees several devices; name them by --serial: {there}")
    for serial in serials:
        if serial not in [phone.serial for phone in phones]:
            raise TfliteError(f"adb sees no device {serial}; it sees {there}")
    chosen = [phone for phone in phones if not serials or phone.serial in serials]
    for phone in chosen:
        if phone.state != "device":
            raise TfliteError(f"{phone.serial} {_STATES.get(phone.state, f'is in the state {phone.state!r}')}")
    return chosen


def _prepared(phone: Phone, binary: Path) -> Findings:
    """Put the program on the device."""
    try:
        _on(phone, "shell", f"mkdir -p {_FOLDER}")
        _on(phone, "push", str(binary), _PROGRAM)
        _on(phone, "shell", f"chmod 755 {_PROGRAM}")
    except TfliteError as error:
        return Findings(failures=(f"{phone.serial}: {error}",))
    return Findings()


def _told(subject: Subject, phone: Phone, options: DeviceOptions, binary: Path) -> Findings:
    findings = tried(subject, partial(_one, phone=phone, options=options, binary=binary))
    return Findings(
        findings.measurements, findings.warnings, tuple(f"{phone.serial}: {line}" for line in findings.failures)
    )


def _one(subject: Subject, phone: Phone, options: DeviceOptions, binary: Path) -> Findings:
    model = opened(subject)
    remote = f"{_FOLDER}/{subject.name}.tflite"
    with tempfile.TemporaryDirectory(prefix="restnet-tf-") as scratch:
        local = Path(scratch) / "model.tflite"
        local.write_bytes(subject.content)
        _on(phone, "push", str(local), remote)
    flags = {
        "graph": remote,
        "num_threads": options.threads,
        "warmup_runs": _WARMUPS,
        "num_runs": options.repeats,
        "use_xnnpack": str(options.xnnpack).lower(),
        "report_peak_memory_footprint": "true",
        **(_worst(model) if cascades.holds_one(model) else {}),
    }
    command = template.text(_COMMAND, program=_PROGRAM, flags=flags, end=_END, remote=remote)
    timing = parsed(_on(phone, "shell", command))
    figures = {"latency": timing.latency_us}
    if timing.peak_bytes is not None:
        figures["memory"] = timing.peak_bytes
    version = hashlib.sha256(binary.read_bytes()).hexdigest()[:12]
    tool = (
        f"benchmark_model {version} on {phone.model}, {options.threads} thread{'s' if options.threads > 1 else ''},"
        f" {'XNNPACK' if timing.xnnpack else 'no XNNPACK'}, {timing.taken}"
    )
    return Findings(subject.measured(f"android:{phone.serial}", figures, kind="device", tool=tool))


def _worst(model: Model) -> dict[str, str]:
    """Flags by which all stages of a cascade run: the program would draw thresholds at random."""
    ends = model.signatures[0].subgraph.inputs
    high, values = f"{cascades.ABOVE:g}", ends[1:]
    return {
        "input_layer": ",".join(end.name for end in ends),
        "input_layer_shape": ":".join(",".join(map(str, end.shape)) for end in ends),
        "input_layer_value_range": ":".join(f"{end.name},{high},{high}" for end in values),
    }


def _on(phone: Phone, *command: str) -> str:
    return _adb("-s", phone.serial, *command)


def _adb(*command: str) -> str:
    """What adb prints; raises ``TfliteError`` where it is not there, fails or hangs."""
    program = shutil.which("adb")
    if program is None:
        raise DeviceError("android needs adb, which is not on the PATH; install Android's platform tools (Debian: adb)")
    try:
        done = subprocess.run(
            [program, *command], capture_output=True, encoding="utf-8", errors="replace", timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise TfliteError(f"adb {command[-1][:40]!r} did not finish within {_TIMEOUT} s") from None
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise TfliteError(f"adb failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return done.stdout


RULES = Rules("Android", "LiteRT's builtin operators", EVERY, signatures=True, subgraphs=True)
DEVICE = Device(
    "android",
    measure,
    EVERY,
    options=("threads", "xnnpack", "repeats", "binary", "serials"),
    family=True,
    target=Target(RULES, export),
)
