"""What the options of a build come to, and what it will take here: known as soon as anchors and images are."""

from __future__ import annotations

from dataclasses import replace

from restnet_tf.anchors import demo
from restnet_tf.data import photographs
from restnet_tf.family import forecast as forecasts
from restnet_tf.family import opening
from restnet_tf.family.family import Prospect, Settings
from restnet_tf.family.forecast import Forecast
from restnet_tf.fitting import ladder, rungs
from restnet_tf.fitting.stints import Entrant
from restnet_tf.methods.restnet.options import Options

_LONE = "norm"
_LEAST_EFFORT = 0.001  # what is in closed form takes few views


def on_photographs(options: Options) -> Options:
    """The same of a user who gave no images."""
    return replace(options, data=photographs.NAME, controls=False)


def settings(options: Options) -> Settings:
    """What the options mean; raises the domain error."""
    usual, effort = (demo.POINTS, demo.EFFORT) if options.demo else (opening.POINTS, 1.0)
    if options.without_images:
        options, effort = on_photographs(options), _LEAST_EFFORT
    points = usual if options.max_points is None else options.max_points
    return opening.settings(options, order="both", max_points=points, effort=effort)


def climbs(options: Options) -> str:
    """How far up the ladder a fit may climb.

    Beside the anchor itself nothing beats a point of one network alone, so what it shares stays shared.
    """
    return _LONE if options.alone and options.fine_tune == rungs.AUTO else options.fine_tune


def may_unshare(options: Options) -> bool:
    """Whether a point that is behind its rival may get weights of its own: where twins tell what it owes to them.

    The demo shows what shared weights do.
    """
    shared = options.demo or options.alone or options.without_images
    return options.fine_tune == rungs.AUTO and options.controls and not shared


def share(prospect: Prospect, options: Options) -> int:
    """The work of a point whose back is an anchor of the middle, about; what is in closed form takes none."""
    if options.without_images:
        return 0
    works = [ladder.work(anchor.model) for anchor in prospect.anchors.values()]
    budgets = rungs.budgets(climbs(options), prospect.settings.effort, sum(works) // (2 * len(works)))
    return Entrant("", budgets, place=0).share


def forecast(prospect: Prospect, options: Options, done: float | None = None) -> Forecast:
    """What the build takes; ``done`` is the work that this machine does in a second, where that is known."""
    return forecasts.of(prospect, share(prospect, options), done)
