"""CKA: published vectors, an independent formula, and the faults found in other implementations."""

import functools
import json
import tracemalloc

import numpy as np
import pytest
from click.testing import CliRunner

import benchmarks.cka as bench
from restnet_tf.records import RestnetError
from restnet_tf.similarity import cka as cka_module
from restnet_tf.similarity.cka import CkaSums, cka


@pytest.fixture(scope="module")
def vectors():
    state = np.random.RandomState(1337)  # the published vectors were drawn with the legacy generator
    x = state.randn(100, 10)
    return x, state.randn(100, 10) + x


def hsic_by_trace(k, l):  # noqa: E741
    """Unbiased HSIC as written by Nguyen et al. 2020, eq. 3: no centring, other arithmetic than ours."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    total = np.trace(k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k @ l).sum() / (n - 2)
    return total / (n * (n - 3))


def minibatch_by_trace(x, y, batch):
    parts = [
        (hsic_by_trace(k, m), hsic_by_trace(k, k), hsic_by_trace(m, m))
        for s in range(0, len(x), batch)
        for k, m in [(x[s : s + batch] @ x[s : s + batch].T, y[s : s + batch] @ y[s : s + batch].T)]
    ]
    xy, xx, yy = np.sum(parts, axis=0)
    return xy / np.sqrt(xx * yy)


def streamed(x, y, batch):
    sums = CkaSums()
    for s in range(0, len(x), batch):
        sums.update([x[s : s + batch]], [y[s : s + batch]])
    return sums


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"debiased": False}, 0.557613257),
        ({}, 0.513456490),
        ({"debiased": False, "kernel": "rbf", "sigma": 0.5}, 0.654831182),
    ],
)
def test_published_vectors(vectors, options, expected):
    assert cka(*vectors, **options) == pytest.approx(expected, abs=6e-10)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (4, 0.53222),
        (5, 0.52382),
        (10, 0.54373),
        (20, 0.53372),
        (25, 0.51327),
        (50, 0.53084),
        (100, 0.51346),
    ],
)
def test_published_minibatch_vectors(vectors, batch, expected):
    value = streamed(*vectors, batch).matrix()[0, 0]
    assert value == pytest.approx(expected, abs=6e-6)
    assert value == pytest.approx(minibatch_by_trace(*vectors, batch), abs=1e-12)


def test_all_pairs_equal_each_pair_alone(vectors):
    x, y = vectors
    rng = np.random.default_rng(0)
    xs = [x, x @ rng.normal(size=(10, 7)), np.tanh(x).reshape(100, 5, 2)]
    ys = [y, np.maximum(y, 0).reshape(100, 1, 2, 5)]
    sums = CkaSums()
    for s in range(0, 100, 20):
        sums.update([f[s : s + 20] for f in xs], [f[s : s + 20] for f in ys])
    flat = [f.reshape(100, -1) for f in xs], [f.reshape(100, -1) for f in ys]
    expected = [[minibatch_by_trace(a, b, 20) for b in flat[1]] for a in flat[0]]
    assert sums.matrix().shape == (3, 2)
    np.testing.assert_allclose(sums.matrix(), expected, atol=1e-12)


def test_a_layer_with_itself_is_1_and_scale_rotation_shift_do_not_matter(vectors):
    x, y = vectors
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    assert streamed(x, x, 20).matrix()[0, 0] == pytest.approx(1, abs=1e-12)
    assert cka(3 * x @ rotation + 5, y) == pytest.approx(cka(x, y), abs=1e-12)


def test_independent_features_fool_biased_cka_only():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 100, 512))
    assert cka(x, y, debiased=False) == pytest.approx(0.83, abs=0.01)
    assert cka(x, y) == pytest.approx(0, abs=0.02)


# The usual faults elsewhere, one test each.


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_short_batch_is_refused_and_leaves_the_sums_alone(vectors, batch):
    x, y = vectors
    sums = streamed(x, y, 20)
    before = sums.matrix()
    with pytest.raises(RestnetError, match=rf"{batch} samples.*4 or more.*drop"):
        sums.update([x[:batch]], [y[:batch]])
    assert sums.batches == 5
    np.testing.assert_array_equal(sums.matrix(), before)


def test_the_diagonal_is_dropped_not_broadcast(vectors):
    # `K - diag(K)` takes the diagonal off every row; on samples of unequal length it shows.
    x, y = (v * np.linspace(0.1, 5, 100)[:, None] for v in vectors)
    assert cka(x, y) == pytest.approx(minibatch_by_trace(x, y, 100), abs=1e-12)
    centred = cka_module._u_centred(x @ x.T)
    np.testing.assert_allclose(centred.sum(axis=0), 0, atol=1e-9)
    np.testing.assert_array_equal(np.diag(centred), 0)


FAMILIES = (
    "independent, wide",
    "weakly alike",
    "large mean",
    "unequal large means",
    "after ReLU",
    "outlying sample",
    "two far groups",
    "near twins",
    "few large columns",
    "tiny",
    "squares below float32",
    "huge",
)


@functools.cache
def feature_families():
    """float32 features of 128 samples with what has broken float32 Grams: name -> (x, y)."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(128, 6))

    def draw(width, signal=0.2):
        return rng.normal(size=(128, width)) + signal * z @ rng.normal(size=(6, width))

    outlier = np.ones((128, 1))
    outlier[7] = 1e4
    twins = draw(600)
    twins[1::2] = twins[::2] + 1e-4 * twins[1::2]
    columns = np.ones(3000)
    columns[:3] = 1e4
    return {
        "independent, wide": (draw(9000, 0), draw(5000, 0)),
        "weakly alike": (draw(4000, 0.02), draw(4000, 0.02)),
        "large mean": (draw(3000) + 1e4, draw(2000) - 3e3),
        "unequal large means": (draw(3000) + 1e4 * rng.normal(size=3000), draw(2000)),
        "after ReLU": (np.maximum(draw(5000) - 1, 0), np.maximum(draw(5000) + 3, 0)),
        "outlying sample": (draw(3000) * outlier, draw(3000) * outlier[::-1]),
        "two far groups": (draw(2000) + 1e3 * (np.arange(128) < 64)[:, None], draw(2000)),
        "near twins": (twins, draw(600)),
        "few large columns": (draw(3000) * columns, draw(3000) * columns),
        "tiny": (draw(500) * 1e-25, draw(500) * 1e-30),
        "squares below float32": (draw(500) * 1e-22, draw(500) * 1e-22),
        "huge": (draw(500) * 1e25, draw(500)),
    }


