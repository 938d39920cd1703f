"""Imported by the process that others are forked from, before it forks: takes one thread, imports TensorFlow.

A fork server runs no function of ours, it imports modules; anywhere else importing this one does nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import synchronize
from types import TracebackType

from restnet_tf.work import start

# In the environment of that process alone.
FLAG = "RESTNET_TF_FORKED_FROM"


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a fork as it begins, but for a build that ended first: its semaphores are gone then."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    gone = trace is not None and trace.tb_frame.f_code.co_filename == synchronize.__file__
    if not (gone and issubclass(kind, FileNotFoundError)):
        sys.__excepthook__(kind, error, error.__traceback__)


if os.environ.pop(FLAG, None):
    sys.excepthook = tell
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the build's
    start.one_thread(start.tensorflow)
