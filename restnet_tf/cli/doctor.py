"""The command ``restnet-tf doctor``."""

from __future__ import annotations

from typing import Any

import click

from restnet_tf.cli import options as shared
from restnet_tf.cli import screen, switches


@click.command(short_help="Say beforehand what a build would come upon.")
@click.argument("model")
@click.option("--data", metavar="DATA", help="Images to look at it with: its right answers, and ranges for int8.")
@click.option("--target", metavar="DEVICE", help="A device that its file is for (restnet-tf export).")
@click.option("--small", metavar="ANCHOR", help="Another model, FILE@ARCH for weights: what a build of both takes.")
@click.option("--arch", metavar="NAME", help="Architecture of a weights file.")
@click.option(
    "--preprocess",
    type=shared.PREPROCESS,
    help="What a model file expects before it.  [default: none; of a quantised .tflite what its range says]",
)
@shared.weights("build", f"For a name of Keras Applications: {shared.WEIGHTS_HELP}.")
@switches.as_json
@switches.quiet
def doctor(model: str, as_json: bool, **options: Any) -> None:
    """Look at MODEL as a build would: does it load, can it be cut, is it right, does it compile, what takes it.

    With images it says too what time, memory and disk a build takes here.

    One line a finding, in under a minute; exit code 1 where one is a problem. Writes nothing.

    \b
    Example:
      restnet-tf doctor resnet20.keras --data cifar10.npz --target ethos-u55-128
    """
    from restnet_tf.commands import inspect_file

    if not inspect_file.is_file(model) or options["data"]:
        screen.import_tensorflow()
    from restnet_tf.commands import doctor as command

    findings = []
    with screen.progress() as report:
        for finding in command.examine(model, report, **options):
            findings.append(finding)
            bad = finding.level == command.BAD
            if not as_json and (bad or not screen.quiet()):
                click.echo(f"{finding.level:8}{finding.text}")
    if as_json:
        click.echo(command.as_json(findings))
    if any(finding.level == command.BAD for finding in findings):
        raise SystemExit(1)
