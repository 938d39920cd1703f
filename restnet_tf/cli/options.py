"""The options that methods are asked by: their defaults, and whose they are, stand in the methods' records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from restnet_tf import methods

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

WEIGHTS_HELP = "imagenet, none (structure only), or a weights file"
CLASSES_HELP = "names by commas, or a file with one a line, where their order is another; other: a new classifier"
PREPROCESS = click.Choice(["none", "0to1", "-1to1", "imagenet", "caffe"])
_BUILD = "build"


def option(command: str, declaration: str, *, help: str = "", **settings: Any) -> Decorator:
    """``click.option`` with the default of a command's methods; names those it is of, where the first is none."""
    name = declaration.partition("/")[0].removeprefix("--").replace("-", "_")
    owners = _owners(command, name)
    default = methods.defaults(owners[0])[name]
    if default is not None and not settings.get("required"):
        settings = {"default": default, "show_default": default is not False and default not in ("", ())} | settings
    whose = "" if methods.of(command)[0] in owners else f"{', '.join(owners)}: "
    return click.option(declaration, help=f"{whose}{help}" or None, **settings)


def _owners(command: str, name: str) -> tuple[str, ...]:
    """The methods of a command that take an option."""
    return tuple(method for method in methods.of(command) if name in methods.defaults(method))


def _applied(options: list[Decorator]) -> Decorator:
    """Options as one decorator, listed in this order."""

    def decorate(command: Command) -> Command:
        for each in reversed(options):
            command = each(command)
        return command

    return decorate


def _side(role: str) -> list[Decorator]:
    arch, what = f"Architecture of a {role} weights file.", f"What a {role} model file expects before it."
    return [
        option(_BUILD, f"--{role}-arch", metavar="NAME", help=arch),
        option(_BUILD, f"--{role}-preprocess", type=PREPROCESS, help=what),
        option(_BUILD, f"--{role}-classes", metavar="NAMES", help=f"Its outputs' classes: {CLASSES_HELP}."),
    ]


def weights(command: str, help: str) -> Decorator:
    """Where the weights of anchors by name come from."""
    return _applied(
        [
            option(command, "--weights", metavar="WHICH", help=help),
            option(command, "--weights-dir", type=click.Path(path_type=Path), help="Where ImageNet weight files lie."),
        ]
    )


jobs = click.option(
    "--jobs",
    type=click.IntRange(0),
    envvar="RESTNET_TF_JOBS",
    help="Processes that share the work, a core each; 0: all of it in this one.  [default: one a core]",
)


cluster = _applied(
    [
        click.option(
            "--cluster",
            metavar="ADDRESS",
            envvar="DASK_SCHEDULER_ADDRESS",
            callback=lambda _context, _option, address: None if address == "none" else address,
            help="A Dask scheduler whose workers share the work, as tcp://host:8786; local: workers here.",
        ),
        click.option("--ship", is_flag=True, help="Send files to workers that share no disk with this one."),
    ]
)


def anyway(command: str) -> Decorator:
    """What goes on where a first look would stop."""
    return option(command, "--anyway", is_flag=True, help="Go on though a model answers no better than chance.")


