"""Features that a family's fits read, computed once and kept in the run while it is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from restnet_tf.family import compute
from restnet_tf.family.family import Family
from restnet_tf.fitting import cache, views
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.views import Views
from restnet_tf.records import Anchor

Names = Mapping[str, Sequence[str]]


def of_views(family: Family, name: str, anchors: Mapping[str, Anchor], names: Names) -> Cache:
    """Features of the training views, of each anchor those named: of fewer views, where they would fill the disk."""
    count = min(compute.views(family), compute.CACHE_BYTES // cache.bytes_per_image(anchors, names))
    count = max(compute.VIEW_BATCH, count)
    family.report.stage(f"features of {count} views of {len(family.data.fit)} {family.data.kind.many}")
    large, folder = family.anchors[family.largest], family.run.cache_path(name)
    recipe = Views(
        count, large.input_shape, large.classes, family.mirror, family.settings.seed, batch=compute.VIEW_BATCH
    )
    shapes = {role: anchor.input_shape for role, anchor in anchors.items()}
    batches = views.batches(family.data.fit, shapes, recipe)
    return cache.fill(folder, anchors, names, batches, count, family.report.progress)


def of_rank(family: Family, name: str, anchors: Mapping[str, Anchor], names: Names) -> Cache:
    """Features of the rank split."""
    split, folder = family.data.rank, family.run.cache_path(name)
    return cache.fill(folder, anchors, names, cache.plain(split, anchors), len(split))
