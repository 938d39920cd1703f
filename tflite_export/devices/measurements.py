"""What devices, interpreters and compilers say of a run's files: one record a figure, kept in ``measurements.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tflite_export.budget import DEVICE_UNITS
from tflite_export.errors import TfliteError

# Where a figure comes from; figures of different kinds never stand in one column without saying so.
KINDS = {
    "device": "measured on the device",
    "interpreter": "run by an interpreter",
    "compiler": "estimated by a compiler",
    "plan": "planned from the file",
}
# By figure: what its values are counted in; a budget reads them alike.
UNITS = DEVICE_UNITS


@dataclass(frozen=True)
class Measurement:
    """One figure of one file on one device, in microseconds, bytes or counts (``UNITS``).

    ``value`` is the median where ``repeats`` are kept. ``tool`` names program and version with the settings that
    matter (threads, delegate); ``sha256`` is of the run's file, where a compiler made another of it too (then
    ``tool`` names that one).
    """

    point: str
    precision: str
    device: str
    figure: str
    value: float
    kind: str
    tool: str
    sha256: str
    repeats: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no reader would understand."""
        if self.figure not in UNITS or self.kind not in KINDS:
            raise TfliteError(
                f"{self.device} reports {self.figure!r} of kind {self.kind!r};"
                f" known are {', '.join(UNITS)} and {', '.join(KINDS)}"
            )


def merged(earlier: Iterable[Measurement], new: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """All of both, in a fixed order; of one file, device and figure the new one stays."""
    latest = {(m.device, m.point, m.precision, m.figure): m for m in (*earlier, *new)}
    return tuple(latest[key] for key in sorted(latest))


def to_json(measurements: Iterable[Measurement]) -> dict[str, Any]:
    """The content of ``measurements.json``."""
    return {"format": 1, "measurements": [asdict(m) for m in measurements]}


def read(path: Path) -> tuple[Measurement, ...]:
    """What ``measurements.json`` holds, nothing where there is none; raises ``TfliteError`` where it is broken."""
    try:
        entries = json.loads(path.read_text())["measurements"]
        return tuple(Measurement(**{**entry, "repeats": tuple(entry["repeats"])}) for entry in entries)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TfliteError(f"{path} is not a list of measurements: {error}") from None
