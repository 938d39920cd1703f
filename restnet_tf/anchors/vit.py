"""Vision Transformers (Dosovitskiy et al. 2020) and DeiT (Touvron et al. 2021) as functional graphs.

Built of Keras layers one by one, so that surgery sees every block; the backbones of keras-hub hold
theirs inside one layer, where no cut can be made. The graph is that of timm's ``vit_*`` and ``deit_*``:
norms in front, GELU between the two dense layers, a last norm, the class token or the mean read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    import keras

EPSILON = 1e-6  # of the norms, in timm and in the papers' own code
_SIZES = {"Tiny": (192, 3), "Small": (384, 6), "Base": (768, 12)}
# By the family's name: the preprocessing of the published weights.
MODES = {"ViT": "-1to1", "DeiT": "imagenet"}


def network(
    weights: None = None,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    include_top: bool = True,
    classes: int = 1000,
    patch: int = 16,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    expansion: int = 4,
    pooling: str = "token",
    epsilon: float = EPSILON,
    name: str = "vit",
) -> keras.Model:
    """An untrained network from preprocessed images ``(n, h, w, c)`` to probabilities, or to features.

    ``pooling`` is "token" (a class token is read) or "mean" (there is none). Cuts are the embedded
    tokens ``embed``, both halves of every block (``block1.attention``, ``block1.out``) and ``norm``.
    Raises ``RestnetError`` where the numbers do not go together.
    """
    import keras
    from keras import layers

    from restnet_tf.graph.tokens import PositionBias

    h, w, _ = input_shape
    if h % patch or w % patch:
        raise RestnetError(f"images of {h}x{w} do not divide into patches of {patch}x{patch}; give another input")
    if width % heads:
        raise RestnetError(f"a width of {width} does not divide into {heads} heads")
    if pooling not in ("token", "mean"):
        raise RestnetError(f"unknown pooling {pooling!r}; it is 'token' or 'mean'")
    assert weights is None  # published ones are assigned afterwards
    image = keras.Input(input_shape, name="image")
    x = layers.Conv2D(width, patch, strides=patch, name="patches")(image)
    x = layers.Reshape((h // patch * (w // patch), width), name="rows")(x)
    if pooling == "token":
        x = layers.ZeroPadding1D((1, 0), name="class_place")(x)
    x = PositionBias(name="embed")(x)
    for block in range(1, depth + 1):
        x = _block(x, heads, expansion, epsilon, f"block{block}")
    x = _norm(epsilon, "norm")(x)
    if pooling == "token":
        x = layers.Cropping1D((0, x.shape[1] - 1), name="class_alone")(x)
        x = layers.Flatten(name="class_token")(x)
    else:
        x = layers.GlobalAveragePooling1D(name="mean")(x)
    if include_top:
        x = layers.Dense(classes, name="head")(x)
        x = layers.Activation("softmax", name="probabilities")(x)
    return keras.Model(image, x, name=name)


def constructors() -> dict[str, Callable[..., keras.Model]]:
    """All names of this module's networks; ``ViT`` and ``DeiT`` take any width, depth and heads."""
    networks: dict[str, Callable[..., keras.Model]] = dict.fromkeys(MODES, network)
    return networks | {f"{family}{size}": _sized(size) for family in MODES for size in _SIZES}


def family(base: str) -> str | None:
    """``ViT`` or ``DeiT`` for a name of ``constructors``, None for any other."""
    return next((f for f in MODES if base == f or base.removeprefix(f) in _SIZES), None)


def sizes(base: str) -> dict[str, int]:
    """Width and heads that a name of ``constructors`` stands for; none for those that take any."""
    size = _SIZES.get(base.removeprefix(family(base) or ""))
    return {"width": size[0], "heads": size[1]} if size else {}


def _sized(size: str) -> Callable[..., keras.Model]:
    width, heads = _SIZES[size]

    def build(
        weights: None = None,
        input_shape: tuple[int, int, int] = (224, 224, 3),
        include_top: bool = True,
        classes: int = 1000,
        patch: int = 16,
        pooling: str = "token",
    ) -> keras.Model:
        return network(weights, input_shape, include_top, classes, patch, width, heads=heads, pooling=pooling)

    return build


def _block(x: Any, heads: int, expansion: int, epsilon: float, name: str) -> Any:
    from keras import layers

    width = x.shape[-1]
    attention = layers.MultiHeadAttention(heads, width // heads, name=f"{name}.attend")
    y = _norm(epsilon, f"{name}.norm1")(x)
    x = layers.Add(name=f"{name}.attention")([x, attention(y, y)])
    y = layers.Dense(expansion * width, name=f"{name}.widen")(_norm(epsilon, f"{name}.norm2")(x))
    y = layers.Activation("gelu", name=f"{name}.gelu")(y)
    return layers.Add(name=f"{name}.out")([x, layers.Dense(width, name=f"{name}.narrow")(y)])


def _norm(epsilon: float, name: str) -> Any:
    from keras import layers

    return layers.LayerNormalization(epsilon=epsilon, name=name)
