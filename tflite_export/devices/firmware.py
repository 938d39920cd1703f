"""C++ sources of several points and the labels once, for devices that run TensorFlow Lite Micro."""

from __future__ import annotations

from tflite_export import carray, stage_loop, together
from tflite_export.devices.exports import Parcel, PointFile, StageLoop
from tflite_export.errors import TfliteError
from tflite_export.stage_loop import StageFile


def sources(parcel: Parcel, about: str) -> dict[str, bytes]:
    """Files by name; ``about`` stands in each behind its point's name and precision.

    Raises TfliteError as ``carray.sources`` and ``stage_loop.sources`` do, and for two points of one C++ name.
    """
    files: dict[str, bytes] = {}
    for point in parcel.points:
        texts = _texts(point, about, parcel)
        if set(texts) & set(files):
            stem = carray.identifier(point.stem)
            raise TfliteError(f"two points would be called {stem} in C++; export them one by one")
        files |= texts
    for loop in parcel.loops:
        files |= _encoded(_loop(loop, parcel, about))
    return files | _encoded(carray.labels(parcel.labels))


def _loop(loop: StageLoop, parcel: Parcel, about: str) -> dict[str, str]:
    """The headers of a cascade."""
    stages = [_stage(name, precision, parcel) for name, precision in loop.files]
    line = f"{loop.name}, {loop.precision}, {about}"
    return stage_loop.sources(stages, loop.confidence, loop.thresholds, loop.stem, line, parcel.kind, parcel.builds)


def _stage(name: str, precision: str, parcel: Parcel) -> StageFile:
    """Where a point's file lies among those exported: as an array of its own, or an entry of one."""
    for point in parcel.points:
        several = point.several
        if several is None and (point.name, point.precision) == (name, precision):
            return StageFile(point.content, point.stem)
        if several is not None and several.stride and name in several.points:
            place = several.points.index(name)
            return StageFile(several.networks[place], point.stem, several.stride * place)
    raise TfliteError(f"its stage {name} is not among the points")


def _texts(point: PointFile, about: str, parcel: Parcel) -> dict[str, bytes]:
    line, kind, builds = f"{point.name}, {point.precision}, {about}", parcel.kind, parcel.builds
    texts = carray.sources(point.content, point.stem, about=line, several=point.several, kind=kind, builds=builds)
    if point.several and point.several.stride:
        texts |= together.sources(point.several, point.stem, about=line, builds=builds)
    return _encoded(texts)


def _encoded(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}
