"""One pass over the images gives what all features at once would give."""

from __future__ import annotations

import numpy as np
import pytest
from networks import anchor, forward, images, pair, split

from restnet_tf.graph import cuts
from restnet_tf.records import Cut, Layout, RestnetError
from restnet_tf.similarity import features, pair_sums
from restnet_tf.similarity.cka import cka
from restnet_tf.stitches import closed_form, steps, stitch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def collected():
    anchors, cut_lists = pair(2)
    return anchors, cut_lists, features.collect(anchors, cut_lists, split(40))


def at(anchors, role, cut, x):
    return forward(cuts.front(anchors[role], cut.name), x)


def test_solutions_are_those_of_all_features_at_once(collected):
    anchors, cut_lists, statistics = collected
    x = images(40)
    assert (statistics.n, statistics.batch) == (40, 40)
    for (source, i, j), solution in statistics.solutions.items():
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
    _, cut_lists, statistics = collected
    expected = {
        (source, i, j)
        for source in ("large", "small")
        for i, a in enumerate(cut_lists[source])
        for j, b in enumerate(cut_lists[features.other(source)])
        if not stitch.compatible(a, b)
    }
    assert set(statistics.solutions) == expected
    vectors = [i for i, c in enumerate(cut_lists["large"]) if c.kind == "vector"]
    assert vectors
    assert not [key for key in statistics.solutions if key[0] == "large" and key[1] in vectors]


def test_of_a_shortlist_alone_the_solutions_are_kept_and_of_all_other_pairs_the_r2(collected):
    anchors, cut_lists, statistics = collected
    heard = []

    def shortlist(told):
        heard.append(dict(told.rated))
        return [max(told.rated, key=told.r2)]

    few = features.shortlisted(features.sums(anchors, cut_lists, split(40)), shortlist)
    assert heard == [{pair: solution.r2 for pair, solution in statistics.solutions.items()}]
    assert few.cka.tobytes() == statistics.cka.tobytes()
    ((pair, solution),) = few.solutions.items()
    assert solution.kernel.tobytes() == statistics.solutions[pair].kernel.tobytes()
    assert {pair, *few.rated} == set(statistics.solutions)
    assert pair not in few.rated
    assert all(few.r2(each) == statistics.r2(each) for each in statistics.solutions)


def test_cka_is_that_of_flattened_features(collected):
    anchors, cut_lists, statistics = collected
    x = images(40)
    assert statistics.cka.shape == (len(cut_lists["large"]), len(cut_lists["small"]))
    for i, a in enumerate(cut_lists["large"]):
        for j, b in enumerate(cut_lists["small"]):
            flat = [at(anchors, role, cut, x).reshape(40, -1) for role, cut in (("large", a), ("small", b))]
            assert statistics.cka[i, j] == pytest.approx(cka(*flat), abs=1e-4)


def test_batches_add_up_and_a_last_one_is_left_out(monkeypatch):
    anchors, cut_lists = pair(2)
    monkeypatch.setattr(features, "batch_size", lambda *given: 16)
    steps = []
    statistics = features.collect(anchors, cut_lists, split(40), lambda done, total: steps.append((done, total)))
    assert (statistics.n, statistics.batch, steps) == (32, 16, [(16, 32), (32, 32)])
    whole = features.collect(anchors, cut_lists, split(40).head(32))
    assert whole.batch == 16
    monkeypatch.undo()
    whole = features.collect(anchors, cut_lists, split(40).head(32))
    assert whole.batch == 32
    for key, solution in whole.solutions.items():
        np.testing.assert_allclose(statistics.solutions[key].kernel, solution.kernel, rtol=1e-3, atol=1e-5)


