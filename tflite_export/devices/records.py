"""What a timing hands on."""

from __future__ import annotations

from dataclasses import dataclass


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
