"""Published models that this project did not make: linked variants answer as TensorFlow's conversions do."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import needs
import numpy as np
import paths
import pytest
from networks import forward

from restnet_tf.anchors import zoo
from restnet_tf.data import splits
from restnet_tf.graph import cuts
from restnet_tf.records import Anchor, Piece, Plan, Stitch
from restnet_tf.similarity import features
from restnet_tf.stitches import stitch, variant
from tflite_export import link, recalibration, verify
from tflite_export.convert import compile_object, convert

SHARED = paths.SHARED
pytestmark = [
    pytest.mark.slow,
    needs.ANCHORS.mark,
]
# Images of 96 halve as evenly as those of 224, and take a fifth of the time: LiteRT's kernels of sixteen bits are slow.
PAIRS = {
    "resnets": (("resnet56_cifar10.keras", None), ("resnet8_cifar10.keras", None), "cifar10_subset.npz"),
    "mobilenets": (
        ("mobilenet_v2_1.0_224.weights.h5", "MobileNetV2:input=96"),
        ("mobilenet_v1_0.25_224.h5", "MobileNet:alpha=0.25,input=96"),
        "imagenet_sample",
    ),
}
IMAGES = 24


@cache
def anchors(pair: str) -> dict[str, Anchor]:
    return {
        role: zoo.load(str(SHARED / "anchors" / name), arch=arch)
        for role, (name, arch) in zip(("large", "small"), PAIRS[pair][:2], strict=True)
    }


@cache
def images(pair: str) -> tuple[np.ndarray, np.ndarray]:
    """To calibrate and fit on, and to compare on."""
    found = splits.load(str(SHARED / "data" / PAIRS[pair][2]), seed=0)
    shape = anchors(pair)["large"].input_shape
    fit, test = (next(iter(s.head(IMAGES).batches(shape, IMAGES))) for s in (found.fit, found.test))
    return np.asarray(fit), np.asarray(test)


@cache
def compiled(pair: str, role: str, precision: str) -> link.Object:
    anchor = anchors(pair)[role]
    tensors = {cut.name: cuts.tensor(anchor.model, cut.name) for cut in cuts.find(anchor.model) if cut.kind == "grid"}
    return link.Object(compile_object(anchor.model, tensors, precision, [images(pair)[0]]))


@cache
def variants(pair: str, source: str) -> tuple[Plan, Stitch]:
    """The middle one of the pairs of cuts that can be joined, with its closed-form stitch."""
    other = {"large": "small", "small": "large"}[source]
    lists = {role: cuts.find(anchor.model) for role, anchor in anchors(pair).items()}
    joined = [(a, b) for a in lists[source] for b in lists[other] if not stitch.compatible(a, b)]
    ends = dict(zip((source, other), joined[len(joined) // 2], strict=True))
    picked = {role: (cut,) for role, cut in ends.items()}
    split = splits.load(str(SHARED / "data" / PAIRS[pair][2]), seed=0).fit.head(2 * IMAGES)
    statistics = features.collect(anchors(pair), picked, split)
    route = (Piece(source, None, ends[source].name), Piece(other, ends[other].name, None))
    return Plan("variant", route, 0, 0, 0.0, 0.0), features.initial((source, 0, 0), picked, statistics)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("source", ["large", "small"])
@pytest.mark.parametrize("precision", ["float32", "int8", "int16x8"])
def test_a_linked_variant_answers_as_the_converted_one(pair, source, precision):
    plan, fitted = variants(pair, source)
    front, back = plan.route
    route = link.Route(
        compiled(pair, front.anchor, precision),
        front.stop,
        stitch.pipeline(fitted),
        compiled(pair, back.anchor, precision),
        back.start,
    )
    fit, test = images(pair)
    model = variant.assemble(plan, anchors(pair), fitted)
    both = (model, variant.assemble(plan, anchors(pair), fitted, logits=True))
    if precision != "float32":  # as a build makes one
        exact = forward(cuts.front(anchors(pair)[front.anchor], str(front.stop)), fit)
        rounded = verify.run(link.front(link.Route(route.front), str(front.stop), precision=precision), [fit]).scores
        refitted = stitch.refitted(fitted, exact, rounded.reshape(exact.shape))
        route = replace(route, stitch=stitch.pipeline(refitted))
        route = recalibration.best(route, fit, forward(both[1], fit), precision=precision).route
    linked = verify.run(link.variant(route, precision=precision), [test])
    converted = verify.run(convert(model, precision, [fit]), [test])
    keras = verify.Outputs(*(np.asarray(m(test, training=False)) for m in both))
    if precision == "float32":
        np.testing.assert_allclose(linked.scores, converted.scores, atol=1e-5)
        np.testing.assert_allclose(linked.scores, keras.scores, atol=1e-4)
    else:
        assert verify.compare(linked, keras).sqnr_db > verify.compare(converted, keras).sqnr_db - 1
