"""Browsers: a folder with a page that runs a family by LiteRT.js, and latency in any browser.

What LiteRT.js takes was tried with ``@litertjs/core`` 2.5.3 in Chromium: it refuses ends of int8 and int16, so files
get float ends and stay integer inside. Entry points by name run, and so does IF.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tflite_export import cascades, link
from tflite_export.devices import web_bench
from tflite_export.devices.device import Device
from tflite_export.devices.exports import Export, Parcel, Target
from tflite_export.devices.rules import Rules
from tflite_export.entries import Point
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Signature, read
from tflite_export.float_ends import with_float_ends
from tflite_export.precision import EVERY, INPUT_KEY, precision_named

_SOURCE = "tried with LiteRT.js 2.5.3 in Chromium"
# What is copied beside the family's files.
_PAGE = (
    "index.html", "page.css", "demo.js", "dial.js", "inputs.js", "litert.js", "clock.js", "package.json", "serve.json",
)  # fmt: skip


def export(parcel: Parcel) -> Export:
    """The page, the elastic file where no single point was asked for, else the points' own, all with float ends."""
    contents = {f"{point.stem}.tflite": point.content for point in parcel.points}
    if parcel.elastic is not None:
        contents = {parcel.elastic.name: parcel.elastic.read_bytes()}
    names = {f"{point.stem}.tflite": point.name for point in parcel.points}
    points = [point for name, content in contents.items() for point in _points(name, content, names)]
    precision = parcel.points[0].precision
    family = {
        "run": parcel.run,
        "precision": precision,
        "integers": any(precision_named(part).calibrated for part in precision.split(cascades.GOES_ON)),
        "labels": parcel.labels,
        "input": {"photos": parcel.kind.photos, "low": parcel.kind.low, "high": parcel.kind.high},
        "points": points,
    }
    files = {name: with_float_ends(content) for name, content in contents.items()}
    files |= {name: (web_bench.PAGE / name).read_bytes() for name in _PAGE}
    files["family.json"] = (json.dumps(family, indent=1) + "\n").encode()
    changed = any(files[name] != content for name, content in contents.items())
    remark = "the .tflite has float ends here, as LiteRT.js takes them; every weight is the run's"
    return Export(files, (remark,) if changed else (), "cd {out} && npm install && npx serve")


def _points(file: str, content: bytes, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the page has to know of the entry points of a file."""
    notes = link.described(content)
    return [_point(file, entry, names.get(file, entry.key), notes) for entry in read(content).signatures]


def _point(file: str, entry: Signature, name: str, notes: Mapping[str, Point]) -> dict[str, Any]:
    point = notes.get(name, Point(name, "", None))
    about = {
        "name": name,
        "file": file,
        "signature": entry.key,
        "shape": entry.inputs[INPUT_KEY].shape[1:],
        "score": point.score,
        "rank_score": point.rank_score,
        "macs": point.macs,
        "mean_macs": point.costs.get("mean.macs"),
    }
    return about | ({"cascade": _cascade(point, name)} if cascades.is_cascade(entry) else {})


def _cascade(point: Point, name: str) -> dict[str, Any]:
    if point.cascade is None:
        raise TfliteError(f"the file does not say the stages and thresholds of {name}; link it with restnet-tf")
    staging = point.cascade
    return {
        "stages": staging.stages,
        "confidence": staging.confidence,
        "thresholds": staging.thresholds,
        "macs": staging.macs,
        "reach": staging.reach,
        "curve": [{"thresholds": m.thresholds, "reach": m.reach, "score": m.score} for m in staging.curve],
    }


RULES = Rules("LiteRT.js", _SOURCE, EVERY, signatures=True, subgraphs=True)
DEVICE = Device(
    "web",
    web_bench.measure,
    EVERY,
    options=("repeats", "lan", "port", "browsers", "wait", "examples"),
    family=True,
    target=Target(RULES, export),
)
