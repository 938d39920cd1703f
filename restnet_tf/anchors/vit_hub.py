"""Vision Transformers of keras-hub: their weights by timm's names, for our graph.

keras-hub downloads its presets where there is a network; a folder that ``save_to_preset`` wrote works
without one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from restnet_tf.anchors import pretrained
from restnet_tf.records import RestnetError

PREFIX = "hub:"


def load(preset: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The weights of a ViT classifier, and the options of ``vit.network`` that they do not tell.

    ``preset`` is keras-hub's name, as in ``vit_base_patch16_224_imagenet``, or a folder. Raises
    ``RestnetError`` where keras-hub is not installed, cannot load it, or loads something else.
    """
    try:
        import keras_hub
    except ImportError:
        raise RestnetError(f"{PREFIX}{preset} needs keras-hub: pip install 'restnet-tf[vit]'") from None
    try:
        classifier = keras_hub.models.ImageClassifier.from_preset(preset)
    except Exception as error:  # of a download, a file, a version: whatever keras-hub meets
        raise RestnetError(f"keras-hub cannot load {preset}: {pretrained.first_line(error)}") from error
    if type(classifier) is not keras_hub.models.ViTImageClassifier or classifier.pooling != "token":
        raise RestnetError(f"{preset} is a {type(classifier).__name__}; a ViT that reads its class token is needed")
    _check_preprocessing(classifier, preset)
    backbone = classifier.backbone
    return _state(classifier), {"heads": backbone.num_heads, "epsilon": backbone.layer_norm_epsilon}


def _check_preprocessing(classifier: Any, preset: str) -> None:
    """Refuse images that are not brought to -1..1, as all published ViTs of keras-hub are."""
    converter = getattr(classifier.preprocessor, "image_converter", None)
    if converter is None:
        return
    scale, offset = (
        np.asarray(v if v is not None else default) for v, default in ((converter.scale, 1.0), (converter.offset, 0.0))
    )
    if not (np.allclose(scale, 1 / 127.5) and np.allclose(offset, -1)):
        raise RestnetError(f"{preset} scales images by {scale.tolist()} and {offset.tolist()}, not to -1..1")


def _state(classifier: Any) -> dict[str, np.ndarray]:
    embedding = classifier.backbone.get_layer("vit_patching_and_embedding")
    encoder = classifier.backbone.get_layer("vit_encoder")
    state = {
        "patch_embed.proj.weight": _value(embedding.patch_embedding.kernel).transpose(3, 2, 0, 1),
        "patch_embed.proj.bias": _value(embedding.patch_embedding.bias),
        "cls_token": _value(embedding.class_token),
        "pos_embed": _value(embedding.position_embedding.embeddings)[None],
        **_norm("norm", encoder.layer_norm),
        **_dense("head", classifier.output_dense),
    }
    for index, block in enumerate(encoder.encoder_layers):
        name = f"blocks.{index}"
        state |= _norm(f"{name}.norm1", block.layer_norm_1) | _norm(f"{name}.norm2", block.layer_norm_2)
        state |= _dense(f"{name}.mlp.fc1", block.mlp.dense_1) | _dense(f"{name}.mlp.fc2", block.mlp.dense_2)
        parts = [block.mha.query_dense, block.mha.key_dense, block.mha.value_dense]
        kernels = [_value(part.kernel) for part in parts]
        state[f"{name}.attn.qkv.weight"] = np.concatenate([k.reshape(len(k), -1).T for k in kernels])
        state[f"{name}.attn.qkv.bias"] = np.concatenate([_value(part.bias).ravel() for part in parts])
        out = _value(block.mha.output_dense.kernel)
        state[f"{name}.attn.proj.weight"] = out.reshape(-1, out.shape[-1]).T
        state[f"{name}.attn.proj.bias"] = _value(block.mha.output_dense.bias)
    return state


def _norm(name: str, layer: Any) -> dict[str, np.ndarray]:
    return {f"{name}.weight": _value(layer.gamma), f"{name}.bias": _value(layer.beta)}


def _dense(name: str, layer: Any) -> dict[str, np.ndarray]:
    return {f"{name}.weight": _value(layer.kernel).T, f"{name}.bias": _value(layer.bias)}


def _value(variable: Any) -> np.ndarray:
    return np.asarray(variable, np.float32)
