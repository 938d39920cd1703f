"""A process that keeps TensorFlow Model Optimization loaded, and does the jobs of many tests one after another.

It does what the process of ``optimize`` does; starting that for each would take longer than all else that they test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from restnet_tf.commands import optimize
from restnet_tf.progress import Reporter
from restnet_tf.tfmot import worker

_LOOP = """
import sys, traceback
from pathlib import Path
from restnet_tf.tfmot import worker
for line in sys.stdin:
    try:
        worker.main(Path(line.strip()))
    except Exception:
        traceback.print_exc()
    print("end", flush=True)
"""


class Standing:
    """Starts with the first job."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def work(self, folder: Path, report: Reporter) -> dict[str, np.ndarray]:
        """What the worker leaves in a folder, in place of ``optimize._work``."""
        process = self._started()
        assert process.stdin is not None
        print(folder, file=process.stdin, flush=True)
        optimize._listen(SimpleNamespace(stdout=self._said(process)), report)  # type: ignore[arg-type]
        with np.load(folder / worker.RESULT) as result:
            return dict(result)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            command, environment = [sys.executable, "-c", _LOOP], os.environ | {"TF_USE_LEGACY_KERAS": "1"}
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8", env=environment)
        return self._process

    def _said(self, process: subprocess.Popen[str]) -> Iterator[str]:
        """What is told of one job."""
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "end":
                return
            yield line

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate()
