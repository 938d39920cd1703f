"""The command ``restnet-tf inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restnet_tf.cli import options as shared
from restnet_tf.cli import screen, switches

if TYPE_CHECKING:
    from rich.console import RenderableType

    from restnet_tf.commands.inspect import Inspection
    from restnet_tf.records import Cut


_HEADS = ("cut", "kind", "shape", "activation", "MMACs before", "MMACs after", "params before", "params after")


@click.command(short_help="List where a model can be cut, and what a file holds.")
@click.argument("model")
@click.option("--arch", metavar="NAME", help="Architecture of a weights file.")
@click.option(
    "--preprocess",
    type=shared.PREPROCESS,
    default="none",
    show_default=True,
    help="What a model file expects before it.",
)
@shared.weights("build", f"For a name of Keras Applications: {shared.WEIGHTS_HELP}.")
@switches.as_json
def inspect(model: str, as_json: bool, **options: Any) -> None:
    """List where MODEL can be cut: shape, MACs and parameters before and after.

    Of a .tflite file also its operators, its arena, and which devices would refuse it.

    \b
    Example:
      restnet-tf inspect MobileNetV2:alpha=0.35,input=96 --weights none
    """
    from restnet_tf.commands import inspect_file

    if inspect_file.is_file(model):
        _print_file(Path(model), as_json=as_json)
        return
    screen.import_tensorflow()
    from restnet_tf.commands import inspect as command

    inspection = command.inspect(model, **options)
    if as_json:
        click.echo(command.as_json(inspection))
    else:
        screen.table(_table(inspection))


def _print_file(path: Path, *, as_json: bool) -> None:
    from restnet_tf.commands import inspect_file

    inspection = inspect_file.inspect(path)
    click.echo(inspect_file.as_json(inspection) if as_json else "\n".join(inspect_file.lines(inspection)))


def _table(inspection: Inspection) -> RenderableType:
    from restnet_tf.report import terminal

    return terminal.cuts(inspection.anchor.name, _HEADS, [_cells(cut) for cut in inspection.cuts])


def _cells(cut: Cut) -> tuple[str, ...]:
    return (
        cut.name,
        _places(cut),
        "x".join(map(str, cut.shape)),
        "" if cut.clamp[0] is None else "ReLU6" if cut.clamp[1] == 6 else "ReLU",
        f"{cut.macs_before / 1e6:.1f}",
        f"{cut.macs_after / 1e6:.1f}",
        f"{cut.params_before:,}",
        f"{cut.params_after:,}",
    )


def _places(cut: Cut) -> str:
    if cut.grid is None:
        return cut.kind
    return "steps in time" if cut.grid[1] == 1 else f"tokens of {cut.grid[0]}x{cut.grid[1]}"
