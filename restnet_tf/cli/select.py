"""The command ``restnet-tf select``."""

from __future__ import annotations

from pathlib import Path

import click

from restnet_tf.cli import switches


@click.command(short_help="Choose the best file within a budget.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    required=True,
    metavar="TERMS",
    help='As in "macs<=30M, flash<=500KB, latency<=10ms, tflm.arena<=64KB, mean.macs<=9M, mean.latency<=3ms".',
)
@switches.as_json
def select(run: Path, budget: str, as_json: bool) -> None:
    """Choose the best operating point of RUN that meets a budget; exit 1 when none does.

    DEVICE.FIGURE limits what `restnet-tf bench` measured on a device. A cascade has two costs: the bare name is the
    worst case, where all stages run, and `mean.` before macs, latency, DEVICE.latency or DEVICE.cycles is the mean.

    \b
    Example:
      restnet-tf select runs/demo --budget "macs<=3M, flash<=300KB, latency<=1ms"
    """
    from restnet_tf.commands import select as command

    selection = command.select(run, budget)
    click.echo(command.as_json(selection) if as_json else "\n".join(command.lines(selection)))