def _trackers(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    """The words as they are; one that names no tracker is a usage error."""
    if words:
        from restnet_tf.commands import log
        from tflite_export.errors import DomainError

        try:
            log.logs(words)
        except DomainError as error:
            raise click.BadParameter(str(error), context, parameter) from None
    return words


log = click.option(
    "--log",
    multiple=True,
    metavar="WHERE",
    callback=_trackers,
    help="Tell the run to a tracker too: mlflow:URI or tensorboard:DIR (extras of these names); may be given again.",
)

pair = _applied(
    [
        option(_BUILD, "--large", metavar="ANCHOR", help="The large anchor: a name or a file."),
        option(
            _BUILD,
            "--small",
            metavar="ANCHOR",
            help="The small anchor; without it, blocks of the large one are left out.",
        ),
        weights(_BUILD, f"For names of Keras Applications: {WEIGHTS_HELP}."),
        *_side("large"),
        *_side("small"),
    ]
)

several = _applied(
    [
        option(
            _BUILD,
            "--anchor",
            multiple=True,
            metavar="ANCHOR",
            help="an anchor, a name or a file; a weights file as FILE@ARCH. Two times or more.",
        ),
        option(
            _BUILD,
            "--anchor-preprocess",
            metavar="MODES",
            help="what model files expect before them: none, 0to1, -1to1, imagenet or caffe, for all or one an anchor"
            " by commas, the teacher's last.",
        ),
        option(
            _BUILD,
            "--anchor-classes",
            multiple=True,
            metavar="LETTER=NAMES",
            help=f"the classes of an anchor's outputs, A for the cheapest: {CLASSES_HELP}.",
        ),
        option(
            _BUILD, "--window", type=click.IntRange(1), help="blocks that share a stitch, of anchors of equal depth."
        ),
        option(_BUILD, "--stride", type=click.IntRange(1), help="blocks a window on."),
        option(_BUILD, "--own/--share", help="a stitch for each pair of blocks, or for a window.  [default: share]"),
        option(_BUILD, "--two-stitch", is_flag=True, help="also routes that leave an anchor and come back."),
        option(
            _BUILD,
            "--train",
            type=click.Choice(["stitches", "norms", "all", "separate"]),
            help="stitches together, or norms behind them or the anchors too, or each configuration alone.",
        ),
        option(
            _BUILD,
            "--sampling",
            type=click.Choice(["uniform", "cost", "front"]),
            help="what a step draws: any, of an interval of cost, or what may reach the front.",
        ),
        option(_BUILD, "--rank", type=click.IntRange(1), help="train a part of this rank beside the ridge stitch."),
        option(
            _BUILD,
            "--teacher",
            metavar="MODEL",
            help="an anchor's letter (A is the cheapest), or another model.  [default: the costliest anchor]",
        ),
    ]
)


def _of_build(context: click.Context, parameter: click.Parameter, value: str) -> str:
    entry = methods.METHODS[value]
    if entry.command != _BUILD:
        raise click.UsageError(f"{entry.title} is a command of its own: restnet-tf {entry.command} {entry.usage}")
    return value


def _listed(name: str, entry: methods.Entry) -> str:
    return f"{name}: {entry.anchors}" if entry.command == _BUILD else f"{name} is `restnet-tf {entry.command}`"


method = click.option(
    "--method",
    type=click.Choice(list(methods.METHODS)),
    default=methods.of(_BUILD)[0],
    show_default=True,
    callback=_of_build,
    help=f"{'; '.join(_listed(name, entry) for name, entry in methods.METHODS.items())}.",
)


def of_method(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the chosen method takes; refuses (``click.UsageError``) others, and what is incomplete."""
    context, chosen = click.get_current_context(), options["method"]
    given = {
        name: value
        for name, value in options.items()
        if name != "method" and context.get_parameter_source(name) != ParameterSource.DEFAULT
    }
    usual = methods.defaults(chosen)
    for name in given:
        if name not in usual:
            raise click.UsageError(_misplaced(name, chosen))
    record = methods.options(chosen)(**given)
    if record.incomplete:
        raise click.UsageError(record.incomplete)
    return {"method": chosen, **{name: getattr(record, name) for name in usual}}


def _misplaced(name: str, chosen: str) -> str:
    """Whose an option is, and by what else models are named where it names one."""
    owners = _owners(_BUILD, name)
    usual = methods.defaults(chosen)
    instead = [other for other in methods.models(chosen) if usual[other] == () and name in methods.models(owners[0])]
    hint = "".join(f": give --{other} once for each {other}" for other in instead)
    return f"--{name.replace('_', '-')} is of --method {' or '.join(owners)}, not of {chosen}{hint}"
