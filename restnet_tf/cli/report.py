"""The command ``restnet-tf report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write one page, Markdown and CSV of a run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The .html to write, its tables beside it.  [default: RUN/report.html]",
)
def report(run: Path, out: Path | None) -> None:
    """Write what RUN found as one page that needs no network, and as tables in Markdown and CSV.

    \b
    Example:
      restnet-tf report runs/demo
    """
    from restnet_tf.commands import report as command

    for path in command.write(run, out):
        click.echo(f"wrote {path}")
