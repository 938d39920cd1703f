"""How a process that computes begins: its allocator keeps memory, and TensorFlow says nothing of itself."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from restnet_tf.work import heap, resources
from tflite_export import chatter

# For wrappers and drawings that nothing here uses, Keras imports these: with them its start takes half as long again.
_OPTIONAL = ("sklearn", "matplotlib")


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


def tensorflow(*, ours: bool = True) -> None:
    """Import TensorFlow without its start-up chatter, which tells a user nothing.

    ``ours``: this process does nothing else, and what the import makes stays to its end.
    """
    quietly()
    if "tensorflow" not in sys.modules:
        # Part of the chatter comes before its own logging heeds any level.
        with chatter.captured(), uncollected(lasting=ours), spared():
            import tensorflow  # and Keras  # noqa: F401
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def spared() -> Iterator[None]:
    """What is imported inside does without packages that are optional to it; from then on they can be imported."""
    absent = [name for name in _OPTIONAL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None stands for a package that is not there
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@contextmanager
def uncollected(*, lasting: bool = True) -> Iterator[None]:
    """No garbage collection walks what is made inside, meanwhile, nor later if it is ``lasting``.

    TensorFlow is 400,000 objects: walked again and again, a quarter of its import, and 0.2 s of each full collection.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if lasting:
            gc.freeze()
        if enabled:
            gc.enable()
