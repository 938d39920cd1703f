"""Coral's Edge TPU: its documented rules, files with the command that would compile them, latency on a board.

Its compiler cannot be had here: a file that keeps the rules has not been compiled for all that. The rules are those of
Coral's document "TensorFlow models on the Edge TPU": its requirements and its list of supported operations. Latency is
measured by a script that runs on the board; its output is read here.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tflite_export import template
from tflite_export.devices import captures
from tflite_export.devices.device import Device
from tflite_export.devices.exports import Export, Parcel, StageLoop, Target, loop_remarks
from tflite_export.devices.rules import Rules
from tflite_export.devices.subjects import DeviceError, DeviceOptions, Findings, Subject, tried
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Operator, Tensor, schema

_SOURCE = 'documented rules, "TensorFlow models on the Edge TPU"'
_OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC
UNIDIRECTIONAL_SEQUENCE_LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU
RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV
"""
OPERATORS = frozenset(_OPERATORS.split())
_INNERMOST = 3
_SOFTMAX_MOST = 16_000
_COMPILED = "_edgetpu"  # what edgetpu_compiler puts behind a file's name
_CHECK = """\
Checked against the documented rules, not compiled ({{ source }}).
{% for name in names %}
{{ name }}: keeps the documented rules
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


def faults(model: Model) -> Iterator[str]:
    """What breaks the rules on tensors and single operators; the lists of operators and types are checked elsewhere."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            yield from _dimensions(operator)
            rule = _RULES.get(operator.name)
            if rule is not None and (fault := rule(operator)):
                yield f"{operator.name} {fault}"


def _dimensions(operator: Operator) -> Iterator[str]:
    for tensor in operator.outputs:
        if any(size > 1 for size in tensor.shape[:-_INNERMOST]):
            yield (
                f"{operator.name} makes a tensor of {tensor.shape}, of which only the {_INNERMOST} innermost dimensions"
                " may exceed 1"
            )


def _no_activation(operator: Operator) -> str:
    fused = _option(operator, "fusedActivationFunction", 0)
    return "has a fused activation" if fused != schema().ActivationFunctionType.NONE else ""


def _one_dimension(operator: Operator) -> str:
    shape = operator.outputs[0].shape
    return f"gives {shape}, where one dimension alone may exceed 1" if _wide(shape) > 1 else ""


def _short_vector(operator: Operator) -> str:
    shape = operator.outputs[0].shape
    if _wide(shape) > 1 or math.prod(shape) > _SOFTMAX_MOST:
        return f"works on {shape}; one dimension of at most {_SOFTMAX_MOST} values is allowed"
    return ""


def _equal_dilation(operator: Operator) -> str:
    h, w = (_option(operator, f"dilation{side}Factor", 1) for side in "HW")
    return f"has dilations {h} and {w} that differ" if h != w else ""


def _not_the_batch(operator: Operator) -> str:
    axes, rank = operator.inputs[1], len(_shape(operator.inputs[0]))
    if axes is None or not axes.constant:
        return "has axes that are not constant"
    return "works along the batch" if any(int(a) % rank == 0 for a in axes.values().reshape(-1)) else ""


def _mean(operator: Operator) -> str:
    fault, shape, axes = _not_the_batch(operator), _shape(operator.inputs[0]), operator.inputs[1]
    if fault or axes is None:
        return fault
    deep = any(int(a) % len(shape) == len(shape) - 1 for a in axes.values().reshape(-1))
    return f"works along {shape[-1]} channels, which should be a multiple of 4" if deep and shape[-1] % 4 else ""


def _joined(operator: Operator) -> str:
    constants = [t for t in operator.inputs if t is not None and t.constant]
    if constants and (len(operator.inputs) > 2 or any(_filled(t) for t in constants)):
        return "joins constants other than zeros to one tensor"
    return _no_activation(operator)


def _padded(operator: Operator) -> str:
    pads = operator.inputs[1]
    if pads is None or not pads.constant:
        return "has a width that is not constant"
    return "pads the batch" if pads.values().reshape(-1, 2)[0].any() else ""


def _filled(tensor: Tensor) -> bool:
    zero = tensor.zero_points[0] if tensor.zero_points else 0
    return bool((tensor.values() != zero).any())


def _wide(shape: tuple[int, ...]) -> int:
    return sum(size > 1 for size in shape)


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tensor.shape


def _option(operator: Operator, name: str, default: Any) -> Any:
    return getattr(operator.table.builtinOptions, name, default)


_RULES: dict[str, Callable[[Operator], str]] = {
    "AVERAGE_POOL_2D": _no_activation,
    "MAX_POOL_2D": _no_activation,
    "CONCATENATION": _joined,
    "CONV_2D": _equal_dilation,
    "DEPTHWISE_CONV_2D": _equal_dilation,
    "FULLY_CONNECTED": _one_dimension,
    "SOFTMAX": _short_vector,
    "MEAN": _mean,
    "SUM": _not_the_batch,
    "REDUCE_MAX": _not_the_batch,
    "REDUCE_MIN": _not_the_batch,
    "PAD": _padded,
}


def export(parcel: Parcel) -> Export:
    """The files as they are, what was checked, the labels, the commands that would compile them, and cascades' code."""
    files = {f"{point.stem}.tflite": point.content for point in parcel.points}
    texts = {
        "check.txt": template.text(_CHECK, source=_SOURCE, names=list(files)),
        "compile.sh": template.text(_COMPILE, names=list(files)),
        "labels.txt": "".join(f"{' '.join(label.split())}\n" for label in parcel.labels),
    }
    if parcel.loops:
        texts |= {
            "cascades.json": json.dumps({loop.name: _loop(loop) for loop in parcel.loops}, indent=2) + "\n",
            "cascade.py": (captures.HARNESS / "cascade.py").read_text(encoding="utf-8"),
        }
    remark = "the files keep the documented rules; nothing here has compiled them"
    advice = "on a machine with edgetpu_compiler: sh {out}/compile.sh"
    remarks = (remark, *loop_remarks(parcel, "cascade.py"))
    return Export(files | {name: text.encode() for name, text in texts.items()}, remarks, advice)


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
    except (KeyError, TypeError, ValueError) as error:
        raise TfliteError(f"its line in the capture is not understood: {type(error).__name__} {error}") from None
    if not repeats or not all(took > 0 for took in repeats):
        raise TfliteError("its line in the capture has no times")
    if not compiled and not same:
        raise TfliteError("the board ran another file of that name; copy the run's files there again")
    figures = {"latency": float(np.median(repeats))}
    kept = {"latency": repeats}
    return Findings(subject.measured(f"coral:{board}", figures, kind="device", tool=tool, repeats=kept))


RULES = Rules("Coral's Edge TPU", _SOURCE, ("int8",), OPERATORS, faults=faults)
DEVICE = Device(
    "coral", measure, ("int8",), options=("log",), family=True, target=Target(RULES, export), cascades=False
)
