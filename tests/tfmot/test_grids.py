"""Which tensor of a file holds what a call gives, told by values; and the grids of weights."""

from __future__ import annotations

import numpy as np
import pytest

from restnet_tf.tfmot import grids
from restnet_tf.tfmot.grids import Grid

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 4, 3, 5, 6))
ONE, TWO = Grid(-1.0, 1.0), Grid(0.0, 6.0)


def near(x: np.ndarray, error: float = 0.1) -> np.ndarray:
    """As integers hold it."""
    return np.asarray(x + error * np.random.default_rng(1).normal(size=x.shape), np.float32)


def test_each_call_has_the_grid_of_the_tensor_with_its_values() -> None:
    assert grids.of_calls([A, B], [near(B), near(A)], [ONE, TWO]) == {0: TWO, 1: ONE}


def test_what_a_file_computes_together_is_rounded_once() -> None:
    """Behind a ReLU, not before it; in either order of tensors, and whatever shape the file has."""
    clamped = np.maximum(A, 0)
    assert grids.of_calls([A, clamped], [near(clamped).reshape(4, 90)], [TWO]) == {1: TWO}
    # The same values again, as a reshape gives them, are rounded already.
    assert grids.of_calls([A, A.reshape(4, 15, 6)], [near(A)], [ONE]) == {0: ONE}


def test_what_no_tensor_holds_has_no_grid() -> None:
    assert grids.of_calls([A, B], [near(B)], [ONE]) == {1: ONE}
    assert grids.of_calls([A], [near(A, error=1.0)], [ONE]) == {}
    assert grids.of_calls([A], [near(A)[:, :2]], [ONE]) == {}
    assert grids.of_calls([A], [], []) == {}


def test_axes_may_stand_in_another_order_where_it_is_said() -> None:
    turned = near(A).transpose(0, 3, 1, 2)
    assert grids.of_calls([A], [turned], [ONE]) == {}
    assert grids.of_calls([A], [turned], [ONE], turned=(0,)) == {0: ONE}


@pytest.mark.parametrize(
    ("layer", "shape", "equation", "axes"),
    [
        ("Conv2D", (3, 3, 4, 5), "", (0, 1, 2)),
        ("DepthwiseConv2D", (3, 3, 4, 2), "", (0, 1)),
        ("Dense", (4, 5), "", (0,)),
        ("EinsumDense", (4, 2, 3), "abc,cde->abde", (0,)),
        ("EinsumDense", (2, 3, 4), "abcd,cde->abe", (0, 1)),
    ],
)
def test_kernels_have_a_scale_for_each_output(
    layer: str, shape: tuple[int, ...], equation: str, axes: tuple[int, ...]
) -> None:
    assert grids.summed(layer, len(shape), equation) == axes
    kernel = RNG.normal(size=shape)
    kernel[(0,) * len(shape)] = 0
    rounded = grids.on_grid(kernel, axes)
    steps = np.abs(kernel).max(axis=axes, keepdims=True) / 127
    assert np.all(np.abs(rounded - kernel) <= 0.5001 * steps)
    np.testing.assert_allclose(rounded / steps, np.round(rounded / steps), atol=1e-3)
    assert np.all(grids.on_grid(np.zeros(shape), axes) == 0)
