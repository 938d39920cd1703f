"""The command ``restnet-tf compose``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import screen

# Named here, since NumPy would be imported with them from where they are used.
_SCORES, _RANKINGS = ("cka", "biased-cka"), ("score", "loss")


@click.command()
@click.option(
    "--pool",
    multiple=True,
    required=True,
    metavar="MEMBER",
    help="A name, a model file, or a weights file as FILE@ARCH; give it again for each member.",
)
@click.option("--data", metavar="DATA", required=True, help="Labelled images: a folder, an .npz file, or digits.")
@click.option("--images", type=click.IntRange(1), help="How many to compose on.  [default: all to fit, up to 64]")
@click.option("--classes", default="", metavar="LIST", help="Only these classes, by commas.")
@click.option("--out", type=click.Path(path_type=Path), help="The run directory.  [default: runs/composed-DATA]")
@click.option(
    "--pool-dir",
    type=click.Path(path_type=Path),
    default=Path("pool"),
    show_default=True,
    help="Where members are kept, compiled, for all users.",
)
@click.option("--weights", default="imagenet", show_default=True, metavar="WHICH", help="For members by name.")
@click.option("--weights-dir", type=click.Path(path_type=Path), help="Where ImageNet weight files lie.")
@click.option("--budget", default="", metavar="TERMS", help='Limits, as in "macs<=300M, flash<=5MB, ram<=2MB".')
@click.option("--precision", default="float32", show_default=True, metavar="LIST", help="As in build.")
@click.option("--fragments", type=click.IntRange(2), default=6, show_default=True, help="Of a member, at most.")
@click.option("--score", type=click.Choice(_SCORES), default="cka", show_default=True, help="biased-cka: the paper's.")
@click.option(
    "--rank-by",
    type=click.Choice(_RANKINGS),
    default="score",
    show_default=True,
    help="What decides which fragments are tried; loss is the head's where the member goes on to its end.",
)
@click.option("--top", type=click.IntRange(1), default=2, show_default=True, help="Fragments tried at each step (K).")
@click.option(
    "--least", type=click.FloatRange(-1, 1), default=0.0, show_default=True, help="Score of a joint, at least (T)."
)
@click.option(
    "--least-overall",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Product of a net's scores, at least (TT).",
)
@click.option("--depth", type=click.IntRange(2), default=16, show_default=True, help="Fragments in a net, at most (L).")
@click.option("--nets", type=click.IntRange(1), default=20, show_default=True, help="Nets of one start, at most.")
@click.option("--max-points", type=click.IntRange(1, 64), default=6, show_default=True, help="Nets to ship.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What all chance follows from.")
def compose(**options: Any) -> None:
    """Compose nets of a pool's fragments for a few labelled images, without training.

    Members are compiled once, into --pool-dir: the second user's nets take neither TensorFlow nor Keras.

    \b
    Example:
      restnet-tf compose --pool MobileNetV2 --pool weights.h5@EfficientNetB0 --data photos/ --images 32
    """
    from restnet_tf.commands import api

    with screen.progress() as report:
        result = api.compose(report=report, prepare=screen.import_tensorflow, **options)
    screen.show(result)
