"""A few real inputs of a finished run, for devices whose answers are held against the host's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from restnet_tf.anchors import demo
from restnet_tf.commands import build
from restnet_tf.data import splits
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError

# So many test inputs ``(n, h, w, c)`` or ``(n, t, c)`` float32 of a shape.
Examples = Callable[[tuple[int, ...], int], np.ndarray]


def of_run(path: Path, report: Reporter) -> Examples | None:
    """Inputs of the test split of a run's data; None, with a word, where these cannot be read any more."""
    try:
        _, options = build.finished_options(path)
        data = splits.load(options.data or demo.DATA, seed=options.seed)
    except RestnetError as error:
        report.say(f"warning: the examples are seeded, no real ones: {error}")
        return None

    @cache
    def examples(shape: tuple[int, ...], n: int) -> np.ndarray:
        return np.concatenate([np.asarray(batch, np.float32) for batch in data.test.head(n).batches(shape, n)])

    return examples
