"""Models as Keras 2 wrote them, with what tf_keras answers for two images; a program, since tf_keras wants a process.

``python keras2_files.py FOLDER`` writes ``x.npy``, ``<name>.npy`` and each model as TF 2.4 (``.h5``), TF 2.15
(``.keras``) and, of some, as a SavedModel, of TF 2.15 and (``.tf24``) of TF 2.4.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as k
from tensorflow.core.protobuf import saved_model_pb2
from tf_keras.protobuf import saved_metadata_pb2
from tf_keras.src.applications import densenet

L = k.layers
SHAPE = (32, 32, 3)
X = np.random.default_rng(0).uniform(0, 255, (2, *SHAPE)).astype("float32")


def backbone() -> Any:
    i = k.Input(SHAPE)
    x = L.ReLU()(L.BatchNormalization(name="stem_bn")(L.Conv2D(8, 3, strides=2, padding="same", name="stem")(i)))
    y = L.BatchNormalization(name="dw_bn")(L.DepthwiseConv2D(3, padding="same", name="dw")(x))
    x = L.BatchNormalization(name="end_bn")(L.Conv2D(8, 1, use_bias=False, name="end")(L.ReLU(6.0)(y)))
    return k.Model(i, L.Add()([x, y]), name="backbone")


def head(x: Any) -> Any:
    return L.Dense(3, activation="softmax")(L.Dropout(0.2)(L.GlobalAveragePooling2D()(x)))


def tutorial() -> Any:
    """Augmentation, preprocess_input, and a backbone of which the second half was trained on."""
    i = k.Input(SHAPE)
    x = k.Sequential([L.RandomFlip("horizontal"), L.RandomRotation(0.2), L.RandomZoom(0.1)])(i)
    base = backbone()
    for layer in base.layers[:4]:
        layer.trainable = False
    return k.Model(i, head(base(k.applications.mobilenet_v2.preprocess_input(x), training=False)))


def teachable() -> Any:
    """A Sequential of Sequentials whose layers share names."""
    base = backbone()
    features = k.Sequential([L.InputLayer(SHAPE, name="model1_input"), base, L.GlobalAveragePooling2D()], name="seq_1")
    dense = L.Dense(10, activation="relu", name="dense_1")
    top = k.Sequential([L.InputLayer((8,)), dense, L.Dense(2, use_bias=False, activation="softmax")], name="seq_3")
    return k.Sequential([L.InputLayer(SHAPE), features, top])


def deferred() -> Any:
    """No input layer anywhere; a name twice."""
    inner = k.Sequential([L.Conv2D(4, 3, name="conv"), L.BatchNormalization()])
    parts = [k.Sequential([L.Rescaling(1 / 255)]), L.Conv2D(4, 3, activation="relu", name="conv"), inner]
    model = k.Sequential([*parts, L.MaxPooling2D(4), L.Flatten(), L.Dense(3, activation="softmax")])
    model(X)
    return model


def dense() -> Any:
    """DenseNet: names with slashes, the arithmetic of torch."""
    i = k.Input(SHAPE)
    x = k.applications.densenet.preprocess_input(i)
    base = densenet.DenseNet([1, 1, 1, 1], include_top=False, weights=None, input_shape=SHAPE)
    return k.Model(i, head(base(x)))


def small() -> Any:
    """MobileNetV3: names with slashes, arithmetic between layers."""
    i = k.Input(SHAPE)
    base = k.applications.MobileNetV3Small(alpha=0.75, include_top=False, weights=None, input_shape=SHAPE)
    base.trainable = False
    return k.Model(i, head(base(i)))


def caffe() -> Any:
    """The channels' order turned, and a mean taken off."""
    i = k.Input(SHAPE)
    return k.Model(i, head(backbone()(k.applications.resnet50.preprocess_input(i))))


