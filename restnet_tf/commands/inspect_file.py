"""What a ``.tflite`` file is made of, where it can be cut, and which devices would refuse it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restnet_tf.records import RestnetError
from tflite_export import anatomy
from tflite_export.anatomy import Anatomy
from tflite_export.classifier import is_file as is_file
from tflite_export.devices import devices
from tflite_export.devices.rules import refusals


@dataclass(frozen=True)
class FileInspection:
    """A file's anatomy, and by device the reasons for which its rules refuse it; none where they do not."""

    anatomy: Anatomy
    refused: Mapping[str, tuple[str, ...]]


def inspect(path: Path) -> FileInspection:
    """Look into a file; raises ``RestnetError`` where it cannot be read, ``TfliteError`` for no single network."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RestnetError(f"cannot read {path}: {error.strerror}") from None
    whole = anatomy.of(content, path.name)
    precision = "int8" if whole.classifier.precision == "uint8" else whole.classifier.precision
    listed = {d.name for d in devices.DEVICES.values() if d.target is not None and d.listing != ""}
    rules = {name: target.rules for name, target in devices.targets().items() if name in listed}
    reasons = {name: tuple(map(str, refusals(whole.content, one, precision))) for name, one in rules.items()}
    return FileInspection(whole, reasons)


def lines(inspection: FileInspection) -> list[str]:
    """What there is to know, for a person."""
    whole = inspection.anatomy
    one, arena = whole.classifier, whole.arena
    operators = ", ".join(f"{count} {name}" for name, count in whole.operators.items())
    memory = f"cannot be planned: {whole.why}"
    if arena is not None:
        memory = f"{arena.size:,} bytes: {arena.head:,} planned {arena.planner}, {arena.tail:,} for records"
    return [
        f"{one.name}: {one.precision}, {_sides(one.image)} to {one.classes} classes, ends in {one.ending or 'nothing'}",
        f"MACs: {one.macs:,} of one input; weights: {one.parameters:,}",
        f"operators: {operators}",
        f"arena of TensorFlow Lite Micro: {memory}",
        *(f"cut: {_short(cut.name)} {_sides(cut.shape)}, {cut.macs_before:,} MACs before" for cut in whole.cuts),
        *(() if whole.cuts else ("cut: none; no single tensor is live at the end of a block",)),
        *(f"{name}: {'; '.join(why) if why else 'keeps the rules'}" for name, why in inspection.refused.items()),
    ]


def as_json(inspection: FileInspection) -> str:
    """The same as JSON."""
    whole = inspection.anatomy
    one = whole.classifier
    content: dict[str, Any] = {
        "file": one.name,
        "precision": one.precision,
        "input": one.image,
        "classes": one.classes,
        "macs": one.macs,
        "parameters": one.parameters,
        "operators": whole.operators,
        "arena": None if whole.arena is None else asdict(whole.arena),
        "cuts": [asdict(cut) for cut in whole.cuts],
        "refused": inspection.refused,
    }
    return json.dumps(content, indent=1)


def _short(name: str) -> str:
    """The first of the names that the converter has strung together."""
    return name.partition(";")[0]


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
