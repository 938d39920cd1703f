"""The command ``restnet-tf build``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import options as shared
from restnet_tf.cli import screen, switches
from restnet_tf.fitting.rungs import FINE_TUNES

option = partial(shared.option, "build")


@click.command(short_help="Make the family between two models, or from one.")
@shared.method
@shared.pair
@shared.several
@option("--data", metavar="DATA", help="A folder, an .npz file, digits, or keras:cifar10 and the like.")
@option("--out", type=click.Path(path_type=Path), help="The run directory.  [default: runs/LARGE-SMALL-DATA]")
@option("--budget", metavar="TERMS", help='Limits, as in "macs<=30M, flash<=500KB"; devices\' are looked at last.')
@option("--precision", metavar="LIST", help="Of float32, float16, dynamic, int8, mixed, int16x8.")
@option(
    "--max-points",
    type=click.IntRange(0, 64),
    help="Variants to fit; 0: cascades of the anchors alone.  [default: 8; 6 for the demo; all of snnet]",
)
@option("--cascades", type=click.IntRange(0, 16), help="Cascades to ship; 0 for none.")
@option(
    "--order",
    type=click.Choice(["both", "large-small", "small-large"]),
    help="Which anchor may be the front.  [default: both; small-large of snnet]",
)
@option("--rank-by", type=click.Choice(["cka", "r2", "random"]), help="What makes the shortlist.")
@option("--jumps", is_flag=True, help="Also routes that leave blocks out, exit early or change anchors twice.")
@option("--fine-tune", type=click.Choice(list(FINE_TUNES)), help="How far up the ladder a fit may climb.")
@option(
    "--effort",
    type=click.FloatRange(0.001, 1000),
    help="Training compute; 1 is minutes on two cores.  [default: 1; less for the demo]",
)
@option("--plans", type=click.Path(path_type=Path), help="An edited plans.json to build instead.")
@option(
    "--converter",
    type=click.Choice(["link", "tf"]),
    help="Link variants from anchors compiled once, or convert each whole (slow; for comparison).",
)
@option(
    "--recalibrate", is_flag=True, help="Calibrate the back of every integer variant anew on what its stitch delivers."
)
@option("--uint8-input", is_flag=True, help="int8 files take images as bytes 0..255, as cameras give them.")
@option(
    "--lower",
    metavar="LIST",
    help="Operators to make of others, for targets without them: gelu, tanh-gelu, l2_normalization.",
)
@option("--mixed", metavar="FACTOR", help="What mixed may take of int8's latency: 1.3; or a folder of maps, edited.")
@option("--ship-all", is_flag=True, help="Write .tflite files of dominated points too.")
@option("--max-elastic", metavar="MULTIPLE", help="Of the anchors' files, the most bytes of an elastic one: 1.2x.")
@shared.anyway("build")
@option("--controls/--no-controls", help="Distil the small anchor, fit routes behind random fronts too.")
@shared.jobs
@shared.cluster
@shared.log
@option("--seed", type=click.IntRange(0), help="What all chance follows from.")
@switches.as_json
@switches.quiet
def build(
    jobs: int | None, cluster: str | None, ship: bool, log: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Build the family between two anchors, or more of them, or of a large one alone.

    Without options it trains two small anchors on cluttered digits, made of scikit-learn's, and builds theirs.

    \b
    Example:
      restnet-tf build --large EfficientNetB3 --small MobileNetV2 --data photos/
      restnet-tf build --method snnet --anchor resnet20.keras --anchor resnet56.keras --data cifar10.npz
    """
    own = shared.of_method(options)
    screen.import_tensorflow()
    from restnet_tf.commands import api

    with screen.progress() as report:
        result = api.build(report=report, jobs=jobs, cluster=cluster, ship=ship, log=log, **own)
    screen.show(result, as_json=as_json)
