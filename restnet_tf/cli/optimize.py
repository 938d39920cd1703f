"""The command ``restnet-tf optimize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restnet_tf.cli import screen, switches


@click.command(short_help="Quantise, prune or cluster a point by training.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--point", required=True, metavar="NAME", help="A stitched point of RUN, as in L1-S0.")
@click.option("--qat", is_flag=True, help="Train behind the rounding of the int8 file.")
@click.option(
    "--prune",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Set this share of every kernel to zero.",
)
@click.option("--cluster", type=click.IntRange(2), metavar="N", help="Leave at most N distinct values in every kernel.")
@click.option(
    "--scope",
    type=click.Choice(["stitch", "norm", "back"]),
    help="The stitch alone, the back's norms with it, or its convolutions and dense layers too (no longer shared then)."
    "  [default: norm for --qat, else stitch]",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 1000),
    help="Passes over the views that the fit saw.  [default: 2; 4 with norms, 8 for the back]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What all chance follows from.")
@switches.quiet
def optimize(run: Path, point: str, qat: bool, prune: float | None, cluster: int | None, **options: Any) -> None:
    """Quantise, prune or cluster a point of RUN by training; needs the extra tfmot.

    The result lies in RUN as another stitch, such as L1-S0.prune50; the point itself stays.

    \b
    Example:
      restnet-tf optimize runs/demo --point L6-S3 --prune 0.5
    """
    amounts = {"qat": 0 if qat else None, "prune": prune, "cluster": cluster}
    methods = [(method, amount) for method, amount in amounts.items() if amount is not None]
    if len(methods) != 1:
        raise click.UsageError("give exactly one of --qat, --prune and --cluster")
    from restnet_tf.commands import optimize as command

    command.check_installed()
    screen.import_tensorflow()
    with screen.progress() as report:
        outcome = command.optimize(run, point, command.Treatment(*methods[0], **options), report)
    screen.say(f"wrote {outcome.path}")
    standing = command.standing(run, outcome)
    for line in (*command.scores(outcome), *command.sent(outcome)):
        screen.say(f"  {line}")
    screen.say(f"  {standing}")
