"""Features that a family's fits read, computed once and kept in the run while it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from restnet_tf.family import compute
from restnet_tf.family.family import Family
from restnet_tf.fitting import cache, views
from restnet_tf.fitting.cache import Cache
from restnet_tf.records import Anchor

Names = Mapping[str, Sequence[str]]


def of_views(family: Family, name: str, anchors: Mapping[str, Anchor], names: Names) -> Cache:
    """Features of the training views, of each anchor those named: of fewer views, where they would fill the disk."""
    count = min(compute.views(family), compute.CACHE_BYTES // cache.bytes_per_image(anchors, names))
    count = max(compute.VIEW_BATCH, count)
    family.report.stage(f"features of {count} views of {len(family.data.fit)} images")
    batches, folder = _batches(family, anchors, count), family.run.cache_path(name)
    return cache.fill(folder, anchors, names, batches, count, family.report.progress)


def of_rank(family: Family, name: str, anchors: Mapping[str, Anchor], names: Names) -> Cache:
    """Features of the rank split."""
    split, folder = family.data.rank, family.run.cache_path(name)
    return cache.fill(folder, anchors, names, cache.plain(split, anchors), len(split))


def _batches(family: Family, anchors: Mapping[str, Anchor], count: int) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    large = family.anchors[family.largest]
    stream = views.stream(
        family.data.fit,
        large.input_shape,
        count,
        compute.VIEW_BATCH,
        classes=large.classes,
        mirror=family.mirror,
        seed=family.settings.seed,
    )
    for images, labels in stream:
        yield {role: views.resized(images, a.input_shape) for role, a in anchors.items()}, labels
