"""Options whose help says which devices they are for."""

from __future__ import annotations

from functools import partial
from typing import Any

import click


class DeviceOption(click.Option):
    """An option with ``{devices}`` in its help: those that ``concerns`` (``Device.takes``).

    The list is read when help is printed, as it loads NumPy; ``restnet-tf --help`` answers without it.
    """

    def __init__(self, *arguments: Any, concerns: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._concerns, self._template = concerns, self.help or ""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """As for any option, with the devices filled in."""
        from tflite_export.devices import devices

        self.help = self._template.format(devices=", ".join(devices.listed(self._concerns)))
        return super().get_help_record(ctx)


device_option = partial(click.option, cls=DeviceOption)
