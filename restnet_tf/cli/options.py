"""The options of ``restnet-tf build``: what all methods take, and what each takes alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

WEIGHTS_HELP = "imagenet, none (structure only), or a weights file"
PREPROCESS = click.Choice(["none", "0to1", "-1to1", "imagenet", "caffe"])
_ROLES = ("large", "small")
_RESTNET = (*_ROLES, *(f"{role}_{what}" for role in _ROLES for what in ("arch", "preprocess")), "rank_by", "fine_tune")
_SNNET = (
    "anchor",
    "anchor_preprocess",
    "window",
    "stride",
    "own",
    "two_stitch",
    "train",
    "sampling",
    "rank",
    "teacher",
)


def _applied(options: list[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """Options as one decorator, listed in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def pair(command: Command) -> Command:
    """A large and a small anchor, and where weights come from."""
    sides = []
    for role in _ROLES:
        arch, what = f"Architecture of a {role} weights file.", f"What a {role} model file expects before it."
        sides += [
            click.option(f"--{role}-arch", metavar="NAME", help=arch),
            click.option(f"--{role}-preprocess", type=PREPROCESS, default="none", show_default=True, help=what),
        ]
    named = [click.option(f"--{r}", metavar="ANCHOR", help=f"The {r} anchor: a name or a file.") for r in _ROLES]
    weights = f"For names of Keras Applications: {WEIGHTS_HELP}."
    sources = [
        click.option("--weights", default="imagenet", show_default=True, metavar="WHICH", help=weights),
        click.option("--weights-dir", type=click.Path(path_type=Path), help="Where ImageNet weight files lie."),
    ]
    return _applied([*named, *sources, *sides])(command)


snnet = _applied(
    [
        click.option(
            "--anchor",
            multiple=True,
            metavar="ANCHOR",
            help="snnet: an anchor, a name or a file; a weights file as FILE@ARCH. Two times or more.",
        ),
        click.option(
            "--anchor-preprocess",
            type=PREPROCESS,
            default="none",
            show_default=True,
            help="snnet: what model files expect before them.",
        ),
        click.option(
            "--window",
            type=click.IntRange(1),
            default=2,
            show_default=True,
            help="snnet: blocks that share a stitch, of anchors of equal depth.",
        ),
        click.option(
            "--stride", type=click.IntRange(1), default=1, show_default=True, help="snnet: blocks a window on."
        ),
        click.option(
            "--own/--share", default=False, help="snnet: a stitch for each pair of blocks, or for a window.  [share]"
        ),
        click.option("--two-stitch", is_flag=True, help="snnet: also routes that leave an anchor and come back."),
        click.option(
            "--train",
            type=click.Choice(["stitches", "norms", "all", "separate"]),
            default="stitches",
            show_default=True,
            help="snnet: stitches together, or norms behind them or the anchors too, or each configuration alone.",
        ),
        click.option(
            "--sampling",
            type=click.Choice(["uniform", "cost", "front"]),
            default="uniform",
            show_default=True,
            help="snnet: what a step draws: any, of an interval of cost, or what may reach the front.",
        ),
        click.option(
            "--rank", type=click.IntRange(1), help="snnet: train a part of this rank beside the ridge stitch."
        ),
        click.option(
            "--teacher",
            metavar="MODEL",
            help="snnet: an anchor's letter (A is the cheapest), or another model.  [default: the costliest anchor]",
        ),
    ]
)


def _method(context: click.Context, option: click.Parameter, value: str) -> str:
    if value == "stitchnet":
        raise click.UsageError("StitchNet is a command of its own: restnet-tf compose --pool A --pool B --data IMAGES")
    return value


method = click.option(
    "--method",
    type=click.Choice(["restnet", "snnet", "stitchnet"]),
    default="restnet",
    show_default=True,
    callback=_method,
    help="restnet: two anchors; snnet: two or more, trained together; stitchnet is `restnet-tf compose`.",
)


def of_method(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the chosen method takes; refuses (``click.UsageError``) others, and anchors that are missing."""
    context, chosen = click.get_current_context(), options["method"]
    others = _SNNET if chosen == "restnet" else _RESTNET
    for name in others:
        if context.get_parameter_source(name) != click.core.ParameterSource.DEFAULT:
            word = "own" if name == "own" else name.replace("_", "-")
            other = "snnet" if chosen == "restnet" else "restnet"
            hint = ": give --anchor once for each anchor" if name in _ROLES else ""
            raise click.UsageError(f"--{word} is of --method {other}, not of {chosen}{hint}")
    if chosen == "snnet":
        if len(options["anchor"]) < 2:
            raise click.UsageError(
                f"--method snnet stitches two anchors or more; --anchor was given {len(options['anchor'])} times"
            )
        if not options["data"]:
            raise click.UsageError("give --data: the images that the stitches are trained on")
    anchors = [name for name in _ROLES if options[name]]
    if len(anchors) == 1 or (anchors and not options["data"]):
        raise click.UsageError("give --large, --small and --data together, or none of them for the embedded default")
    return {name: value for name, value in options.items() if name not in others}
