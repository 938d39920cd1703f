"""A family on a Coral board: points, and cascades, whose stages run until one is sure. Copy it there with its folder.

    from cascade import CoralCascade, CoralFamily
    scores, stage = CoralCascade("cascades.json", "small>large").run(image)
    family = CoralFamily(".")                    # of export --all: every point open at once
    scores, stage = family.run(image, "small")   # another point, or a cascade, at every call

It needs ``tflite_runtime`` (``pycoral`` brings it) or LiteRT, and NumPy. ``points.json`` and ``cascades.json`` name the
files; of a file that ``edgetpu_compiler`` has made another of, ``NAME_edgetpu.tflite``, that one runs on the
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

    def __init__(self, path: str, name: str, cpu: bool = False, opened: Any = None) -> None:
        with open(path, encoding="utf-8") as file:
            entry = json.load(file)[name]
        folder = os.path.dirname(path)
        there = opened or {}  # interpreters by their files' names
        self.thresholds = list(entry["thresholds"])
        self.confidence = CONFIDENCES[entry["confidence"]]
        self.stages = [there.get(stage) or _opened(os.path.join(folder, stage), cpu) for stage in entry["stages"]]

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


class CoralFamily:
    """All points of the ``points.json`` of a folder, and the cascades of its ``cascades.json``, opened once.

    Files that were compiled in one call keep their parameters in one cache, so that a switch loads nothing; others push
    each other out of it at every switch. All interpreters use the one Edge TPU that there is. ``cascades`` has those by
    name, whose ``thresholds`` may be turned.
    """

    def __init__(self, folder: str, cpu: bool = False) -> None:
        with open(os.path.join(folder, "points.json"), encoding="utf-8") as file:
            self.files = json.load(file)
        opened = {name: _opened(os.path.join(folder, name), cpu) for name in self.files.values()}
        self.points = {point: opened[name] for point, name in self.files.items()}
        path = os.path.join(folder, "cascades.json")
        self.cascades = {}  # type: dict[str, CoralCascade]
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.cascades = {name: CoralCascade(path, name, cpu, opened) for name in json.load(file)}

    def run(self, image: Any, name: str) -> Any:
        """Scores ``(classes,)`` float32 of a point or a cascade, and the stage that answered: 0 of a point."""
        import numpy as np

        if name in self.cascades:
            return self.cascades[name].run(image)
        return _scores(self.points[name], np.asarray(image, np.float32)), 0


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
