"""Operators of an int8 network made to compute in sixteen bits, by surgery on its file.

A wide operator reads and gives int16 tensors that hold the range of their int8 ones in steps 256 times as fine; its
weights stay the int8 ones, its bias becomes int64. QUANTIZE stands where the two widths meet. Every int8 tensor that
anything reads, a cut or an end of the network among them, stays what it was: the calling convention holds.

What has no kernel of sixteen bits, or none that is fast, computes in floats instead (``floating``): norms and the sums
that they read, products of two tensors, and softmax between such. What a norm gives has steps of 1/128 in int8, since
its kernel knows no others; behind one in floats the steps are as fine as its range, where the file notes that, allows.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import numpy as np

from tflite_export import emit
from tflite_export.emit import WEIGHTED
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Subgraph, Tensor, only, read, schema, write
from tflite_export.precision import EXACT, MIXED, check_file

# Of which LiteRT and TensorFlow Lite Micro have kernels of int16.
WIDENED = (*WEIGHTED, "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "LOGISTIC", "MEAN", "MUL", "RSQRT", "SOFTMAX", "SUB")
NORM = "L2_NORMALIZATION"
# What hands numbers on as they are, in whatever width they come.
MOVING = ("EXPAND_DIMS", "MAX_POOL_2D", "PAD", "RESHAPE", "SLICE", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE")
_MOST = 32767
_STEPS = 255
_SIXTEEN, _FLOAT = "INT16", "FLOAT32"
# By operator: the scale that its kernel gives, whatever the range.
_GIVEN = {"LOGISTIC": 1 / 32768, "SOFTMAX": 1 / 32768, "TANH": 1 / 32768}


def widened(content: bytes, names: Collection[str]) -> bytes:
    """An int8 file of one network whose operators of these names (those of what they give) compute in sixteen bits.

    Raises TfliteError for a name that no operator has, and for an operator without a form of sixteen bits.
    """
    if not names:
        return content
    model = read(content)
    graph = only(model)
    _check(graph, names)
    graph.operators = _Widening(graph, names).operators()
    model.metadata.pop(EXACT, None)  # of eight bits alone
    content = write(model)
    check_file(content, MIXED, list(model.signatures[0].outputs))
    return content


def holds(content: bytes, names: Collection[str]) -> bool:
    """Whether a file has all operators of these names."""
    return {op.outputs[0].name for op in only(read(content)).operators} >= set(names)


def present(content: bytes, names: Collection[str]) -> list[str]:
    """What operators of another file of the same layers are called, of those that have these names in theirs.

    A network's own name begins its tensors', and the back of it has another.
    """
    alike = {_without_network(name) for name in names}
    operators = only(read(content)).operators
    return [op.outputs[0].name for op in operators if able(op) and _without_network(op.outputs[0].name) in alike]


def _without_network(name: str) -> str:
    return ";".join(part.partition("/")[2] or part for part in name.split(";"))


def able(operator: Operator) -> bool:
    """Whether an operator has a form of sixteen bits: it reads int8 activations, and gives one."""
    given = [t for t in operator.inputs if t is not None and not t.constant]
    tensors = [*given, *operator.outputs]
    weights = operator.name not in WEIGHTED or len(given) == 1
    return operator.name in (*WIDENED, NORM) and weights and bool(given) and all(_of_eight(t) for t in tensors)


def is_sum(operator: Operator) -> bool:
    """Whether an operator adds up two tensors that depend on the image."""
    return operator.name == "ADD" and sum(t is not None and not t.constant for t in operator.inputs) > 1


def floating(graph: Subgraph) -> list[Operator]:
    """The operators whose wide form is floats: norms with the sums that they read, and attention."""
    read_by: dict[int, set[str]] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            read_by.setdefault(id(tensor), set()).add(operator.name)
    weighing = {
        id(op.outputs[0])
        for op in graph.operators
        if op.name == "SOFTMAX" and read_by.get(id(op.outputs[0])) == {"BATCH_MATMUL"}
    }

    def floats(operator: Operator) -> bool:
        if operator.name in (NORM, "SOFTMAX"):
            return operator.name == NORM or id(operator.outputs[0]) in weighing
        if operator.name == "BATCH_MATMUL":
            return True
        return is_sum(operator) and NORM in read_by.get(id(operator.outputs[0]), ())

    return [op for op in graph.operators if able(op) and floats(op)]


def _of_eight(tensor: Tensor) -> bool:
    return tensor.type == "INT8" and len(tensor.scales) == 1


def _check(graph: Subgraph, names: Collection[str]) -> None:
    operators = {op.outputs[0].name: op for op in graph.operators}
    for name in names:
        if name not in operators:
            raise TfliteError(f"no operator of the network gives {name!r}; take it out of the map")
        if not able(operators[name]):
            raise TfliteError(
                f"{operators[name].name} has no form of sixteen bits from int8 ({name!r}); take it out of the map"
            )


class _Widening:
    """A graph's operators, one after the other, with what both widths of its tensors are made by."""

    def __init__(self, graph: Subgraph, names: Collection[str]) -> None:
        self._graph = graph
        self._wide = {id(op) for op in graph.operators if op.outputs[0].name in names and able(op)}
        self._wide |= self._moved()
        self._float = {id(op) for op in floating(graph)}
        self._ends = {id(t) for t in graph.outputs}
        self._twins: dict[tuple[int, str], Tensor] = {}  # by int8 tensor and type
        self._narrow = {id(t) for t in graph.inputs}  # int8 tensors that are there in int8
        self._done: list[Operator] = []

    def operators(self) -> list[Operator]:
        for operator in self._graph.operators:
            if id(operator) in self._wide:
                self._widen(operator)
                for tensor in operator.outputs:
                    if id(tensor) in self._ends:
                        self._in_eight(tensor)
            else:
                for given in operator.inputs:
                    self._in_eight(given)
                self._done.append(operator)
                self._narrow |= {id(t) for t in operator.outputs}
        return self._done

    def _moved(self) -> set[int]:
        """What only moves numbers between wide operators, and so is wide as well."""
        makers = {id(t): op for op in self._graph.operators for t in op.outputs}
        readers: dict[int, list[Operator]] = {}
        for operator in self._graph.operators:
            for tensor in operator.inputs:
                readers.setdefault(id(tensor), []).append(operator)
        into: set[int] = set()  # those that lead to a wide operator
        for operator in reversed(self._graph.operators):
            behind = readers.get(id(operator.outputs[0]), ())
            if operator.name in MOVING and any(id(op) in into or id(op) in self._wide for op in behind):
                into.add(id(operator))
        wide: set[int] = set()
        for operator in self._graph.operators:
            source = makers.get(id(operator.inputs[0])) if operator.inputs else None
            if id(operator) in into and source is not None and (id(source) in wide or id(source) in self._wide):
                wide.add(id(operator))
        return wide

    def _in_eight(self, tensor: Tensor | None) -> None:
        """Make an int8 tensor of its wide twin where only that is there."""
        wide = None if tensor is None else self._twin_of(tensor)
        if tensor is not None and wide is not None and id(tensor) not in self._narrow:
            self._done.append(emit.quantize(wide, tensor))
            self._narrow.add(id(tensor))

    def _twin_of(self, tensor: Tensor) -> Tensor | None:
        return self._twins.get((id(tensor), _FLOAT)) or self._twins.get((id(tensor), _SIXTEEN))

    def _in(self, tensor: Tensor, kind: str) -> Tensor:
        """The twin of that type; of the other twin where that is there, which is finer than int8."""
        key = id(tensor), kind
        if key not in self._twins:
            source, twin = self._twin_of(tensor) or tensor, _twin(tensor, kind)
            self._done.append(emit.dequantize(source, twin) if kind == _FLOAT else emit.quantize(source, twin))
            self._twins[key] = twin
        return self._twins[key]

    def _kind(self, operator: Operator) -> str:
        """The type that a wide operator computes in; what moves numbers takes them as they come."""
        source = operator.inputs[0]
        moved = operator.name in MOVING and source is not None and (id(source), _FLOAT) in self._twins
        return _FLOAT if moved or id(operator) in self._float else _SIXTEEN

    def _widen(self, operator: Operator) -> None:
        kind = self._kind(operator)
        if operator.name == NORM:
            self._refine(operator.outputs[0])
        inputs = [self._operand(operator, place, kind) for place in range(len(operator.inputs))]
        outputs = [_twin(t, kind, _step_given(operator, inputs)) for t in operator.outputs]
        self._twins |= {(id(t), kind): wide for t, wide in zip(operator.outputs, outputs, strict=True)}
        if operator.name in WEIGHTED and len(inputs) > 2 and inputs[2] is not None:
            inputs[2] = _bias(inputs[2], operator.inputs[0], inputs[0])
        wide = emit.with_inputs(operator, inputs, outputs)
        self._done.append(wide if kind == _FLOAT else _with_options(wide))

    def _operand(self, operator: Operator, place: int, kind: str) -> Tensor | None:
        tensor = operator.inputs[place]
        if tensor is None or tensor.type != "INT8" or (operator.name in WEIGHTED and place == 1):
            return tensor
        return in_sixteen(tensor) if tensor.constant and kind == _SIXTEEN else self._in(tensor, kind)

    def _refine(self, tensor: Tensor) -> None:
        """Let the int8 steps behind a norm in floats be those of its noted range, for whatever reads it."""
        noted = tensor.table.quantization
        if noted.min is None or noted.max is None or id(tensor) in self._ends:
            return
        low, high = min(float(noted.min[0]), 0.0), max(float(noted.max[0]), 0.0)
        step = (high - low) / _STEPS
        if not 0 < step < tensor.scales[0]:
            return
        finer = step / tensor.scales[0]
        tensor.table.quantization = emit.quantisation(np.array([step]), np.array([round(-128 - low / step)]))
        for reader in self._graph.operators:
            bias = reader.inputs[2] if len(reader.inputs) > 2 else None
            if reader.name in WEIGHTED and reader.inputs[0] is tensor and bias is not None:
                reader.inputs[2] = _in_steps(bias, finer, np.int32)


