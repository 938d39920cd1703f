"""A new classifier for an anchor whose classes are not the data's; the rules of label spaces.

The head is a logistic regression on the anchor's penultimate features, standardised, with the
standardisation folded into one Dense layer, so that nothing but a Dense and a softmax is added.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.data.splits import Data
from restnet_tf.graph import infer, surgery
from restnet_tf.records import Anchor, RestnetError

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C, smallest first
FOLDS = 3
MAX_IMAGES = 10_000  # of the fit split: beyond, a linear head gains little and waits long
BATCH = 32
ITERATIONS = 500


@dataclass(frozen=True)
class HeadFit:
    """A new head: its weights, what it was fitted on, and how well it does on images that it did not see.

    ``key`` stands for all that decides it; ``kernel`` is ``(features, classes)``. ``penalty`` is
    scikit-learn's C, chosen by cross-validation inside ``images`` fit images (None score: too few images a
    class to validate); ``rank_accuracy`` is of ``rank_images`` images.
    """

    anchor: str
    images: int
    features: int
    classes: int
    penalty: float
    validation_loss: float | None
    rank_images: int
    rank_accuracy: float
    key: str
    kernel: np.ndarray = field(repr=False, compare=False)
    bias: np.ndarray = field(repr=False, compare=False)


def match_labels(
    anchors: Sequence[Anchor],
    data: Data,
    seed: int,
    recall: Callable[[str], HeadFit | None] = lambda key: None,
) -> tuple[tuple[Anchor, ...], tuple[HeadFit, ...]]:
    """Bring all anchors into one label space, the data's where it has labels.

    Classes that agree in number and, where known, in name stay as they are; an anchor with others,
    or none, gets a new head from labelled data, or the one that ``recall`` knows by its key. Raises
    RestnetError where that needs labels that the data does not have.
    """
    if not data.labelled:
        _check_unlabelled(anchors, data)
        return tuple(anchors), ()
    classes, names = data_classes(data)
    fits = []
    matched = []
    for anchor in anchors:
        if not agrees(anchor, classes, names):
            fit = recall(_key(anchor, data, seed)) or fit_head(anchor, data, seed)
            fits.append(fit)
            anchor = with_head(anchor, fit.kernel, fit.bias, names)
        matched.append(anchor)
    return tuple(matched), tuple(fits)


def _check_unlabelled(anchors: Sequence[Anchor], data: Data) -> None:
    for anchor in anchors:
        if anchor.logits is None:
            raise RestnetError(
                f"{anchor.name} has no classifier and {data.name} no labels to fit one; "
                "give labelled data (a sub-folder per class) or a model with its classifier"
            )
    for large, small in itertools.combinations(anchors, 2):
        if not agrees(large, small.classes, small.class_names):
            raise RestnetError(
                f"{large.name} has {large.classes} classes and {small.name} {small.classes}"
                f"{_different_names(large, small)}, and {data.name} has no labels to fit new classifiers: "
                "give labelled data (a sub-folder per class) or anchors of the same classes"
            )


def agrees(anchor: Anchor, classes: int, names: tuple[str, ...] | None) -> bool:
    """Whether an anchor's classes are these, as far as number and names tell."""
    if anchor.logits is None or anchor.classes != classes:
        return False
    return anchor.class_names is None or names is None or plain(anchor.class_names) == plain(names)


def plain(names: Sequence[str]) -> list[str]:
    """Names of classes as they are compared: without case, underscores and hyphens."""
    return [" ".join(name.casefold().replace("_", " ").replace("-", " ").split()) for name in names]


def _different_names(large: Anchor, small: Anchor) -> str:
    if large.classes != small.classes or large.class_names is None or small.class_names is None:
        return ""
    pairs = zip(plain(large.class_names), plain(small.class_names), strict=True)
    i, (one, other) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
    return f" of other names (class {i} is {one!r} in one and {other!r} in the other)"


def data_classes(data: Data) -> tuple[int, tuple[str, ...] | None]:
    """How many classes labelled data tells apart, at least, and their names where it has some."""
    if data.class_names is not None:
        return len(data.class_names), data.class_names
    splits = (data.fit, data.rank, data.test)
    return 1 + max(int(s.labels.max()) for s in splits if s.labels is not None and len(s.labels)), None


def fit_head(anchor: Anchor, data: Data, seed: int) -> HeadFit:
    """Fit a classifier of the data's classes on the anchor's features.

    Uses at most ``MAX_IMAGES`` images of the fit split, drawn by ``seed``, and nothing of the others
    but the accuracy on the rank split. Raises RestnetError without labels, with fewer than two classes
    or with a class that has no image.
    """
    if not data.labelled:
        raise RestnetError(f"{data.name} has no labels to fit a classifier for {anchor.name}")
    classes, names = data_classes(data)
    order = np.sort(np.random.default_rng(seed).permutation(len(data.fit))[:MAX_IMAGES])
    labels = np.asarray(data.fit.labels)[order]
    _check_classes(labels, classes, names, data.name)
    features = extract(anchor, data.fit, order)
    penalty, loss = _choose_penalty(features, labels, classes, seed)
    kernel, bias = dense_weights(features, labels, penalty)
    if not np.isfinite(kernel).all():
        raise RestnetError(f"{anchor.name}: no classifier can be fitted, its features are not finite")
    ranked = np.argmax(extract(anchor, data.rank) @ kernel + bias, axis=1)
    accuracy = float(np.mean(ranked == np.asarray(data.rank.labels))) if len(ranked) else float("nan")
    return HeadFit(
        anchor=anchor.name,
        images=len(labels),
        features=features.shape[1],
        classes=classes,
        penalty=penalty,
        validation_loss=loss,
        rank_images=len(ranked),
        rank_accuracy=accuracy,
        key=_key(anchor, data, seed),
        kernel=kernel,
        bias=bias,
    )


