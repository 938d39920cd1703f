"""The loss of closed-form stitches, against the same worked out directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from networks import anchor, forward, images, pair, split

from restnet_tf.data.splits import Split
from restnet_tf.graph import cuts
from restnet_tf.graph.costs import Costs
from restnet_tf.methods.restnet import plan, trials
from restnet_tf.records import Anchor, Cut, Piece, Plan, RestnetError
from restnet_tf.similarity import features
from restnet_tf.similarity.features import Statistics
from restnet_tf.stitches import variant

pytestmark = pytest.mark.slow


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def kl(teacher: np.ndarray, student: np.ndarray) -> float:
    return float(np.mean(np.sum(teacher * (np.log(teacher) - np.log(student)), axis=1)))


def with_kl(
    plans: Sequence[Plan],
    anchors: dict[str, Anchor],
    cut_lists: dict[str, tuple[Cut, ...]],
    statistics: Statistics,
    images: Split,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Plan, ...]:
    """The plans, the candidates tried by their closed-form stitches."""
    starts = trials.starts(plans, cut_lists, statistics)
    candidates = [p for p in plans if p.status == "candidate"]
    return trials.with_losses(plans, trials.losses(candidates, anchors, cut_lists, starts, images, progress))


Family = tuple[dict[str, Anchor], dict[str, tuple[Cut, ...]], Statistics]


@pytest.fixture(scope="module")
def family() -> Family:
    """Two anchors, their cuts and what their features add up to; nothing here changes them."""
    anchors, cut_lists = pair(2)
    return anchors, cut_lists, features.collect(anchors, cut_lists, split(40))


def test_an_anchor_stitched_to_itself_loses_nothing():
    same = {"large": anchor((4, 6), 2, seed=3), "small": anchor((4, 6), 2, seed=3)}
    cut_lists = {role: cuts.find(a.model) for role, a in same.items()}
    statistics = features.collect(same, cut_lists, split(64))
    route = Piece("large", None, "0.1.out"), Piece("small", "0.1.out", None)
    other = Piece("large", None, "stem"), Piece("small", "1.1.out", None)
    plans = [Plan("same", route, 1, 1, 1.0, 1.0), Plan("far", other, 1, 1, 1.0, 1.0)]
    ranked = with_kl(plans, same, cut_lists, statistics, split(70, seed=5))
    assert 0 <= ranked[0].kl < 1e-4
    assert ranked[1].kl > 10 * ranked[0].kl


def test_kl_of_every_candidate_is_that_of_the_assembled_variant(family: Family):
    anchors, cut_lists, statistics = family
    costs = {"large": Costs(10**9, 1), "small": Costs(0, 1)}
    proposed = plan.propose(cut_lists, statistics, costs, points=2)
    steps = []
    ranked = with_kl(proposed, anchors, cut_lists, statistics, split(70, seed=5), lambda *at: steps.append(at))
    assert steps == [(64, 70), (70, 70)]  # a last batch that is not full counts as what it is
    candidates = [p for p in ranked if p.status == "candidate"]
    assert {p.route[0].anchor for p in candidates} == {"large", "small"}
    x = images(70, seed=5)
    teacher = softmax(np.log(forward(anchors["large"].model, x)))
    for candidate in candidates:
        fitted = features.initial(plan.key(candidate, cut_lists), cut_lists, statistics)
        outputs = forward(variant.assemble(candidate, anchors, fitted), x)
        assert candidate.kl == pytest.approx(kl(teacher, outputs), rel=1e-3, abs=1e-6)
    rejected = [p for p in ranked if p.status == "rejected"]
    assert rejected
    assert repr(rejected) == repr([p for p in proposed if p.status == "rejected"])


def test_nothing_to_rank(family: Family):
    anchors, cut_lists, statistics = family
    refused = Plan(
        "x", (Piece("large", None, "stem"), Piece("small", "stem", None)), 1, 1, 0.1, 0.1, None, "rejected", "r"
    )
    assert with_kl([refused], anchors, cut_lists, statistics, split(8)) == (refused,)


def test_the_initial_stitch_is_the_solution_with_the_targets_clamp(family: Family):
    _, cut_lists, statistics = family
    fitted = features.initial(("small", 1, 2), cut_lists, statistics)
    np.testing.assert_array_equal(fitted.kernel, statistics.solutions["small", 1, 2].kernel)
    assert fitted.source == cut_lists["small"][1].layout
    assert fitted.target == cut_lists["large"][2].layout
    assert fitted.clamp == cut_lists["large"][2].clamp == (0.0, None)
    assert fitted.tuned == {}


def test_plans_that_are_tried_apart_get_what_they_get_together(family: Family):
    anchors, cut_lists, statistics = family
    proposed = plan.propose(cut_lists, statistics, {"large": Costs(10**9, 1), "small": Costs(0, 1)}, points=2)
    candidates = [p for p in proposed if p.status == "candidate"]
    starts = trials.starts(candidates, cut_lists, statistics)
    together = trials.losses(candidates, anchors, cut_lists, starts, split(20))
    assert len(together) > 2
    for p in candidates[:3]:
        apart = trials.losses([p], anchors, cut_lists, starts, split(20))
        assert apart == {p.name: pytest.approx(together[p.name], rel=1e-6)}


def test_a_piece_that_plans_share_is_made_once(family: Family, monkeypatch: pytest.MonkeyPatch):
    anchors, cut_lists, statistics = family
    proposed = plan.propose(cut_lists, statistics, {"large": Costs(10**9, 1), "small": Costs(0, 1)}, points=2)
    candidates = [p for p in proposed if p.status == "candidate"]
    pieces = {p.route[1] for p in candidates}
    assert len(candidates) > len(pieces)
    made: list[Piece] = []
    one = trials._piece
    monkeypatch.setattr(trials, "_piece", lambda anchor, piece: made.append(piece) or one(anchor, piece))
    with_kl(candidates, anchors, cut_lists, statistics, split(8))
    assert sorted(map(str, made)) == sorted(map(str, pieces))


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize(
    ("layer", "content"), [("0.1.conv2", "the features of large at 0.1.add"), ("logits", "the logits of large")]
)
def test_what_is_not_finite_is_refused(value, layer, content):
    """Broken after the statistics; a cut before the ReLU, as that may make zeros of NaN."""
    anchors, cut_lists = pair(2)
    whole = cut_lists["large"][0]
    cut_lists["large"] = (Cut("0.1.add", 0, "grid", (8, 8, 6), (None, None), whole.macs_before, 0, 0, 0),)
    statistics = features.collect(anchors, cut_lists, split(40))
    kernel = anchors["large"].model.get_layer(layer).weights[0]
    kernel.assign(np.full(kernel.shape, value, np.float32))
    route = Piece("large", None, "0.1.add"), Piece("small", cut_lists["small"][1].name, None)
    with pytest.raises(RestnetError, match=f"^{content} hold NaN or infinity: its weights are broken"):
        with_kl([Plan("x", route, 1, 1, 1.0, 1.0)], anchors, cut_lists, statistics, split(8))