def calls() -> Any:
    """Calls of TensorFlow with tensors and numbers on either side; a model called twice."""
    twice = k.Sequential([L.InputLayer(SHAPE), L.Conv2D(3, 3, padding="same", name="conv")], name="twice")
    i = k.Input(SHAPE)
    a = twice(i / 255.0)
    x = tf.concat([a, twice(L.ReLU()(a)), i * 0.01], -1)
    x = 1.0 - (tf.nn.relu(x) - 0.5)
    x = x * tf.math.sigmoid(L.Conv2D(9, 1, name="conv")(x)) + x
    return k.Model(i, L.Dense(3, activation="softmax")(tf.reduce_mean(x[:, 2:, ::2], axis=[1, 2])))


def kinds() -> Any:
    """Layers whose names, arguments or arithmetic Keras 3 changed."""
    i = k.Input(SHAPE)
    x = L.CenterCrop(24, 24)(L.Resizing(28, 28)(i))
    x = L.Conv2D(6, 3, strides=2, activation="hard_sigmoid")(L.Rescaling(1 / 255)(x))
    x = L.PReLU(shared_axes=[1, 2])(L.LeakyReLU(0.1)(L.SeparableConv2D(8, 3, activation="swish")(x)))
    x = L.Activation("hard_sigmoid")(L.Conv2DTranspose(4, 2, activation=L.LeakyReLU(0.2))(x))
    x = L.GroupNormalization(2)(L.LayerNormalization()(x))
    x = L.Reshape((-1, 4))(x)
    x = L.MultiHeadAttention(2, 3)(x, x) + x
    return k.Model(i, L.Dense(3, activation="softmax")(L.BatchNormalization()(L.GlobalAveragePooling1D()(x))))


MODELS = (tutorial, teachable, deferred, dense, small, caffe, calls, kinds)
FOLDERS = (tutorial, deferred, kinds)


def stirred(model: Any) -> Any:
    """No norm or bias at its neutral start."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if len(weight.shape) == 1:
            positive = any(word in weight.name for word in ("gamma", "variance"))
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.1, weight.shape))
    return model


def plain(value: Any) -> Any:
    """A configuration without the keys that TF 2.4 did not write."""
    if isinstance(value, dict):
        if "class_name" in value and "module" in value:
            value = {key: one for key, one in value.items() if key not in ("module", "registered_name", "build_config")}
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def aged(path: Path) -> None:
    """Make what tf_keras wrote what TF 2.4 or 2.15 wrote."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(plain(json.loads(file.attrs["model_config"])))
            file.attrs["keras_version"] = "2.4.0"
        return
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    content["config.json"] = content["config.json"].replace(b"tf_keras", b"keras")
    content["metadata.json"] = json.dumps({"keras_version": "2.15.0"}).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, raw in content.items():
            new.writestr(name, raw)


def noted_in_graph(new: Path, old: Path) -> None:
    """A SavedModel as TF 2.4 wrote it: what Keras noted is in the objects of the graph, and in no file of its own."""
    shutil.copytree(new, old)
    (old / "fingerprint.pb").unlink(missing_ok=True)
    notes = saved_metadata_pb2.SavedMetadata.FromString((old / "keras_metadata.pb").read_bytes())
    (old / "keras_metadata.pb").unlink()
    whole = saved_model_pb2.SavedModel.FromString((old / "saved_model.pb").read_bytes())
    objects = whole.meta_graphs[0].object_graph_def.nodes
    for note in notes.nodes:
        assert objects[note.node_id].user_object.identifier == note.identifier
        objects[note.node_id].user_object.metadata = json.dumps(plain(json.loads(note.metadata)))
    (old / "saved_model.pb").write_bytes(whole.SerializeToString())


def main(folder: Path) -> None:
    np.save(folder / "x.npy", X)
    for build in MODELS:
        k.backend.clear_session()
        k.utils.set_random_seed(0)
        model, name = stirred(build()), build.__name__
        np.save(folder / f"{name}.npy", np.asarray(model(X, training=False)))
        paths = [folder / f"{name}.h5"]
        paths += [folder / f"{name}.keras"] if build is not caffe else []  # Keras 2 cannot write its ellipsis there
        for path in paths:
            model.save(path)
            aged(path)
        if build in FOLDERS:
            # Without them there are no functions, which nothing of ours reads; of one the file is as Keras 2 has it.
            model.save(folder / name, save_format="tf", save_traces=build is deferred)
            noted_in_graph(folder / name, folder / f"{name}.tf24")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
