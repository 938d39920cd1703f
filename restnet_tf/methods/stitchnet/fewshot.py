"""A handful of labelled images: which ones, in which folds, and how well a head on few features validates.

The head is a logistic regression on features that share one scale: a spread of its own for each, as in ``head``, is a
guess of so few images, and blows up what hardly varies among them (of 32 photos, MobileNetV2 then had 50 % right in
cross-validation, not 56 %). With more features than images the solution lies in the span of the images, so it is
fitted there: the same function in a hundredth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.anchors.head import ITERATIONS
from restnet_tf.data import images
from restnet_tf.data.images import Pixels
from restnet_tf.data.splits import Data
from restnet_tf.data.values import Values
from restnet_tf.records import RestnetError

if TYPE_CHECKING:
    from restnet_tf.data.splits import Split

# Of the fit split, where nothing was said.
IMAGES = 64
# Debiased CKA needs four images, and two a fold are the least that a fold can be held against.
LEAST = 4
FOLDS = 5
NEIGHBOURS = 5
PENALTIES = (1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C, smallest first
_TOLERANCE = 1e-3  # of the fits that only validate


@dataclass(frozen=True)
class Validation:
    """What a head on the few images gives in cross-validation.

    ``right`` says of every image whether the head fitted without its fold is right, ``loss`` is the mean log loss
    (nats) of these heads, ``knn`` the share that the nearest neighbours have right, ``penalty`` scikit-learn's C.
    ``probabilities`` ``(n, classes)`` are what these heads answer.
    """

    right: np.ndarray
    loss: float
    knn: float
    penalty: float
    probabilities: np.ndarray

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(np.mean(self.right))


def choose(data: Data, count: int | None, classes: Sequence[str], seed: int) -> Data:
    """The data with ``count`` images of the fit split for fit and rank, and no class but those named.

    As many of each class as there are, or one more; the seed draws them. Raises ``RestnetError`` for images
    without labels, unknown classes, and fewer than two images of a class.
    """
    if not data.labelled:
        raise RestnetError(
            f"{data.name} has no labels; a net is composed for classes: give a folder with a sub-folder per class"
        )
    data = _of_classes(data, classes)
    labels = np.asarray(data.fit.labels)
    total = 1 + max(int(np.max(s.labels, initial=0)) for s in (data.fit, data.test) if s.labels is not None)
    total = len(data.class_names) if data.class_names else total
    count = min(count or IMAGES, len(labels))
    if count < max(LEAST, 2 * total):
        raise RestnetError(
            f"{count} {data.kind.many} are too few for {total} classes of {data.name}: two of each are needed, and"
            f" {LEAST} in all; raise --images to {max(LEAST, 2 * total)} or more, or name fewer --classes"
        )
    rows = _drawn(labels, total, count, seed)
    counts = np.bincount(labels[rows], minlength=total)
    if counts.min() < 2:
        short = int(counts.argmin())
        raise RestnetError(
            f"{data.name} has {_counted(counts[short], data)} of class {_named(data, short)} to fit; a head needs two"
            " of each class: add some, or leave the class out with --classes"
        )
    few = taken(data.fit, rows)
    return replace(data, fit=few, rank=replace(few, name="rank"))


def taken(split: Split, rows: np.ndarray) -> Split:
    """Some images of a split, in that order."""
    return replace(
        split,
        images=split.images.take(rows),
        labels=None if split.labels is None else np.asarray(split.labels)[rows],
    )


def pixels(split: Split, shape: tuple[int, ...]) -> np.ndarray:
    """All images of a split as uint8 ``(n, h, w, c)``: what ``Split.batches`` gives, without TensorFlow.

    Values that are no photos come as float32 ``(n, *shape)``. Raises RestnetError where their shape is another.
    """
    split.check(shape)
    stored = split.images
    if isinstance(stored, Values):
        return stored.block(np.arange(len(stored))).reshape(-1, *shape)
    if isinstance(stored, Pixels) and stored.array.shape[1:] == tuple(shape):
        return stored.block(np.arange(len(stored)))
    with ThreadPoolExecutor(images.THREADS) as pool:
        size = (shape[0], shape[1], shape[2])
        return np.stack(list(pool.map(lambda row: images.fit(stored.image(row), size), range(len(stored)))))


def folds(labels: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    """Stratified folds of the images: five, or as many as the rarest class has images."""
    from sklearn.model_selection import StratifiedKFold

    count = min(FOLDS, int(np.bincount(labels)[np.unique(labels)].min()))
    splits = StratifiedKFold(count, shuffle=True, random_state=seed).split(labels, labels)
    return tuple(held for _, held in splits)


def validated(features: np.ndarray, labels: np.ndarray, held: Sequence[np.ndarray]) -> Validation:
    """Cross-validate a head on features ``(n, d)``; its penalty is the one of the least log loss.

    Labels are 0..classes-1. The penalty is chosen on the folds that validate it: one number for all of them.
    """
    from sklearn import config_context
    from threadpoolctl import threadpool_limits

    classes = int(labels.max()) + 1
    logs = np.empty((len(PENALTIES), len(labels), classes))
    # Threads take longer to meet than products of so few images take, and twenty fits to look at their parameters.
    with threadpool_limits(1), config_context(skip_parameter_validation=True):
        for fold in held:
            logs[:, fold] = _probabilities(features, labels, fold, classes)
        neighbours = _neighbours(features, labels, held)
    losses = -logs[:, np.arange(len(labels)), labels].mean(axis=1)
    best = int(np.argmin(losses))
    right = logs[best].argmax(axis=1) == labels
    probabilities = np.exp(logs[best]).astype(np.float32)
    return Validation(right, float(losses[best]), neighbours, PENALTIES[best], probabilities)


def head(features: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """The kernel ``(d, classes)`` and the bias of a head on raw features ``(n, d)``, float32."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    x, mean, spread = _scaled(features, np.arange(len(labels)))
    coordinates, axes = _span(x)
    with threadpool_limits(1):
        model = LogisticRegression(C=penalty, max_iter=ITERATIONS).fit(coordinates, labels)
    kernel, bias = axes @ model.coef_.T, model.intercept_
    if len(bias) == 1:  # of two classes: half of the one logit for each, of either sign
        kernel, bias = np.hstack([-kernel, kernel]) / 2, np.hstack([-bias, bias]) / 2
    kernel = kernel / spread
    return kernel.astype("float32"), (bias - mean @ kernel).astype("float32")


