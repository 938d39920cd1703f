"""C++ sources of several points and the labels once, for devices that run TensorFlow Lite Micro."""

from __future__ import annotations

from tflite_export import carray
from tflite_export.devices.exports import Parcel, PointFile
from tflite_export.errors import TfliteError


def sources(parcel: Parcel, about: str) -> dict[str, bytes]:
    """Files by name; ``about`` stands in each behind its point's name and precision.

    Raises TfliteError as ``carray.sources`` does, and for two points of one C++ name.
    """
    files: dict[str, bytes] = {}
    for point in parcel.points:
        texts = _texts(point, about)
        if set(texts) & set(files):
            stem = carray.identifier(point.stem)
            raise TfliteError(f"two points would be called {stem} in C++; export them one by one")
        files |= texts
    return files | _encoded(carray.labels(parcel.labels))


def _texts(point: PointFile, about: str) -> dict[str, bytes]:
    line = f"{point.name}, {point.precision}, {about}"
    return _encoded(carray.sources(point.content, point.stem, about=line, several=point.several))


def _encoded(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}
