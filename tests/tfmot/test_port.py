"""What `port` hands to tf_keras: the same function, from plain files; what has no counterpart is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import needs
import networks
import numpy as np
import pytest

from restnet_tf.graph.tokens import PositionBias
from restnet_tf.records import RestnetError
from restnet_tf.tfmot import port

keras = networks.keras
layers = keras.layers

# Ports every folder it is given, as the worker does, and prints what the worker would say.
CHECK = """
import sys
from pathlib import Path
import numpy as np
from restnet_tf.tfmot import worker
for folder in map(Path, sys.argv[1:]):
    check = np.load(folder / worker.CHECK)
    try:
        worker._verify(worker._ported(folder), check["x"], check["logits"])
        print("same")
    except worker.RefusedError as refusal:
        print(refusal)
"""


def mobile() -> Any:
    """Depthwise convolutions, norms, ReLU6, a residual add, padding, dropout: what mobile networks are made of."""
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, -1)(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False)(x)))
    y = layers.DepthwiseConv2D(3, padding="valid")(layers.ZeroPadding2D(1)(x))
    y = layers.LeakyReLU(negative_slope=0.2)(layers.BatchNormalization(epsilon=1e-2)(y))
    x = layers.Add()([x, layers.Dropout(0.5)(layers.Conv2D(6, 1)(y))])
    x = layers.Activation("silu")(layers.Conv2D(4, 3, strides=2, kernel_regularizer="l2")(x))
    x = layers.Resizing(6, 6)(layers.AveragePooling2D(1)(x))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)), name="mobile")


def odd() -> Any:
    """A nested model, a layer called twice, operations that are no layers, a normalisation with its own copy."""
    inside = keras.Input((4, 4, 5))
    block = keras.Model(inside, layers.Conv2D(5, 1, activation="relu6", name="twice")(inside), name="nested")
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(5, 1, name="twice")(layers.Normalization(mean=[1, 2, 3.0], variance=[1, 4, 9.0])(image))
    shared = layers.Conv2D(5, 1, name="shared")
    x = shared(block(shared(x)))
    x = keras.ops.relu6(x + 3.0) * (1 / 6) + x
    return keras.Model(image, layers.Flatten()(layers.LayerNormalization()(x)), name="odd")


def tokens() -> Any:
    """A Transformer's block behind a class token and positions, and an activation called twice."""
    image = keras.Input((4, 4, 3))
    x = PositionBias(name="embed")(layers.ZeroPadding1D((1, 0))(layers.Reshape((16, 3))(image)))
    x = layers.Dense(6, name="widen")(x)
    y = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 3, name="attend")(y, y)])
    twice = layers.Activation("gelu", name="twice")
    x = twice(layers.Dense(8)(twice(x)))
    return keras.Model(image, layers.Flatten()(layers.Cropping1D((0, 16))(x)), name="tokens")


def ported(model: Any, folder: Path, *, wrong: float = 0.0) -> Path:
    """The files that the worker reads; ``wrong`` is added to the outputs that it is to find."""
    folder.mkdir()
    networks.stirred(model)
    port.save(port.describe(model), folder)
    x = np.random.default_rng(0).uniform(0, 9, (3, *model.input_shape[1:])).astype(np.float32)
    np.savez(folder / "check.npz", x=x, logits=networks.forward(model, x) + np.float32(wrong))
    return folder


