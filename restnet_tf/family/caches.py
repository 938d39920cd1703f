"""Features that a family's fits read, computed once, piece by piece, and kept in the run while it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restnet_tf.family import compute
from restnet_tf.family.family import Family
from restnet_tf.fitting import cache, ladder, views
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.views import Views
from restnet_tf.records import RestnetError
from restnet_tf.work import sources, tasks
from restnet_tf.work.sources import AnchorSource, DataSource
from restnet_tf.work.tasks import FEATURES, Progress, Task

if TYPE_CHECKING:
    import numpy as np

    from restnet_tf.records import Anchor

Sources = Mapping[str, AnchorSource]
Names = Mapping[str, Sequence[str]]

# So much work a piece, some ten seconds of a core.
_PIECE_WORK = 3e11


@dataclass(frozen=True)
class Images:
    """What features are computed of: ``views`` of the fit images, or (None) the rank split as it is."""

    source: DataSource
    views: Views | None
    count: int


@dataclass(frozen=True)
class FeatureRows:
    """Rows ``start`` to ``stop`` of a claimed folder: what networks by role make of these images, by their cuts."""

    folder: Path
    networks: tuple[tuple[str, AnchorSource, tuple[str, ...]], ...]
    images: Images
    start: int
    stop: int


def of_views(family: Family, name: str, anchors: Sources, names: Names) -> Cache:
    """Features of the training views, of each anchor those named: of fewer views, where they would fill the disk."""
    count = held(family, cache.bytes_per_image(_loaded(anchors), names))
    title = f"features of {count} views of {len(family.data.fit)} {family.data.kind.many}"
    return _filled(family, name, anchors, names, Images(family.images, _recipe(family, count), count), title)


def held(family: Family, size: int) -> int:
    """How many views are trained on where each takes so many bytes."""
    return max(compute.VIEW_BATCH, min(compute.views(family), compute.CACHE_BYTES // size))


def stream(
    family: Family, count: int, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """So many views at the input shapes by role, with their labels: the same ones each time."""
    return views.batches(family.data.fit, shapes, _recipe(family, count))


def _recipe(family: Family, count: int) -> Views:
    large = family.anchors[family.largest]
    return Views(count, large.input_shape, large.classes, family.mirror, family.settings.seed, batch=compute.VIEW_BATCH)


def of_rank(family: Family, name: str, anchors: Sources, names: Names) -> Cache:
    """Features of the rank split."""
    title = f"features of the {len(family.data.rank)} {family.data.kind.many} that judge"
    return _filled(family, name, anchors, names, Images(family.images, None, len(family.data.rank)), title)


def _filled(family: Family, name: str, anchors: Sources, names: Names, images: Images, title: str) -> Cache:
    """The folder of a name in the run, from there or filled."""
    folder = family.run.cache_path(name)
    if folder.exists():
        return Cache(folder)
    loaded = _loaded(anchors)
    classes = next(iter(loaded.values())).classes if images.views is None else images.views.classes
    partial = cache.claim(folder, loaded, names, classes if family.data.labelled else 0, images.count)
    networks = tuple((role, anchors[role], tuple(wanted)) for role, wanted in names.items())
    rows = _rows(loaded)
    pieces = [
        FeatureRows(partial, networks, images, start, min(start + rows, images.count))
        for start in range(0, images.count, rows)
        if start not in cache.written(partial)
    ]
    try:
        tasks.finish(family.execute, [Task(title, written, piece, kind=FEATURES) for piece in pieces], family.report)
    except RestnetError:
        cache.drop(folder)  # it may have taken the last room on the disk
        raise
    finally:
        _runs.cache_clear()
    cache.publish(folder)
    return Cache(folder)


def written(piece: FeatureRows, progress: Progress) -> None:
    """Compute the features of a piece into its folder; a task."""
    data, recipe = sources.data(piece.images.source), piece.images.views
    anchors = {role: sources.anchor(source) for role, source, _ in piece.networks}
    if recipe is None:
        batches = cache.plain(data.rank, anchors, compute.VIEW_BATCH, piece.start, piece.stop)
    else:
        shapes = {role: anchor.input_shape for role, anchor in anchors.items()}
        batches = views.batches(data.fit, shapes, recipe, piece.start, piece.stop)
    cache.write_piece(piece.folder, _runs(piece.networks), batches, piece.images.count, piece.start, progress)


@lru_cache(maxsize=1)
def _runs(networks: tuple[tuple[str, AnchorSource, tuple[str, ...]], ...]) -> dict[str, cache.FeatureRun]:
    """What computes features: tracing it takes as long as many an image, and all pieces need the same."""
    anchors = {role: sources.anchor(source) for role, source, _ in networks}
    return cache.runs(anchors, {role: names for role, _, names in networks})


def _loaded(anchors: Sources) -> dict[str, Anchor]:
    return {role: sources.anchor(source) for role, source in anchors.items()}


def _rows(anchors: Mapping[str, Anchor]) -> int:
    """Of a piece: whole batches."""
    work = sum(ladder.work(anchor.model) for anchor in anchors.values())
    return compute.VIEW_BATCH * max(1, int(_PIECE_WORK / (work * compute.VIEW_BATCH)))
