"""Kotlin that runs a file on Android, filled in with its points, shapes and labels.

It follows the documentation of LiteRT's interpreter API. The tests compile it against stand-ins for Android and LiteRT,
which package registries do not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflite_export import cascades, entries, link, template
from tflite_export.devices import captures
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Signature, Tensor, read
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY

# By type: bytes a value, how a Float becomes one in the buffer, the array that the scores come in.
_WRITES = {
    "FLOAT32": (4, "putFloat(value)", "FloatArray"),
    "INT8": (1, "put(quantised(value, {low}, {high}).toByte())", "ByteArray"),
    "UINT8": (1, "put(quantised(value, {low}, {high}).toByte())", "ByteArray"),
    "INT16": (2, "putShort(quantised(value, {low}, {high}).toShort())", "ShortArray"),
}
TEMPLATES = captures.HARNESS / "android"


def snippet(content: bytes, file: str, labels: Sequence[str], kind: InputKind = PHOTOS, package: str = "") -> str:
    """A class that runs every signature of a file on inputs of a kind, cascades with their thresholds as they are set.

    Raises TfliteError where their ends are not all alike, and for a cascade of which the file says no thresholds.
    """
    signatures = read(content).signatures
    if not signatures:
        raise TfliteError(f"{file} has no signature that a program could call")
    starts = [_end(s, s.inputs, INPUT_KEY) for s in signatures]
    ends = [_end(s, s.outputs, OUTPUT_KEY) for s in signatures]
    start, end = starts[0], ends[0]
    if len({(t.type, t.scales, t.zero_points) for t in starts}) > 1 or len({_kind(t) for t in ends}) > 1:
        raise TfliteError(f"the points of {file} take or give different kinds of numbers; export them one by one")
    shapes = list(zip(signatures, starts, strict=True))
    size, write, _ = _WRITES[start.type]
    whole = start.type != "FLOAT32"
    low, high = (np.iinfo(start.type.lower()).min, np.iinfo(start.type.lower()).max) if whole else (0, 0)
    return template.text(
        (TEMPLATES / "StitchedClassifier.kt").read_text(encoding="utf-8"),
        package=package,
        file=file,
        bytes=size,
        write=write.format(low=low, high=high),
        array=_WRITES[end.type][2],
        input=INPUT_KEY,
        output=OUTPUT_KEY,
        read=_read(end),
        quantisation=(start.scales[0], start.zero_points[0]) if whole else None,
        classes=end.shape[-1],
        points=[(s.key, t.shape[1:]) for s, t in shapes if not cascades.is_cascade(s)],
        cascades=[(s.key, t.shape[1:], cascades.entry_of(content, s.key)) for s, t in shapes if cascades.is_cascade(s)],
        stage=cascades.STAGE_KEY,
        threshold=cascades.THRESHOLD,
        above=cascades.ABOVE,
        labels=labels,
        one=kind.one,
        many=kind.many,
        numbers=kind.numbers,
        values="raw RGB values 0..255" if kind.photos else f"values {kind.told}",
        sides="Height, width and channels" if kind.photos else "The sides",
    )


def activity(content: bytes, file: str, package: str) -> str:
    """An activity with an image, the dial of all that a file holds, and what that class answers; raises likewise."""
    model = read(content)
    chains = {s.key: cascades.entry_of(content, s.key) for s in model.signatures if cascades.is_cascade(s)}
    notes = link.described(content)
    cost = {s.key: notes[s.key].costs.get("mean.macs", 0.0) if s.key in notes else 0.0 for s in model.signatures}
    return template.text(
        (TEMPLATES / "MainActivity.kt").read_text(encoding="utf-8"),
        package=package,
        file=file,
        order=sorted(cost, key=lambda key: (cost[key], key)),
        points=[s.key for s in model.signatures if s.key not in chains],
        cascades=list(chains),
        marks=[(key, _marks(notes.get(key), entry.thresholds)) for key, entry in chains.items()],
    )


def _marks(point: entries.Point | None, thresholds: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Where the dial of a cascade can stand; the thresholds chosen are among them."""
    curve = [mark.thresholds for mark in point.cascade.curve] if point and point.cascade else []
    return sorted({*curve, thresholds})


def _end(signature: Signature, tensors: dict[str, Tensor], key: str) -> Tensor:
    tensor = tensors.get(key)
    if tensor is None or tensor.type not in _WRITES:
        raise TfliteError(f"point {signature.key} has no {key!r} of {', '.join(_WRITES)}")
    return tensor


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.type, tensor.shape, tensor.scales, tensor.zero_points


def _read(tensor: Tensor) -> str:
    if tensor.type == "FLOAT32":
        return "scores[0]"
    number = "(scores[0][it].toInt() and 0xff)" if tensor.type == "UINT8" else "scores[0][it]"
    return f"FloatArray(CLASSES) {{ ({number} - ({tensor.zero_points[0]})) * {tensor.scales[0]}f }}"
