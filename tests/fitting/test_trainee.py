"""A network that another fit has trained serves the next one as a new one would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import networks
import numpy as np
import pytest

from restnet_tf.fitting import ladder, rungs, trainee
from restnet_tf.fitting.examples import Examples
from restnet_tf.fitting.results import Fitted
from restnet_tf.fitting.trainee import Regimen
from restnet_tf.graph import cuts, structure
from restnet_tf.records import Stitch
from restnet_tf.stitches import stitch

CUT, ROWS = "0.0.out", 48
WORK = {"stitch": 10**9, "norm": 10**9}


@pytest.fixture(scope="module")
def start() -> Stitch:
    anchor = networks.anchor(convolutions=1)
    (cut,) = (cut for cut in cuts.find(anchor.model) if cut.name == CUT)
    return replace(stitch.blank(cut, cut), bias=np.ones(4, np.float32))


@pytest.fixture(scope="module")
def back() -> Any:
    anchor = networks.anchor(convolutions=1)
    return cuts.between(anchor.model, cuts.tensor(anchor.model, CUT), [anchor.features, anchor.logits])


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    trainee.forget()
    yield
    trainee.forget()


def examples(start: Stitch, seed: int, *, labelled: bool = True) -> Examples:
    rng = np.random.default_rng(seed)
    x, teacher, match = (
        rng.normal(size=(ROWS, *shape)).astype(np.float32) for shape in (start.source.shape, (3,), (6,))
    )
    return Examples(x, teacher, match, np.eye(3, dtype=np.float32)[np.arange(ROWS) % 3] if labelled else None)


def fit(start: Stitch, back: Any, seed: int, **changes: Any) -> Fitted:
    few = examples(start, seed, labelled=changes.pop("labelled", True))
    return ladder.fit(start, back, few, few, rungs=WORK, seed=seed, **changes)


def values(fitted: Fitted) -> list[np.ndarray]:
    return [fitted.stitch.kernel, fitted.stitch.bias, *fitted.stitch.tuned.values()]


def alike(a: Fitted, b: Fitted) -> bool:
    return a.rungs == b.rungs and all(np.array_equal(x, y) for x, y in zip(values(a), values(b), strict=True))


def test_a_second_fit_takes_the_network_of_the_first_and_comes_to_what_a_new_one_does(
    start: Stitch, back: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(start, kernel=start.kernel[::-1].copy())
    alone = fit(other, back, 1)
    trainee.forget()
    first = fit(start, back, 0)
    monkeypatch.setattr(trainee, "Trainee", None)  # none is made any more
    second = fit(other, back, 1)
    assert alike(second, alone)
    assert not alike(second, first)
    assert not np.array_equal(second.stitch.kernel, other.kernel), "the map was trained"
    untrained = {v.path: np.asarray(v) for v in back.weights}
    assert second.stitch.tuned
    assert all(not np.array_equal(untrained[path], value) for path, value in second.stitch.tuned.items())


def test_labels_and_what_the_teacher_says_are_those_of_the_fit_itself(start: Stitch, back: Any) -> None:
    """An unlabelled fit traces a step that reads none."""
    alone = fit(start, back, 0)
    trainee.forget()
    assert not alike(fit(start, back, 0, labelled=False), alone)
    assert alike(fit(start, back, 0), alone)


def test_a_network_is_no_other_structure_s_and_not_taken_twice_at_once(start: Stitch, back: Any) -> None:
    with trainee.taken(start, (), back) as one, trainee.taken(start, (), back) as two:
        assert one is not two
    for again, shares in (
        (networks.anchor(convolutions=1, seed=1), True),
        (networks.anchor((4, 8), convolutions=1), False),
    ):
        other = cuts.between(again.model, cuts.tensor(again.model, CUT), [again.features, again.logits])
        with trainee.taken(start, (), other) as another:
            assert (another in (one, two)) == shares
            weights = zip(another.back.get_weights(), other.get_weights(), strict=True)
            assert all(np.array_equal(a, b) for a, b in weights)


def test_what_a_rung_tunes_goes_by_the_names_of_the_fit_itself(start: Stitch, back: Any) -> None:
    """One structure under other names."""
    renamed = keras.models.clone_model(back, clone_function=_renamed)
    with trainee.taken(start, (), back) as one:
        pass
    with trainee.taken(start, (), renamed) as other:
        assert other is not one
    assert structure.of(back).key == structure.of(renamed).key  # type: ignore[union-attr]


def _renamed(layer: Any) -> Any:
    return type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_other"})


def test_more_small_networks_are_kept_than_large_ones(
    start: Stitch, back: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> int:
        trainee.forget()
        for side in range(trainee._KEPT_ALWAYS + 2):
            with trainee.taken(replace(start, clamp=(0.0, float(side))), (), back) as one:
                one(np.zeros((2, *start.source.shape), np.float32))
        return len(trainee._kept)

    monkeypatch.setattr(trainee, "_KEPT_ALWAYS", 2)
    assert kept() == trainee._KEPT_ALWAYS + 2
    assert all(one.trainee.operations > 20 for one in trainee._kept.values())
    monkeypatch.setattr(trainee, "_KEPT_OPERATIONS", 1)
    assert kept() == trainee._KEPT_ALWAYS


def test_what_failed_large_networks_and_old_ones_are_not_kept(
    start: Stitch, back: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt), trainee.taken(start, (), back):
        raise KeyboardInterrupt
    assert not trainee._kept
    monkeypatch.setattr(trainee, "_KEPT", trainee._KEPT_ALWAYS + 1)
    for side in range(trainee._KEPT + 2):
        with trainee.taken(replace(start, clamp=(0.0, float(side))), (), back):
            pass
    assert len(trainee._kept) == trainee._KEPT
    trainee.forget()
    monkeypatch.setattr(trainee, "_KEPT_VALUES", 1)
    with trainee.taken(start, (), back):
        pass
    assert not trainee._kept


def test_a_step_is_traced_once_for_fits_of_any_length(start: Stitch, back: Any) -> None:
    few = examples(start, 0)
    with trainee.taken(start, (), back) as net:
        trainer = ladder._Trainer(net, start, few, few, 0)
        for steps in (3, 5):
            step, _ = net.step(Regimen(rungs.rung_named("stitch"), steps, 4, 3, 1.0, fused=False))
            step(*few.tensors(np.arange(4)), False)
        assert step.experimental_get_tracing_count() == 1
        assert len(net._steps) == 1
        assert np.isfinite(trainer.validate())
