"""Imported by the process that others are forked from, before it forks: takes one thread, imports TensorFlow.

A fork server runs no function of ours, it imports modules; anywhere else importing this one does nothing.
"""

from __future__ import annotations

import os
import signal

from restnet_tf.work import start

# In the environment of that process alone.
FLAG = "RESTNET_TF_FORKED_FROM"

if os.environ.pop(FLAG, None):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the build's
    start.one_thread(start.tensorflow)
