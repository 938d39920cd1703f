"""A few images: drawn alike from all classes, refused where they are too few, and heads that validate honestly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networks
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_info, threadpool_limits

from restnet_tf.data.images import Pixels
from restnet_tf.data.splits import Data, Split
from restnet_tf.methods.stitchnet import fewshot
from restnet_tf.records import RestnetError

NAMES = ("ant", "bee", "cat")


def data(counts: tuple[int, ...] = (20, 12, 9), labelled: bool = True) -> Data:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))

    def split(name: str, seed: int) -> Split:
        return Split(name, Pixels(networks.images(len(labels), seed=seed), np.arange(len(labels))), labels)

    whole = Data("zoo", split("fit", 0), split("rank", 1), split("test", 2), NAMES[: len(counts)], "0")
    if labelled:
        return whole
    bare = {name: replace(getattr(whole, name), labels=None) for name in ("fit", "rank", "test")}
    return replace(whole, **bare, class_names=None)


def test_as_many_of_each_class_drawn_by_the_seed():
    few = fewshot.choose(data(), 10, (), seed=0)
    assert sorted(np.bincount(few.fit.labels)) == [3, 3, 4]
    assert len(few.rank) == 10
    assert len(few.test) == 41
    again, other = (fewshot.choose(data(), 10, (), seed=seed) for seed in (0, 1))
    rows = [found.fit.images.rows.tolist() for found in (few, again, other)]
    assert rows[0] == rows[1] != rows[2]


def test_a_rare_class_gives_all_it_has():
    few = fewshot.choose(data((20, 2, 9)), 12, (), seed=0)
    assert np.bincount(few.fit.labels).tolist() == [5, 2, 5]


def test_without_a_number_all_up_to_64():
    assert len(fewshot.choose(data(), None, (), 0).fit) == 41
    assert len(fewshot.choose(data((60, 60, 60)), None, (), 0).fit) == 64


def test_classes_are_numbered_as_named():
    few = fewshot.choose(data(), 8, ("cat", "ant"), seed=0)
    assert few.class_names == ("cat", "ant")
    assert set(few.fit.labels) == {0, 1}
    whole = data()
    cats = int(np.sum(whole.test.labels == 2))
    assert int(np.sum(few.test.labels == 0)) == cats
    row = few.test.images.rows[np.flatnonzero(few.test.labels == 0)[0]]
    assert whole.test.labels[row] == 2


@pytest.mark.parametrize(
    ("given", "count", "classes", "words"),
    [
        (data(labelled=False), 10, (), "no labels"),
        (data(), 3, (), "3 images are too few for 3 classes"),
        (data(), 3, ("ant", "bee"), "raise --images to 4"),
        (data((20, 1, 9)), 12, (), "1 image of class bee"),
        (data((20, 0, 9)), 12, (), "no images of class bee"),
        (data(), 10, ("ant", "dog"), "no class 'dog'; its classes are: ant, bee, cat"),
        (data(), 10, ("ant",), "two different classes"),
        (data(), 10, ("ant", "ant"), "two different classes"),
    ],
)
def test_what_cannot_be_composed_of(given, count, classes, words):
    with pytest.raises(RestnetError, match=words):
        fewshot.choose(given, count, classes, seed=0)


def test_pixels_are_those_of_batches():
    split = networks.split(5, side=12)
    for shape in ((12, 12, 3), (8, 6, 3), (8, 8, 1)):
        wanted = np.concatenate([np.asarray(x) for x in split.batches(shape, 2)])
        found = fewshot.pixels(split, shape)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted)


def drawn(width: int, n: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3)
    return (rng.normal(size=(n, width)) + 0.8 * np.eye(3, width)[labels] * 3).astype(np.float32), labels


@pytest.mark.parametrize("width", [4, 300])
def test_a_head_in_the_span_of_the_images_is_the_head(width):
    """scikit-learn's own logistic regression on features of one scale, fold by fold and penalty by penalty."""
    features, labels = drawn(width)
    held = fewshot.folds(labels, 0)
    found = fewshot.validated(features, labels, held)
    losses = []
    for penalty in fewshot.PENALTIES:
        answers = np.empty((len(labels), 3))
        for fold in held:
            rest = np.setdiff1d(np.arange(len(labels)), fold)
            mean = features[rest].mean(axis=0)
            spread = np.sqrt(np.mean((features[rest] - mean) ** 2))
            model = LogisticRegression(C=penalty, max_iter=5000, tol=1e-8)
            model.fit((features[rest] - mean) / spread, labels[rest])
            answers[fold] = model.predict_proba((features[fold] - mean) / spread)
        losses.append(log_loss(labels, answers / answers.sum(axis=1, keepdims=True)))
        if penalty == found.penalty:
            assert np.mean((answers.argmax(axis=1) == labels) == found.right) > 0.95
    assert found.loss == pytest.approx(min(losses), abs=1e-2)
    assert losses[fewshot.PENALTIES.index(found.penalty)] == pytest.approx(min(losses), abs=1e-2)


@pytest.mark.parametrize(("width", "classes"), [(4, 3), (300, 3), (300, 2)])
def test_a_head_as_a_dense_layer_is_scikit_learns(width, classes):
    features, labels = drawn(width)
    labels = labels % classes
    kernel, bias = fewshot.head(features, labels, 0.1)
    mean = features.mean(axis=0)
    spread = np.sqrt(np.mean((features - mean) ** 2))
    model = LogisticRegression(C=0.1, max_iter=5000, tol=1e-8).fit((features - mean) / spread, labels)
    wanted = model.predict_proba((features - mean) / spread)
    logits = features @ kernel + bias
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_neighbours_are_scikit_learns():
    features, labels = drawn(6)
    held = fewshot.folds(labels, 0)
    right = 0
    for fold in held:
        rest = np.setdiff1d(np.arange(len(labels)), fold)
        model = KNeighborsClassifier(5).fit(features[rest], labels[rest])
        right += np.sum(model.predict(features[fold]) == labels[fold])
    assert fewshot.validated(features, labels, held).knn == right / len(labels)


def test_noise_validates_as_noise():
    labels = np.arange(30) % 3
    noise = np.random.default_rng(0).normal(size=(30, 500))
    found = fewshot.validated(noise, labels, fewshot.folds(labels, 0))
    assert found.accuracy < 0.65
    assert found.loss > 0.9


def test_constant_features_have_a_head_too():
    labels = np.arange(12) % 3
    found = fewshot.validated(np.ones((12, 5)), labels, fewshot.folds(labels, 0))
    assert found.loss == pytest.approx(np.log(3), abs=0.05)


def test_folds_hold_every_image_once():
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2])
    held = fewshot.folds(labels, 0)
    assert len(held) == 2
    assert sorted(np.concatenate(held).tolist()) == list(range(9))


def test_threads_need_not_meet_for_a_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, neighbours = set[int](), fewshot._neighbours

    def heard(*given: Any) -> float:
        threads.update(pool["num_threads"] for pool in threadpool_info())
        return neighbours(*given)

    monkeypatch.setattr(fewshot, "_neighbours", heard)
    labels = np.arange(12) % 3
    with threadpool_limits(2):
        fewshot.validated(np.ones((12, 5)), labels, fewshot.folds(labels, 0))
    assert threads == {1}
