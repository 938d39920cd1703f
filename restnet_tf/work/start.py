"""How a process that computes begins: its allocator keeps memory, and TensorFlow says nothing of itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from restnet_tf.work import heap, resources
from tflite_export import chatter


def one_thread(prepare: Callable[[], None]) -> None:
    """Compute with one thread from now on: the same bytes come of any process that does; ``prepare`` as such a one."""
    os.environ.update(dict.fromkeys(resources.THREADS, "1"))
    prepare()
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)


def quietly() -> None:
    """Begin a process that may never need TensorFlow; if it does, that says nothing of itself."""
    heap.keep_freed()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def tensorflow() -> None:
    """Import TensorFlow without its start-up chatter, which tells a user nothing."""
    quietly()
    # Part of the chatter comes before its own logging heeds any level.
    with chatter.captured():
        import tensorflow  # noqa: F401
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
