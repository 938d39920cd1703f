"""Tables that read their list of fields once, beside the flatbuffers package's own."""

from __future__ import annotations

import struct

import classifiers
import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated

from tflite_export import flatbuffer
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import read, schema, write
from tflite_export.tables import FileTable

KINDS = ("FLOAT32", "INT8", "UINT8", "INT16")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_reads_as_by_the_package_itself(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = classifiers.file(kind, channels_first=True)
    ours = write(read(content)), read(content)
    assert type(schema().Model.GetRootAs(content, 0)._tab) is FileTable
    monkeypatch.setattr(flatbuffer, "generated", lambda: schema_py_generated)
    assert type(schema().Model.GetRootAs(content, 0)._tab) is flatbuffers.table.Table
    assert ours[0] == write(read(content))
    assert _plain(ours[1].table) == _plain(read(content).table)


def _plain(record: object) -> object:
    """A record of the schema with all that it holds, as text."""
    if hasattr(record, "__dict__"):
        return {name: _plain(value) for name, value in vars(record).items()}
    return [_plain(item) for item in record] if isinstance(record, list) else repr(record)


def test_a_list_of_fields_outside_the_file_is_refused() -> None:
    content = bytearray(classifiers.file())
    (root,) = struct.unpack_from("<I", content)
    struct.pack_into("<H", content, len(content) - 4, 100)  # bytes of a list at whose end the file is over long since
    for back, said in ((2**30, "listed at byte -"), (root - len(content) + 4, "requires a buffer of at least")):
        struct.pack_into("<i", content, root, back)
        with pytest.raises(TfliteError, match=rf"not a whole \.tflite file .*{said}"):
            read(bytes(content))


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_views_of_the_file(kind: str) -> None:
    content = classifiers.file(kind)
    table = schema().Model.GetRootAs(content, 0)
    items = [table.Buffers(i).DataAsNumpy() for i in range(table.BuffersLength()) if table.Buffers(i).DataLength()]
    assert len(items) > 1
    assert all(not one.flags.owndata and not one.flags.writeable for one in items)
