"""The command ``restnet-tf cascade``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import options as shared
from restnet_tf.cli import screen, switches

option = partial(shared.option, "cascade")


@click.command(short_help="Join models as they are; the next runs only where one is unsure.")
@click.argument("models", nargs=-1, required=True, metavar="SMALL LARGE [LARGER]")
@option("--data", metavar="DATA", required=True, help="Images: a folder, an .npz file, or digits.")
@click.option("--out", type=click.Path(path_type=Path), help="The run directory.  [default: runs/SMALL-LARGE-DATA]")
@shared.weights("cascade", f"For models by name: {shared.WEIGHTS_HELP}.")
@option(
    "--preprocess",
    metavar="MODES",
    help="What model files expect of images: none, 0to1, -1to1, imagenet or caffe, for all or one a model by commas."
    "  [default: what the range of a quantised .tflite says, else none]",
)
@option("--logits", is_flag=True, help="The scores of .tflite files are logits: append a softmax.")
@option(
    "--classes",
    multiple=True,
    metavar="ROLE=NAMES",
    help="The classes of a model's outputs, as small=labels.txt (one a line) or small=dog,cat: where their order is"
    " another.",
)
@option(
    "--precision",
    metavar="LIST",
    help="Of Keras models, by commas; int8>float32 is one a stage. A .tflite file keeps its own.",
)
@option("--cascades", type=click.IntRange(0, 16), help="Places of the dial to choose.")
@option("--budget", metavar="TERMS", help='Limits, as in "mean.macs<=60M, macs<=140M".')
@shared.anyway("cascade")
@shared.jobs
@shared.cluster
@shared.log
@option("--seed", type=click.IntRange(0), help="What all chance follows from.")
@switches.as_json
@switches.quiet
def cascade(jobs: int | None, cluster: str | None, ship: bool, as_json: bool, **options: Any) -> None:
    """Join models as they are: the cheap one answers, the next only where it is unsure. Trains nothing.

    SMALL, LARGE and LARGER are names of Keras Applications, model files, weights as FILE@ARCH, or .tflite files from
    anywhere, the cheapest first. The images choose when to go on: give some that no model was trained on.

    \b
    Example:
      restnet-tf cascade mobilenet_v1_0.25.tflite mobilenet_v2.tflite --data photos/
    """
    from restnet_tf.commands import api

    with screen.progress() as report:
        result = api.cascade(report=report, jobs=jobs, cluster=cluster, ship=ship, **options)
    screen.show(result, as_json=as_json)
