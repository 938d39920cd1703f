"""Published Vision Transformer weights: timm's state dicts, read from files, put into our graph.

The names are those of timm's ``vision_transformer.py`` (``blocks.0.attn.qkv.weight``), which DeiT's own
checkpoints share.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.anchors import pretrained
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

    from restnet_tf.anchors.applications import Spec

SUFFIXES = (".npz", ".safetensors", ".pth", ".pt")
_HEAD_WIDTH = 64  # of every published ViT and DeiT
# Every name that a plain ViT may have.
_PLAIN = re.compile(
    r"cls_token|pos_embed|(patch_embed\.proj|norm|head)\.(weight|bias)"
    r"|blocks\.\d+\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)"
)

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Shape:
    """What the weights alone say of the network that they belong to; ``grid`` is None where not square."""

    width: int
    depth: int
    patch: int
    expansion: int
    pooling: str
    classes: int
    grid: int | None


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by timm's names; raises ``RestnetError`` where it cannot be read."""
    if not path.is_file():
        raise RestnetError(f"no weight file {path}")
    readers = {".npz": _npz, ".safetensors": _safetensors, ".pth": _torch, ".pt": _torch}
    if path.suffix not in readers:
        raise RestnetError(f"{path}: weights of a ViT come as one of {', '.join(readers)}")
    try:
        state = readers[path.suffix](path)
    except RestnetError:
        raise
    except Exception as error:  # three libraries, each with errors of its own
        raise RestnetError(f"{path} cannot be read as {path.suffix}: {type(error).__name__}: {error}") from error
    return {name: np.asarray(value, np.float32) for name, value in state.items()}


def described(state: State, path: Path | str) -> Shape:
    """What the weights say of their network; raises ``RestnetError`` where they are of no plain ViT."""
    needed = ("patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight", "norm.weight")
    missing = [name for name in needed if name not in state]
    if missing:
        raise RestnetError(f"{path} holds no weights of a ViT by timm's names: {', '.join(missing)} not there")
    if "dist_token" in state:
        raise RestnetError(
            f"{path} is a distilled DeiT with two class tokens, which is not supported; take the plain one"
        )
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    depth = 1 + max(int(m.group(1)) for name in state if (m := re.match(r"blocks\.(\d+)\.", name)))
    places = state["pos_embed"].shape[1] - _class_places(state)
    grid = isqrt(places) if isqrt(places) ** 2 == places else None
    return Shape(
        width=width,
        depth=depth,
        patch=patch,
        expansion=state["blocks.0.mlp.fc1.weight"].shape[0] // width,
        pooling="token" if "cls_token" in state else "mean",
        classes=len(state["head.weight"]) if "head.weight" in state else 0,
        grid=grid,
    )