def test_an_anchor_against_itself_is_the_identity():
    same = {"large": anchor((4, 6), 2, seed=3), "small": anchor((4, 6), 2, seed=3)}
    cut_lists = {role: cuts.find(a.model) for role, a in same.items()}
    statistics = features.collect(same, cut_lists, split(64))
    np.testing.assert_allclose(np.diag(statistics.cka), 1, atol=1e-6)
    checked = 0
    for i, cut in enumerate(cut_lists["large"]):
        for source in ("large", "small"):
            if (source, i, i) in statistics.solutions:
                solution = statistics.solutions[source, i, i]
                assert solution.r2 > 0.999
                x = at(same, source, cut, images(64)).reshape(-1, cut.shape[-1])
                alive = x.std(axis=0) > 0.5 * x.std(axis=0).max()  # the penalty shrinks the weak
                np.testing.assert_allclose(solution.kernel[np.ix_(alive, alive)], np.eye(int(alive.sum())), atol=0.05)
                checked += 1
    assert checked == 2 * 5


@pytest.mark.parametrize("n", [1, 3])
def test_too_few_images_are_refused(n):
    anchors, cut_lists = pair(2)
    with pytest.raises(RestnetError, match=f"{n} images are too few .*at least 4"):
        features.collect(anchors, cut_lists, split(n))


def test_observer_gives_a_list_even_of_one():
    net = anchor()
    cut_list = cuts.find(net.model)
    x = images(3).astype(np.float32)
    for chosen, more in (
        (cut_list[:1], []),
        (cut_list, []),
        ([], [net.logits]),
        (cut_list[1:2], [net.logits, net.features]),
    ):
        seen = features.observer(net, chosen, more)(x)
        assert isinstance(seen, list)
        assert len(seen) == len(chosen) + len(more)
        for cut, value in zip(chosen, seen, strict=False):
            np.testing.assert_allclose(value, forward(cuts.front(net, cut.name), x), atol=1e-4, rtol=1e-4)


def test_batch_size_keeps_features_within_half_a_gibibyte():
    anchors, cut_lists = pair(2)
    assert features.batch_size(anchors.values(), cut_lists.values()) == 128
    from dataclasses import replace

    huge = [tuple(replace(c, shape=(512, 512, 8)) for c in cut_list) for cut_list in cut_lists.values()]
    assert features.batch_size(anchors.values(), huge) == 8


def test_many_positions_are_sampled_evenly():
    x = np.arange(32 * 32, dtype=np.float32).reshape(1, 32, 32, 1)
    whole = Layout((32, 32, 1))
    rows = pair_sums.rows(x, whole, whole)
    assert rows.shape == (1, 256, 1)
    assert (rows[0, 0], rows[0, -1]) == (0, 1023)
    assert set(np.diff(rows[0, :, 0])) <= {4.0, 5.0}


def test_pooled_solutions_are_those_of_all_rows_together_and_no_average():
    anchors, cut_lists = pair(2)
    group = [("small", 1, 1), ("small", 1, 2), ("small", 0, 1)]
    assert {cut_lists["small"][i].shape for _, i, _ in group} == {(8, 8, 4)}
    assert {cut_lists["large"][j].shape for _, _, j in group} == {(8, 8, 6)}
    one = [("large", 3, 1)]
    groups = {"window": group, "one": one}
    solutions = features.solve_windows(features.window_sums(anchors, cut_lists, groups, split(40)))
    x = images(40)
    xs = np.concatenate([at(anchors, "small", cut_lists["small"][i], x).reshape(-1, 4) for _, i, _ in group])
    ys = np.concatenate([at(anchors, "large", cut_lists["large"][j], x).reshape(-1, 6) for _, _, j in group])
    ones = np.c_[xs, np.ones(len(xs))].astype(np.float64)
    kernel, bias, r2 = closed_form.ridge(
        closed_form.RidgeSums(ones.T @ ones, ones.T @ ys, (ys.astype(np.float64) ** 2).sum(0))
    )
    np.testing.assert_allclose(solutions["window"].kernel, kernel, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(solutions["window"].bias, bias, rtol=1e-3, atol=1e-4)
    assert solutions["window"].r2 == pytest.approx(r2, abs=1e-5)
    alone = features.collect(anchors, cut_lists, split(40)).solutions
    average = np.mean([alone[key].kernel for key in group], axis=0)
    assert np.abs(solutions["window"].kernel - average).max() > 1e-2
    np.testing.assert_allclose(solutions["one"].kernel, alone[one[0]].kernel, rtol=1e-4, atol=1e-5)


def stored(sums, path):
    """Through a file, as between two processes."""
    np.savez(path, **sums.arrays())
    with np.load(path) as arrays:
        return type(sums).from_arrays(dict(arrays))


def same_bits(one, other) -> bool:
    arrays = one.arrays(), other.arrays()
    assert arrays[0].keys() == arrays[1].keys()
    return all(
        a.tobytes() == arrays[1][name].tobytes() and a.dtype == arrays[1][name].dtype for name, a in arrays[0].items()
    )


def close(one, other) -> None:
    arrays = one.arrays(), other.arrays()
    assert arrays[0].keys() == arrays[1].keys()
    for name, values in arrays[0].items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, arrays[1][name], rtol=1e-12, atol=1e-12 * np.abs(values).max(initial=0))
        else:
            assert np.array_equal(values, arrays[1][name])