@pytest.mark.slow
@needs.TFMOT.mark
def test_the_port_computes_the_same_and_is_held_against_the_outputs(tmp_path: Path) -> None:
    folders = [
        ported(mobile(), tmp_path / "mobile"),
        ported(odd(), tmp_path / "odd"),
        ported(networks.anchor().model, tmp_path / "residual"),
        ported(tokens(), tmp_path / "tokens"),
        ported(mobile(), tmp_path / "wrong", wrong=0.01),
        ported(mobile(), tmp_path / "unknown"),
        ported(mobile(), tmp_path / "config"),
    ]
    spoil(folders[-2], "Conv2D", class_name="Conv7D")
    spoil(folders[-1], "Conv2D", config={"filters": 4, "kernel_size": 1, "colour": "red"})
    run = subprocess.run(
        [sys.executable, "-c", CHECK, *map(str, folders)],
        env=os.environ | {"TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    *same, wrong, unknown, config = run.stdout.splitlines()
    assert same == ["same"] * 4
    assert wrong.startswith("the port to tf_keras gives other outputs (by ")
    assert unknown.startswith("tf_keras has no layer Conv7D, which conv2d")
    assert "(Conv2D) not as it is" in config
    assert "colour" in config


def spoil(folder: Path, kind: str, **changes: Any) -> None:
    content = json.loads((folder / port.GRAPH).read_text())
    next(x for x in content["layers"] if x["class_name"] == kind).update(changes)
    (folder / port.GRAPH).write_text(json.dumps(content))


def test_what_is_described_is_flat_and_only_inference() -> None:
    found = port.describe(mobile())
    kinds = [layer.class_name for layer in found.layers]
    assert "Dropout" not in kinds
    assert kinds.count("Conv2D") == 3
    assert not [key for x in found.layers for key in x.config if "regularizer" in key or "initializer" in key]
    assert next(x for x in found.layers if x.class_name == "LeakyReLU").config["alpha"] == pytest.approx(0.2)
    assert found.input_shape == (8, 8, 3)
    assert set(found.weights) == {f"{i}/{name}" for i, x in enumerate(found.layers) for name in x.paths}


def test_a_nested_model_lies_flat_and_a_shared_layer_is_there_once() -> None:
    model = odd()
    found = port.describe(model)
    assert [(x.part, x.name) for x in found.layers if x.class_name == "Conv2D"] == [
        ("", "twice"),
        ("", "shared"),
        ("nested", "twice"),
    ]
    shared = [x.name for x in found.layers].index("shared")
    assert [call.layer for call in found.calls].count(shared) == 2
    # Every weight, by its path in the model that it came from.
    nested = next(x for x in found.layers if x.part == "nested")
    assert set(nested.paths.values()) == {v.path for v in model.get_layer("nested").weights}
    added = [x.config for x in found.layers if x.class_name == "Rescaling"]
    assert [(x["scale"], x["offset"]) for x in added] == [(1.0, 3.0), (pytest.approx(1 / 6), 0.0)]


def with_slice(image: Any) -> Any:
    return image[:, :2]


def test_attention_is_taken_apart_and_layers_without_weights_are_apart_too() -> None:
    model = tokens()
    found = port.describe(model)
    inside = [(x.name.partition(".")[2], x.class_name) for x in found.layers if x.name.startswith("attend.")]
    assert inside == [
        ("query", "EinsumDense"),
        ("key", "EinsumDense"),
        ("value", "EinsumDense"),
        ("scaled", "Rescaling"),
        ("scores", "Einsum"),
        ("shares", "Softmax"),
        ("mixed", "Einsum"),
        ("out", "EinsumDense"),
    ]
    assert {path for x in found.layers for path in x.paths.values()} == {v.path for v in model.weights}
    # What is rounded behind one of its calls is not rounded behind the other.
    assert [x.name for x in found.layers].count("twice") == 2


def with_attention(image: Any) -> Any:
    tokens = layers.Reshape((16, 3))(image)
    return layers.MultiHeadAttention(1, 2, name="attention")(tokens, layers.Cropping1D((0, 1))(tokens))


def with_a_mask(image: Any) -> Any:
    tokens = layers.Reshape((16, 3))(image)
    return layers.MultiHeadAttention(1, 2, name="attention")(tokens, tokens, use_causal_mask=True)


def with_wrapper(image: Any) -> Any:
    return layers.TimeDistributed(layers.Dense(2), name="over_rows")(image)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (with_slice, "GetItem) cannot be ported to tf_keras: no layer does the same"),
        (with_attention, "attention (MultiHeadAttention) cannot be ported to tf_keras: it is called with more"),
        (with_a_mask, "attention (MultiHeadAttention) cannot be ported to tf_keras: it is called with more"),
        (with_wrapper, "over_rows (TimeDistributed) cannot be ported to tf_keras: it holds layers of its own"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(made: Any, told: str) -> None:
    image = keras.Input((4, 4, 3))
    with pytest.raises(RestnetError) as error:
        port.describe(keras.Model(image, made(image)))
    assert told in str(error.value)


def test_models_of_several_inputs_are_refused() -> None:
    a, b = keras.Input((4,)), keras.Input((4,))
    with pytest.raises(RestnetError, match="has 2 inputs and 1 outputs"):
        port.describe(keras.Model([a, b], layers.Add()([a, b]), name="two"))
