"""The small anchor that the large one has taught: a point of the family with weights of its own.

Its weights lie whole in the run, so that any process loads it by its source, whatever a build made of the anchor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic
from restnet_tf.stitches import variant
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource
from tflite_export.cascades import TAUGHT

if TYPE_CHECKING:
    from restnet_tf.family.family import Family
    from restnet_tf.records import Anchor


def name(family: Family) -> str:
    """Of the point."""
    return f"{family.smallest}{TAUGHT}"


def keep(family: Family, tuned: Mapping[str, np.ndarray]) -> Anchor:
    """The small anchor with what was tuned of it, by weight path; all of its weights are in the run then."""
    network = variant.trained(family.anchors[family.smallest], tuned)
    weights = variant.weights(network)
    atomic.write_npz(family.run.taught_path, {f"{name(family)}:{path}": value for path, value in weights.items()})
    return network


def of_run(family: Family) -> dict[str, AnchorSource]:
    """What loads it, by the name of the point; empty where the run has taught no anchor."""
    path = family.run.taught_path
    if not path.exists():
        return {}
    point = name(family)
    weights = sources.trained_weights(path)[point]
    network = variant.trained(family.anchors[family.smallest], weights)
    source = replace(family.sources[family.smallest], sha256=network.sha256, trained=path.absolute(), role=point)
    sources.remember(source, network)
    return {point: source}
