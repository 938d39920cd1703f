"""One pass over the images gives what all features at once would give."""

from __future__ import annotations

import numpy as np
import pytest
from networks import anchor, forward, images, pair, split

from restnet_tf.graph import cuts
from restnet_tf.records import Layout, RestnetError
from restnet_tf.similarity import features
from restnet_tf.similarity.cka import cka
from restnet_tf.stitches import closed_form, steps, stitch


@pytest.fixture(scope="module")
def collected():
    anchors, cut_lists = pair()
    return anchors, cut_lists, features.collect(anchors, cut_lists, split(40))


def at(anchors, role, cut, x):
    return forward(cuts.front(anchors[role], cut.name), x)


def test_solutions_are_those_of_all_features_at_once(collected):
    anchors, cut_lists, found = collected
    x = images(40)
    assert (found.n, found.batch) == (40, 40)
    for (source, i, j), solution in found.solutions.items():
        a, b = cut_lists[source][i], cut_lists[features.other(source)][j]
        xs, ys = at(anchors, source, a, x), at(anchors, features.other(source), b, x)
        for step in steps.resampling(a.layout.size, b.layout.size):
            xs = np.asarray(step.keras(xs, xs))
        xs, ys = (v.reshape(-1, v.shape[-1]).astype(np.float64) for v in (xs, ys))
        ones = np.c_[xs, np.ones(len(xs))]
        kernel, bias, r2 = closed_form.ridge(closed_form.RidgeSums(ones.T @ ones, ones.T @ ys, (ys**2).sum(axis=0)))
        np.testing.assert_allclose(solution.kernel, kernel, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(solution.bias, bias, rtol=1e-3, atol=1e-4)
        assert solution.r2 == pytest.approx(r2, abs=1e-5)


def test_exactly_the_pairs_that_can_be_stitched_have_a_solution(collected):
    _, cut_lists, found = collected
    expected = {
        (source, i, j)
        for source in ("large", "small")
        for i, a in enumerate(cut_lists[source])
        for j, b in enumerate(cut_lists[features.other(source)])
        if not stitch.compatible(a, b)
    }
    assert set(found.solutions) == expected
    vectors = [i for i, c in enumerate(cut_lists["large"]) if c.kind == "vector"]
    assert vectors
    assert not [key for key in found.solutions if key[0] == "large" and key[1] in vectors]


def test_cka_is_that_of_flattened_features(collected):
    anchors, cut_lists, found = collected
    x = images(40)
    assert found.cka.shape == (len(cut_lists["large"]), len(cut_lists["small"]))
    for i, a in enumerate(cut_lists["large"]):
        for j, b in enumerate(cut_lists["small"]):
            flat = [at(anchors, role, cut, x).reshape(40, -1) for role, cut in (("large", a), ("small", b))]
            assert found.cka[i, j] == pytest.approx(cka(*flat), abs=1e-4)


def test_batches_add_up_and_a_last_one_is_left_out(monkeypatch):
    anchors, cut_lists = pair()
    monkeypatch.setattr(features, "batch_size", lambda *given: 16)
    steps = []
    found = features.collect(anchors, cut_lists, split(40), lambda done, total: steps.append((done, total)))
    assert (found.n, found.batch, steps) == (32, 16, [(16, 32), (32, 32)])
    whole = features.collect(anchors, cut_lists, split(40).head(32))
    assert whole.batch == 16
    monkeypatch.undo()
    whole = features.collect(anchors, cut_lists, split(40).head(32))
    assert whole.batch == 32
    for key, solution in whole.solutions.items():
        np.testing.assert_allclose(found.solutions[key].kernel, solution.kernel, rtol=1e-3, atol=1e-5)


def test_an_anchor_against_itself_is_the_identity():
    same = {"large": anchor((4, 6), 2, seed=3), "small": anchor((4, 6), 2, seed=3)}
    cut_lists = {role: cuts.find(a.model) for role, a in same.items()}
    found = features.collect(same, cut_lists, split(64))
    np.testing.assert_allclose(np.diag(found.cka), 1, atol=1e-6)
    checked = 0
    for i, cut in enumerate(cut_lists["large"]):
        for source in ("large", "small"):
            if (source, i, i) in found.solutions:
                solution = found.solutions[source, i, i]
                assert solution.r2 > 0.999
                x = at(same, source, cut, images(64)).reshape(-1, cut.shape[-1])
                alive = x.std(axis=0) > 0.5 * x.std(axis=0).max()  # the penalty shrinks the weak
                np.testing.assert_allclose(solution.kernel[np.ix_(alive, alive)], np.eye(int(alive.sum())), atol=0.05)
                checked += 1
    assert checked == 2 * 5


@pytest.mark.parametrize("n", [1, 3])
def test_too_few_images_are_refused(n):
    anchors, cut_lists = pair()
    with pytest.raises(RestnetError, match=f"{n} images are too few .*at least 4"):
        features.collect(anchors, cut_lists, split(n))


def test_observer_gives_a_list_even_of_one():
    net = anchor()
    found = cuts.find(net.model)
    x = images(3).astype(np.float32)
    for chosen, more in ((found[:1], []), (found, []), ([], [net.logits]), (found[1:2], [net.logits, net.features])):
        seen = features.observer(net, chosen, more)(x)
        assert isinstance(seen, list)
        assert len(seen) == len(chosen) + len(more)
        for cut, value in zip(chosen, seen, strict=False):
            np.testing.assert_allclose(value, forward(cuts.front(net, cut.name), x), atol=1e-4, rtol=1e-4)


def test_batch_size_keeps_features_within_half_a_gibibyte():
    anchors, cut_lists = pair()
    assert features.batch_size(anchors.values(), cut_lists.values()) == 128
    from dataclasses import replace

    huge = [tuple(replace(c, shape=(512, 512, 8)) for c in found) for found in cut_lists.values()]
    assert features.batch_size(anchors.values(), huge) == 8


def test_many_positions_are_sampled_evenly():
    x = np.arange(32 * 32, dtype=np.float32).reshape(1, 32, 32, 1)
    whole = Layout((32, 32, 1))
    rows = features._rows(x, whole, whole, "map")
    assert rows.shape == (1, 256, 1)
    assert (rows[0, 0], rows[0, -1]) == (0, 1023)
    assert set(np.diff(rows[0, :, 0])) <= {4.0, 5.0}


def test_pooled_solutions_are_those_of_all_rows_together_and_no_average():
    anchors, cut_lists = pair()
    group = [("small", 1, 1), ("small", 1, 2), ("small", 0, 1)]
    assert {cut_lists["small"][i].shape for _, i, _ in group} == {(8, 8, 4)}
    assert {cut_lists["large"][j].shape for _, _, j in group} == {(8, 8, 6)}
    one = [("large", 3, 1)]
    found = features.pooled(anchors, cut_lists, {"window": group, "one": one}, split(40))
    x = images(40)
    xs = np.concatenate([at(anchors, "small", cut_lists["small"][i], x).reshape(-1, 4) for _, i, _ in group])
    ys = np.concatenate([at(anchors, "large", cut_lists["large"][j], x).reshape(-1, 6) for _, _, j in group])
    ones = np.c_[xs, np.ones(len(xs))].astype(np.float64)
    kernel, bias, r2 = closed_form.ridge(
        closed_form.RidgeSums(ones.T @ ones, ones.T @ ys, (ys.astype(np.float64) ** 2).sum(0))
    )
    np.testing.assert_allclose(found["window"].kernel, kernel, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["window"].bias, bias, rtol=1e-3, atol=1e-4)
    assert found["window"].r2 == pytest.approx(r2, abs=1e-5)
    alone = features.collect(anchors, cut_lists, split(40)).solutions
    average = np.mean([alone[key].kernel for key in group], axis=0)
    assert np.abs(found["window"].kernel - average).max() > 1e-2
    np.testing.assert_allclose(found["one"].kernel, alone[one[0]].kernel, rtol=1e-4, atol=1e-5)
