"""The devices by name."""

from __future__ import annotations

from collections.abc import Iterable

from tflite_export.devices import android, c, coral, ethos_u, host, mcu, tflm, web
from tflite_export.devices.device import Device
from tflite_export.devices.exports import Target
from tflite_export.errors import TfliteError

_ALL = (host.DEVICE, tflm.DEVICE, *ethos_u.DEVICES, android.DEVICE, coral.DEVICE, web.DEVICE, mcu.DEVICE, c.DEVICE)
DEVICES = {device.name: device for device in _ALL}


def named(name: str) -> Device:
    """The device of a name as ``--device`` takes it; raises ``TfliteError`` that lists all."""
    if name not in DEVICES:
        raise TfliteError(f"unknown device {name!r}; known are {', '.join(DEVICES)}")
    return DEVICES[name]


def targets() -> dict[str, Target]:
    """By name the devices that files are exported to, whole ones first, then what firmware is built for."""
    ordered = sorted(DEVICES.values(), key=lambda device: not device.family)
    return {device.name: device.target for device in ordered if device.target is not None}


def target(name: str) -> Target:
    """What is exported to a device, as ``--target`` names it; raises ``TfliteError`` that lists all."""
    choices = targets()
    if name not in choices:
        raise TfliteError(f"unknown target {name!r}; choose one of {', '.join(choices)}")
    return choices[name]


def listed(option: str) -> tuple[str, ...]:
    """What lists call the devices that an option concerns (``Device.takes``)."""
    shown = {d.name: d.name if d.listing is None else d.listing for d in DEVICES.values() if d.takes(option)}
    return tuple(filter(None, shown.values()))


def check(names: Iterable[str]) -> None:
    """Refuse a budget's device that nothing could measure; raises ``TfliteError`` that lists all."""
    for name in names:
        kind, _, which = name.partition(":")
        device = DEVICES.get(kind)
        if device is None or device.family != bool(which):
            forms = (f"{kind}:NAME" if device.family else kind for kind, device in DEVICES.items())
            raise TfliteError(f"unknown device {name!r} in the budget; known are {', '.join(forms)}")


def command(name: str) -> str:
    """The ``--device`` that measures what a budget calls by this name."""
    return name.partition(":")[0]
