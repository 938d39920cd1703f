"""TensorFlow Lite Micro: what it takes, files as firmware's source, and their arena and answers on this host.

Arena and tail are a 64-bit host's with reference kernels: a 32-bit core's records are smaller, and CMSIS-NN's kernels
ask for more working memory. What a header states for those is planned (``tail.py``).
"""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tflite_export import carray, cascades, flash, link, memory, router, tail
from tflite_export.carray import Several
from tflite_export.devices import firmware, reference_worker, tflm_kernels, tflm_trials, tflm_wheel
from tflite_export.devices.device import Device
from tflite_export.devices.exports import Export, Parcel, PointFile, Target, Together, loop_remarks
from tflite_export.devices.rules import Rules
from tflite_export.devices.subjects import (
    DeviceError,
    DeviceOptions,
    Findings,
    Subject,
    is_weight_only,
    opened,
    smooth_images,
    tried,
)
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import ALIGNMENT, Model, Tensor, read
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.integers import quantise
from tflite_export.kernels import HOST
from tflite_export.lowering import LOWERED, advised

_DEVICE = "tflm"
_IMAGES = 4
_SPARE = 8 << 20  # bytes beyond the planned head, for the interpreter's own records
_TIMEOUT = 600  # seconds
# Of the whole range of an integer output: the two round differently at FULLY_CONNECTED, which a softmax widens.
_TOLERANCE = 1 / 16
_FLOAT_TOLERANCE = 1e-4  # of the largest output
_TYPES = {"FLOAT32": "f4", "INT8": "i1", "UINT8": "u1", "INT16": "i2"}
_REFERENCE = "LiteRT with its reference kernels"


RULES = Rules(
    "TensorFlow Lite Micro",
    tflm_kernels.SOURCE,
    ("int8", "mixed", "int16x8", "float32"),
    tflm_kernels.OPERATORS,
    tflm_kernels.LACKS,
    subgraphs=True,
    several="it crashes on such a file",
)


def export(parcel: Parcel) -> Export:
    """C++ source of each point, and the labels once."""
    files = firmware.sources(parcel, f"of {parcel.run}, for TensorFlow Lite Micro")
    remark = "each point has run once in the tflite-micro wheel, in the arena that is planned for it there"
    if not tflm_wheel.installed():
        remark = "not tried: pip install 'restnet-tf[mcu]' brings TensorFlow Lite Micro's wheel"
    else:
        for point in parcel.points:
            files |= {name: text.encode() for name, text in tflm_trials.sources(point, parcel).items()}
    return Export(
        files,
        (remark, *loop_remarks(parcel, "a header of each")),
        "compile {out}/*.cc into your firmware; *_resolver.h registers the operators",
    )


def prepared(point: PointFile) -> PointFile:
    """The file itself, tried where the wheel is installed; raises TfliteError where that fails."""
    if tflm_wheel.installed():
        for content, settings in _trials(point):
            if fault := tflm_wheel.fault(content, tail.one(content, HOST).size, settings):
                raise TfliteError(f"TensorFlow Lite Micro cannot run it: {fault}")
    return point


def image(elastic: bytes, names: Sequence[str], precision: str) -> PointFile:
    """Points of an elastic file as one image for flash, an entry each."""
    content = flash.of_elastic(elastic, names)
    points = _points(content)
    entries = tuple(flash.entry(content, place) for place in range(len(points)))
    return PointFile("points", precision, content, Several(points, ALIGNMENT, entries))


def routed(elastic: bytes, names: Sequence[str], precision: str) -> PointFile:
    """Points of an elastic file as one network that chooses."""
    content = router.of_elastic(elastic, names)
    return PointFile("router", precision, content, Several(_points(content), 0, (content,)))


def _points(content: bytes) -> tuple[str, ...]:
    return tuple(entry["name"] for entry in link.points(content)["points"])


def _trials(point: PointFile) -> list[tuple[bytes, tuple[np.ndarray, ...]]]:
    """What to run of a point's file, with what is given beside the image: a router's choices."""
    several = point.several
    if several is None:
        content = carray.aligned(point.content)
        model = read(content)
        if not cascades.holds_one(model):
            return [(content, ())]
        return [(content, tuple(np.array([cascades.thresholds(content), *_ends(model)], np.float32).T[..., None]))]
    if several.stride:
        return [(content, ()) for content in several.networks]
    return [(point.content, (np.arange(len(several.points), dtype=np.int32)[:, None],))]


def _ends(model: Model) -> list[tuple[float, ...]]:
    """Thresholds of a cascade's file at which each of its stages answers, the last one first; none of any other."""
    count = len(model.signatures[0].inputs) if cascades.holds_one(model) else 1
    return [cascades.answering(stage, count) for stage in reversed(range(count))]


def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """The least arena, head and tail in bytes, and the outputs' difference from LiteRT's reference kernels.

    The arena is the least with which the interpreter can be made: head and tail alone, which are what it goes on to
    use, may be too little while it plans.
    Cascades are compared with each of their stages answering. The images are seeded and random. Raises
    ``TfliteError`` where the wheel is not installed; a file that cannot be run, or that answers otherwise than in
    LiteRT, is a failure of that file.
    """
    if not tflm_wheel.installed():
        raise DeviceError("tflm needs tflite-micro, which the extra mcu brings: pip install 'restnet-tf[mcu]'")
    for subject in subjects:
        yield tried(subject, _one)


