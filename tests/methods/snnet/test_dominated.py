"""How many configurations are worth nothing, and whose fault that is: counted by the rivals of their reasons."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from measured_points import point

from restnet_tf.methods.snnet import method
from restnet_tf.methods.snnet.method import Build
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, DOMINATED, OperatingPoint
from restnet_tf.records import Reason
from restnet_tf.run.directory import Run


def beaten(name: str, rival: str) -> OperatingPoint:
    return point(name, 2_000_000, status=DOMINATED, reason=Reason("dominated", rival=rival))


def test_anchors_and_configurations_are_told_apart_by_the_rival(tmp_path: Path) -> None:
    family = [point("A", 1_000_000, kind=ANCHOR), point("B", 3_000_000, kind=ANCHOR), point("A 0", 1_500_000)]
    family += [beaten("b", "A 0"), beaten("c", "A"), beaten("d", "A")]
    meta = {"metric": "accuracy", "training_macs": 0, "distilling_macs": 0}
    run = Run(tmp_path)
    run.write_json(run.points_path, points.to_json(family, meta))
    told = method.summary(cast(Build, SimpleNamespace(run=run)), *points.read(run.points_path))
    assert told[:2] == [
        "1 configuration is shipped, of 4 that were trained: A 0",
        "not shipped, as they are beaten at no more cost: 2 by the anchors and 1 by other configurations",
    ]
