"""Whole models from files: what Keras 3 wrote, what Keras 2 wrote, and what neither can load, told apart.

Whatever the policy of its arithmetic and the type of its images, a model is read as float32: the weights
of a mixed policy are float32 anyway, and images of integers hold the same numbers as floats.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restnet_tf.anchors import content, keras2_graph, keras2_weights, pretrained, saved_model
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

_METADATA, _WEIGHTS = "metadata.json", "model.weights.h5"
_FLOAT = "float32"
_OTHER_FLOATS = frozenset({"bfloat16", "float16", "float64", "mixed_bfloat16", "mixed_float16"})
_SAVING = "model.save('model.keras') in the program that made it writes a file that can be read"


@dataclass(frozen=True)
class Saved:
    """A model, and the name of the loss that it was compiled with, where the file tells."""

    model: keras.Model
    loss: str | None = None


def load(path: Path) -> Saved:
    """A whole model from a file, or from the folder of a SavedModel; raises RestnetError, in one line."""
    kind = content.of(path)
    try:
        if kind == content.SAVED_MODEL:
            return Saved(saved_model.load(path))
        return _from_archive(path) if kind == content.ARCHIVE else _from_hdf5(path)
    except content.DamagedError:
        raise
    except (EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise content.DamagedError(path) from error
    except Exception as error:
        reason = str(error) if isinstance(error, RestnetError) else pretrained.first_line(error)
        raise RestnetError(f"{path} cannot be loaded: {reason} ({_advice(path, kind)})") from error


def _advice(path: Path, kind: str) -> str:
    """What would work on this very file."""
    rest = "custom layers and Lambda code are not run: save it with layers of Keras in their place"
    if kind == content.HDF5 and not _nested(path):
        return f"{rest}, or of a Keras Applications network, name the architecture to use its weights alone"
    return rest if kind != content.SAVED_MODEL else _SAVING


def _nested(path: Path) -> bool:
    with content.opened(path) as file:
        stored = pretrained.named_values(file)
    parents = {name: {weight.rpartition("/")[0] for weight, _ in values} for name, values in stored.items()}
    return any(len(names) > 1 for names in parents.values())


def _from_archive(path: Path) -> Saved:
    import h5py

    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read(content.CONFIG))
            version = json.loads(archive.read(_METADATA))["keras_version"]
            weights = h5py.File(io.BytesIO(archive.read(_WEIGHTS)))
    except content.DAMAGED as error:
        raise content.DamagedError(path) from error
    loss = _loss(config.get("compile_config"))
    with weights:
        if not _is_keras_2(version):
            return Saved(_by_keras(path, config, _archive_of), loss)
        graph = keras2_graph.build(config)
        keras2_weights.from_nested(graph.parts, weights)
    keras2_weights.finish(graph.parts)
    return Saved(graph.model, loss)


def _from_hdf5(path: Path) -> Saved:
    with content.opened(path) as file:
        config = json.loads(file.attrs["model_config"])
        loss = _loss(json.loads(file.attrs.get("training_config", "null")))
        keras_2 = _is_keras_2(str(file.attrs.get("keras_version", "")))
        values = pretrained.named_values(file)
    if not keras_2:
        return Saved(_by_keras(path, config, _hdf5_of), loss)
    graph = keras2_graph.build(config)
    keras2_weights.from_layers(graph.parts, values)
    keras2_weights.finish(graph.parts)
    return Saved(graph.model, loss)


def _is_keras_2(version: str) -> bool:
    return not version or int(version.partition(".")[0]) < 3


def _loss(compiled: Any) -> str | None:
    """The name of a loss in a file's note on training; of several, none."""
    loss = (compiled or {}).get("loss") if isinstance(compiled, dict) else None
    if isinstance(loss, dict):
        loss = loss.get("config") if loss.get("class_name") == "function" else loss.get("class_name")
    return loss if isinstance(loss, str) else None


def _by_keras(path: Path, config: dict[str, Any], write: Any) -> keras.Model:
    """Keras' own reader, on the file itself or on a copy that says float32 and has the name that it expects."""
    import keras

    from restnet_tf.graph import tokens  # noqa: F401 (Keras finds the layer of saved ViTs once it is imported)

    changed = _in_float(config)
    suffix = ".keras" if write is _archive_of else ".h5"
    if changed == config and path.suffix == suffix:
        return keras.models.load_model(path, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"model{suffix}"
        write(path, copy, changed)
        return keras.models.load_model(copy, compile=False)


def _archive_of(path: Path, copy: Path, config: dict[str, Any]) -> None:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            new.writestr(name, json.dumps(config) if name == content.CONFIG else old.read(name))


def _hdf5_of(path: Path, copy: Path, config: dict[str, Any]) -> None:
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)


def _in_float(value: Any) -> Any:
    """A configuration whose layers compute in float32 and whose inputs are float32."""
    if isinstance(value, list):
        return [_in_float(one) for one in value]
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    if value.get("class_name") == "InputLayer" and isinstance(config, dict):
        return {**value, "config": {**config, "dtype": _FLOAT}}
    return {key: _policy(one) if key == "dtype" else _in_float(one) for key, one in value.items()}


def _policy(value: Any) -> Any:
    """A policy of half or double precision as that of float32; others as they are."""
    if isinstance(value, str):
        return _FLOAT if value in _OTHER_FLOATS else value
    if not isinstance(value, dict):
        return value
    if value.get("class_name") != "DTypePolicy":
        raise RestnetError(
            f"its layers have the policy {value.get('class_name')}: its weights are quantised; save it as it was before"
        )
    return {**value, "config": {**value["config"], "name": _policy(value["config"]["name"])}}
