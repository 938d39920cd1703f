"""The command ``restnet-tf link``."""

from __future__ import annotations

from pathlib import Path

import click

from restnet_tf.cli import screen, switches


@click.command(short_help="Add files to a finished run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="NAME",
    help="One that RUN lacks, as int16x8; may be given again.",
)
@click.option("--point", "names", multiple=True, metavar="NAME", help="A point that was not shipped, as in L1-S0.")
@click.option("--uint8-input", is_flag=True, help="int8 files take images as bytes 0..255, as cameras give them.")
@switches.quiet
def link(run: Path, precisions: tuple[str, ...], names: tuple[str, ...], uint8_input: bool) -> None:
    """Add files to a finished RUN: another precision, another point, images as bytes. Nothing is fitted anew.

    \b
    Example:
      restnet-tf link runs/demo --precision int16x8 --point L3-S1
    """
    if not (precisions or names or uint8_input):
        raise click.UsageError("give --precision, --point or --uint8-input: what the run is to gain")
    from restnet_tf.commands import link as command

    with screen.progress() as report:
        linked = command.link(run, report, precisions=precisions, names=names, uint8_input=uint8_input)
    for path in linked.files:
        screen.say(f"wrote {path}")
    if not linked.files:
        screen.say(f"{run} has all of that already")