def test_shards_of_one_batch_add_up_to_one_pass_to_the_bit(tmp_path):
    anchors, cut_lists = pair(2)
    images = split(48)
    whole = features.sums(anchors, cut_lists, images, batch=16)
    shards = [
        stored(features.sums(anchors, cut_lists, features.shard(images, at, at + 16), batch=16), tmp_path / f"{at}.npz")
        for at in (0, 16, 32)
    ]
    total = shards[0] + shards[1] + shards[2]
    assert same_bits(total, whole)
    assert (total.n, total.batch) == (48, 16)
    statistics = features.solve(total), features.solve(whole)
    assert statistics[0].cka.tobytes() == statistics[1].cka.tobytes()
    assert statistics[0].solutions.keys() == statistics[1].solutions.keys()
    for key, solution in statistics[0].solutions.items():
        assert solution.kernel.tobytes() == statistics[1].solutions[key].kernel.tobytes()
        assert solution.bias.tobytes() == statistics[1].solutions[key].bias.tobytes()
    # The shards themselves stay as they are.
    assert same_bits(shards[0], features.sums(anchors, cut_lists, features.shard(images, 0, 16), batch=16))


def test_larger_shards_add_up_to_one_pass_in_float64(tmp_path):
    anchors, cut_lists = pair(2)
    images = split(70)  # six are left out, as of a whole pass
    whole = features.sums(anchors, cut_lists, images, batch=16)
    parts = [features.sums(anchors, cut_lists, features.shard(images, *at), batch=16) for at in ((0, 32), (32, 70))]
    close(stored(parts[0] + parts[1], tmp_path / "sums.npz"), whole)
    close(parts[1] + parts[0], whole)


def test_collect_solves_the_sums(collected):
    anchors, cut_lists, statistics = collected
    again = features.solve(features.sums(anchors, cut_lists, split(40)))
    assert again.cka.tobytes() == statistics.cka.tobytes()
    assert all(again.solutions[k].kernel.tobytes() == s.kernel.tobytes() for k, s in statistics.solutions.items())


def test_shards_that_do_not_belong_together_are_refused():
    anchors, cut_lists = pair(2)
    sums = features.sums(anchors, cut_lists, split(32), batch=16)
    with pytest.raises(RestnetError, match="batches of 16 images cannot take those over batches of 8"):
        sums + features.sums(anchors, cut_lists, split(16), batch=8)
    fewer = {role: cut_list[:2] for role, cut_list in cut_lists.items()}
    with pytest.raises(RestnetError, match="the same"):
        sums + features.sums(anchors, fewer, split(16), batch=16)
    with pytest.raises(RestnetError, match=r"ridge sums of \d+ pairs of cuts cannot take those of \d+ others"):
        sums.pairs + features.sums(anchors, fewer, split(16), batch=16).pairs
    with pytest.raises(RestnetError, match="a shard of 10 images has no whole batch of 16"):
        features.sums(anchors, cut_lists, split(10), batch=16)


