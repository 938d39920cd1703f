"""What training all configurations together will take here."""

from __future__ import annotations

from collections.abc import Sequence

from restnet_tf.family import compute
from restnet_tf.family import forecast as forecasts
from restnet_tf.family.forecast import SHIPPED, Fitting, Forecast
from restnet_tf.fitting import cache, ladder
from restnet_tf.methods.snnet import steps
from restnet_tf.methods.snnet.steps import Build
from restnet_tf.records import Plan


def forecast(family: Build, plans: Sequence[Plan], done: float | None = None) -> Forecast:
    """Of these configurations; ``done`` is the work that this machine does in a second, where that is known."""
    return forecasts.whole(family, fitting(family, plans), done)


def fitting(family: Build, plans: Sequence[Plan]) -> Fitting:
    """The training of the configurations, and of the two controls."""
    controls = 2 if family.settings.controls else 0
    front = ladder.work(family.anchors[family.largest].model) / 2 if controls else 0  # the random one's
    count, trained = compute.views(family), controls * steps.of_control(family)
    return Fitting(
        work=steps.whole(family) + trained + count * front,
        fits=len(plans) + controls,  # together or not, each is traced on its own
        networks=len(plans) + controls,
        files=SHIPPED * len(plans),
        features=cache.bytes_per_image(*steps.contents(family, plans)),
    )
