"""Files out of networks: compile a network once, link files of its parts, plan their memory, run them.

Imported in no time: each name below loads its module when it is first used, TensorFlow only where a network is
compiled. A network becomes an object once, with tensors that others may be joined at; routes through objects are
linked to files, alone or all in one:

>>> import keras
>>> import numpy as np
>>> import tflite_export
>>> keras.utils.set_random_seed(0)
>>> image = keras.Input((8, 8, 3))
>>> middle = keras.layers.Conv2D(4, 3, activation="relu")(image)
>>> scores = keras.layers.Softmax()(keras.layers.Dense(2)(keras.layers.Flatten()(middle)))
>>> network = keras.Model(image, scores)
>>> content = tflite_export.compile_object(network, {"middle": middle}, "float32")
>>> compiled = tflite_export.Object(content)
>>> list(compiled.cuts)
['middle']
>>> route = tflite_export.Route(compiled)
>>> alone = tflite_export.variant(route, precision="float32")

The planner says where TensorFlow Lite Micro puts a file's tensors, and how many bytes that takes:

>>> ranges = tflite_export.ranges(alone)
>>> [(item.size, item.first, item.last) for item in ranges]
[(768, 0, 1), (576, 1, 2), (576, 2, 3), (8, 3, 4), (8, 4, 4)]
>>> tflite_export.plan(ranges).size
1344

An elastic file holds every route, each weight once, and what a program may choose by:

>>> points = [{"name": "whole", "macs": 6336, "latency": 20}]
>>> elastic = tflite_export.elastic({"whole": route}, precision="float32", metadata={"points": points})
>>> path = "elastic.float32.tflite"
>>> _ = open(path, "wb").write(elastic)
>>> model = tflite_export.ElasticModel(path)
>>> model.select("macs<=10K").latency
20.0
>>> model.run(np.zeros((8, 8, 3))).shape
(2,)
>>> controller = tflite_export.LatencyController(model, target_us=100)
>>> controller.observe(latency_us=40).name
'whole'

A cascade runs a second network only where the first is unsure, and its dial can hold a mean cost:

>>> from tflite_export.cascades import Stage, file
>>> networks = [tflite_export.Object(content) for _ in range(2)]
>>> dial = {"stages": ["whole", "again"], "confidence": "max", "thresholds": [0.8], "reach": [1, 0.5]}
>>> point = {"name": "whole>again", "cascade": dial | {"macs": [6336, 6336], "latency": [20, 20]}}
>>> stages = [Stage(network.graph, made_of=(network.model,)) for network in networks]
>>> cascade = file(stages, "max", {"points": [point]})
>>> path = "cascade.float32.tflite"
>>> _ = open(path, "wb").write(cascade)
>>> model = tflite_export.ElasticModel(path)
>>> model.run(np.zeros((8, 8, 3)), thresholds=[1.1]).shape, model.stage
((2,), 1)
>>> controller = tflite_export.MeanCostController(model, "whole>again", target=12e3)
>>> controller.run(np.zeros((8, 8, 3))).shape, controller.mean
((2,), 12672.0)

What cannot be done is one line that says why:

>>> tflite_export.ElasticModel("elastic.float32.tflite").select("macs<=1K")
Traceback (most recent call last):
    ...
tflite_export.errors.TfliteError: no point meets the budget; the nearest, whole, misses macs<=1K by 534%
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tflite_export.convert import compile_object
    from tflite_export.errors import TfliteError
    from tflite_export.link import Object, Route, elastic, variant
    from tflite_export.memory import ArenaPlan, LiveRange, plan, ranges
    from tflite_export.runtime import ElasticModel, LatencyController, MeanCostController

# Where each public name is defined. None is that of a module here, which would hide it once imported.
_MODULES = {
    "ArenaPlan": "memory",
    "ElasticModel": "runtime",
    "LatencyController": "runtime",
    "LiveRange": "memory",
    "MeanCostController": "runtime",
    "Object": "link",
    "Route": "link",
    "TfliteError": "errors",
    "compile_object": "convert",
    "elastic": "link",
    "plan": "memory",
    "ranges": "memory",
    "variant": "link",
}
__all__ = [
    "ArenaPlan",
    "ElasticModel",
    "LatencyController",
    "LiveRange",
    "MeanCostController",
    "Object",
    "Route",
    "TfliteError",
    "compile_object",
    "elastic",
    "plan",
    "ranges",
    "variant",
]


def __getattr__(name: str) -> Any:
    """A public name, its module imported now (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """The public names among the others."""
    return sorted({*globals(), *__all__})
