"""The command ``restnet-tf export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import screen, switches
from restnet_tf.cli.devices import device_option
from tflite_export.kernels import CORES, LIBRARIES


@click.command(short_help="Write what one flashes or ships.")
@click.argument("run", type=click.Path(path_type=Path))
@device_option("--target", required=True, metavar="T", concerns="target", help="{devices}.")
@click.option("--point", metavar="P", help="One point of RUN, as in L1-S0.")
@click.option("--all", "every", is_flag=True, help="Every shipped point; an error where the target refuses one.")
@device_option(
    "--together",
    type=click.Choice(["image", "router"]),
    concerns="together",
    help="All shipped points in one array for {devices}, weights once: an entry each, or one network that chooses.",
)
@device_option(
    "--kernels",
    type=click.Choice(LIBRARIES),
    concerns="kernels",
    help="What firmware is linked with, for its arena; for {devices}. [default: what takes most]",
)
@device_option(
    "--core",
    type=click.Choice(list(CORES)),
    concerns="kernels",
    help="The core, likewise; for {devices}. [default: what takes most]",
)
@click.option("--precision", metavar="P", help="Of the files.  [default: the first that the target takes and RUN has]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write to.")
@switches.quiet
def export(run: Path, out: Path, point: str | None, every: bool, **options: Any) -> None:
    """Write what one flashes: RUN's points as files of a target.

    Without --point or --all these are the shipped points that the target takes; the others are named with the reason.

    \b
    Example:
      restnet-tf export runs/demo --target tflm --point L6-S3 --out firmware/model
    """
    if point is not None and (every or options["together"]):
        raise click.UsageError("give --point alone, without --all or --together")
    from restnet_tf.commands import export as command

    with screen.progress() as report:
        result = command.export(run, command.Request(point=point, every=every, **options), out, report)
    for path in result.written:
        screen.say(f"wrote {path} ({path.stat().st_size:,} bytes)")
    for name, reasons in result.refused:
        screen.say(f"refused {name}: {'; '.join(reasons)}")
    for remark in result.remarks:
        screen.say(remark)
    screen.say(f"next: {result.advice}")