def _step_given(operator: Operator, inputs: Sequence[Tensor | None]) -> float | None:
    """The step in which a wide operator gives numbers; None where their range says it."""
    kept = operator.name in MOVING and inputs[0] is not None
    return inputs[0].scales[0] if kept and inputs[0] is not None else _GIVEN.get(operator.name)


def _step(tensor: Tensor) -> float:
    """The step of int16 in which a tensor's range has room; its zero is 0."""
    zero = tensor.zero_points[0]
    return max(zero + 128, 127 - zero) * tensor.scales[0] / _MOST


def _twin(tensor: Tensor, kind: str, step: float | None = None) -> Tensor:
    twin = emit.activation(tensor.shape, kind, f"{tensor.name}/{'wide' if kind == _SIXTEEN else 'float'}")
    twin.table.shapeSignature = tensor.table.shapeSignature
    if kind == _SIXTEEN:
        twin.table.quantization = emit.quantisation(np.array([step or _step(tensor)]), np.array([0]))
    return twin


def in_sixteen(tensor: Tensor) -> Tensor:
    """A constant of the same numbers in sixteen bits."""
    real = (tensor.values().astype(np.float64) - tensor.zero_points[0]) * tensor.scales[0]
    step = max(float(np.abs(real).max()) / _MOST, emit.LEAST_SCALE)
    return emit.constant(np.rint(real / step).astype(np.int16), f"{tensor.name}/wide", np.array([step]))


