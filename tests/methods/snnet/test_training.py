"""Joint training: it lowers the KL, spends what it is given, ends alike whenever it is interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
from cached_features import filled

from restnet_tf.fitting import cache
from restnet_tf.fitting.cache import Cache
from restnet_tf.fitting.loss import kl_divergence
from restnet_tf.graph import cuts
from restnet_tf.methods.snnet import training
from restnet_tf.methods.snnet.supernet import Configuration, Stretches, Supernet
from restnet_tf.methods.snnet.training import Recipe, Rows, State, TrainingResult
from restnet_tf.records import Anchor, Cut, Piece, Plan, RestnetError, Stitch
from restnet_tf.similarity import features
from restnet_tf.stitches import closed_form, variant

pytestmark = pytest.mark.slow

WORK = 2_000_000_000
PAIRS = {"v": [("small", 0, 1), ("small", 1, 2)], "w": [("small", 2, 4)]}  # of A and B


@pytest.fixture(scope="module")
def anchors() -> dict[str, Anchor]:
    return {"A": networks.anchor((4, 6), 1, seed=2, name="a"), "B": networks.anchor((6, 10), 2, seed=1, name="b")}


@pytest.fixture(scope="module")
def cut_lists(anchors: dict[str, Anchor]) -> dict[str, tuple[Cut, ...]]:
    return {role: cuts.find(a.model) for role, a in anchors.items()}


@pytest.fixture(scope="module")
def caches(anchors: dict[str, Anchor], cut_lists: dict[str, tuple[Cut, ...]], tmp_path_factory) -> dict[str, Cache]:
    folder = tmp_path_factory.mktemp("caches")
    fronts = [cut_lists["A"][i].name for i in range(3)]
    wanted = {"A": [*fronts, cache.INPUT, cache.LOGITS], "B": [cache.INPUT, cache.LOGITS]}
    splits = {"train": networks.split(192, seed=1), "rank": networks.split(64, seed=2)}
    return {n: filled(folder / n, anchors, wanted, cache.plain(s, anchors), len(s)) for n, s in splits.items()}


@pytest.fixture(scope="module")
def starts(anchors: dict[str, Anchor], cut_lists: dict[str, tuple[Cut, ...]]) -> dict[str, Stitch]:
    ends = {"small": anchors["A"], "large": anchors["B"]}
    found = {"small": cut_lists["A"], "large": cut_lists["B"]}
    solved = features.solve_windows(features.window_sums(ends, found, PAIRS, networks.split(192, seed=1)))
    first = {name: (cut_lists["A"][pairs[0][1]], cut_lists["B"][pairs[0][2]]) for name, pairs in PAIRS.items()}
    return {name: closed_form.closed(solved[name], *first[name]) for name in PAIRS}


@pytest.fixture(scope="module")
def configurations(cut_lists: dict[str, tuple[Cut, ...]]) -> list[Configuration]:
    found = []
    for name, pairs in PAIRS.items():
        for _, i, j in pairs:
            a, b = cut_lists["A"][i], cut_lists["B"][j]
            route = Piece("A", None, a.name), Piece("B", b.name, None)
            found.append(Configuration(Plan(f"A{i}-B{j}", route, 100 + i, 1, np.nan, np.nan), (name,)))
    return found


@pytest.fixture(scope="module")
def trained(anchors, cut_lists, caches, starts, configurations) -> Callable[..., TrainingResult]:
    """Training of fresh stitches, and of copies of the anchors where these are trained."""

    def run(
        *, exact: bool = True, low_rank: int | None = None, norms: bool = False, work: int = WORK, **options
    ) -> TrainingResult:
        recipe = Recipe(work, options.pop("sampling", "uniform"), options.pop("seed", 0))
        these = anchors if exact else {role: variant.copied(a) for role, a in anchors.items()}
        tuned = dict.fromkeys(PAIRS, "B") if norms else {}
        net = Supernet(Stretches(these, cut_lists, exact=exact), starts, low_rank=low_rank, seed=0, tuned=tuned)
        rows = [Rows(caches[name], "B", exact) for name in ("train", "rank")]
        return training.train(net, configurations, *rows, recipe, **options)

    return run


@pytest.fixture(scope="module")
def plain(trained) -> TrainingResult:
    """Of stitches alone by the usual recipe."""
    return trained()


@pytest.fixture(scope="module")
def changed_by_norms(trained, anchors) -> tuple[TrainingResult, list[np.ndarray]]:
    """Training that tunes norms, and by how much it changed each weight of the anchor behind the stitches."""
    before = [np.asarray(v).copy() for v in anchors["B"].model.weights]
    done = trained(norms=True)
    return done, [np.asarray(now) - old for old, now in zip(before, anchors["B"].model.weights, strict=True)]


def test_training_lowers_the_kl_of_all_configurations_together(plain, configurations):
    done = plain
    before, after = (np.mean(list(kls)) for kls in (done.before.values(), (r.kl for r in done.spent.values())))
    assert after < 0.9 * before
    assert set(done.before) == {c.name for c in configurations}
    assert not done.weights


def test_configurations_of_a_window_share_one_stitch_that_both_train(plain, starts):
    done = plain
    kernels = {name: made.kernel for name, (made,) in done.stitches.items()}
    np.testing.assert_array_equal(kernels["A0-B1"], kernels["A1-B2"])
    assert np.abs(kernels["A0-B1"] - starts["v"].kernel).max() > 1e-3
    assert all(r.images > 0 for r in done.spent.values())


def test_work_is_spent_up_to_what_was_given(trained, plain):
    for work, done in ((WORK // 8, trained(work=WORK // 8)), (WORK, plain)):
        spent = sum(r.work for r in done.spent.values())
        assert work - 2 * spent / done.steps < spent <= work


def test_the_same_seed_gives_the_same_stitches_and_another_one_others(trained, plain):
    one, again, other = plain, trained(seed=0), trained(seed=1)
    for name, (made,) in one.stitches.items():
        np.testing.assert_array_equal(made.kernel, again.stitches[name][0].kernel)
    assert np.abs(one.stitches["A0-B1"][0].kernel - other.stitches["A0-B1"][0].kernel).max() > 1e-4
    assert one.spent == again.spent


@pytest.mark.parametrize(
    "options", [{}, {"exact": False}, {"norms": True, "sampling": "front", "rivals": {"B": 101}}], ids=str
)
def test_training_that_is_taken_up_again_ends_in_the_same_weights(trained, options: dict):
    states: list[State] = []
    options |= {"work": WORK // 2}
    whole = trained(**options, keep=lambda state: states.append(dict(state)))
    assert len(states) >= 3
    taken_up = trained(**options, state=states[1])
    for name, (made,) in whole.stitches.items():
        again = taken_up.stitches[name][0]
        np.testing.assert_array_equal(made.kernel, again.kernel)
        assert made.tuned.keys() == again.tuned.keys()
        for path, value in made.tuned.items():
            np.testing.assert_array_equal(value, again.tuned[path])
    assert (whole.spent, whole.before) == (taken_up.spent, taken_up.before)
    for role, weights in whole.weights.items():
        for path, value in weights.items():
            np.testing.assert_array_equal(value, taken_up.weights[role][path])


def test_training_all_changes_copies_of_the_anchors_and_no_anchor(trained, anchors):
    before = {role: a.model.get_weights() for role, a in anchors.items()}
    done = trained(exact=False)
    for role, anchor in anchors.items():
        for old, new in zip(before[role], anchor.model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        known = {v.path: np.asarray(v) for v in anchor.model.trainable_variables}
        assert set(done.weights[role]) == set(known)
        changed = variant.trained(anchor, done.weights[role])
        assert changed.sha256 != anchor.sha256
    moved = [np.abs(done.weights["B"][v.path] - np.asarray(v)).max() for v in anchors["B"].model.trainable_variables]
    assert max(moved) > 1e-4


def test_what_gains_nothing_stays_as_it_was_whatever_others_gain(plain, starts):
    done = plain
    assert done.spent["A2-B4"].kl == pytest.approx(done.before["A2-B4"], rel=1e-6)
    np.testing.assert_array_equal(done.stitches["A2-B4"][0].kernel, starts["w"].kernel)


def test_a_low_rank_is_all_that_training_adds(trained, starts):
    done = trained(low_rank=1, work=WORK // 4)
    change = done.stitches["A0-B1"][0].kernel - starts["v"].kernel
    assert np.abs(change).max() > 1e-4
    assert np.linalg.matrix_rank(change, tol=1e-4) == 1


def test_norms_are_tuned_for_what_runs_behind_a_stitch_and_the_anchor_keeps_its_own(changed_by_norms, anchors):
    done, changes = changed_by_norms
    assert not any(change.any() for change in changes)
    assert {r.rung for r in done.spent.values()} == {"norm"}
    assert sum(r.kl for r in done.spent.values()) < 0.9 * sum(done.before.values())
    behind = {name: made.tuned for name, (made,) in done.stitches.items()}
    assert set(behind["A2-B4"]) < set(behind["A1-B2"]) < set(behind["A0-B1"])
    start = {v.path: np.asarray(v) for v in anchors["B"].model.trainable_variables}
    for tuned in (behind["A0-B1"], behind["A1-B2"]):
        assert max(np.abs(value - start[path]).max() for path, value in tuned.items()) > 1e-3
    # Of a window that two share, both train the same ones.
    for path, value in behind["A1-B2"].items():
        np.testing.assert_array_equal(value, behind["A0-B1"][path])


def test_the_kl_that_is_told_is_that_of_the_variant_with_its_tuned_norms(
    changed_by_norms, anchors, caches, configurations
):
    done, split = changed_by_norms[0], networks.split(64, seed=2)
    teacher = caches["rank"].logits("B")
    for c in configurations:
        model = variant.assemble(c.plan, anchors, *done.stitches[c.name], logits=True)
        logits = networks.forward(model, np.concatenate(list(split.batches(model.input_shape[1:], 64))))
        found = float(np.mean(kl_divergence(teacher, logits)))
        assert found == pytest.approx(done.spent[c.name].kl, rel=1e-3)


def test_what_shares_no_variable_is_apart():
    assert training._apart([[0, 1], [2], [1, 3], [4, 2], [5]]) == [([0, 2], [0, 1, 3]), ([1, 3], [2, 4]), ([4], [5])]


def test_what_cannot_reach_the_front_is_drawn_no_more(trained, plain):
    """``B`` answers as itself: where it costs no more than any, it beats all three, of which one stays to the end."""
    even, free, beaten = (
        [r.images for r in done.spent.values()]
        for done in (plain, trained(sampling="front"), trained(sampling="front", rivals={"B": 100}))
    )
    assert free == even  # each costs more and is nearer to B than the one before
    assert sum(images < 0.9 * was for images, was in zip(beaten, even, strict=True)) == 2
    assert max(beaten) > 2 * max(even)


def test_a_loss_that_is_not_finite_is_told(trained, starts, monkeypatch: pytest.MonkeyPatch):
    starts["v"].kernel[0, 0], kept = np.nan, starts["v"].kernel[0, 0]
    try:
        with pytest.raises(RestnetError, match="joint training diverged"):
            trained(work=WORK // 8)
    finally:
        starts["v"].kernel[0, 0] = kept


@pytest.mark.parametrize(
    ("name", "content"), [("A.{front}", "the features of A at {front}"), ("B.logits", "the logits of B")]
)
def test_cached_rows_that_are_not_finite_are_told(caches, configurations, tmp_path, name: str, content: str):
    """Where they are read, as a ReLU behind them may make zeros of NaN."""
    front = configurations[0].plan.route[0].stop
    folder = Path(shutil.copytree(caches["train"].folder, tmp_path / "cache"))
    broken = np.load(Cache(folder).path(name.format(front=front)), mmap_mode="r+")
    broken[3] = np.nan
    broken.flush()
    rows = Rows(Cache(folder), "B", True)
    rows.batch(configurations[0], np.arange(4, 9))
    with pytest.raises(RestnetError, match=f"^{content.format(front=front)} hold NaN or infinity: its weights"):
        rows.batch(configurations[0], np.arange(3, 9))
