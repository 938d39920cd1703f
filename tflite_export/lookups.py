"""GELU of int8 as a lookup in its 256 results, for targets that lack the operator: the very integers of LiteRT's own.

The numbers become indices (CAST, and ADD of 128) that pick their results (GATHER), operators that LiteRT and TensorFlow
Lite Micro have and answer alike. Indices are int32, so a large tensor is looked up piece by piece (SPLIT_V,
CONCATENATION): whole, its indices would be what the arena is sized by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tflite_export import emit
from tflite_export.flatbuffer import Operator, Tensor, only, read, write
from tflite_export.plainc import functions

OPERATORS = frozenset({"CAST", "ADD", "GATHER", "SPLIT_V", "CONCATENATION"})
_OFFSET = 128  # of the index 0 to the least int8
_INDICES = 8  # bytes a number while its index is offset: two int32
_RECORDS = 216  # bytes of the arena that a piece's operators and tensors take on a 32-bit core
_MOST_PIECES = 8


@dataclass(frozen=True, eq=False)
class Lookup:
    """What operators look up: of each int8 number that they read, its place in 256 values."""

    reads: Tensor
    values: np.ndarray = field(repr=False)
    writes: Tensor


def without(content: bytes, name: str) -> bytes:
    """An int8 file of one network with each operator of that name, a function of single numbers, as a lookup."""
    model = read(content)
    graph = only(model)
    if all(operator.name != name for operator in graph.operators):
        return content
    graph.operators = [part for op in graph.operators for part in (emitted(op) if op.name == name else [op])]
    return write(model)


def emitted(operator: Operator) -> list[Operator]:
    """Operators that look up what an operator of one int8 tensor makes of each number; raises TfliteError as LiteRT."""
    x, y = operator.inputs[0], operator.outputs[0]
    assert x is not None  # it is a function of it
    table = emit.constant(functions.table(operator), f"{y.name}/table")
    table.table.quantization = y.table.quantization
    axis, sizes = _pieces(x.shape)
    if len(sizes) == 1:
        return _looked_up(x, table, y)
    parts, results = ([_piece(t, axis, size, n) for n, size in enumerate(sizes)] for t in (x, y))
    pieces = [op for pair in zip(parts, results, strict=True) for op in _looked_up(pair[0], table, pair[1])]
    return [emit.split(x, sizes, axis, parts), *pieces, emit.concatenate(results, y, axis)]


def joined(operators: Sequence[Operator]) -> list[Operator | Lookup]:
    """Operators in their order, those that ``emitted`` makes as the lookups that they are."""
    made_by = {id(t): op for op in operators for t in op.outputs}
    lookups: dict[int, Lookup] = {}  # by what they give
    inner: set[int] = set()
    for operator in operators:
        chain = _chain(operator, made_by) or _assembled(operator, made_by, lookups)
        if chain is not None:
            lookup, parts = chain
            lookups[id(lookup.writes)] = lookup
            inner |= {id(part) for part in parts}
    outer = (op for op in operators if id(op) not in inner)
    return [lookups.get(id(op.outputs[0]), op) for op in outer]


def _pieces(shape: Sequence[int]) -> tuple[int, list[int]]:
    """An axis and how long the pieces along it are: as many as save more of an arena than their records take."""
    axis = next((n for n, size in enumerate(shape) if size > 1), 0)
    size = shape[axis] if shape else 1
    count = min(round(math.sqrt(_INDICES * math.prod(shape) / _RECORDS)), _MOST_PIECES, size) or 1
    ends = [size * n // count for n in range(count + 1)]
    return axis, [end - start for start, end in pairwise(ends)]


def _piece(tensor: Tensor, axis: int, size: int, number: int) -> Tensor:
    shape = [*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]]
    return emit.activation(shape, tensor.type, f"{tensor.name}/{number + 1}", like=tensor)


def _looked_up(x: Tensor, table: Tensor, y: Tensor) -> list[Operator]:
    number, index = (emit.activation(x.shape, "INT32", f"{x.name}/{name}") for name in ("number", "index"))
    offset = emit.constant(np.array([_OFFSET], np.int32), "table/offset")
    return [
        emit.cast(x, number),
        emit.add(number, offset, index, emit.fused((None, None))),
        emit.gather(table, index, y, axis=0),
    ]


_Chain = tuple[Lookup, list[Operator]]


def _chain(operator: Operator, made_by: dict[int, Operator]) -> _Chain | None:
    """The lookup that ends in a GATHER, and the operators before it."""
    table, index = [*operator.inputs, None, None][:2]
    add = made_by.get(id(index))
    if operator.name != "GATHER" or table is None or not table.constant or table.shape != (256,) or add is None:
        return None
    number, offset = [*add.inputs, None, None][:2]
    cast = made_by.get(id(number))
    if cast is None or cast.name != "CAST" or add.name != "ADD" or offset is None or not offset.constant:
        return None
    x = cast.inputs[0]
    if x is None or x.type != "INT8" or table.type != "INT8" or offset.values().tolist() != [_OFFSET]:
        return None
    return Lookup(x, table.values(), operator.outputs[0]), [cast, add]


def _assembled(operator: Operator, made_by: dict[int, Operator], lookups: dict[int, Lookup]) -> _Chain | None:
    """The lookup of a whole tensor whose pieces are looked up alike."""
    parts = [lookups.get(id(t)) for t in operator.inputs]
    if operator.name != "CONCATENATION" or any(part is None for part in parts):
        return None
    pieces = [part for part in parts if part is not None]
    split = made_by.get(id(pieces[0].reads))
    if split is None or split.name != "SPLIT_V" or [id(p.reads) for p in pieces] != [id(t) for t in split.outputs]:
        return None
    whole = split.inputs[0]
    if (
        whole is None
        or whole.shape != operator.outputs[0].shape
        or any(not np.array_equal(p.values, pieces[0].values) for p in pieces)
    ):
        return None
    return Lookup(whole, pieces[0].values, operator.outputs[0]), [split, *(made_by[id(p.writes)] for p in pieces)]
