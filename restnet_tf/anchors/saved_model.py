"""The folder of a SavedModel that Keras 2 wrote: its architecture is in there as text, its weights as a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restnet_tf.anchors import keras2_graph, keras2_weights
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

_METADATA = "keras_metadata.pb"  # TF 2.5 on; before, the same text stood in the graph itself


def load(folder: Path) -> keras.Model:
    """The model of Keras 3; raises RestnetError where the folder holds a graph of TensorFlow alone."""
    root = _root(folder)
    config, kind = root.get("config"), root.get("class_name")
    if kind not in keras2_graph.MODELS or not config:
        raise RestnetError(f"it holds a subclassed model ({kind}), whose layers cannot be seen")
    graph = keras2_graph.build({"class_name": kind, "config": config})
    keras2_weights.from_checkpoint(graph.parts, folder / "variables" / "variables")
    keras2_weights.finish(graph.parts)
    return graph.model


def _root(folder: Path) -> dict[str, Any]:
    """What Keras noted of the outermost model."""
    for text in _notes(folder):
        note = json.loads(text)
        if "class_name" in note:
            return dict(note)
    raise RestnetError("it holds a graph of TensorFlow without the layers of Keras")


def _notes(folder: Path) -> list[str]:
    """The notes of the outermost object, in either place."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.keras.protobuf import saved_metadata_pb2

    if (folder / _METADATA).is_file():
        notes = saved_metadata_pb2.SavedMetadata.FromString((folder / _METADATA).read_bytes())
        return [node.metadata for node in notes.nodes if node.node_path == "root"]
    whole = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    objects = whole.meta_graphs[0].object_graph_def.nodes if whole.meta_graphs else ()
    return [node.user_object.metadata for node in objects[:1] if node.user_object.metadata]
