"""Cascades on a Coral board: runs stages one after the other until one is sure. Copy it there with its folder.

    from cascade import CoralCascade
    scores, stage = CoralCascade("cascades.json", "small>large").run(image)

It needs ``tflite_runtime`` (``pycoral`` brings it) or LiteRT, and NumPy. ``cascades.json`` names the files of the
stages; of a file that ``edgetpu_compiler`` has made another of, ``NAME_edgetpu.tflite``, that one runs on the
accelerator. Kept to Python 3.6, which old images of the board have.
"""

import json
import os
import platform
from typing import Any

_LIBRARY = {"Linux": "libedgetpu.so.1", "Darwin": "libedgetpu.1.dylib", "Windows": "edgetpu.dll"}


def largest(scores: Any) -> Any:
    """The largest score."""
    return scores.max()


def margin(scores: Any) -> Any:
    """The largest score less the next; nothing where two are the largest."""
    import numpy as np

    second, first = np.sort(scores)[-2:]
    return first - second


def one_less_entropy(scores: Any) -> Any:
    """One less the entropy over that of an even distribution."""
    import numpy as np

    total = (scores * np.log(np.maximum(scores, np.float32(1e-30)))).sum()
    return max(np.float32(0), 1 + total * np.float32(1 / np.log(len(scores))))


CONFIDENCES = {"max": largest, "margin": margin, "entropy": one_less_entropy}


class CoralCascade:
    """One cascade of a ``cascades.json``; ``thresholds`` may be turned at any time.

    A stage answers where its confidence is at or above its threshold; else the next one runs, and the last one always
    answers. Threshold 0: always answers; above 1: never does.
    """

    def __init__(self, path: str, name: str, cpu: bool = False) -> None:
        with open(path, encoding="utf-8") as file:
            entry = json.load(file)[name]
        folder = os.path.dirname(path)
        self.thresholds = list(entry["thresholds"])
        self.confidence = CONFIDENCES[entry["confidence"]]
        self.stages = [_opened(os.path.join(folder, stage), cpu) for stage in entry["stages"]]

    def run(self, image: Any) -> Any:
        """Scores ``(classes,)`` float32 of an input, and the stage that answered, from 0.

        The input is as the training data have it: of photos a raw image ``(h, w, c)`` of 0..255.
        """
        import numpy as np

        for number, interpreter in enumerate(self.stages):
            scores = _scores(interpreter, np.asarray(image, np.float32))
            last = number + 1 == len(self.stages)
            # A confidence that equals its threshold is sure enough.
            if last or self.confidence(scores) >= np.float32(self.thresholds[number]):
                return scores, number
        raise ValueError("a cascade without stages")


def _opened(path: str, cpu: bool) -> Any:
    """An interpreter of a file, or of what the compiler has made of it."""
    try:
        from tflite_runtime.interpreter import Interpreter, load_delegate
    except ImportError:
        from ai_edge_litert.interpreter import Interpreter, load_delegate

    compiled = path[: -len(".tflite")] + "_edgetpu.tflite"
    more: Any = {}
    if os.path.exists(compiled) and not cpu:
        path, more = compiled, {"experimental_delegates": [load_delegate(_LIBRARY[platform.system()])]}
    interpreter = Interpreter(model_path=path, **more)
    interpreter.allocate_tensors()
    return interpreter


def _scores(interpreter: Any, image: Any) -> Any:
    """What a stage answers, in floats; halves are rounded away from zero, as TensorFlow Lite's QUANTIZE does."""
    import numpy as np

    start, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.dtype(start["dtype"]).kind != "f":
        scale, zero = start["quantization"]
        ratio, room = image / np.float32(scale), np.iinfo(start["dtype"])
        image = np.clip(np.trunc(ratio + np.copysign(np.float32(0.5), ratio)) + zero, room.min, room.max)
    interpreter.set_tensor(start["index"], image.astype(start["dtype"])[None])
    interpreter.invoke()
    scores = interpreter.get_tensor(end["index"])[0]
    if scores.dtype.kind == "f":
        return scores
    scale, zero = end["quantization"]
    return (scores.astype(np.int32) - zero).astype(np.float32) * np.float32(scale)
