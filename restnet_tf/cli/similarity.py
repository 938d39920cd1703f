"""The command ``restnet-tf similarity``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import options as shared
from restnet_tf.cli import screen, switches


@click.command(short_help="Compare all cuts of two models: a heat map.")
@shared.pair
@click.option("--data", metavar="DATA", required=True, help="A folder, an .npz file, digits, or keras:cifar10.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("similarity"),
    show_default=True,
    help="Writes OUT.png and OUT.npz.",
)
@shared.anyway("build")
@shared.option("build", "--seed", type=click.IntRange(0), help="What all chance follows from.")
@switches.quiet
def similarity(out: Path, **options: Any) -> None:
    """Compare all cuts of two anchors by CKA: a heat map as PNG, the matrix as .npz.

    \b
    Example:
      restnet-tf similarity --large resnet56.keras --small resnet20.keras --data cifar10.npz
    """
    screen.import_tensorflow()
    from restnet_tf.commands import similarity as command

    with screen.progress() as report:
        picture, matrix = command.write(out, report, **options)
    screen.say(f"wrote {picture} and {matrix}")
