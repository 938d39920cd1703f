"""New classifiers: the folded logistic regression and the rules of label spaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import needs
import numpy as np
import paths
import pytest

from restnet_tf.anchors import head, zoo
from restnet_tf.data.splits import Data
from restnet_tf.records import Anchor, RestnetError
from restnet_tf.run.directory import Run

keras = pytest.importorskip("keras")
layers = keras.layers

SHARED = paths.SHARED
SIDE = 8


@dataclass(frozen=True)
class Split:
    """The part of a split that heads use, over images in memory."""

    images: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, shape: tuple, batch: int, order: np.ndarray | None = None) -> Iterator[np.ndarray]:
        assert self.images.shape[1:] == shape
        rows = np.arange(len(self)) if order is None else order
        for i in range(0, len(rows), batch):
            yield self.images[rows[i : i + batch]]


def split(n: int, classes: int, seed: int, labelled: bool = True) -> Split:
    """Images whose class is the hue that prevails, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    hues = np.random.default_rng(99).uniform(40, 200, (classes, 3))
    x = hues[labels][:, None, None] + rng.normal(0, 40, (n, SIDE, SIDE, 3))
    return Split(np.clip(x, 0, 255).astype("float32"), labels.astype("int64") if labelled else None)


def data(classes: int = 3, n: int = 90, labelled: bool = True, names: tuple[str, ...] | None = None) -> Data:
    parts: list[Any] = [split(n, classes, seed, labelled) for seed in (0, 1, 2)]
    return Data("hues", *parts, class_names=names, sha256="-")


