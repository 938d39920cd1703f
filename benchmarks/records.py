"""What a measurement hands on, and the one error of this package."""

from __future__ import annotations

from dataclasses import dataclass

from tflite_export.verify import Agreement


class BenchError(Exception):
    """A file or an image cannot be measured; the message says what, why and what would work."""


@dataclass(frozen=True)
class Latency:
    """How long one inference took on this host, in microseconds, every repeat kept.

    ``tool`` says which runtime and whether XNNPACK really took part of the graph over; ``sha256``
    is that of the model's bytes.
    """

    repeats_us: tuple[float, ...]
    median_us: float
    p90_us: float
    threads: int
    tool: str
    sha256: str


@dataclass(frozen=True)
class Verified:
    """A linked file beside its variant in Keras and beside TensorFlow's conversion of that.

    ``right`` is the share of images answered as labelled (without labels: as Keras answers), by
    "keras", "linked" and "converted"; ``to_keras`` how the files agree with Keras; ``difference`` the largest
    of any score between the two files; ``latency_ratio`` the median of paired runs, linked over converted.
    """

    point: str
    precision: str
    right: dict[str, float]
    to_keras: dict[str, Agreement]
    difference: float
    flash_bytes: dict[str, int]
    latency_ratio: float