@pytest.mark.parametrize("rows", [4, 32, 128])
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_features_stay_within_1e_6_of_float64(family, rows):
    x, y = (v[:rows].astype(np.float32) for v in feature_families()[family])
    exact = cka(x.astype(np.float64), y.astype(np.float64))
    assert streamed(x, y, rows).matrix()[0, 0] == pytest.approx(exact, abs=1e-6)


def test_float32_products_are_used_where_they_are_good_and_only_there(monkeypatch):
    used = []
    gram = cka_module._gram
    monkeypatch.setattr(cka_module, "_gram", lambda x, dtype: used.append(np.dtype(dtype)) or gram(x, dtype))
    families = feature_families()
    for family, rows, expected in [
        ("after ReLU", 128, ["float32"]),
        ("after ReLU", 8, ["float64"]),
        ("outlying sample", 128, ["float32", "float64"]),
    ]:
        used.clear()
        cka_module._centred_features(families[family][0][:rows].astype(np.float32), "layer 0")
        assert [d.name for d in used] == expected, (family, rows)


def test_float64_features_with_a_mean_of_1e6_keep_a_small_cka():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 128, 300))
    y += 0.1 * x
    assert streamed(x + 1e6, y - 1e6, 128).matrix()[0, 0] == pytest.approx(cka(x, y), abs=1e-9)


