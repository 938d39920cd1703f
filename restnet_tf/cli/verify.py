"""The command ``restnet-tf verify``."""

from __future__ import annotations

from pathlib import Path

import click

from restnet_tf.cli import options as shared
from restnet_tf.cli import screen, switches


@click.command(short_help="Run files beside Keras and TensorFlow's conversions.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--precision", default="float32,int8", show_default=True, help="Precisions, by commas.")
@click.option("--images", type=click.IntRange(min=1), default=256, show_default=True, help="Test images at most.")
@shared.jobs
@shared.cluster
@switches.as_json
@switches.quiet
def verify(
    run: Path, precision: str, images: int, jobs: int | None, cluster: str | None, ship: bool, as_json: bool
) -> None:
    """Run RUN's files beside Keras and TensorFlow's own conversions; exit 1 where float32 differs.

    Cascades run beside their stages one by one and have to be equal to the bit; models that came as .tflite files run
    beside those.

    \b
    Example:
      restnet-tf verify runs/demo --images 100
    """
    screen.import_tensorflow()
    from restnet_tf.commands import verify as command
    from restnet_tf.report import terminal
    from restnet_tf.work.places import Cluster

    machines = Cluster.of(cluster, ship=ship)
    with screen.progress() as report:
        checks = command.check_run(run, precision, images, report, jobs, machines)
    if as_json:
        click.echo(command.as_json(checks))
    else:
        for table in terminal.verified(checks):
            screen.table(table)
    command.judge(checks)
