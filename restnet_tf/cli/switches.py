"""What many commands can be told of their output: as JSON, or errors alone."""

from __future__ import annotations

import click

from restnet_tf.cli import screen


def _hush(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.meta[screen.QUIET] = True


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of tables, in base units.")
quiet = click.option(
    "--quiet", is_flag=True, expose_value=False, callback=_hush, help="Print errors alone (and JSON, with --json)."
)