def _one(subject: Subject) -> Findings:
    if is_weight_only(subject):
        raise TfliteError(
            "its weights are int8 or float16 beside float activations, which TensorFlow Lite Micro runs wrongly or not"
            " at all; build with --precision int8, int16x8 or float32"
        )
    planned = memory.plan(memory.ranges(subject.content)).size
    model = opened(subject)
    graph, settings = model.subgraphs[0], np.array(_ends(model), np.float32)
    outputs, expected, ran = _run(subject, _inputs(graph.inputs[0], subject.kind), planned, settings)
    least = tflm_wheel.least(subject.content, tail.one(subject.content, HOST).size)
    figures: dict[str, float] = {"arena": least, "head": ran.head, "tail": ran.tail}
    figures |= _difference(outputs, expected, graph.outputs[0].scales)
    odd = f"{subject.name}: the arena's head is {ran.head} bytes on tflm, {planned} were planned"
    warnings = () if ran.head == planned else (odd,)
    tool = f"tflite-micro {importlib.metadata.version('tflite_micro')}, {_IMAGES} seeded random {subject.kind.many}"
    return Findings(subject.measured(_DEVICE, figures, kind="interpreter", tool=tool), warnings)


def _inputs(entry: Tensor, kind: InputKind = PHOTOS) -> np.ndarray:
    """Seeded inputs of a kind in the input's own type."""
    if len(entry.shape) not in (3, 4) or entry.type not in _TYPES:
        raise TfliteError(
            f"its input is {entry.type} {entry.shape}; an image (1, h, w, c) or a signal (1, t, c) is needed"
        )
    quantisation = (entry.scales[0], entry.zero_points[0]) if entry.scales else (0.0, 0)
    details = {"name": entry.name, "dtype": _TYPES[entry.type], "quantization": quantisation}
    return quantise(smooth_images(entry.shape[1:], _IMAGES, kind=kind), details)


def _run(
    subject: Subject, inputs: np.ndarray, planned: int, settings: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, tflm_wheel.Ran]:
    """Outputs of TensorFlow Lite Micro and of LiteRT, all settings one behind the other, and the former's arena."""
    rows = np.zeros((1, 0), np.float32) if settings is None else settings
    try:
        ran = tflm_wheel.run(subject.content, inputs, planned + _SPARE, tuple(rows.T[..., None]))
    except TfliteError as error:
        lacking = (name for name in set(LOWERED.values()) if f"'{name}'" in error.log)
        remedies = (f"; build with --lower {advised(name, tflm_kernels.OPERATORS)}" for name in lacking)
        raise TfliteError(f"{error}{''.join(remedies)}") from None
    outputs, expected = ran.scores, _reference(subject.content, inputs, rows)
    return outputs.reshape(-1, outputs.shape[-1]), expected.reshape(-1, expected.shape[-1]), ran


def _reference(content: bytes, inputs: np.ndarray, settings: np.ndarray) -> np.ndarray:
    """LiteRT's outputs with its reference kernels; raises ``TfliteError`` where they fail, die or hang."""
    with tempfile.TemporaryDirectory(prefix="restnet-tf-") as scratch:
        folder = Path(scratch)
        model = np.frombuffer(content, np.uint8)
        np.savez(folder / reference_worker.JOB, model=model, inputs=inputs, settings=settings)
        # -P: the folder of this package would hide the standard library's ``select``.
        command = [sys.executable, "-P", reference_worker.__file__, str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise TfliteError(f"{_REFERENCE} did not finish within {_TIMEOUT} s") from None
        told = tflm_wheel.first_line(done.stderr.decode("utf-8", "replace"))
        if done.returncode < 0:
            raise TfliteError(
                f"{_REFERENCE} died of {signal.Signals(-done.returncode).name} on it; {told}".rstrip("; ")
            )
        if done.returncode:
            raise TfliteError(f"{_REFERENCE} cannot run it: {told}")
        return np.load(folder / reference_worker.OUTPUTS)


def _difference(outputs: np.ndarray, expected: np.ndarray, scales: Sequence[float]) -> dict[str, float]:
    """The largest difference in steps of the output's scale; nothing for floats, which have none.

    Raises ``TfliteError`` where it is more than roundings can explain.
    """
    if expected.dtype.kind == "f":
        apart = float(np.abs(outputs - expected).max() / max(float(np.abs(expected).max()), 1e-30))
        if not apart <= _FLOAT_TOLERANCE:
            raise TfliteError(f"its outputs differ by {apart:.1g} of the largest between tflm and LiteRT's reference")
        return {}
    steps = int(np.abs(outputs.astype(np.int64) - expected.astype(np.int64)).max())
    limits = np.iinfo(expected.dtype)
    if steps > _TOLERANCE * (int(limits.max) - int(limits.min)):
        raise TfliteError(
            f"its outputs differ by {steps} steps of {scales[0]:.3g} between tflm and LiteRT's reference"
            " kernels, so the arena's figures would be those of a network that does not work"
        )
    return {"difference": float(steps)}


DEVICE = Device(
    "tflm",
    measure,
    ("float32", "int8", "mixed", "int16x8"),
    target=Target(
        RULES,
        export,
        prepared,
        together={"image": Together(image, True), "router": Together(routed, False)},
        kernels=True,
    ),
)