def _bias(bias: Tensor, narrow: Tensor | None, wide: Tensor | None) -> Tensor:
    """The same offsets in units of the finer steps of what is read, in 64 bits."""
    assert narrow is not None  # a convolution reads something
    assert wide is not None
    return _in_steps(bias, wide.scales[0] / narrow.scales[0], np.int64)


def _in_steps(bias: Tensor, finer: float, kind: type[np.int32] | type[np.int64]) -> Tensor:
    """The same offsets in that part of their units."""
    values = np.rint(bias.values().astype(np.float64) / finer).astype(kind)
    twin = emit.constant(values, f"{bias.name}/wide")
    scales = np.asarray(bias.scales, np.float64) * finer
    twin.table.quantization = emit.quantisation(
        scales, np.zeros(len(scales)), bias.table.quantization.quantizedDimension
    )
    return twin


def _with_options(operator: Operator) -> Operator:
    """What int16 needs to be told: sums of any scale, and biases of 64 bits."""
    options = operator.table.builtinOptions = copy.copy(operator.table.builtinOptions)
    if operator.name in ("ADD", "SUB"):
        options.potScaleInt16 = False
    if operator.name in ("CONV_2D", "FULLY_CONNECTED"):
        options.quantizedBiasType = schema().TensorType.INT64
    return operator
