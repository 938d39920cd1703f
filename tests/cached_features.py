"""Features of images in a cache, written as one piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networks

from restnet_tf.fitting import cache
from restnet_tf.fitting.cache import Batches, Cache
from restnet_tf.records import Anchor


def filled(
    folder: Path,
    anchors: Mapping[str, Anchor],
    contents: Mapping[str, Sequence[str]],
    batches: Batches,
    count: int,
    labels: int = networks.CLASSES,
    **more: Any,
) -> Cache:
    """The contents of so many images, whose label mixtures are so wide; ``batches`` is drawn from as they are run."""
    partial = cache.claim(folder, anchors, contents, labels, count)
    cache.write_piece(partial, cache.runs(anchors, contents), batches, count, 0, **more)
    cache.publish(folder)
    return Cache(folder)
