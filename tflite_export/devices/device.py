"""A device, as its own file describes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tflite_export.devices.exports import Target
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject


@dataclass(frozen=True)
class Device:
    """What measures files, what of ``DeviceOptions`` it reads, and how files are exported to it (None: not at all).

    ``tried`` are the precisions that are measured where nobody asks for another. ``family`` says that what it measures
    carries a name of its own behind a colon: a phone's serial, a board. ``listing`` is what lists call it, empty where
    another stands for it there; None: its name. ``cascades`` says whether it runs those as one file.
    """

    name: str
    measure: Callable[[Sequence[Subject], DeviceOptions], Iterator[Findings]]
    tried: tuple[str, ...]
    options: tuple[str, ...] = ()
    family: bool = False
    listing: str | None = None
    target: Target | None = None
    cascades: bool = True

    def takes(self, option: str) -> bool:
        """Whether a command line option concerns it: ``device``, of its ``target``, or of ``DeviceOptions``."""
        target = self.target
        exported = {} if target is None else {"target": True, "together": target.together, "kernels": target.kernels}
        return option == "device" or option in self.options or bool(exported.get(option))
