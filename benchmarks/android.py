"""Not there yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.records import BenchError
from benchmarks.subjects import Findings, Options, Subject


def measure(subjects: Sequence[Subject], options: Options) -> Iterator[Findings]:
    """Refuse."""
    raise BenchError("android is not there yet")
    yield