def test_float16_and_integers_are_read_exactly():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 255, size=(40, 50))
    y = rng.integers(0, 255, size=(40, 50)) + x // 2
    expected = cka(x.astype(np.float64), y.astype(np.float64))
    for dtype in (np.uint16, np.int64, np.float16, np.float32):
        assert streamed(x.astype(dtype), y.astype(dtype), 40).matrix()[0, 0] == pytest.approx(expected, abs=1e-6)


def test_a_short_last_batch_weighs_as_one_unbiased_estimate(vectors):
    x, y = vectors
    sums = streamed(x[:50], y[:50], 20)  # 20, 20 and 10
    assert sums.matrix()[0, 0] == pytest.approx(minibatch_by_trace(x[:50], y[:50], 20), abs=1e-12)


def test_sides_with_different_samples_are_refused(vectors):
    # Two shuffled loaders cannot be seen in the numbers; unequal batches can.
    x, y = vectors
    with pytest.raises(RestnetError, match=r"20 samples.*25.*same order"):
        CkaSums().update([x[:20]], [y[:25]])
    with pytest.raises(RestnetError, match=r"first model.*\[20, 25\]"):
        CkaSums().update([x[:20], x[:25]], [y[:20]])
    assert cka(x, y) - cka(x, y[::-1]) > 0.4


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_features_are_never_written(vectors, dtype):
    x, y = (v.astype(dtype) for v in vectors)
    copies = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    streamed(x, y, 50)
    cka(x, y)
    cka(x, y, kernel="rbf")
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(y, copies[1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("value", [0.0, 0.1, -1234.567])
def test_constant_features_give_0(value, dtype):
    rng = np.random.default_rng(6)
    y = rng.normal(size=(51, 30)).astype(dtype)
    constant = np.full((51, 3000), value, dtype)  # 51: their float mean is not quite their value
    one_sample = constant.copy()
    one_sample[5] += 1  # carries no pair, so its U-centred Gram is 0 but for rounding
    sums = CkaSums()
    sums.update([constant, one_sample, y], [y, constant])
    np.testing.assert_array_equal(sums.matrix()[:2], 0)
    assert sums.matrix()[2, 0] == pytest.approx(1, abs=1e-12)
    for options in ({}, {"debiased": False}, {"kernel": "rbf"}, {"kernel": "rbf", "debiased": False}):
        assert cka(constant, y, **options) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named(dtype, value):
    x = np.random.default_rng(7).normal(size=(40, 8)).astype(dtype)
    broken = x.copy()
    broken[3, 3] = value
    with pytest.raises(RestnetError, match="layer 1 of the second model hold NaN, infinity"):
        CkaSums().update([x], [x, broken])
    for options in ({}, {"kernel": "rbf"}, {"debiased": False}):
        with pytest.raises(RestnetError, match="NaN, infinity"):
            cka(x, broken, **options)


def test_rbf_of_mostly_equal_samples_is_the_kernels_limit():
    # The median distance is 0 there: in the limit equal samples give 1 and all others 0, also
    # where a BLAS rounds the products of equal rows differently.
    rng = np.random.default_rng(9)
    groups = np.zeros(60, int)
    groups[:6] = np.arange(1, 7)
    x = rng.normal(size=(7, 333))[groups]
    rounding = 1e-15 * rng.uniform(-1, 1, size=(60, 60))
    kernel = cka_module._rbf(x @ x.T * (1 + rounding + rounding.T), 0.5)
    np.testing.assert_array_equal(kernel, groups[:, None] == groups)


# Sums, shards, state.


def test_shards_add_up_in_any_order(vectors):
    x, y = vectors
    whole = streamed(x, y, 10)
    a, b = streamed(x[:30], y[:30], 10), streamed(x[30:], y[30:], 10)
    for merged in (a.merge(b), b.merge(a), CkaSums().merge(whole), whole.merge(CkaSums())):
        assert merged.batches == 10
        np.testing.assert_allclose(merged.matrix(), whole.matrix(), rtol=1e-13)
    assert (a.batches, b.batches) == (3, 7)


def test_a_merged_object_does_not_share_memory_with_its_parts(vectors):
    a = streamed(*vectors, 10)
    merged = CkaSums().merge(a)
    merged.xy += 1
    assert streamed(*vectors, 10).xy == a.xy


def test_saved_sums_resume(vectors, tmp_path):
    x, y = vectors
    np.savez(tmp_path / "sums.npz", **streamed(x[:30], y[:30], 10).arrays())
    with np.load(tmp_path / "sums.npz") as stored:
        sums = CkaSums.from_arrays(stored)
    for s in range(30, 100, 10):
        sums.update([x[s : s + 10]], [y[s : s + 10]])
    np.testing.assert_array_equal(sums.matrix(), streamed(x, y, 10).matrix())


def test_damaged_state_and_other_layers_are_refused(vectors):
    x, y = vectors
    arrays = streamed(x, y, 10).arrays()
    with pytest.raises(RestnetError, match="lack xx"):
        CkaSums.from_arrays({k: v for k, v in arrays.items() if k != "xx"})
    with pytest.raises(RestnetError, match="do not fit together"):
        CkaSums.from_arrays({**arrays, "yy": np.zeros(3)})
    two = CkaSums()
    two.update([x, x], [y])
    with pytest.raises(RestnetError, match=r"\(2, 1\) layers cannot take \(1, 1\)"):
        two.merge(streamed(x, y, 10))
    with pytest.raises(RestnetError, match="cannot take"):
        two.update([x], [y])


def test_nothing_to_compare_is_refused(vectors):
    x, y = vectors
    with pytest.raises(RestnetError, match="no batch of 4"):
        CkaSums().matrix()
    with pytest.raises(RestnetError, match="no layers of the second"):
        CkaSums().update([x], [])
    with pytest.raises(RestnetError, match=r"shape \(100,\)"):
        cka(x[:, 0], y)
    with pytest.raises(RestnetError, match="complex"):
        cka(x.astype(complex), y)
    with pytest.raises(RestnetError, match="'poly'"):
        cka(x, y, kernel="poly")
    with pytest.raises(RestnetError, match="100 samples with 99"):
        cka(x, y[1:])


def test_a_wide_feature_map_is_not_copied_whole():
    x = np.random.default_rng(8).normal(size=(64, 32768)).astype(np.float32)  # 8 MiB
    CkaSums().update([x], [x])
    tracemalloc.start()
    CkaSums().update([x], [x])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.7 * x.nbytes  # the whole map in float64 would be 2


def test_same_input_same_bytes(vectors):
    assert streamed(*vectors, 10).xy.tobytes() == streamed(*vectors, 10).xy.tobytes()


# The benchmark: what it holds us against, and that it runs.


def test_benchmark_formulas_say_what_the_packages_compute():
    setting = bench.CkaSetting(n=96, layers=3, width=50, batch=32)
    exact = bench.reference(bench.Stream(setting))
    assert exact.shape == (3, 3)
    assert np.ptp(exact) > 0.05
    np.testing.assert_allclose(bench.ours(bench.Stream(setting)), exact, atol=1e-6)
    np.testing.assert_allclose(bench.torch_cka_formula(bench.Stream(setting)), exact, atol=1e-4)
    stream = bench.Stream(setting)
    *_, (xs, ys) = stream  # ckatorch keeps the last batch only
    last = [[cka(x, y) for y in ys] for x in xs]
    np.testing.assert_allclose(bench.ckatorch_formula(bench.Stream(setting)), last, atol=1e-9)


@pytest.mark.slow
def test_benchmark_runs():
    options = ["--n", "64", "--layers", "1,2", "--width", "40", "--batch", "32", "--repeats", "1", "--json"]
    result = CliRunner().invoke(bench.main, options)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [(r["layers"], r["method"]) for r in rows] == [(n, m) for n in (1, 2) for m in bench.METHODS]
    assert all(r["median_s"] > 0 and r["tool"] for r in rows)
    assert rows[0]["max_difference"] < 1e-6


def test_benchmark_refuses_a_partial_batch():
    result = CliRunner().invoke(bench.main, ["--n", "100", "--batch", "64"])
    assert result.exit_code == 2
    assert "100 is not a multiple of --batch 64" in result.output