def anchor(folder: Path, classes: int | None = 5, seed: int = 0, names: tuple[str, ...] | None = None) -> Anchor:
    """A random network over 0..255, with or without classifier; one dead feature."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(12, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    if classes is not None:
        x = layers.Dense(classes, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(seed)
    values = [rng.normal(0, 0.5, w.shape) for w in model.get_weights()]
    values[0][..., 3], values[1][3] = 0, 0
    model.set_weights(values)
    model.save(folder / f"net{seed}.keras")
    return replace(zoo.load(str(folder / f"net{seed}.keras")), class_names=names)


@pytest.fixture
def two_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    """To choose from: each is a fit of every fold."""
    monkeypatch.setattr(head, "PENALTIES", (1e-3, 1.0))


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_dense_weights_are_scikit_learns_probabilities(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    labels = np.arange(120) % classes
    x = (rng.normal(0, 1, (120, 7)) + rng.normal(0, 1, (classes, 7))[labels]) * 10.0 ** np.arange(-3, 4) + 5
    x[:, 2] = 4.0
    kernel, bias = head.dense_weights(x, labels, 0.1)
    scaled = StandardScaler().fit_transform(x)
    expected = LogisticRegression(C=0.1, max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    logits = x @ kernel.astype("float64") + bias
    ours = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(ours, expected, atol=2e-3)
    assert kernel.dtype == bias.dtype == np.float32


@pytest.mark.usefixtures("two_penalties")
@pytest.mark.parametrize("classes", [5, None])
def test_a_new_head_classifies_and_leaves_the_rest_alone(tmp_path: Path, classes: int | None) -> None:
    old, images = anchor(tmp_path, classes), data(names=("a", "b", "c"))
    fit = head.fit_head(old, images, seed=0)
    new = head.with_head(old, fit.kernel, fit.bias, images.class_names)
    assert new.classes == fit.classes == 3
    assert new.class_names == ("a", "b", "c")
    assert new.sha256 != old.sha256
    assert (fit.images, fit.rank_images, fit.features) == (90, 90, 12)
    assert fit.penalty in head.PENALTIES
    assert fit.validation_loss is not None
    x = images.rank.images
    chosen = np.argmax(np.asarray(new.model(x)), axis=1)
    assert np.mean(chosen == images.rank.labels) == pytest.approx(fit.rank_accuracy)
    assert fit.rank_accuracy > 0.9
    ends = keras.Model(new.model.inputs[0], [new.logits, new.features])
    logits, features = (np.asarray(t) for t in ends(x))
    np.testing.assert_array_equal(keras.ops.softmax(logits), np.asarray(new.model(x)))
    before = keras.Model(old.model.inputs[0], old.features)
    np.testing.assert_array_equal(features, np.asarray(before(x)))
    model = keras.models.load_model(saved(new, tmp_path))
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(new.model(x)))


def saved(anchor: Anchor, folder: Path) -> str:
    anchor.model.save(folder / "head.keras")
    return str(folder / "head.keras")


@pytest.mark.usefixtures("two_penalties")
def test_the_same_seed_gives_the_same_head_and_few_images_are_drawn_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, images = anchor(tmp_path), data()
    monkeypatch.setattr(head, "MAX_IMAGES", 60)
    one, two, other = (head.fit_head(old, images, seed=seed) for seed in (3, 3, 4))
    assert one.images == 60
    assert one.kernel.tobytes() == two.kernel.tobytes() != other.kernel.tobytes()
    assert one.key == two.key != other.key


def test_noise_is_penalised_more_than_signal() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    noise = rng.normal(0, 1, (60, 40)).astype("float32")
    signal = noise.copy()
    signal[:, :3] += 4 * np.eye(3, dtype="float32")[labels]
    weak, bad = head._choose_penalty(noise, labels, 3, 0)
    strong, good = head._choose_penalty(signal, labels, 3, 0)
    assert weak < strong
    assert good is not None
    assert bad is not None
    assert good < 0.5 < bad
    assert head._choose_penalty(noise[:4], np.array([0, 0, 1, 2]), 3, 0)[1] is None


def test_heads_that_cannot_be_fitted(tmp_path: Path) -> None:
    old, images = anchor(tmp_path), data(classes=3)
    with pytest.raises(RestnetError, match="no labels to fit a classifier"):
        head.fit_head(old, data(labelled=False), seed=0)
    named = replace(images, class_names=("a", "b", "c", "fourth"))
    with pytest.raises(RestnetError, match=r"1 class\(es\) have nothing to fit a classifier on: fourth"):
        head.fit_head(old, named, seed=0)
    with pytest.raises(RestnetError, match="only one class"):
        head.fit_head(old, data(classes=1), seed=0)


def test_anchors_of_the_datas_classes_stay_as_they_are(tmp_path: Path) -> None:
    large, small = anchor(tmp_path, 3, 0), anchor(tmp_path, 3, 1, ("Red_one", "green", "blue"))
    for images in (data(), data(names=("red one", "Green", "blue")), data(labelled=False)):
        matched, fits = head.match_labels((large, small), images, seed=0)
        assert matched[0] is large
        assert matched[1] is small
        assert fits == ()


@pytest.mark.usefixtures("two_penalties")
def test_only_the_anchor_of_other_classes_gets_a_new_head(tmp_path: Path) -> None:
    large, small = anchor(tmp_path, 5, 0), anchor(tmp_path, 3, 1)
    (one, two), fits = head.match_labels((large, small), data(), seed=0)
    assert (one.classes, two is small) == (3, True)
    assert [fit.anchor for fit in fits] == [large.name]
    bare = anchor(tmp_path, None, 2)
    (one, two), fits = head.match_labels((bare, large), data(), seed=0)
    assert (one.classes, two.classes, len(fits)) == (3, 3, 2)
    assert one.logits is not None


@pytest.mark.usefixtures("two_penalties")
def test_a_head_that_is_known_is_not_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large, small, run = anchor(tmp_path, 5, 0), anchor(tmp_path, 3, 1), Run(tmp_path / "run")
    (one, _), (fitted,) = head.match_labels((large, small), data(), 0, run.load_head)
    run.save_head(fitted)
    monkeypatch.setattr(head, "fit_head", None)
    (again, _), (known,) = head.match_labels((large, small), data(), 0, run.load_head)
    assert known == fitted
    assert again.sha256 == one.sha256
    with pytest.raises(TypeError):
        head.match_labels((large, small), data(), 1, run.load_head)
    with pytest.raises(TypeError):
        head.match_labels((anchor(tmp_path, 5, 2), small), data(), 0, run.load_head)


@pytest.mark.usefixtures("two_penalties")
def test_equal_numbers_of_differently_named_classes_get_new_heads(tmp_path: Path) -> None:
    names = ("cat", "dog", "cow")
    large = small = anchor(tmp_path, 3, 0, names)
    _, fits = head.match_labels((large, small), data(names=("red", "green", "blue")), seed=0)
    assert len(fits) == 2


def test_without_labels_other_classes_and_missing_classifiers_are_refused(tmp_path: Path) -> None:
    unlabelled = data(labelled=False)
    five, three, bare = (anchor(tmp_path, classes, i) for i, classes in enumerate((5, 3, None)))
    with pytest.raises(RestnetError, match="net0 has 5 classes and net1 3, and hues has no labels"):
        head.match_labels((five, three), unlabelled, seed=0)
    with pytest.raises(RestnetError, match="net2 has no classifier and hues no labels"):
        head.match_labels((three, bare), unlabelled, seed=0)
    one, two = replace(three, class_names=("a", "b", "c")), replace(three, class_names=("a", "x", "c"))
    with pytest.raises(RestnetError, match="class 1 is 'b' in one and 'x' in the other"):
        head.match_labels((one, two), unlabelled, seed=0)


@pytest.mark.slow
@needs.ANCHORS.mark
def test_a_headless_shared_anchor_learns_clothes(monkeypatch: pytest.MonkeyPatch) -> None:
    """SOURCES.md: a linear probe of this anchor gives 81.7 % on clothing; a part of its images does for that."""
    monkeypatch.setattr(head, "MAX_IMAGES", 700)
    from restnet_tf.data import splits as data_module

    needs.beside("data/clothing").or_skip()
    path = SHARED / "anchors" / "mobilenet_v2_0.35_224_no_top.weights.h5"
    old = zoo.load(str(path), arch="MobileNetV2:alpha=0.35,input=224")
    fit = head.fit_head(old, data_module.load(str(SHARED / "data" / "clothing")), seed=0)
    assert fit.classes == 10
    assert fit.rank_accuracy > 0.817 - 2.5 * (0.817 * 0.183 / fit.rank_images) ** 0.5
