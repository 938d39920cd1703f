"""The command ``restnet-tf train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import screen, switches


@click.command(short_help="Train a small model where none is at hand.")
@click.argument("arch")
@click.option("--data", metavar="DATA", required=True, help="Labelled data: a folder, an .npz file, or digits.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .keras file to write.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="Passes over the fit images.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True, help="Learning rate.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What all chance follows from.")
@switches.quiet
def train(arch: str, data: str, out: Path, **options: Any) -> None:
    """Train ARCH from nothing on small labelled images or signals, where no pretrained anchor is at hand.

    DSCNN (DSCNN:width=32,blocks=3) is a small network for data of any one shape.

    \b
    Example:
      restnet-tf train ViT:input=8,patch=2,width=64,depth=6,heads=4 --data digits --out vit6.keras
    """
    screen.import_tensorflow()
    from restnet_tf.commands import train as command

    with screen.progress() as report:
        trained = command.train(arch, data, out, **options, report=report)
    screen.say(
        f"wrote {trained.path}: {100 * trained.rank:.1f} % of {trained.images[0]} rank {trained.kind.many} right,"
        f" {100 * trained.test:.1f} % of {trained.images[1]} test {trained.kind.many}"
    )
    screen.say(f"next: restnet-tf build --large {trained.path} --small ANOTHER.keras --data {data}")
