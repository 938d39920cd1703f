"""What each precision asks of the converter, and what a file must be to bear its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import FLOATS, Model, Operator, Subgraph, Tensor, only, read

SIGNATURE = "serving_default"
INPUT_KEY = "image"
OUTPUT_KEY = "scores"
# Of a file's metadata: the rule of its ranges, and of an object the float file that its integers were made of.
RULE, EXACT = "calibration", "restnet_tf.float"

_INTEGERS = frozenset({"INT32", "INT64", "BOOL"})
# TensorFlow leaves smaller weights in float for ``dynamic``: they cost more than they save.
LEAST_QUANTISED = 1024
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")


@dataclass(frozen=True)
class Precision:
    """What to ask the converter for, and the types that its result may then hold.

    ``weights`` is the type that constants are reduced to; ``ends`` are the input types on offer, of
    which the first is the output's too; ``calibrated`` ones are integer throughout.
    """

    operators: str
    activations: frozenset[str]
    weights: str
    ends: tuple[str, ...] = ("float32",)
    calibrated: bool = False


_PRECISIONS = {
    "float32": Precision("TFLITE_BUILTINS", _INTEGERS | {"FLOAT32"}, "FLOAT32"),
    "float16": Precision("TFLITE_BUILTINS", _INTEGERS | {"FLOAT32"}, "FLOAT16"),
    "dynamic": Precision("TFLITE_BUILTINS", _INTEGERS | {"FLOAT32"}, "INT8"),
    "int8": Precision("TFLITE_BUILTINS_INT8", _INTEGERS | {"INT8"}, "INT8", ("int8", "uint8"), True),
    "int16x8": Precision(
        "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
        _INTEGERS | {"INT16"},
        "INT8",
        ("int16",),
        True,
    ),
}
PRECISIONS = tuple(_PRECISIONS)  # those of the converter
# Made of an int8 file, some of whose operators are given activations of sixteen bits, or floats (``mixed``).
MIXED = "mixed"
_PRECISIONS[MIXED] = replace(_PRECISIONS["int8"], activations=_INTEGERS | {"INT8", "INT16", "FLOAT32"})
EVERY = tuple(_PRECISIONS)


def check_file(
    content: bytes, precision: str, outputs: Sequence[str] = (OUTPUT_KEY,), banned: Sequence[str] = ()
) -> None:
    """Refuse a .tflite file that is not wholly what ``precision`` promises.

    Raises TfliteError, naming the first operator or tensor at fault, for variables, custom, TensorFlow or
    ``banned`` operators, another signature than the one of this module with these ``outputs``, an
    open dimension, values of another type, and constants that are not finite or were clipped.
    """
    recipe = precision_named(precision)
    model = read(content)
    graph = only(model)
    _check_operators(graph, banned)
    _check_interface(model, recipe, outputs)
    _check_types(graph, recipe, precision)
    _check_constants(graph, recipe, precision)


def precision_named(precision: str) -> Precision:
    """Look a precision up; raises TfliteError that lists the accepted ones."""
    if precision not in _PRECISIONS:
        raise TfliteError(f"unknown precision {precision!r}; choose one of {', '.join(EVERY)}")
    return _PRECISIONS[precision]


def _check_operators(graph: Subgraph, banned: Sequence[str]) -> None:
    for operator in graph.operators:
        if operator.name in banned:
            raise TfliteError(f"the file still needs {operator.name}, in a form that cannot be lowered")
        if operator.name in VARIABLE_OPERATORS:
            raise TfliteError(
                f"the file reads its weights from variables ({operator.name}), which nothing sets; "
                "convert from a module that holds the variables themselves"
            )
        if operator.name.startswith("CUSTOM"):
            raise TfliteError(f"the file needs {operator.name!r}; only TensorFlow Lite's builtins are allowed")


def _check_interface(model: Model, recipe: Precision, outputs: Sequence[str]) -> None:
    graph = only(model)
    for tensor in graph.tensors:
        if not tensor.fixed:
            raise TfliteError(f"tensor {tensor.name!r} has an open dimension {tensor.shape}; export a batch of 1")
    signatures = [(entry.key, list(entry.inputs), sorted(entry.outputs)) for entry in model.signatures]
    if signatures != [(SIGNATURE, [INPUT_KEY], sorted(outputs))]:
        form = f"{SIGNATURE}({INPUT_KEY}) -> {', '.join(outputs)}"
        raise TfliteError(f"the file's signatures are {signatures}; one is needed: {form}")
    allowed = {end.upper() for end in recipe.ends}
    for end in (*graph.inputs, *graph.outputs):
        if end.type not in allowed:
            raise TfliteError(f"{end.name!r} is {end.type}; {' or '.join(sorted(allowed))} is needed")
        if end.shape[:1] != (1,):
            raise TfliteError(f"{end.name!r} has shape {end.shape}; a batch of 1 is needed")
        if recipe.calibrated and len(end.scales) != 1:
            raise TfliteError(f"{end.name!r} has no scale, so its integers mean nothing")


def _check_types(graph: Subgraph, recipe: Precision, precision: str) -> None:
    ends = {id(end) for end in (*graph.inputs, *graph.outputs)}
    faults = [
        (operator, tensor)
        for operator in graph.operators
        for tensor in _operands(operator)
        if not tensor.constant and id(tensor) not in ends and tensor.type not in recipe.activations
    ]
    if not faults:
        return
    # Around an operator without an integer kernel stand DEQUANTIZE and QUANTIZE; it is the one to name.
    casts = ("QUANTIZE", "DEQUANTIZE")
    operator, tensor = next((fault for fault in faults if fault[0].name not in casts), faults[0])
    raise TfliteError(
        f"asked for {precision}, but {operator.name} works on {tensor.type} ({tensor.name!r}); "
        f"it has no {precision} form: replace that layer or choose another precision"
    )


def _check_constants(graph: Subgraph, recipe: Precision, precision: str) -> None:
    constants = [tensor for op in graph.operators for tensor in _operands(op) if tensor.constant]
    for tensor in constants:
        if recipe.calibrated and tensor.type in FLOATS:
            raise TfliteError(f"asked for {precision}, but the constant {tensor.name!r} is {tensor.type}")
        if not _in_range(tensor):
            raise TfliteError(
                f"constant {tensor.name!r} holds values at or beyond the limits of {tensor.type}; "
                f"these weights have no {precision} form"
            )
    types = {tensor.type for tensor in constants}
    if "FLOAT32" in types and recipe.weights not in types:
        raise TfliteError(
            f"asked for {precision}, but no weight became {recipe.weights}: each has under "
            f"{LEAST_QUANTISED} values, which this precision leaves in float; use float16 or int8"
        )
    for operator in graph.operators:
        if recipe.weights != "FLOAT32" and operator.name in _WEIGHTED and _skipped(operator):
            weights = operator.inputs[1]
            name = weights.name if weights else ""
            raise TfliteError(f"asked for {precision}, but the weights {name!r} of {operator.name} stay FLOAT32")


def _skipped(operator: Operator) -> bool:
    weights = operator.inputs[1]
    if weights is None or not weights.constant or weights.type != "FLOAT32":
        return False
    return weights.nbytes >= 4 * LEAST_QUANTISED


def _operands(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]


def _in_range(tensor: Tensor) -> bool:
    if not tensor.constant or tensor.type not in ("FLOAT16", "FLOAT32", "FLOAT64"):
        return True
    values = np.abs(tensor.values())
    # The converter clips what float16 cannot hold to its largest value and says nothing.
    return bool((values < np.finfo(values.dtype).max).all())
