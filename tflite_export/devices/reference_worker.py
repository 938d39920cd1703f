"""The process in which LiteRT's reference kernels run a file: they abort on some.

``python reference_worker.py FOLDER``. The folder holds ``job.npz`` (the file's bytes, inputs in its own type, and
``settings``: a row of scalars for each time that all inputs are to be run, which the file takes behind the image);
``outputs.npy``, ``(settings, n, ...)``, appears when all is run. Nothing of the project is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

JOB, OUTPUTS = "job.npz", "outputs.npy"


def main(folder: Path) -> None:
    """Run every input and leave the outputs."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with np.load(folder / JOB) as job:
        model, inputs, settings = job["model"].tobytes(), job["inputs"], job["settings"]
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    entry, *dial = (details["index"] for details in interpreter.get_input_details())
    end = interpreter.get_output_details()[0]["index"]
    outputs = []
    for row in settings:
        for one in inputs:
            interpreter.set_tensor(entry, one[None])
            for place, value in zip(dial, row, strict=True):
                interpreter.set_tensor(place, value[None])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(end)[0].copy())
    np.save(folder / OUTPUTS, np.stack(outputs).reshape(len(settings), len(inputs), *outputs[0].shape))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
