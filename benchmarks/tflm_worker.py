"""The process in which a file is run: TensorFlow Lite Micro, and LiteRT's reference kernels, abort on some.

``python tflm_worker.py micro|reference FOLDER``. The folder holds ``job.npz`` (the file's bytes, inputs in its own
type, the bytes of the arena); ``micro.npy`` or ``reference.npy`` appears when all inputs are run. What the arena holds
goes to standard error. Nothing of the project is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

JOB = "job.npz"


def micro(model: bytes, inputs: np.ndarray, arena: int) -> list[np.ndarray]:
    """Outputs by TensorFlow Lite Micro."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
    outputs = []
    for one in inputs:
        interpreter.set_input(one[None], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0].copy())
    interpreter.print_allocations()
    return outputs


def reference(model: bytes, inputs: np.ndarray, arena: int) -> list[np.ndarray]:
    """Outputs by LiteRT's reference kernels, which plan an arena of their own."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for one in inputs:
        interpreter.set_tensor(entry, one[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(end)[0].copy())
    return outputs


def main(who: str, folder: Path) -> None:
    """Run every input and leave the outputs."""
    with np.load(folder / JOB) as job:
        model, inputs, arena = job["model"].tobytes(), job["inputs"], int(job["arena"])
    run = {"micro": micro, "reference": reference}[who]
    np.save(folder / f"{who}.npy", np.stack(run(model, inputs, arena)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
