"""Stretches of objects: what they compute, what any net with them needs, and the softmax behind a head."""

from __future__ import annotations

import keras
import networks
import numpy as np
import pytest

from restnet_tf.graph import cuts
from restnet_tf.records import Layout, Stitch
from restnet_tf.stitches.stitch import pipeline
from tflite_export import convert, fragment, link, memory
from tflite_export.errors import TfliteError
from tflite_export.fragment import Runner
from tflite_export.link import Object, Route

pytestmark = pytest.mark.slow

IMAGES = networks.images(6).astype(np.float32)


@pytest.fixture(scope="module", params=["float32", "int8"])
def compiled(request) -> tuple[str, keras.Model, Object]:
    model = networks.anchor((4, 6), 2, seed=3).model
    tensors = {cut.name: cuts.tensor(model, cut.name) for cut in cuts.find(model)}
    return request.param, model, Object(convert.compile_object(model, tensors, request.param, [IMAGES]))


def test_stretches_one_after_the_other_are_the_whole(compiled):
    precision, model, found = compiled
    names = [cut.name for cut in cuts.find(model)][1:]
    whole = Runner(fragment.stretch(found, None, names))(IMAGES)
    x, start = IMAGES, None
    for name, wanted in zip(names, whole, strict=True):
        x = Runner(fragment.stretch(found, start, [name]))(x)[0]
        start = name
        np.testing.assert_allclose(x, wanted, atol=1e-5)
    if precision == "float32":
        exact = networks.forward(keras.Model(model.inputs[0], cuts.tensor(model, names[-1])), IMAGES)
        np.testing.assert_allclose(x, exact, atol=1e-3)


def test_no_cut_is_refused(compiled):
    _, _model, found = compiled
    with pytest.raises(TfliteError, match="has no cut 'x'"):
        fragment.stretch(found, None, ["x"])


def test_a_floor_is_below_every_net_with_the_stretch_in_it(compiled):
    precision, model, found = compiled
    names = [cut.name for cut in cuts.find(model)]
    first, second = names[1], names[2]
    shapes = [cuts.tensor(model, name).shape[1:] for name in (first, second)]
    kernel = np.random.default_rng(0).normal(size=(shapes[0][-1], shapes[1][-1])).astype("f4")
    ends = Layout(tuple(shapes[0])), Layout(tuple(shapes[1]))
    joint = pipeline(Stitch(kernel, np.zeros(shapes[1][-1], "f4"), *ends, (0.0, None)))
    route = Route(found, first, joint, found, second)
    for net, start, stitched in (
        (link.variant(Route(found), precision=precision), None, False),
        (link.variant(route, precision=precision), second, True),
    ):
        part = fragment.floor(found, start, names[-1], stitched=stitched)
        assert 0 < fragment.flash([part]) < len(net)
        assert 0 < part.arena <= memory.plan(memory.ranges(net)).size
    whole = fragment.floor(found, None, names[-1], stitched=False)
    # It is not far below either, or it would prune nothing.
    assert whole.arena > 0.9 * memory.plan(memory.ranges(link.variant(Route(found), precision=precision))).lower_bound
    assert fragment.flash([whole, whole]) == fragment.flash([whole])


@pytest.mark.parametrize("precision", ["float32", "int8", "int16x8"])
def test_the_softmax_of_a_head(precision):
    logits = np.random.default_rng(0).normal(0, 3, (20, 1, 1, 5)).astype(np.float32)
    made = fragment.softmax(5, precision, (-12.0, 12.0))
    content = link.variant(Route(made), precision=precision)
    found = Runner(content)(logits)[0]
    wanted = np.exp(logits[:, 0, 0]) / np.exp(logits[:, 0, 0]).sum(axis=1, keepdims=True)
    assert found.shape == (20, 5)
    np.testing.assert_allclose(found, wanted, atol={"float32": 1e-6, "int8": 0.03, "int16x8": 1e-3}[precision])


def test_features_that_are_not_finite_are_refused(compiled):
    _, _model, found = compiled
    run = Runner(fragment.stretch(found, None, list(found.cuts)[:1]))
    broken = IMAGES.copy()
    broken[1, 0, 0, 0] = np.inf
    with pytest.raises(TfliteError, match=r"1 of 192 values for .* are not finite"):
        run(broken)
