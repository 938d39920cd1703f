"""The closed form against least squares, and the layers against arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import forward

from restnet_tf import words
from restnet_tf.graph import costs
from restnet_tf.records import Cut, Layout, RestnetError, Stitch
from restnet_tf.stitches import closed_form, steps, stitch
from restnet_tf.stitches.closed_form import RidgeSums


def sums(x: np.ndarray, y: np.ndarray) -> RidgeSums:
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    return RidgeSums(ones.T @ ones, ones.T @ y, np.einsum("ij,ij->j", y, y))


def draw(n: int = 400, c_in: int = 5, c_out: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(2, 1, (n, c_in))
    return x, x @ rng.normal(size=(c_in, c_out)) + 4 + rng.normal(size=(n, c_out))


def cut(*shape: int, kind: str = "grid") -> Cut:
    return Cut("c", 0, kind, shape, (None, None), 0, 0, 0, 0)


# --- closed form ----------------------------------------------------------------------------------


def test_ridge_without_penalty_is_least_squares(monkeypatch):
    monkeypatch.setattr(closed_form, "RIDGE", 1e-12)
    x, y = draw()
    kernel, bias, r2 = closed_form.ridge(sums(x, y))
    expected = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    np.testing.assert_allclose(kernel, expected[:-1], rtol=1e-5)
    np.testing.assert_allclose(bias, expected[-1:], rtol=1e-5)
    residual = y - np.c_[x, np.ones(len(x))] @ expected
    assert r2 == pytest.approx(1 - (residual**2).sum() / ((y - y.mean(axis=0)) ** 2).sum(), abs=1e-9)
    assert (kernel.dtype, bias.dtype) == (np.float32, np.float32)


def test_ridge_is_the_minimum_of_its_penalised_loss():
    x, y = draw(60)
    kernel, bias, r2 = closed_form.ridge(sums(x, y))
    penalty = closed_form.RIDGE * np.mean((x**2).sum(axis=0))
    padded_x = np.r_[np.c_[x, np.ones(60)], np.c_[np.sqrt(penalty) * np.eye(5), np.zeros(5)]]
    expected = np.linalg.lstsq(padded_x, np.r_[y, np.zeros((5, 3))], rcond=None)[0]
    np.testing.assert_allclose(np.r_[kernel, bias], expected, rtol=1e-5)
    residual = y - x @ kernel - bias
    assert r2 == pytest.approx(1 - (residual**2).sum() / ((y - y.mean(axis=0)) ** 2).sum(), abs=1e-6)


def test_the_intercept_is_not_shrunk(monkeypatch):
    monkeypatch.setattr(closed_form, "RIDGE", 1e12)
    x, y = draw()
    kernel, bias, r2 = closed_form.ridge(sums(x, y + 100))
    np.testing.assert_allclose(kernel, 0, atol=1e-9)
    np.testing.assert_allclose(bias[0], (y + 100).mean(axis=0), rtol=1e-6)
    assert r2 == pytest.approx(0, abs=1e-9)


def test_constant_and_duplicated_channels_stay_finite_and_small():
    x, y = draw()
    x = np.c_[x, np.zeros(len(x)), np.full(len(x), 7.0), x[:, 0]]
    kernel, bias, r2 = closed_form.ridge(sums(x, y))
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()
    np.testing.assert_allclose(kernel[5:7], 0, atol=1e-6)  # nothing can be learnt from a constant
    np.testing.assert_allclose(kernel[0], kernel[7], rtol=1e-4)  # twins share the work
    assert r2 == pytest.approx(closed_form.ridge(sums(x[:, :5], y))[2], abs=1e-3)
    assert np.abs(kernel).max() < 5


def test_all_channels_dead():
    _, y = draw()
    kernel, bias, r2 = closed_form.ridge(sums(np.zeros((len(y), 2)), y))
    np.testing.assert_array_equal(kernel, 0)
    np.testing.assert_allclose(bias[0], y.mean(axis=0), rtol=1e-6)
    assert r2 == 0


def test_a_constant_target_has_nothing_to_explain():
    x, _ = draw()
    _, bias, r2 = closed_form.ridge(sums(x, np.full((len(x), 2), 3.0)))
    np.testing.assert_allclose(bias, 3, atol=1e-5)
    assert r2 <= 1
    assert closed_form.ridge(sums(x, np.zeros((len(x), 2))))[2] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["source", "target"])
def test_broken_features_are_refused(bad, where):
    x, y = draw()
    (x if where == "source" else y)[3, 1] = bad
    with np.errstate(invalid="ignore"), pytest.raises(RestnetError, match="NaN or infinity"):
        closed_form.ridge(sums(x, y))


def test_r2_of_a_perfect_map_and_of_none():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5000, 4))
    assert closed_form.ridge(sums(x, x @ rng.normal(size=(4, 3)) - 2))[2] == pytest.approx(1, abs=1e-5)
    assert abs(closed_form.ridge(sums(x, rng.normal(size=(5000, 3))))[2]) < 0.01


def test_shards_add_up():
    x, y = draw()
    whole, parts = sums(x, y), sums(x[:150], y[:150]) + sums(x[150:], y[150:])
    for a, b in zip(closed_form.ridge(whole), closed_form.ridge(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# --- which grids go together ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"),
    [((8, 8, 4), (8, 8, 2)), ((8, 8, 4), (4, 4, 2)), ((4, 4, 4), (8, 8, 2)), ((7, 7, 1), (15, 15, 1))],
)
def test_neighbouring_grids_go_together(source, target):
    assert stitch.compatible(cut(*source), cut(*target)) is None


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (cut(16, 16, 4), cut(4, 4, 4), "resolutions too far apart: 16x16 to 4x4"),
        (cut(4, 4, 4), cut(16, 16, 4), "resolutions too far apart: 4x4 to 16x16"),
        (cut(7, 4, kind="tokens"), cut(4, 4, 4), "tokens whose places are not known go to as many such tokens alone"),
        (cut(4, 4, 4), cut(4, kind="vector"), "no adapter from grid to vector"),
    ],
)
def test_why_cuts_do_not_go_together(source, target, reason):
    assert words.sentence(stitch.compatible(source, target)) == reason


# --- the layers -----------------------------------------------------------------------------------


def fitted(source: tuple[int, ...], target: tuple[int, ...], clamp: tuple = (None, None)) -> Stitch:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(source[-1], target[-1])).astype(np.float32)
    return Stitch(kernel, rng.normal(size=target[-1]).astype(np.float32), Layout(source), Layout(target), clamp)


def grid(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("clamp", "by_hand"),
    [
        ((None, None), lambda y: y),
        ((0.0, None), lambda y: np.maximum(y, 0)),
        ((0.0, 1.0), lambda y: np.clip(y, 0, 1)),
    ],
)
def test_same_grid_and_clamp(clamp, by_hand):
    given, x = fitted((4, 4, 5), (4, 4, 3), clamp), grid(4, 4, 5)
    model = stitch.build(given)
    plain = x @ given.kernel + given.bias
    assert plain.min() < 0
    assert plain.max() > 1
    np.testing.assert_allclose(forward(model, x), by_hand(plain), atol=1e-5)
    assert [type(layer).__name__ for layer in model.layers[1:2]] == ["Conv2D"]


def test_pooled():
    given, x = fitted((8, 6, 5), (4, 3, 3)), grid(8, 6, 5)
    pooled = x.reshape(2, 4, 2, 3, 2, 5).mean(axis=(2, 4))
    model = stitch.build(given)
    np.testing.assert_allclose(forward(model, x), pooled @ given.kernel + given.bias, atol=1e-5)
    assert model.output_shape == (None, 4, 3, 3)


@pytest.mark.parametrize("target", [(8, 8, 3), (5, 5, 3), (3, 3, 3), (7, 7, 3)])
def test_resized(target):
    given, x = fitted((4, 4, 5), target), grid(4, 4, 5)
    assert steps.resampling((4, 4), target[:2]) == [steps.Resize(target[:2])]
    model = stitch.build(given)
    resized = bilinear(bilinear(x, target[0], axis=1), target[1], axis=2)
    np.testing.assert_allclose(forward(model, x), resized @ given.kernel + given.bias, atol=1e-5)


def bilinear(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Half-pixel centres, edges repeated."""
    n = x.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, n - 1)
    weight = (at - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight


@pytest.mark.parametrize(("source", "target"), [((8, 8, 5), (4, 4, 3)), ((4, 4, 5), (8, 8, 3)), ((4, 4, 5), (4, 4, 7))])
def test_costs_are_those_of_the_built_model(source, target):
    calls = costs.nodes(stitch.build(fitted(source, target, (0.0, None))))
    assert stitch.macs(Layout(source), Layout(target)) == costs.macs(calls)
    assert stitch.params(Layout(source), Layout(target)) == costs.params(calls)


# --- hidden features ------------------------------------------------------------------------------


def wide(given: Stitch, x: np.ndarray) -> Stitch:
    """With hidden features that the map heeds."""
    made = stitch.widened(given, x, seed=3)
    kernel = made.kernel.copy()
    kernel[given.kernel.shape[0] :] = np.random.default_rng(4).normal(size=kernel[given.kernel.shape[0] :].shape)
    return replace(made, kernel=kernel)


ENDS = [((4, 4, 40), (4, 4, 33)), ((8, 8, 5), (4, 4, 3)), ((4, 4, 5), (7, 7, 3))]


@pytest.mark.parametrize(("source", "target"), ENDS)
def test_a_widened_stitch_is_the_same_function_until_it_is_trained(source, target):
    given, x = fitted(source, target, (0.0, None)), grid(*source)
    made = stitch.widened(given, x, seed=3)
    assert made.parts["hidden_kernel"].shape == (source[-1], 8)
    np.testing.assert_allclose(forward(stitch.build(made), x), forward(stitch.build(given), x), atol=1e-6)
    hidden = stitch.read(made, x)[..., source[-1] :]
    assert 0.2 < np.mean(hidden > 0) < 0.8
    assert not np.array_equal(stitch.widened(given, x, seed=4).parts["hidden_kernel"], made.parts["hidden_kernel"])


@pytest.mark.parametrize(("source", "target"), ENDS)
def test_hidden_features_by_hand(source, target):
    x = grid(*source)
    made = wide(fitted(source, target), x)
    adapted = stitch.adapted(x, made.source, made.target)
    hidden = np.maximum(adapted @ made.parts["hidden_kernel"] + made.parts["hidden_bias"], 0)
    expected = adapted @ made.kernel[: source[-1]] + hidden @ made.kernel[source[-1] :] + made.bias
    np.testing.assert_allclose(stitch.delivered(made, x), expected, atol=1e-4)
    found = forward(stitch.build(made), x)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-4)


