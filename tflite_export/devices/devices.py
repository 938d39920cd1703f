"""The devices by name: what measures there, and which precisions it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tflite_export.devices import android, coral, ethos_u, host, mcu, tflm
from tflite_export.devices.subjects import Findings, Options, Subject
from tflite_export.errors import TfliteError
from tflite_export.vela import CONFIGURATIONS

_ANY = ("float32", "float16", "dynamic", "int8", "int16x8")


@dataclass(frozen=True)
class Device:
    """How files are measured; ``precisions`` are those that are tried where nobody asks for another.

    ``family`` says that what it measures carries a name of its own behind a colon: a phone's serial, a board.
    """

    measure: Callable[[Sequence[Subject], Options], Iterator[Findings]]
    precisions: tuple[str, ...]
    family: bool = False


DEVICES = {
    "host": Device(host.measure, _ANY),
    "tflm": Device(tflm.measure, ("float32", "int8", "int16x8")),
    **{name: Device(partial(ethos_u.measure, name), ("int8",)) for name in CONFIGURATIONS},
    "android": Device(android.measure, _ANY, family=True),
    "coral": Device(coral.measure, ("int8",), family=True),
    "mcu": Device(mcu.measure, ("float32", "int8", "int16x8"), family=True),
}


def named(name: str) -> Device:
    """The device of a name as ``--device`` takes it; raises ``TfliteError`` that lists all."""
    if name not in DEVICES:
        raise TfliteError(f"unknown device {name!r}; known are {', '.join(DEVICES)}")
    return DEVICES[name]


def check(names: Iterable[str]) -> None:
    """Refuse a budget's device that nothing could measure; raises ``TfliteError`` that lists all."""
    for name in names:
        kind, _, which = name.partition(":")
        found = DEVICES.get(kind)
        if found is None or found.family != bool(which):
            known = (f"{kind}:NAME" if device.family else kind for kind, device in DEVICES.items())
            raise TfliteError(f"unknown device {name!r} in the budget; known are {', '.join(known)}")


def command(name: str) -> str:
    """The ``--device`` that measures what a budget calls by this name."""
    return name.partition(":")[0]
