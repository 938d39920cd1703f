"""MACs counted in a compiled anchor are those that are counted in its Keras graph, up to every cut."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import networks
import numpy as np
import pytest

from restnet_tf.anchors import zoo
from restnet_tf.graph import costs, cuts
from restnet_tf.records import Anchor
from tflite_export import macs
from tflite_export.convert import compile_object
from tflite_export.link import Object

pytestmark = pytest.mark.slow

ANCHORS = {
    "residual": lambda: networks.pair()[0]["large"],
    "tokens": lambda: zoo.load("ViT:input=8,patch=4,width=8,depth=2,heads=2,classes=3", weights="none"),
    "depthwise": lambda: zoo.load("MobileNetV2:alpha=0.35,input=32,classes=3", weights="none"),
}


@pytest.mark.parametrize(("name", "precision"), [*((name, "float32") for name in ANCHORS), ("residual", "int8")])
def test_as_in_the_graph(name: str, precision: str) -> None:
    anchor: Anchor = ANCHORS[name]()
    found = [cut for cut in cuts.find(anchor.model) if cut.kind != "vector"]
    tensors = {cut.name: cuts.tensor(anchor.model, cut.name) for cut in found}
    images = np.random.default_rng(0).uniform(0, 255, (4, *anchor.input_shape)).astype(np.float32)
    whole, before = macs.before_cuts(Object(compile_object(anchor.model, tensors, precision, [images])))
    assert before == {cut.name: cut.macs_before for cut in found}
    assert whole == costs.macs(costs.nodes(anchor.model))
    assert whole == found[0].macs_before + found[0].macs_after
    assert len(set(before.values())) > 3
