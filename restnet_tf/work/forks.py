"""Processes that begin as forks of one that has TensorFlow in memory: imported once, it is there for all of them.

Each would else import it for itself, in three seconds. The one that is forked has computed nothing and has one thread:
of a process in which TensorFlow has run an operation, a fork does not survive.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path

from restnet_tf.work import preload

# What drivers of graphics cards make: their libraries may begin threads where TensorFlow is imported.
_CARDS = ("/dev/nvidiactl", "/dev/kfd")


def context() -> BaseContext:
    """How processes begin that need TensorFlow; spawned, one by one, where forks may be unsafe.

    A program that has begun its own fork server keeps that: processes import TensorFlow for themselves then.
    """
    if sys.platform != "linux" or any(Path(card).exists() for card in _CARDS):
        return multiprocessing.get_context("spawn")
    forkserver.set_forkserver_preload([preload.__name__])
    with _flagged():
        forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


def inherit(environment: dict[str, str]) -> None:
    """Take the environment of the build: a fork has that which there was when the first process began."""
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


@contextmanager
def _flagged() -> Iterator[None]:
    os.environ[preload.FLAG] = "1"
    try:
        yield
    finally:
        del os.environ[preload.FLAG]
