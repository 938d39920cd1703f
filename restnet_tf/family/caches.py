"""Features that a family's fits read, computed once and kept in the run while it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from restnet_tf.family import compute
from restnet_tf.family.family import Family
from restnet_tf.fitting import cache, views
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.views import Views
from restnet_tf.records import Anchor

Names = Mapping[str, Sequence[str]]


def of_views(family: Family, name: str, anchors: Mapping[str, Anchor], names: Names) -> Cache:
    """Features of the training views, of each anchor those named: of fewer views, where they would fill the disk."""
    count = held(family, cache.bytes_per_image(anchors, names))
    family.report.stage(f"features of {count} views of {len(family.data.fit)} {family.data.kind.many}")
    shapes = {role: anchor.input_shape for role, anchor in anchors.items()}
    batches = stream(family, count, shapes)
    return cache.fill(family.run.cache_path(name), anchors, names, batches, count, family.report.progress)


def held(family: Family, size: int) -> int:
    """How many views are trained on where each takes so many bytes."""
    return max(compute.VIEW_BATCH, min(compute.views(family), compute.CACHE_BYTES // size))


def stream(
    family: Family, count: int, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """So many views at the input shapes by role, with their labels: the same ones each time."""
    large = family.anchors[family.largest]
    chance = family.mirror, family.settings.seed
    recipe = Views(count, large.input_shape, large.classes, *chance, batch=compute.VIEW_BATCH)
    return views.batches(family.data.fit, shapes, recipe)


def of_rank(family: Family, name: str, anchors: Mapping[str, Anchor], names: Names) -> Cache:
    """Features of the rank split."""
    split, folder = family.data.rank, family.run.cache_path(name)
    return cache.fill(folder, anchors, names, cache.plain(split, anchors), len(split))
