"""The command ``restnet-tf compose``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import options as shared
from restnet_tf.cli import screen, switches

option = partial(shared.option, "compose")

# Named here, since NumPy would be imported with them from where they are used.
_SCORES, _RANKINGS = ("cka", "biased-cka"), ("score", "loss")


@click.command(short_help="Make nets of a pool's fragments, without training.")
@option(
    "--pool",
    multiple=True,
    required=True,
    metavar="MEMBER",
    help="A name, a model file (a .tflite file too), or a weights file as FILE@ARCH; give it again for each member.",
)
@option(
    "--preprocess",
    metavar="MODES",
    help="What model files expect: none, 0to1, -1to1, imagenet or caffe, for all or one a member by commas.",
)
@option("--data", metavar="DATA", required=True, help="Labelled images: a folder, an .npz file, or digits.")
@option("--images", type=click.IntRange(1), help="How many to compose on.  [default: all to fit, up to 64]")
@option("--classes", metavar="LIST", help="Only these classes, by commas.")
@option("--out", type=click.Path(path_type=Path), help="The run directory.  [default: runs/composed-DATA]")
@option("--pool-dir", type=click.Path(path_type=Path), help="Where members are kept, compiled, for all users.")
@shared.weights("compose", "For members by name.")
@option("--budget", metavar="TERMS", help='Limits, as in "macs<=300M, mean.macs<=90M, flash<=5MB".')
@option("--precision", metavar="LIST", help="Of float32, float16, dynamic, int8, int16x8, by commas.")
@option("--fragments", type=click.IntRange(2), help="Of a member, at most.")
@option("--score", type=click.Choice(_SCORES), help="biased-cka: the paper's.")
@option(
    "--rank-by",
    type=click.Choice(_RANKINGS),
    help="What decides which fragments are tried; loss is the head's where the member goes on to its end.",
)
@option("--top", type=click.IntRange(1), help="Fragments tried at each step (K).")
@option("--least", type=click.FloatRange(-1, 1), help="Score of a joint, at least (T).")
@option("--least-overall", type=click.FloatRange(0, 1), help="Product of a net's scores, at least (TT).")
@option("--depth", type=click.IntRange(2), help="Fragments in a net, at most (L).")
@option("--nets", type=click.IntRange(1), help="Nets of one start, at most.")
@option("--max-points", type=click.IntRange(1, 64), help="Nets to ship.")
@option("--cascades", type=click.IntRange(0, 16), help="Cascades to ship; 0 for none.")
@shared.anyway("compose")
@shared.jobs
@shared.cluster
@shared.log
@option("--seed", type=click.IntRange(0), help="What all chance follows from.")
@switches.as_json
@switches.quiet
def compose(jobs: int | None, cluster: str | None, ship: bool, as_json: bool, **options: Any) -> None:
    """Compose nets of a pool's fragments for a few labelled images, without training.

    Members are compiled once, into --pool-dir: the second user's nets take neither TensorFlow nor Keras.

    \b
    Example:
      restnet-tf compose --pool MobileNetV2 --pool weights.h5@EfficientNetB0 --data photos/ --images 32
    """
    from restnet_tf.commands import api

    with screen.progress() as report:
        result = api.compose(report=report, jobs=jobs, cluster=cluster, ship=ship, **options)
    screen.show(result, as_json=as_json)
