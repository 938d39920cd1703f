"""What each target takes, and the reasons for what it refuses.

Every table names the program or the document that it was read from. For Coral only documented rules are checked,
as its compiler cannot be had; for Ethos-U they are the first sieve, and Vela itself decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tflite_export import coral
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Operator, Tensor, read
from tflite_export.lowering import LOWERED
from tflite_export.precision import PRECISIONS, precision_named
from tflite_export.vela import CONFIGURATIONS

_TFLM_SOURCE = "tried with the tflite-micro wheel 0.dev20261023182759"
_VELA_SOURCE = "Vela 5.2.0's report of supported operators"
_LITERT_SOURCE = "LiteRT's builtin operators"

# A file of one such operator was loaded for each builtin of the schema; these were found by its resolver.
_TFLM = """
ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV
DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG
NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE
RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE
TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
TFLM_OPERATORS = frozenset(_TFLM.split())
# The same, run with each type: its kernels of these take no integers, or none of 16 bits.
_FLOATS_ALONE = "SIN COS LOG SQRT SQUARE NEG FLOOR CEIL ROUND EXP FLOOR_DIV FLOOR_MOD"
_NOT_SIXTEEN = "ELU HARD_SWISH LOG_SOFTMAX L2_NORMALIZATION ZEROS_LIKE DIV PRELU RESIZE_BILINEAR"
_TFLM_LACKS = dict.fromkeys(_FLOATS_ALONE.split(), frozenset({"INT8", "UINT8", "INT16"}))
_TFLM_LACKS |= dict.fromkeys(_NOT_SIXTEEN.split(), frozenset({"INT16"}))

_VELA_55_65 = """
ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D ELU EXP EXPAND_DIMS
FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG PACK PAD
PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SLICE SOFTMAX SPLIT SPLIT_V SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB
SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK
"""
# The same and these.
_VELA_85 = """
ASSIGN_VARIABLE CAST DIV EQUAL GATHER GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_NOT LOGICAL_OR
NOT_EQUAL READ_VARIABLE REDUCE_ALL REDUCE_ANY SCATTER_ND SELECT SELECT_V2
"""


@dataclass(frozen=True)
class Target:
    """A kind of device and what it takes; ``source`` says where that was read or tried.

    ``operators`` None stands for every builtin one; ``lacks`` are types of activations that it has no kernel for,
    by operator. ``signatures`` and ``subgraphs`` say whether a file may have several.
    """

    name: str
    title: str
    source: str
    precisions: tuple[str, ...]
    operators: frozenset[str] | None
    lacks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    signatures: bool = False
    subgraphs: bool = False


@dataclass(frozen=True)
class Refusal:
    """Why a target does not take a file, what would work, and where that is known from."""

    reason: str
    instead: str
    source: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.reason}: {self.instead} ({self.source})"


def _ethos(config: str) -> Target:
    words = _VELA_55_65 + (_VELA_85 if "u85" in config else "")
    title, operators = f"Ethos-{config.removeprefix('ethos-').upper()}", frozenset(words.split())
    return Target(config, title, _VELA_SOURCE, ("int8", "int16x8"), operators)


TARGETS = {
    target.name: target
    for target in (
        Target("android", "Android", _LITERT_SOURCE, PRECISIONS, None, signatures=True, subgraphs=True),
        Target("coral", "Coral's Edge TPU", coral.SOURCE, ("int8",), coral.OPERATORS),
        Target(
            "tflm",
            "TensorFlow Lite Micro",
            _TFLM_SOURCE,
            ("int8", "int16x8", "float32"),
            TFLM_OPERATORS,
            _TFLM_LACKS,
            subgraphs=True,
        ),
        *map(_ethos, CONFIGURATIONS),
    )
}


def named(target: str) -> Target:
    """Look a target up; raises TfliteError that lists the known ones."""
    if target not in TARGETS:
        raise TfliteError(f"unknown target {target!r}; choose one of {', '.join(TARGETS)}")
    return TARGETS[target]


