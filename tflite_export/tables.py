"""Tables of a flatbuffer that find their fields in a fraction of the time that the flatbuffers package takes.

The generated schema asks a table for every field by itself, twice. For each, the package goes through the file to the
table's list of fields and checks every number on the way. Here the list is read once a table.
"""

from __future__ import annotations

import importlib.util
import struct
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import flatbuffers
import numpy as np

_BACK, _SIZE, _AHEAD = (struct.Struct(form).unpack_from for form in ("<i", "<H", "<I"))


class FileTable(flatbuffers.table.Table):
    """A table with the methods of the package's own; it refuses by some exception what that one does."""

    __slots__ = ("_fields",)

    def __init__(self, buf: Any, pos: int) -> None:
        super().__init__(buf, pos)
        self._fields: tuple[int, ...] = ()

    def Offset(self, vtableOffset: int) -> int:  # noqa: N802, N803 - the generated code calls them so
        """How far behind the table's beginning a field lies; 0 for one that is not there."""
        fields = self._fields or self._listed()
        place = vtableOffset >> 1
        return fields[place] if place < len(fields) else 0

    def Vector(self, off: int) -> int:  # noqa: N802
        """Where the items of a vector begin, by where its field lies."""
        field = self.Pos + off
        return int(field + _AHEAD(self.Bytes, field)[0] + 4)

    def VectorLen(self, off: int) -> int:  # noqa: N802
        """How many items a vector has, by where its field lies."""
        field = self.Pos + off
        return int(_AHEAD(self.Bytes, field + _AHEAD(self.Bytes, field)[0])[0])

    def GetVectorAsNumpy(self, flags: Any, off: int) -> np.ndarray:  # noqa: N802
        """A vector's items, a view of the file, by where its field lies."""
        return np.frombuffer(self.Bytes, _kind(flags), self.VectorLen(off), self.Vector(off))

    def Get(self, flags: Any, off: int) -> Any:  # noqa: N802
        """A number of the file."""
        return flags.py_type(flags.packer_type.unpack_from(self.Bytes, off)[0])

    def _listed(self) -> tuple[int, ...]:
        start = self.Pos - _BACK(self.Bytes, self.Pos)[0]
        if start < 0:  # which would count from the file's end
            raise ValueError(f"a table's fields are listed at byte {start}")
        self._fields = struct.unpack_from(f"<{(_SIZE(self.Bytes, start)[0] + 1) // 2}H", self.Bytes, start)
        return self._fields


@cache
def _kind(flags: Any) -> np.dtype[Any]:
    return np.dtype(flags.name).newbyteorder("<")


@cache
def generated() -> ModuleType:
    """The schema that ai-edge-litert generated, on these tables: a copy, so that its own stays as it is."""
    spec = importlib.util.find_spec("ai_edge_litert.schema_py_generated")
    assert spec is not None  # it is a part of the package
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    package = vars(flatbuffers) | {"table": SimpleNamespace(Table=FileTable)}
    vars(module)["flatbuffers"] = SimpleNamespace(**package)
    return module