def test_stored_sums_that_lack_something_are_refused():
    anchors, cut_lists = pair(2)
    sums = features.sums(anchors, cut_lists, split(16))
    without = {name: array for name, array in sums.arrays().items() if name not in ("n", "pairs.about")}
    with pytest.raises(RestnetError, match="stored sums lack n; there are batch, "):
        features.Sums.from_arrays(without)
    with pytest.raises(RestnetError, match="stored ridge sums lack about"):
        features.Sums.from_arrays({**without, "n": np.array(16)})
    with pytest.raises(RestnetError, match="stored sums lack n, names; there are none"):
        features.WindowSums.from_arrays({})
    with pytest.raises(RestnetError, match="closed-form stitches of no images"):
        pair_sums.PairSums(sums.pairs.layouts, sums.pairs.pairs).solve()


def test_sums_of_windows_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "batch_size", lambda *given: 16)
    anchors, cut_lists = pair(2)
    groups = {"window": [("small", 1, 1), ("small", 1, 2), ("small", 0, 1)], "one": [("large", 3, 1)]}
    images = split(40)  # the last batch is not full
    assert features.window_batch(anchors, cut_lists, groups) == 16
    whole = features.window_sums(anchors, cut_lists, groups, images)

    def of(start, stop):
        part = features.shard(images, start, stop)
        return stored(features.window_sums(anchors, cut_lists, groups, part), tmp_path / "part.npz")

    total = of(0, 16) + of(16, 32) + of(32, 40)
    assert same_bits(total, whole)
    assert total.n == 40
    close(of(0, 16) + of(16, 40), whole)
    solutions = features.solve_windows(total), features.solve_windows(whole)
    for name in groups:
        assert solutions[0][name].kernel.tobytes() == solutions[1][name].kernel.tobytes()
    one = features.window_sums(anchors, cut_lists, {"one": groups["one"]}, images)
    with pytest.raises(RestnetError, match="only one shard has window"):
        whole + one


def test_sums_of_tokens_and_of_a_bias_for_each_place_add_up(tmp_path):
    """A grid that becomes tokens with a class token: two groups, one with a row of sums a place."""
    layouts = {"large": (Layout((4, 4, 3)),), "small": (Layout((5, 6), (2, 2)),)}
    rng = np.random.default_rng(0)
    batches = [{"large": [rng.normal(size=(8, 4, 4, 3))], "small": [rng.normal(size=(8, 5, 6))]} for _ in range(3)]
    whole, parts = pair_sums.PairSums(layouts, [("large", 0, 0), ("small", 0, 0)]), []
    for batch in batches:
        whole.update(batch)
        parts.append(pair_sums.PairSums(layouts, whole.pairs))
        parts[-1].update(batch)
    total = stored(parts[0], tmp_path / "0.npz") + parts[1] + parts[2]
    assert same_bits(total, whole)
    solution = total.solve()["large", 0, 0]
    assert solution.bias.shape == (4, 6)
    assert solution.pooled is not None
    np.testing.assert_array_equal(solution.pooled[0], whole.solve()["large", 0, 0].pooled[0])


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_features_that_are_not_finite_are_refused(value):
    anchors, cut_lists = pair(2)
    kernel = anchors["small"].model.get_layer("0.0.conv2").weights[0]
    kernel.assign(np.full(kernel.shape, value, np.float32))
    name = "0.0.add"
    tensor = cuts.tensor(anchors["small"].model, name)
    broken = Cut(name, 0, "grid", tuple(tensor.shape[1:]), (None, None), 0, 0, 0, 0)
    cut_lists["small"] = (broken,)
    sentence = rf"^the features of small [(]small[)] at {name} hold NaN or infinity: its weights are broken"
    with pytest.raises(RestnetError, match=sentence):
        features.collect(anchors, cut_lists, split(40))
    with pytest.raises(RestnetError, match=sentence):
        features.window_sums(anchors, cut_lists, {"one": [("small", 0, 0)]}, split(40))
