"""What a first look tells of answers: chance, another preprocessing, another order of the classes."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from networks import keras

from restnet_tf.anchors import class_order, first_look, preprocess
from restnet_tf.data.splits import Data
from restnet_tf.records import Anchor, RestnetError

CLASSES = 10
MODES = ("none", "0to1", "-1to1")


def truth(n: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, CLASSES, n)


def mostly(labels: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    """Answers of which a share is right, the rest any."""
    rng = np.random.default_rng(seed)
    return np.where(rng.uniform(size=len(labels)) < share, labels, rng.integers(0, CLASSES, len(labels)))


def looked(told: dict[str, np.ndarray], given: str = "none", n: int = 256, classes: int = CLASSES) -> first_look.Look:
    return first_look.look(truth(n), lambda mode: told[mode], given, tuple(told), classes)


@pytest.mark.parametrize("share", [0.95, 0.7, 0.4])
def test_answers_that_know_something_are_left_alone(share: float) -> None:
    others = {mode: mostly(truth(), share / 2, seed) for seed, mode in enumerate(MODES)}
    look = looked(others | {"none": mostly(truth(), share)})
    assert (look.better, look.at_chance) == (None, False)


def test_good_answers_are_asked_for_once() -> None:
    asked: list[str] = []

    def answers(mode: str) -> np.ndarray:
        asked.append(mode)
        return mostly(truth(), 0.95)

    first_look.look(truth(), answers, "none", MODES, CLASSES)
    assert asked == ["none"]


def test_chance_is_chance_and_of_few_images_nobody_can_say() -> None:
    any_answer = {mode: mostly(truth(), 0, seed) for seed, mode in enumerate(MODES)}
    look = looked(any_answer)
    assert (look.better, look.at_chance) == (None, True)
    few = {mode: answers[:20] for mode, answers in any_answer.items()}
    assert not looked(few, n=20).at_chance


def test_always_the_most_frequent_class_is_chance_too() -> None:
    labels = np.where(np.arange(200) % 10 == 0, 1, 0)
    constant = first_look.look(labels, lambda mode: np.zeros(200, int), "none", (), 2)
    assert constant.share == 0.9
    assert constant.better is None
    weak = np.where(labels == 1, np.arange(200) % 20 == 0, np.arange(200) % 15 == 1).astype(int)
    assert first_look.look(labels, lambda mode: np.zeros(200, int), "none", (), 0).at_chance
    assert not first_look.look(labels, lambda mode: weak, "none", (), 0).at_chance


def test_another_preprocessing_is_told() -> None:
    look = looked({"none": mostly(truth(), 0.5), "0to1": mostly(truth(), 0.1, 3), "-1to1": mostly(truth(), 0.93, 4)})
    assert (look.mode, look.order) == ("-1to1", None)
    assert look.better is not None
    assert look.better > 0.9


def test_of_two_that_are_as_good_the_one_that_was_given_stays() -> None:
    assert looked({"none": mostly(truth(), 0.8), "0to1": mostly(truth(), 0.84, 3)}).better is None


def test_another_order_is_told_alone_and_with_another_preprocessing() -> None:
    order = np.random.default_rng(7).permutation(CLASSES)
    turned = order[mostly(truth(), 0.9)]
    look = looked({"none": turned})
    assert look.mode is None
    assert look.order == tuple(order)
    look = looked({"none": mostly(truth(), 0.1, 3), "0to1": turned})
    assert (look.mode, look.order) == ("0to1", tuple(order))


def test_no_order_is_found_in_noise_or_among_too_many_classes() -> None:
    assert looked({"none": mostly(truth(), 0)}).order is None
    labels = np.arange(256)
    look = first_look.look(labels, lambda mode: labels[::-1], "none", (), 256)
    assert look.order is None


@pytest.mark.parametrize("given", preprocess.MODES)
@pytest.mark.parametrize("mode", preprocess.MODES)
def test_images_are_changed_to_what_another_preprocessing_would_show(given: str, mode: str) -> None:
    images = networks.images(2).astype(np.float32)

    def shown(x: np.ndarray, by: str) -> np.ndarray:
        for layer in preprocess.layers(by, 3):
            x = np.asarray(layer(x))
        return x

    changed = preprocess.translated(images, given, mode)
    np.testing.assert_allclose(shown(changed, given), shown(images, mode), rtol=1e-4, atol=1e-4 * 255)


# --- order of classes ----------------------------------------------------------------------------------


def data(names: tuple[str, ...] | None = ("a", "b", "c")) -> Data:
    return Data("some", *(networks.split() for _ in range(3)), names, "hash")


@pytest.fixture(scope="module")
def anchor() -> Anchor:
    return networks.anchor()


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("c,a,b", ("a", "b", "c"), (1, 2, 0)),
        ("C, A, B", ("a", "b", "c"), (1, 2, 0)),
        ("2,0,1", ("a", "b", "c"), (1, 2, 0)),
        ("2,0,1", None, (1, 2, 0)),
        ("a,b,c", ("a", "b", "c"), None),
        ("other", ("a", "b", "c"), ()),
        ("c,a,b", None, "some does not name its classes"),
        ("a,b,c", ("a", "b"), "has 3 classes and some 2; or write other"),
        ("nowhere.txt", ("a", "b", "c"), r"cannot read the class names in nowhere\.txt: No such file"),
        ("x_y,z,a", ("a", "b", "c"), "has no class 'b' of some; its list has x_y, z, a; or write other"),
        ("a,b", ("a", "b", "c"), "has 3 classes and its list names 2; give one a line; or write other"),
        ("a,A,b", ("a", "b", "c"), "names 'a' twice"),
    ],
)
def test_words_for_an_order(anchor: Anchor, text: str, names: tuple[str, ...] | None, expected: object) -> None:
    if isinstance(expected, str):
        with pytest.raises(RestnetError, match=expected):
            class_order.order(text, anchor, data(names))
    else:
        assert class_order.order(text, anchor, data(names)) == expected


@pytest.mark.parametrize("names", [None, ("a", "b", "c"), ("a,b", "c", "d")])
def test_an_order_is_said_in_words_that_are_understood(anchor: Anchor, names: tuple[str, ...] | None) -> None:
    text = class_order.spoken((1, 2, 0), data(names))
    assert class_order.order(text, anchor, data(names)) == (1, 2, 0)


def test_an_order_may_stand_in_a_file(anchor: Anchor, tmp_path) -> None:
    (tmp_path / "names.txt").write_text("c\na\n\nb\n", encoding="utf-8-sig")
    assert class_order.order(str(tmp_path / "names.txt"), anchor, data()) == (1, 2, 0)


def test_a_classifier_in_another_order_gives_the_same_in_other_places(anchor: Anchor) -> None:
    x = networks.images(9)
    before = networks.forward(anchor.model, x)
    moved = class_order.reordered(anchor, (1, 2, 0), ("a", "b", "c"))
    np.testing.assert_allclose(networks.forward(moved.model, x), before[:, [1, 2, 0]], atol=1e-6)
    assert len(moved.model.layers) == len(anchor.model.layers)
    # Something else than a Dense of the features gives the classes here.
    doubled = keras.layers.Rescaling(2.0, name="doubled")(anchor.logits)
    odd = Anchor(
        "odd", keras.Model(anchor.model.inputs, keras.layers.Softmax()(doubled)), doubled, anchor.features, None, ""
    )
    moved = class_order.reordered(odd, (1, 2, 0), None)
    expected = networks.forward(odd.model, x)[:, [1, 2, 0]]
    np.testing.assert_allclose(networks.forward(moved.model, x), expected, atol=1e-6)
