"""A few inputs of a data set, without TensorFlow and without looking at all of it: enough to see that answers agree."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from restnet_tf.data import splits
from restnet_tf.data.folders import SUFFIXES
from restnet_tf.data.images import decode, fit
from restnet_tf.data.splits import Split
from restnet_tf.records import RestnetError


def inputs(spec: str, shape: tuple[int, ...], count: int, *, seed: int = 0) -> np.ndarray | None:
    """At most ``count``, float32 ``(n, *shape)`` as ``Split.batches`` gives them; None where they are not to be had."""
    try:
        taken = _photos(Path(spec), shape, count) if Path(spec).is_dir() else _test(spec, seed).first(shape, count)
    except (RestnetError, OSError, ValueError):
        return None
    return taken if len(taken) else None


@cache
def _test(spec: str, seed: int) -> Split:
    return splits.load(spec, seed=seed).test


def _photos(folder: Path, shape: tuple[int, ...], count: int) -> np.ndarray:
    """The photos of a folder that come first by name, spread over its classes."""
    height, width, channels = shape
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    spread = paths[:: max(1, len(paths) // count)][:count]
    fitted = [fit(decode(path.read_bytes()), (height, width, channels)) for path in spread]
    return np.array(fitted, np.float32)