def _probabilities(features: np.ndarray, labels: np.ndarray, fold: np.ndarray, classes: int) -> np.ndarray:
    """Log probabilities ``(penalties, len(fold), classes)`` of heads that were fitted without a fold."""
    from sklearn.linear_model import LogisticRegression

    rest = np.setdiff1d(np.arange(len(labels)), fold)
    x, seen = _spanned(features, rest, fold)
    model = LogisticRegression(max_iter=ITERATIONS, tol=_TOLERANCE, warm_start=True)
    answers = np.empty((len(PENALTIES), len(fold), classes))
    for row, penalty in zip(answers, PENALTIES, strict=True):
        model.set_params(C=penalty).fit(x, labels[rest])
        row[:] = np.maximum(model.predict_log_proba(seen), -50.0)
    return answers


def _spanned(features: np.ndarray, rest: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of two sets of images, scaled by the first, in coordinates of its span."""
    x, _, _ = _scaled(features, rest)
    coordinates, axes = _span(x[rest])
    return coordinates, x[fold] @ axes


def _scaled(features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Features less the mean that some rows have, by their one spread, and these two."""
    x = features.astype(np.float64)
    mean = x[rows].mean(axis=0)
    x = x - mean
    spread = float(np.sqrt(np.mean(x[rows] ** 2))) or 1.0
    return x / spread, mean, spread


def _span(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in coordinates of their own span ``(n, r)``, and its axes ``(d, r)``."""
    squares, sides = np.linalg.eigh(x @ x.T)
    there = squares > 1e-10 * max(float(squares.max(initial=0.0)), 1e-30)
    if not there.any():
        return np.zeros((len(x), 1)), np.zeros((x.shape[1], 1))
    sizes, sides = np.sqrt(squares[there]), sides[:, there]
    return sides * sizes, x.T @ (sides / sizes)


def _neighbours(features: np.ndarray, labels: np.ndarray, held: Sequence[np.ndarray]) -> float:
    """The share of images that their nearest neighbours in the other folds have right: the paper's head."""
    from sklearn.neighbors import KNeighborsClassifier

    right = 0
    for fold in held:
        rest = np.setdiff1d(np.arange(len(labels)), fold)
        model = KNeighborsClassifier(min(NEIGHBOURS, len(rest))).fit(features[rest], labels[rest])
        right += int(np.sum(model.predict(features[fold]) == labels[fold]))
    return right / len(labels)


def _of_classes(data: Data, classes: Sequence[str]) -> Data:
    """The data with the named classes alone, numbered in that order."""
    if not classes:
        return data
    names = data.class_names or tuple(str(i) for i in range(1 + int(np.max(np.asarray(data.fit.labels)))))
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise RestnetError(f"{data.name} has no class {unknown[0]!r}; its classes are: {', '.join(names)}")
    if len(set(classes)) < max(2, len(classes)):
        raise RestnetError(f"--classes {','.join(classes)}: name two different classes or more")
    numbers = {names.index(name): number for number, name in enumerate(classes)}

    def limited(split: Split) -> Split:
        labels = np.asarray(split.labels)
        rows = np.flatnonzero(np.isin(labels, list(numbers)))
        part = taken(split, rows)
        return replace(part, labels=np.array([numbers[i] for i in labels[rows].tolist()], np.int64))

    parts = {name: limited(getattr(data, name)) for name in ("fit", "rank", "test")}
    if not len(parts["test"]):
        raise RestnetError(f"{data.name} has no test {data.kind.one} of {', '.join(classes)}; name other --classes")
    return replace(data, fit=parts["fit"], rank=parts["rank"], test=parts["test"], class_names=tuple(classes))


def _drawn(labels: np.ndarray, classes: int, count: int, seed: int) -> np.ndarray:
    """Rows of so many images, class by class in turns, in the order of the split."""
    order = np.random.default_rng(seed).permutation(len(labels))
    queues = [[row for row in order if labels[row] == c] for c in range(classes)]
    drawn: list[int] = []
    depth = 0
    while len(drawn) < count:
        drawn += [queue[depth] for queue in queues if depth < len(queue)]
        depth += 1
    return np.sort(np.array(drawn[:count]))


def _named(data: Data, number: int) -> str:
    return data.class_names[number] if data.class_names else str(number)


def _counted(count: int, data: Data) -> str:
    return f"{count or 'no'} {data.kind.one if count == 1 else data.kind.many}"
