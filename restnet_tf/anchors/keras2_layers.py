"""One layer of a Keras 2 model as layers of Keras 3: its class and its arguments, as either calls them.

What says how a layer was once initialised or regularised is left out: weights follow, and nothing is
trained by it. An argument that Keras 3 does not have is refused where it does anything.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

from restnet_tf.records import RestnetError

_TRAINING = ("_initializer", "_regularizer", "_constraint")
_OF_ALL = frozenset({"batch_input_shape", "dtype", "dynamic", "input_dtype", "name", "trainable"})
_IDLE = {
    "BatchNormalization": {"fused", "renorm_clipping", "renorm_momentum", "synchronized", "virtual_batch_size"},
    "MultiHeadAttention": {"key_shape", "query_shape", "value_shape"},
}
_RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}
_OTHER_CLASSES = {
    "BatchNormalizationV1": "BatchNormalization",
    "Convolution2D": "Conv2D",
    "FixedDropout": "Dropout",  # of a widespread package of EfficientNets; at inference it is one
    "RandomCrop": "Resizing",  # at inference it is one that keeps the aspect
    "SyncBatchNormalization": "BatchNormalization",
}
# Layers that Keras itself defines beside its networks.
_OF_APPLICATIONS = {
    "CustomScaleLayer": "inception_resnet_v2",
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
}
_OTHER_ACTIVATIONS = {"softmax_v2": "softmax", "swish": "silu"}


@dataclass(frozen=True)
class Leaf:
    """A layer that may hold weights, None for what is only a function, and the layers that are called behind it."""

    layer: Any
    behind: tuple[Any, ...] = ()

    def __call__(self, inputs: Any, **arguments: Any) -> Any:
        """Call all of them."""
        result = self.layer(inputs, **arguments)
        for layer in self.behind:
            result = layer(result)
        return result


def leaf(class_name: str, config: dict[str, Any], name: str, spoken: str) -> Leaf:
    """The layer of Keras 3, called ``name``; ``spoken`` is what the file calls it.

    Raises RestnetError for a class that Keras 3 does not have, and for arguments that it does not take.
    """
    cls = _class(class_name, spoken)
    if class_name == "RandomCrop":
        config = {"height": config["height"], "width": config["width"], "crop_to_aspect_ratio": True}
    options = _options(class_name, config)
    behind = _behind(options, spoken)
    accepted = _arguments(cls)
    doing = sorted(
        key for key, value in options.items() if key not in accepted and value and (key, value) != ("groups", 1)
    )
    if doing:
        raise RestnetError(f"layer {spoken} ({class_name}) has {', '.join(doing)} set, which Keras 3 cannot do")
    return Leaf(cls(name=name, **{key: value for key, value in options.items() if key in accepted}), behind)


def _class(class_name: str, spoken: str) -> Any:
    import keras

    if class_name in _OF_APPLICATIONS:
        module = importlib.import_module(f"keras.src.applications.{_OF_APPLICATIONS[class_name]}")
        return getattr(module, class_name)
    if class_name == "Lambda":
        raise RestnetError(f"layer {spoken} is a Lambda, whose code is not run")
    cls = getattr(keras.layers, _OTHER_CLASSES.get(class_name, class_name), None)
    if not (isinstance(cls, type) and issubclass(cls, keras.Layer)):
        raise RestnetError(f"layer {spoken} is of the custom class {class_name}, whose code the file does not hold")
    return cls


def _arguments(cls: Any) -> set[str]:
    return set(inspect.signature(cls.__init__).parameters) - {"self", "args", "kwargs"}


def _options(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Arguments as Keras 3 names them, without those that decide nothing at inference."""
    left_out = _OF_ALL | _IDLE.get(class_name, set())
    options = {
        _RENAMED.get((class_name, key), key): value
        for key, value in config.items()
        if key not in left_out and not key.endswith(_TRAINING)
    }
    if "axis" in options and isinstance(options["axis"], list) and len(options["axis"]) == 1:
        (options["axis"],) = options["axis"]
    return options


def _behind(options: dict[str, Any], spoken: str) -> tuple[Any, ...]:
    """Name the activation as Keras 3 does, or take it out of the options; the layers that stand for it then."""
    import keras

    if "activation" not in options:
        return ()
    value = options["activation"]
    if isinstance(value, dict) and isinstance(value.get("config"), dict):  # a layer
        options["activation"] = "linear"
        layer = leaf(value["class_name"], value["config"], value["config"].get("name", "activation"), spoken)
        if not hasattr(layer.layer, "negative_slope"):  # ReLU and LeakyReLU hold no weights
            raise RestnetError(f"layer {spoken} has the activation {value['class_name']}; give it a layer of its own")
        return (layer.layer,)
    name = value.get("config") if isinstance(value, dict) else value
    name = _OTHER_ACTIVATIONS.get(str(name), name)
    if name == "hard_sigmoid":  # another function in Keras 3
        options["activation"] = "linear"
        return keras.layers.Rescaling(0.2, 0.5), keras.layers.ReLU(max_value=1.0)
    try:
        keras.activations.get(name)
    except ValueError as error:
        raise RestnetError(f"layer {spoken} has the custom activation {name}") from error
    options["activation"] = name
    return ()
