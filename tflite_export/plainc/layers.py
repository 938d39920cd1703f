"""What a network is in C: layers, each a call of a kernel with a constant record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Operator, Tensor


@dataclass(frozen=True, eq=False)
class Constant:
    """An array in flash; ``kind`` is what C calls its numbers."""

    kind: str
    values: np.ndarray = field(repr=False)

    @cached_property
    def digest(self) -> bytes:
        """Equal for equal arrays."""
        return hashlib.blake2b(self.kind.encode() + b"\0" + np.ascontiguousarray(self.values).tobytes()).digest()


# Fields of a C record by name: numbers, tuples of them, records, arrays, None for a null pointer.
Fields = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CLayer:
    """One call: the kernel, its record, what it reads and the tensor that it writes.

    ``in_place`` lists operands whose room the result may take. Where ``shift`` is not None the kernel reads its first
    operand in order, so that the result may lie over it: if it begins as many bytes before it as the first number
    says, or, for kernels that can go from the last pixel to the first, as many behind its beginning as the second.
    ``keeps`` says that the result holds something already that stays: the kernel writes a part of it.
    """

    kernel: str
    record: Fields
    reads: tuple[Tensor | Constant, ...]
    writes: Tensor
    in_place: tuple[int, ...] = ()
    shift: tuple[int, int] | None = None
    keeps: bool = False


@dataclass(frozen=True, eq=False)
class Alias:
    """A tensor that has the same numbers in the same order as another: no layer is needed."""

    reads: Tensor
    writes: Tensor


def bytes_of(tensor: Tensor) -> Constant:
    """A constant of integers of 8 bits; raises TfliteError for one of another type."""
    if tensor.type != "INT8":
        raise TfliteError(f"the constant {tensor.name!r} is {tensor.type}; int8 is needed")
    return Constant("int8_t", tensor.values().reshape(-1))


def operand(tensor: Tensor) -> Tensor | Constant:
    """An activation itself, a constant as an array."""
    return bytes_of(tensor) if tensor.constant else tensor


def operands(operator: Operator) -> list[Tensor]:
    """All that are given."""
    return [tensor for tensor in operator.inputs if tensor is not None]


def option(operator: Operator, name: str, default: Any = 0) -> Any:
    """A field of an operator's options, which a file may leave out where it is the default."""
    return getattr(operator.table.builtinOptions, name, default)


def numbers(operator: Operator, place: int) -> list[int]:
    """The values of an operand that must be constant integers; raises TfliteError where they are not."""
    tensor = operator.inputs[place] if place < len(operator.inputs) else None
    if tensor is None or not tensor.constant:
        raise TfliteError(f"{operator.name} has an operand {place} that is not constant")
    return [int(value) for value in tensor.values().reshape(-1)]


def axes(operator: Operator, place: int, rank: int) -> list[int]:
    """Dimensions that a constant operand names, from 0 on."""
    return [value % rank for value in numbers(operator, place)]
