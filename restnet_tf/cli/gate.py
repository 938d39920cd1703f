"""The command ``restnet-tf gate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import screen


def _read(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[Any, ...]:
    """What the command makes of limits or of a budget; a term that it does not understand is a usage error."""
    from restnet_tf.commands import gate as command
    from tflite_export.errors import DomainError

    reader: Callable[[str], tuple[Any, ...]] = command.budget if param.name == "budget" else command.limits
    try:
        return () if text is None else reader(text)
    except DomainError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command(short_help="Compare two runs; exit 1 where the new one is worse.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("limits", callback=_read)
@click.option("--against", type=click.Path(path_type=Path), required=True, metavar="OLDRUN", help="The earlier run.")
@click.option(
    "--budget", callback=_read, metavar="TERMS", help="Compare the best file of each run within it, as `select` does."
)
@click.option(
    "--point",
    "names",
    multiple=True,
    metavar="NAME",
    help="Compare this point alone: large, or large.int8; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every comparison.")
def gate(run: Path, limits: Any, against: Path, budget: Any, names: tuple[str, ...], as_json: bool) -> None:
    """Compare RUN with OLDRUN; exit 1, with a table, where one of LIMITS is broken.

    LIMITS are terms by commas. With a sign a figure may change by so much: score>=-0.5 (points), flash<=+2%,
    latency<=+1ms; without one the figure itself is limited: ram<=64KB. Figures are score and those of `select`.
    By default every file that both runs ship is compared, and the size of their elastic files.

    Scores are those of the test split, which only reports: choose no model by this command.

    \b
    Example:
      restnet-tf gate runs/new --against runs/old "score>=-0.5, flash<=+2%, mean.latency<=+5%"
    """
    from restnet_tf.commands import gate as command
    from restnet_tf.report import terminal

    if budget and names:
        raise click.UsageError("--budget chooses the point; leave --point or --budget out")
    comparison = command.gate(run, against, limits, budget=budget, names=names)
    if as_json:
        click.echo(command.as_json(comparison))
    else:
        if comparison.changes:
            screen.table(terminal.gate(comparison))
        click.echo("\n".join(command.lines(comparison)))
    if not comparison.holds:
        click.get_current_context().exit(1)