def refusals(content: bytes, target: str, precision: str) -> tuple[Refusal, ...]:
    """All reasons for which a target does not take a file of a precision; empty where it does.

    Raises TfliteError for an unknown target or precision and for bytes that are no ``.tflite`` file.
    """
    found = named(target)
    precision_named(precision)
    model = read(content)
    reasons = [*_entries(found, model), *_shapes(found, model), *_operators(found, model)]
    if precision not in found.precisions:
        return (_wrong_precision(found, precision), *reasons)
    reasons += [*_types(found, model, precision), *_kernels(found, model)]
    if target == "coral":
        reasons += [Refusal(fault, "change that layer of the anchor", coral.SOURCE) for fault in coral.faults(model)]
    return tuple(dict.fromkeys(reasons))


def _wrong_precision(target: Target, precision: str) -> Refusal:
    best = target.precisions[0]
    return Refusal(f"{precision} does not run on {target.title}", f"build with --precision {best}", target.source)


def _entries(target: Target, model: Model) -> Iterator[Refusal]:
    several = "it takes one point a file" if target.name != "tflm" else "it crashes on such a file"
    if len(model.signatures) > 1 and not target.signatures:
        keys = ", ".join(s.key for s in model.signatures)
        yield Refusal(f"the file has several signatures ({keys}) and {several}", "export a single point", target.source)
    elif len(model.subgraphs) > 1 and not target.subgraphs:
        yield Refusal(
            f"the file has {len(model.subgraphs)} subgraphs and {several}", "export a single point", target.source
        )


def _shapes(target: Target, model: Model) -> Iterator[Refusal]:
    advice = "convert with a fixed batch of 1"
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if not tensor.fixed:
                yield Refusal(f"tensor {tensor.name!r} has an open dimension {tensor.shape}", advice, target.source)
        for end in graph.inputs:
            if end.fixed and len(end.shape) > 1 and end.shape[0] != 1:
                yield Refusal(f"the input {end.name!r} has a batch of {end.shape[0]}", advice, target.source)


def _operators(target: Target, model: Model) -> Iterator[Refusal]:
    lower = {operator: name for name, operator in LOWERED.items()}
    for name in sorted({operator.name for operator in _all(model)}):
        if name in target.operators if target.operators is not None else not name.startswith("CUSTOM"):
            continue
        advice = f"rebuild with --lower {lower[name]}" if name in lower else "replace that layer of the anchor"
        reason = f"{name} is not in {target.title}"
        yield Refusal(reason, advice, target.source)


def _types(target: Target, model: Model, precision: str) -> Iterator[Refusal]:
    """A file that is not what its precision says is refused whatever its name: it may run, and be wrong."""
    recipe = precision_named(precision)
    ends = {end.upper() for end in recipe.ends}
    kept = recipe.activations | {recipe.weights} | (set() if recipe.calibrated else {"FLOAT32"})
    for operator in _all(model):
        if operator.name.startswith("CUSTOM"):
            continue
        for tensor in _operands(operator):
            if tensor.type not in (kept if tensor.constant else recipe.activations | ends):
                what = "weights" if tensor.constant else "activations"
                reason = f"the file has {what} of {tensor.type} at {operator.name}, so it is not {precision} throughout"
                yield Refusal(reason, f"build with --precision {target.precisions[0]}", target.source)
                return


def _kernels(target: Target, model: Model) -> Iterator[Refusal]:
    for operator in _all(model):
        kinds = {t.type for t in _operands(operator) if not t.constant}
        for kind in sorted(kinds & target.lacks.get(operator.name, frozenset())):
            others = "int8 or float32" if kind == "INT16" and operator.name in _NOT_SIXTEEN.split() else "float32"
            reason = f"{target.title} has no kernel for {operator.name} of {kind}"
            yield Refusal(reason, f"build with --precision {others}, or replace that layer", target.source)


def _all(model: Model) -> Iterator[Operator]:
    for graph in model.subgraphs:
        yield from graph.operators


def _operands(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]
