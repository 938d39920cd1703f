"""Routes of several stitches on the ladder: all of them are trained, and what comes out is the assembled route."""

from __future__ import annotations

from typing import Any

import networks
import numpy as np
import pytest

from restnet_tf.fitting import ladder, loss
from restnet_tf.fitting.examples import Examples
from restnet_tf.fitting.results import Fitted
from restnet_tf.graph import cuts
from restnet_tf.graph.costs import Costs
from restnet_tf.methods.restnet import jumps
from restnet_tf.records import Cut, Stitch
from restnet_tf.stitches import variant

pytestmark = pytest.mark.slow
PATH = ((0, 1), (4, 5))
JUMPS = tuple((("large", i), ("large", j)) for i, j in PATH)


@pytest.fixture(scope="module")
def material() -> dict[str, Any]:
    anchor = networks.anchor((4, 6), 3, convolutions=1, seed=3)
    cut_list = cuts.find(anchor.model)
    plan = jumps.plan(JUMPS, {"large": cut_list}, {"large": Costs(10**9, 1)})
    rng = np.random.default_rng(0)

    def stitch(a: Cut, b: Cut) -> Stitch:
        width = a.layout.channels
        kernel = np.eye(width) + rng.normal(0, 0.3, (width, width))
        return Stitch(kernel.astype(np.float32), np.zeros(width, np.float32), a.layout, b.layout, b.clamp)

    def examples(seed: int, n: int) -> Examples:
        x = networks.images(n, seed=seed)
        model = anchor.model
        ends = [cuts.tensor(model, cut_list[0].name), anchor.logits, anchor.features]
        inner = cuts.between(model, model.inputs[0], ends)
        features, logits, pooled = (np.asarray(v) for v in inner(x.astype(np.float32), training=False))
        return Examples(features, logits, pooled, None)

    piece = plan.route[1]
    stretch = variant.piece(anchor, piece.start, cuts.tensor(anchor.model, str(piece.stop)), {})
    start = cuts.tensor(anchor.model, str(plan.route[2].start))
    tail = cuts.between(anchor.model, start, [anchor.features, anchor.logits])
    stitches = [stitch(cut_list[i], cut_list[j]) for i, j in PATH]
    return {
        "anchor": anchor,
        "plan": plan,
        "stitches": stitches,
        "given": (stitches[1], tail, examples(1, 256), examples(2, 64)),
        "before": [(stitches[0], stretch)],
    }


def kl_of(material: dict[str, Any], fitted: Fitted | None = None) -> float:
    """The mean KL of the assembled route on the rank images."""
    stitches = material["stitches"] if fitted is None else fitted.stitches
    model = variant.assemble(material["plan"], {"large": material["anchor"]}, *stitches, logits=True)
    logits = networks.forward(model, networks.images(64, seed=2))
    return float(np.mean(loss.kl_divergence(material["given"][3].teacher, logits)))


RUNGS = {"stitch": 2 * 10**10, "norm": 2 * 10**10}


def test_every_stitch_and_the_norms_behind_each_are_trained(material):
    fitted = ladder.fit(*material["given"], rungs=RUNGS, before=material["before"])
    assert fitted.closed_form_kl == pytest.approx(kl_of(material), rel=1e-4)
    assert fitted.rung == "norm"
    assert fitted.kl < 0.7 * fitted.closed_form_kl
    assert fitted.kl == pytest.approx(kl_of(material, fitted), rel=1e-3, abs=1e-6)
    for was, now in zip(material["stitches"], fitted.stitches, strict=True):
        assert not np.array_equal(was.kernel, now.kernel)
    first, last = (set(one.tuned) for one in fitted.stitches)
    assert {path.split(".")[0] for path in first} == {"0", "1"}
    assert first
    assert last
    assert not first & last


def test_a_fit_that_stops_between_rungs_goes_on_to_the_same(material):
    rungs = {"stitch": 4 * 10**9, "back": 4 * 10**9}
    whole = ladder.fit(*material["given"], rungs=rungs, before=material["before"])
    begun, state = ladder.begin(*material["given"], rungs=rungs, before=material["before"])
    further, _ = ladder.proceed(begun, state, *material["given"], rungs=rungs, before=material["before"])
    assert further.rungs == whole.rungs
    for one, other in zip(further.stitches, whole.stitches, strict=True):
        np.testing.assert_array_equal(one.kernel, other.kernel)
        assert one.tuned.keys() == other.tuned.keys()
