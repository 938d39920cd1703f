"""The command ``restnet-tf bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import screen, switches
from restnet_tf.cli.devices import device_option


@click.command(short_help="Measure files on devices.")
@click.argument("run", type=click.Path(path_type=Path))
@device_option(
    "--device",
    "names",
    multiple=True,
    required=True,
    metavar="DEVICE",
    concerns="device",
    help="{devices}; may be given again.",
)
@click.option("--point", "only_points", multiple=True, metavar="NAME", help="A point of RUN.  [default: all]")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="NAME",
    help="Files of this one alone; may be given again.  [default: what the device takes]",
)
@device_option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    concerns="threads",
    help="Of {devices}.",
)
@device_option(
    "--no-xnnpack",
    "xnnpack",
    flag_value=False,
    default=True,
    concerns="xnnpack",
    help="{devices}: LiteRT's own kernels.",
)
@device_option(
    "--repeats",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    concerns="repeats",
    help="Runs that count, of {devices}.",
)
@device_option(
    "--binary",
    type=click.Path(path_type=Path),
    concerns="binary",
    help="{devices}: TensorFlow Lite's benchmark_model for it.",
)
@device_option(
    "--serial",
    "serials",
    multiple=True,
    concerns="serials",
    help="{devices}: a device of adb's list; may be given again.",
)
@device_option(
    "--log",
    type=click.Path(path_type=Path),
    concerns="log",
    help="{devices}: what the harness printed there.",
)
@device_option(
    "--lan",
    is_flag=True,
    concerns="lan",
    help="{devices}: serve the page to this network, not to this machine alone, by a secret address.",
)
@device_option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    concerns="port",
    help="{devices}: where the page is served.  [default: any that is free]",
)
@device_option(
    "--browsers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    concerns="browsers",
    help="{devices}: how many are to measure.",
)
@device_option(
    "--wait",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    concerns="wait",
    help="{devices}: seconds without a figure, after which it ends.",
)
@switches.as_json
@switches.quiet
def bench(
    run: Path,
    names: tuple[str, ...],
    only_points: tuple[str, ...],
    precisions: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Measure RUN's files on devices, by an interpreter or by a compiler; the figures are kept in RUN.

    \b
    Example:
      restnet-tf bench runs/demo --device host --device tflm --device ethos-u55-128
    """
    from restnet_tf.commands import bench as command
    from restnet_tf.report import terminal
    from tflite_export.devices.subjects import DeviceOptions

    with screen.progress() as report:
        result = command.bench(
            run, names, DeviceOptions(**options), report, only_points=only_points, precisions=precisions
        )
    if as_json:
        click.echo(command.as_json(result))
    elif result.measurements:
        screen.table(terminal.measured(result.measurements, result.points))
        count = len(result.measurements)
        screen.say(f"wrote {count} figure{'s' if count > 1 else ''} to {run / 'measurements.json'}")
        screen.say(f'next: restnet-tf select {run} --budget "{command.example(result)}"')
    for line in result.failures[1:]:  # the first is told last
        click.echo(f"  {line}", err=True)
    command.judge(result)
