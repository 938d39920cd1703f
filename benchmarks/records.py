"""What a measurement hands on, and the one error of this package."""

from __future__ import annotations

from dataclasses import dataclass


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
