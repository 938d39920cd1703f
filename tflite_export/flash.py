"""An elastic file's points as one image for flash: every weight once, and an entry for every point.

For TensorFlow Lite Micro, which takes files of one network. From byte 16 i on the image is the
file of point i; the files share their weights, operators and tensors::

    const tflite::Model* model = tflite::GetModel(image + 16 * i);

So a point takes the arena of its own file, head and tail, and to switch is to make another interpreter
in the same arena. A ``router`` switches without that, but its arena holds the records of all points. Points
may differ in all but precision. The image lies at an address that 16 divides.
"""

from __future__ import annotations

from collections.abc import Sequence

from tflite_export import link, tail
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import ALIGNMENT, Model, Signature, read, write, write_several
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY, SIGNATURE
from tflite_export.router import chosen, described


def of_elastic(content: bytes, points: Sequence[str] = ()) -> bytes:
    """An image of the named points in that order, or of all by rising MACs.

    Outputs are those of the elastic file's signatures, bit for bit. The first entry's metadata are
    the elastic file's, with the points in order of entries, and under ``flash`` the bytes from entry to entry
    and the largest arena of any point, planned from the file. Raises TfliteError as ``router.of_elastic``
    does, but for points of several shapes or types.
    """
    model = read(content)
    noted = link.points(content) if link.METADATA in model.metadata else {}
    files = []
    graphs = chosen(model, points, noted)
    for graph in graphs.values():
        ends = {INPUT_KEY: graph.inputs[0]}, {OUTPUT_KEY: graph.outputs[0]}
        files.append(Model([graph], [Signature(SIGNATURE, graph, *ends)]))
    arena = max(tail.arena(write(file, names=False)).size for file in files)
    note = {"stride": ALIGNMENT, "arena": arena, "arena_source": "planned from the file"}
    for place, file in enumerate(files):
        metadata = described(noted, list(graphs), flash=note) if place == 0 else None
        link.finish(file, [model], metadata)
    return write_several(files)


def entry(image: bytes, place: int) -> bytes:
    """The file of a point, which goes on to the end of the image; raises TfliteError for a place beyond the points."""
    count = len(link.points(image).get("points", ()))
    if not 0 <= place < count:
        raise TfliteError(f"no entry {place} in the image; it has 0 to {count - 1}")
    return image[ALIGNMENT * place :]