@pytest.mark.parametrize(("source", "target"), ENDS)
def test_costs_of_hidden_features_are_those_of_the_built_model(source, target):
    made = wide(fitted(source, target), grid(*source))
    calls = costs.nodes(stitch.build(made))
    macs, params = stitch.widening(made)
    assert stitch.macs(made.source, made.target) + macs == costs.macs(calls)
    assert stitch.params(made.source, made.target) + params == costs.params(calls)
    assert stitch.widening(fitted(source, target)) == (0, 0)


def test_balanced_features_reach_as_high_as_the_fronts_own_and_change_nothing():
    x = grid(6, 6, 5)
    made = wide(fitted((6, 6, 5), (6, 6, 3)), x)
    uneven = np.geomspace(0.01, 100, 8, dtype=np.float32)
    given = replace(made, parts={name: values * uneven for name, values in made.parts.items()})
    found = stitch.balanced(given, x)
    np.testing.assert_allclose(stitch.delivered(found, x), stitch.delivered(given, x), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(stitch.read(found, x)[..., 5:].max(axis=(0, 1)), x.max(), rtol=1e-4)


def test_a_hidden_feature_that_is_never_on_stays_as_it_is():
    x = grid(6, 6, 5)
    made = wide(fitted((6, 6, 5), (6, 6, 3)), x)
    dead = np.where(np.arange(8) == 2, -1e3, made.parts["hidden_bias"]).astype(np.float32)
    found = stitch.balanced(replace(made, parts=made.parts | {"hidden_bias": dead}), x)
    assert found.parts["hidden_bias"][2] == dead[2]
    assert np.isfinite(found.kernel).all()
    assert (
        stitch.balanced(replace(made, parts=made.parts | {"hidden_bias": dead}), -np.abs(x)).parts["hidden_bias"]
        is dead
    )


def test_a_stitch_trained_in_layers_comes_back_with_its_hidden_features():
    x = grid(6, 6, 5)
    made = wide(fitted((6, 6, 5), (6, 6, 3)), x)
    model = stitch.build(made)
    for layer, factor in (("hidden", 2), ("project", 3)):
        model.get_layer(layer).set_weights([factor * w for w in model.get_layer(layer).get_weights()])
    found = stitch.trained(made, model)
    np.testing.assert_array_equal(found.parts["hidden_kernel"], 2 * made.parts["hidden_kernel"])
    np.testing.assert_array_equal(found.parts["hidden_bias"], 2 * made.parts["hidden_bias"])
    np.testing.assert_array_equal(found.kernel, 3 * made.kernel)


def test_the_layers_are_named():
    names = [layer.name for layer in stitch.build(fitted((8, 8, 2), (4, 4, 2), (0.0, 6.0))).layers[1:]]
    assert names == ["pool", "project", "clamp"]
