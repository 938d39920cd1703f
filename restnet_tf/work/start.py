"""How a process that computes begins: its allocator keeps memory, and TensorFlow says nothing of itself."""

from __future__ import annotations

import logging
import os

from restnet_tf.work import heap
from tflite_export import chatter


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
