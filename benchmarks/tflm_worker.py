"""The process in which TensorFlow Lite Micro runs: it takes its process down on files that it cannot run.

``python tflm_worker.py FOLDER``. The folder holds ``job.npz`` (the file's bytes, inputs in its own type, the bytes
of the arena); ``outputs.npy`` appears when all are run. What the arena holds goes to standard error.
Nothing of the project is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

JOB, OUTPUTS = "job.npz", "outputs.npy"


def main(folder: Path) -> None:
    """Run every input and leave the outputs."""
    from tflite_micro.python.tflite_micro import runtime

    with np.load(folder / JOB) as job:
        model, inputs, arena = job["model"].tobytes(), job["inputs"], int(job["arena"])
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
    outputs = []
    for one in inputs:
        interpreter.set_input(one[None], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0].copy())
    interpreter.print_allocations()
    np.save(folder / OUTPUTS, np.stack(outputs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
