"""Coral's Edge TPU: its documented rules, files with the command that would compile them, latency on a board.

Its compiler cannot be had here: a file that keeps the rules has not been compiled for all that. Latency is measured by
a script that runs on the board; its output is read here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tflite_export import template
from tflite_export.devices import captures, coral_rules
from tflite_export.devices.device import Device
from tflite_export.devices.exports import Export, Parcel, StageLoop, Target, loop_remarks
from tflite_export.devices.rules import Rules
from tflite_export.devices.subjects import DeviceError, DeviceOptions, Findings, Subject, tried
from tflite_export.errors import TfliteError

_COMPILED = "_edgetpu"  # what edgetpu_compiler puts behind a file's name
_SCRIPT = "cascade.py"
# Steps of an output by which a compiled file may be off the one it was made from: other kernels, not other weights.
_APART = 32
_CHECK = """\
Checked against the documented rules, not compiled ({{ source }}).
{% for name in names %}
{{ name }}: keeps the documented rules
{% endfor %}

The rules, and where each is written:
{% for rule in rules %}
{{ rule }}
{% endfor %}
"""
_COMPILE = """\
#!/bin/sh
# Made by restnet-tf. Compiles each file alone, to NAME_edgetpu.tflite and a log.
set -e
cd "$(dirname "$0")"
for file in {{ names | map("shell") | join(" ") }}; do
  edgetpu_compiler -s "$file"
done
"""
# "Edge TPU Compiler", Usage: models of one call share the Edge TPU's memory for parameters. Who gets how much of it
# depends on their order, and on the compiler's version: google-coral/edgetpu, issue 518.
_COMPILE_TOGETHER = """\
#!/bin/sh
# Made by restnet-tf. Compiles all files in one call, so that they share one cache: a switch then loads no parameters.
# The order decides who is cached where not all are; the cheapest come first. Compilers differ in this: read how much
# each file got, and give another order where that is better: sh compile.sh FIRST.tflite SECOND.tflite ...
set -e
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- {{ names | map("shell") | join(" ") }}
edgetpu_compiler -s "$@"
"""


def export(parcel: Parcel) -> Export:
    """The files as they are, what was checked, the labels, the commands that would compile them, and cascades' code."""
    files = {f"{point.stem}.tflite": point.content for point in parcel.points}
    texts = {
        "check.txt": template.text(_CHECK, source=coral_rules.SOURCE, names=list(files), rules=coral_rules.RULES),
        "compile.sh": template.text(_COMPILE_TOGETHER if parcel.every else _COMPILE, names=list(files)),
        "labels.txt": "".join(f"{' '.join(label.split())}\n" for label in parcel.labels),
    }
    if parcel.loops:
        texts["cascades.json"] = _json({loop.name: _loop(loop) for loop in parcel.loops})
    if parcel.every:
        texts["points.json"] = _json({point.name: f"{point.stem}.tflite" for point in parcel.points})
    if parcel.loops or parcel.every:
        texts[_SCRIPT] = (captures.HARNESS / _SCRIPT).read_text(encoding="utf-8")
    advice = "on a machine with edgetpu_compiler: sh {out}/compile.sh"
    remarks = ("the files keep the documented rules; nothing here has compiled them", *_together(parcel))
    encoded = {name: text.encode() for name, text in texts.items()}
    return Export(files | encoded, (*remarks, *loop_remarks(parcel, _SCRIPT)), advice)


def _together(parcel: Parcel) -> tuple[str, ...]:
    """What there is to know of files that are compiled in one call."""
    if not parcel.every:
        return ()
    size = sum(len(point.content) for point in parcel.points) / 1e6
    return (
        f"compile.sh compiles all {len(parcel.points)} together, for one cache; they have {size:.3g} MB, of which it"
        " holds somewhat under 8",
        "some compilers have made wrong files of several at once: compare them on the board by coral.py",
    )


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _loop(loop: StageLoop) -> dict[str, Any]:
    """What cascade.py reads."""
    stages = [f"{name}.{precision}.tflite" for name, precision in loop.files]
    return {"stages": stages, "confidence": loop.confidence, "thresholds": loop.thresholds}


def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """Latency of the files in the capture ``--log``; ``TfliteError`` where there is none, with how to make it."""
    if options.log is None:
        script = shlex.quote(str(captures.HARNESS / "coral.py"))
        raise DeviceError(
            f"coral needs --log FILE: copy {script} and the run's tflite/*.int8.tflite (through edgetpu_compiler, for"
            " the accelerator) to the board, run there: python3 coral.py *.tflite > coral.log, and give coral.log here"
        )
    entries = {str(e.get("file")).removesuffix(".tflite"): e for e in captures.lines(options.log, "coral")}
    named = {subject.name for subject in subjects}
    strange = sorted(name for name in entries if name.removesuffix(_COMPILED) not in named)
    if strange:
        yield Findings(warnings=(f"{options.log} has files that are not asked for: {', '.join(strange)}",))
    for subject in subjects:
        # Both may be in one capture; what the accelerator runs is what the board is for.
        entry = entries.get(subject.name + _COMPILED) or entries.get(subject.name)
        if entry is None:
            yield Findings(failures=(f"{subject.name}: not in {options.log}",))
        else:
            yield tried(subject, partial(_one, entry=entry))


def _one(subject: Subject, entry: Mapping[str, Any]) -> Findings:
    if "error" in entry:
        raise TfliteError(f"the board could not run it: {entry['error']}")
    try:
        repeats = tuple(float(took) for took in entry["repeats_us"])
        board, compiled = str(entry["board"]), str(entry["file"]).endswith(f"{_COMPILED}.tflite")
        where = f"Edge TPU, compiled file {entry['sha256'][:12]}" if entry["edgetpu"] else "processor"
        tool = f"tflite_runtime {entry['runtime']} ({where}), {entry['threads']} thread(s), {entry['machine']}"
        same = entry["sha256"] == subject.sha256
        difference = float(entry["difference"]) if compiled and "difference" in entry else None
    except (KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"its line in the capture is not understood: {type(error).__name__} {error}") from None
    if not repeats or not all(took > 0 for took in repeats):
        raise TfliteError("its line in the capture has no times")
    if not compiled and not same:
        raise TfliteError("the board ran another file of that name; copy the run's files there again")
    if difference is not None and not difference <= _APART:
        # google-coral/edgetpu, issue 85.
        raise TfliteError(
            f"the compiled file is {difference:g} steps off the one it was made from; compile it alone:"
            f" edgetpu_compiler -s {subject.name}.tflite"
        )
    figures = {"latency": float(np.median(repeats))}
    if difference is not None:
        figures["difference"] = difference
    kept = {"latency": repeats}
    return Findings(subject.measured(f"coral:{board}", figures, kind="device", tool=tool, repeats=kept))


OPERATORS = coral_rules.OPERATORS
RULES = Rules("Coral's Edge TPU", coral_rules.SOURCE, ("int8",), OPERATORS, faults=coral_rules.faults)
DEVICE = Device(
    "coral", measure, ("int8",), options=("log",), family=True, target=Target(RULES, export), cascades=False
)
