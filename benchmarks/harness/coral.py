"""Time .tflite files on a Coral board or behind a USB Edge TPU: copy this one file there and run it.

    python3 coral.py *.tflite > coral.log            on the Edge TPU
    python3 coral.py --cpu *.tflite > coral.log      on the board's own processor

It needs ``tflite_runtime`` (``pycoral`` brings it) and NumPy, and prints one line of JSON a file, and one at the end.
Kept to Python 3.6, which old images of the board have. Files compiled by ``edgetpu_compiler``
(``NAME_edgetpu.tflite``) run on the accelerator; others run on the processor whatever is asked. Where the file that one
was compiled from lies beside it, both answer the same inputs, and the line says by how many steps they differ.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from typing import Any

_INPUTS = 4  # that a compiled file and its original are compared on
_COMPILED = "_edgetpu.tflite"
_LIBRARY = {"Linux": "libedgetpu.so.1", "Darwin": "libedgetpu.1.dylib", "Windows": "edgetpu.dll"}


def opened(path: str, cpu: bool, threads: int) -> Any:
    """An interpreter of a file, with the Edge TPU's delegate unless the processor is asked for."""
    from tflite_runtime.interpreter import Interpreter, load_delegate

    more: Any = {"num_threads": threads} if threads > 1 else {}  # old runtimes have no such option
    if not cpu:
        more["experimental_delegates"] = [load_delegate(_LIBRARY[platform.system()])]
    interpreter = Interpreter(model_path=path, **more)
    interpreter.allocate_tensors()
    return interpreter


def timed(path: str, cpu: bool, threads: int, warmups: int, repeats: int) -> "dict[str, Any]":
    """What is said of one file: microseconds of every run, and how much of the graph the accelerator took."""
    import numpy as np

    with open(path, "rb") as file:
        content = file.read()
    interpreter = opened(path, cpu, threads)
    entry = interpreter.get_input_details()[0]
    low, high = (0, 255)
    if np.dtype(entry["dtype"]).kind == "i":
        low, high = np.iinfo(entry["dtype"]).min, np.iinfo(entry["dtype"]).max
    image = np.random.RandomState(0).randint(low, high + 1, entry["shape"]).astype(entry["dtype"])
    took = []
    for number in range(warmups + repeats):
        interpreter.set_tensor(entry["index"], image)
        start = time.perf_counter()
        interpreter.invoke()
        if number >= warmups:
            took.append(round((time.perf_counter() - start) * 1e6, 3))
    return {
        "file": os.path.basename(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "edgetpu": b"edgetpu-custom-op" in content and not cpu,
        "threads": threads,
        "repeats_us": took,
        **compared(interpreter, path, threads),
    }


def compared(interpreter: Any, path: str, threads: int) -> "dict[str, int]":
    """By how many steps a compiled file's outputs differ from its original's; nothing where that is not beside it."""
    import numpy as np

    original = path[: -len(_COMPILED)] + ".tflite"
    if not path.endswith(_COMPILED) or not os.path.exists(original):
        return {}
    both = [interpreter, opened(original, True, threads)]
    entry, random = interpreter.get_input_details()[0], np.random.RandomState(1)
    room, most = np.iinfo(entry["dtype"]), 0
    for _ in range(_INPUTS):
        image = random.randint(room.min, room.max + 1, entry["shape"]).astype(entry["dtype"])
        one, other = (answer(each, image).astype(int) for each in both)
        most = max(most, int(abs(one - other).max()))
    return {"difference": most}


def answer(interpreter: Any, image: Any) -> Any:
    """What a file gives for an input."""
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def main() -> None:
    """Print a line a file; a file that fails has its reason instead of times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--cpu", action="store_true", help="leave the Edge TPU out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmups", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    import tflite_runtime

    board = {
        "harness": "coral",
        "board": platform.node() or "coral",
        "machine": platform.machine(),
        "runtime": getattr(tflite_runtime, "__version__", "unknown"),
    }
    for path in options.files:
        try:
            entry = timed(path, options.cpu, options.threads, options.warmups, options.repeats)
        except Exception as error:  # one file must not cost the others their times
            entry = {"file": os.path.basename(path), "error": " ".join(str(error).split()) or type(error).__name__}
        print(json.dumps({**board, **entry}))
        sys.stdout.flush()
    print(json.dumps({"harness": "coral", "end": len(options.files)}))


if __name__ == "__main__":
    main()