def _key(anchor: Anchor, data: Data, seed: int) -> str:
    inputs = [anchor.sha256, data.sha256, seed, PENALTIES, FOLDS, MAX_IMAGES, ITERATIONS]
    return hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]


def _check_classes(labels: np.ndarray, classes: int, names: tuple[str, ...] | None, where: str) -> None:
    if classes < 2:
        raise RestnetError(f"{where} has only one class; a classifier needs at least two")
    empty = sorted(set(range(classes)) - set(labels.tolist()))
    if empty:
        which = ", ".join(names[i] if names else str(i) for i in empty[:5])
        raise RestnetError(f"{where}: {len(empty)} class(es) have nothing to fit a classifier on: {which}")


def extract(anchor: Anchor, split: Split, order: np.ndarray | None = None) -> np.ndarray:
    """Float32 penultimate features ``(n, d)`` of a split's images, in ``order`` where given."""
    import keras

    run = infer.compiled(keras.Model(anchor.model.inputs[0], anchor.features))
    parts = [run(images).numpy() for images in split.batches(anchor.input_shape, BATCH, order=order)]
    return np.concatenate(parts) if parts else np.zeros((0, anchor.features.shape[-1]), "float32")


def _choose_penalty(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> tuple[float, float | None]:
    """Choose the C of the smallest mean log loss (nats) in stratified cross-validation, and that loss."""
    from sklearn.model_selection import StratifiedKFold

    folds = min(FOLDS, int(np.bincount(labels, minlength=classes).min()))
    if folds < 2:
        return PENALTIES[len(PENALTIES) // 2], None
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, labels)
    losses = np.mean([_losses(features, labels, fit, held) for fit, held in splits], axis=0)
    best = int(np.argmin(losses))
    return PENALTIES[best], float(losses[best])


def _losses(features: np.ndarray, labels: np.ndarray, fit: np.ndarray, held: np.ndarray) -> list[float]:
    """Mean log loss (nats) on the held images for each of ``PENALTIES``, each fit starting at the last."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    mean, spread = _standard(features[fit])
    x = ((features - mean) / spread).astype("float32")
    # Single precision and a loose tolerance do to rank penalties: 9 s, not 274, for 3,000 images.
    model = LogisticRegression(max_iter=ITERATIONS, tol=1e-2, warm_start=True)
    losses = []
    for penalty in PENALTIES:
        model.set_params(C=penalty).fit(x[fit], labels[fit])
        losses.append(float(log_loss(labels[held], model.predict_proba(x[held]), labels=model.classes_)))
    return losses


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float64 mean and spread of each feature; a constant one has spread 1, so it becomes 0."""
    mean, spread = features.mean(0, dtype="float64"), features.std(0, dtype="float64")
    spread[spread < 1e-12 * max(1.0, float(spread.max(initial=0.0)))] = 1.0
    return mean, spread


def dense_weights(features: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Float32 ``(d, classes)`` kernel and ``(classes,)`` bias of a logistic regression on raw features.

    Fitted on standardised features; ``x W / s + b - (m / s) W`` undoes the standardisation. Labels are
    0..classes-1, each present. Two classes get half the one logit of scikit-learn each, of either sign.
    """
    from sklearn.linear_model import LogisticRegression

    mean, spread = _standard(features)
    model = LogisticRegression(C=penalty, max_iter=ITERATIONS).fit((features - mean) / spread, labels)
    kernel, bias = model.coef_.T, model.intercept_
    if len(bias) == 1:
        kernel, bias = np.hstack([-kernel, kernel]) / 2, np.hstack([-bias, bias]) / 2
    kernel = kernel / spread[:, None]
    return kernel.astype("float32"), (bias - mean @ kernel).astype("float32")


def with_head(anchor: Anchor, kernel: np.ndarray, bias: np.ndarray, names: tuple[str, ...] | None) -> Anchor:
    """Give the anchor with ``features -> Dense -> softmax`` in place of its own classifier, if it had one."""
    import keras

    taken = {layer.name for layer in anchor.model.layers}
    with surgery.repeatable():
        dense = keras.layers.Dense(kernel.shape[1], name=_free("head", taken))
        logits: Any = dense(anchor.features)
        probabilities = keras.layers.Activation("softmax", name=_free("head_softmax", taken))(logits)
    dense.set_weights([kernel, bias])
    model = keras.Model(anchor.model.inputs[0], probabilities, name=anchor.model.name)
    return replace(anchor, model=model, logits=logits, class_names=names, sha256=surgery.fingerprint(model))


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_new"
    return name