def fitted_options(shape: Shape, spec: Spec, name: str) -> dict[str, Any]:
    """The options of ``vit.network`` that suit the weights; raises ``RestnetError`` where those asked for do not."""
    options: dict[str, Any] = {
        part: getattr(shape, part) for part in ("width", "depth", "patch", "expansion", "pooling")
    }
    options |= {"heads": max(1, shape.width // _HEAD_WIDTH), "include_top": shape.classes > 0}
    if shape.classes:
        options["classes"] = shape.classes
    for key, value in spec.options.items():
        if key in ("heads", "input", "epsilon"):
            continue
        if options.get(key, value) != value:
            raise RestnetError(f"{name} holds weights of {key}={options[key]}, not {key}={value}")
    side = spec.side or (shape.grid * shape.patch if shape.grid else None)
    if side is None:
        raise RestnetError(f"{name} was made for images that are not square; say the size, as in input=224")
    return options | {k: spec.options[k] for k in ("heads", "epsilon") if k in spec.options} | {"input": side}


def assign(model: keras.Model, state: State, name: str) -> None:
    """Put the weights into a network of ``vit.network``; raises ``RestnetError`` where they do not fit.

    Position embeddings made for another grid are resampled (bicubic, antialiased, as timm does).
    """
    values = _by_layer(state, model)
    strange = sorted(key for key in state if not _PLAIN.fullmatch(key))
    if strange:
        raise RestnetError(
            f"{name} is of another architecture: {pretrained.some(strange)} have no place in a plain ViT"
        )
    for layer in model.layers:
        if not layer.weights:
            continue
        arrays, shapes = values[layer.name], [tuple(w.shape) for w in layer.weights]
        if [a.shape for a in arrays] != shapes:
            raise RestnetError(
                f"{name} is of another architecture: {layer.name} has {[a.shape for a in arrays]}"
                f" in the file and {shapes} in the model"
            )
        layer.set_weights(arrays)


def _by_layer(state: State, model: keras.Model) -> dict[str, list[np.ndarray]]:
    """The arrays of every layer of ours that has weights, in the layer's order."""
    h, w = model.get_layer("patches").output.shape[1:3]
    arrays = {
        "patches": [state["patch_embed.proj.weight"].transpose(2, 3, 1, 0), state["patch_embed.proj.bias"]],
        "embed": [_positions(state, (h, w))],
        "norm": [state["norm.weight"], state["norm.bias"]],
    }
    if "head.weight" in state:
        arrays["head"] = _dense(state, "head")
    for block in range(sum(layer.name.endswith(".attend") for layer in model.layers)):
        theirs, ours = f"blocks.{block}", f"block{block + 1}"
        heads = model.get_layer(f"{ours}.attend").num_heads
        for norm in ("norm1", "norm2"):
            arrays[f"{ours}.{norm}"] = [state[f"{theirs}.{norm}.weight"], state[f"{theirs}.{norm}.bias"]]
        arrays[f"{ours}.attend"] = _attention(state, theirs, heads)
        arrays[f"{ours}.widen"] = _dense(state, f"{theirs}.mlp.fc1")
        arrays[f"{ours}.narrow"] = _dense(state, f"{theirs}.mlp.fc2")
    return arrays


def _attention(state: State, block: str, heads: int) -> list[np.ndarray]:
    """Kernels and biases of query, key, value and output, in Keras' order; the first three are one in timm."""
    joint, width = state[f"{block}.attn.qkv.weight"], state[f"{block}.attn.proj.weight"].shape[0]
    offsets = state.get(f"{block}.attn.qkv.bias")
    offsets = np.zeros(len(joint), np.float32) if offsets is None else offsets
    arrays = []
    for kernel, bias in zip(np.split(joint, 3), np.split(offsets, 3), strict=True):
        arrays += [kernel.T.reshape(width, heads, -1), bias.reshape(heads, -1)]
    out = state[f"{block}.attn.proj.weight"].T.reshape(heads, -1, width)
    return [*arrays, out, state[f"{block}.attn.proj.bias"]]


def _dense(state: State, name: str) -> list[np.ndarray]:
    return [state[f"{name}.weight"].T, state[f"{name}.bias"]]


def _positions(state: State, grid: tuple[int, int]) -> np.ndarray:
    """The table of what is added at each place, the class token itself among it ``(t, c)``."""
    import tensorflow as tf

    table, count = state["pos_embed"][0], _class_places(state)
    head, places = table[:count], table[count:]
    if len(places) != grid[0] * grid[1]:
        side = isqrt(len(places))
        square = places.reshape(1, side, side, -1)
        places = np.asarray(tf.image.resize(square, grid, method="bicubic", antialias=True))[0].reshape(
            -1, table.shape[1]
        )
    if "cls_token" not in state:
        return places
    token = state["cls_token"][0] + (head if count else 0)
    return np.concatenate([token, places])


def _class_places(state: State) -> int:
    """How many places of the position table are the class token's: timm has tables with and without it."""
    count = state["pos_embed"].shape[1]
    has_token = "cls_token" in state
    return int(has_token and isqrt(count) ** 2 != count)


def _npz(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise RestnetError(f"{path} is no .npz file")
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors.numpy import load_file
    except ImportError:
        raise RestnetError(f"{path} needs the library safetensors: pip install 'restnet-tf[vit]'") from None
    return dict(load_file(path))


def _torch(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        raise RestnetError(f"{path} needs PyTorch to be read: pip install torch, or save it as .safetensors") from None
    try:
        # Weights alone: a pickle may otherwise run code.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RestnetError(
            f"{path} is no PyTorch file of weights alone; whatever else it holds is not loaded"
        ) from None
    content = content.get("model", content.get("state_dict", content))
    return {name: value.float().numpy() for name, value in content.items()}
