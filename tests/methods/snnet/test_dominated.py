"""How many configurations are worth nothing, and whose fault that is: counted by the rivals of their reasons."""

from __future__ import annotations

import numpy as np

from restnet_tf.methods.snnet import method
from restnet_tf.points.points import ANCHOR, DOMINATED, SHIPPED, STITCHED, OperatingPoint, Score
from restnet_tf.records import Reason

SCORE = Score.of(np.ones(4, bool))


def point(name: str, kind: str, rival: str | None = None) -> OperatingPoint:
    status, reason = (DOMINATED, Reason("dominated", rival=rival)) if rival else (SHIPPED, None)
    return OperatingPoint(name, kind, "", 1, 1, SCORE, SCORE, status=status, reason=reason)


def test_anchors_and_configurations_are_told_apart_by_the_rival():
    points = [point("A", ANCHOR), point("A 0", STITCHED), point("b", STITCHED, "A 0"), point("c", STITCHED, "A")]
    points.append(point("d", STITCHED, "A"))
    assert method.dominated(points) == (
        "of 4 configurations 1 are on the front; 2 are dominated by an anchor and 1 by another configuration"
    )
