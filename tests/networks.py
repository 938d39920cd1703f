"""Small seeded networks and images that the tests share; built in code, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from restnet_tf.data.images import Pixels
from restnet_tf.data.splits import Split
from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Cut

layers = keras.layers
CLASSES = 3
SIDE = 8


def images(n: int = 40, *, side: int = SIDE, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Raw images ``(n, side, side, channels)`` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), np.uint8)


def split(n: int = 40, *, side: int = SIDE, channels: int = 3, labelled: bool = True, seed: int = 0) -> Split:
    """A fit split of noise; label i is i modulo the classes."""
    labels = np.arange(n) % CLASSES if labelled else None
    return Split("fit", Pixels(images(n, side=side, channels=channels, seed=seed), np.arange(n)), labels)


def block(x: Any, width: int, name: str, stride: int = 1, convolutions: int = 2) -> Any:
    """A residual block that ends in the ReLU ``name``; of one convolution, a build takes half as long."""
    y = layers.Conv2D(width, 3, strides=stride, padding="same", name=f"{name}.conv1")(x)
    y = layers.BatchNormalization(name=f"{name}.norm1")(y)
    for i in range(2, convolutions + 1):
        y = layers.Conv2D(width, 3, padding="same", name=f"{name}.conv{i}")(layers.ReLU(name=f"{name}.relu{i - 1}")(y))
        y = layers.BatchNormalization(name=f"{name}.norm{i}")(y)
    if stride > 1 or x.shape[-1] != width:
        x = layers.Conv2D(width, 1, strides=stride, name=f"{name}.down")(x)
    return layers.ReLU(name=f"{name}.out")(layers.Add(name=f"{name}.add")([x, y]))


def anchor(
    widths: tuple[int, ...] = (4, 6),
    blocks: int = 1,
    *,
    convolutions: int = 2,
    side: int = SIDE,
    channels: int = 3,
    seed: int = 0,
    name: str = "net",
) -> Anchor:
    """A residual anchor with random weights and statistics; stage ``s`` block ``b`` ends in ``s.b.out``."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((side, side, channels), name="image")
    x = layers.Rescaling(1 / 255, name="rescale")(image)
    x = layers.ReLU(name="stem")(layers.Conv2D(widths[0], 3, padding="same", name="stem.conv")(x))
    for s, width in enumerate(widths):
        for b in range(blocks):
            x = block(x, width, f"{s}.{b}", 2 if s and not b else 1, convolutions)
    features = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(CLASSES, name="logits")(features)
    model = keras.Model(image, layers.Softmax(name="probabilities")(logits), name=name)
    stirred(model, seed)
    return Anchor(name, model, logits, features, tuple("abc"), name)


def stirred(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model, its norms' statistics, scales and shifts and all biases away from their neutral start."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1:
            positive = weight.path.endswith(("gamma", "moving_variance"))
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.2, weight.shape))
    return model


def pair(blocks: int = 3, convolutions: int = 2) -> tuple[dict[str, Anchor], dict[str, tuple[Cut, ...]]]:
    """A large anchor, of so many blocks a stage, and a small one by role, and their cuts."""
    anchors = {
        "large": anchor((6, 10), blocks, convolutions=convolutions, seed=1, name="large"),
        "small": anchor((4, 6), 1, convolutions=convolutions, seed=2, name="small"),
    }
    return anchors, {role: cuts.find(a.model) for role, a in anchors.items()}


def decisive(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """The classes ``(n,)`` of images by a network that is changed so that it answers them differently, and surely."""
    logits = np.log(forward(model, x) + 1e-9)
    classifier = model.layers[-2]  # a softmax stands behind it
    kernel, bias = classifier.get_weights()
    classifier.set_weights([4 * kernel, 4 * (bias - logits.mean(axis=0))])
    return forward(model, x).argmax(axis=1)


def forward(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """The model's outputs at inference."""
    return np.asarray(model(np.asarray(x, np.float32), training=False))


class Ends(NamedTuple):
    """What an anchor gives for images: ``(n, classes)``, ``(n, c)``, and the model's own answers ``(n, classes)``."""

    logits: np.ndarray
    features: np.ndarray
    answers: np.ndarray


def checked_ends(anchor: Anchor, x: np.ndarray) -> Ends:
    """Logits give the output; the features lie on the way to them, and the logits are affine in them."""
    model = keras.Model(anchor.model.inputs[0], [anchor.logits, anchor.features, anchor.model.outputs[0]])
    ends = Ends(*(np.asarray(t) for t in model(np.asarray(x, np.float32), training=False)))
    logits, features, answers = ends
    assert logits.shape == (len(x), anchor.classes)
    assert features.shape == (len(x), anchor.features.shape[-1])
    np.testing.assert_array_equal(keras.ops.softmax(logits), answers)
    rest = keras.Model(anchor.features, anchor.logits)
    np.testing.assert_allclose(forward(rest, features), logits, rtol=1e-5, atol=1e-6)
    a, b = forward(rest, features * 0), forward(rest, features * 2)
    np.testing.assert_allclose(b - a, 2 * (logits - a), rtol=1e-4, atol=1e-5)
    return ends


def cuts_of(sizes: Sequence[int], channels: int | Sequence[int] = 4, kind: str = "grid") -> tuple[Cut, ...]:
    """A cut for each size, of so many channels; something is computed on either side of each."""
    widths = [channels] * len(sizes) if isinstance(channels, int) else channels
    made = []
    for i, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        shape = {"grid": (size, size, width), "tokens": (size * size, width), "vector": (width,)}[kind]
        grid = (size, size) if kind == "tokens" else None
        made.append(Cut(f"block{i}", i, kind, shape, (None, None), 10 * (i + 1), 10 * (len(sizes) - i), 0, 0, grid))
    return tuple(made)
