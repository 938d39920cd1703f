"""Paths that leave blocks out: what is possible, which are best, what they cost, what is refused."""

from __future__ import annotations

import keras
import networks
import numpy as np
import pytest

from restnet_tf.graph import costs, cuts
from restnet_tf.graph.costs import Costs
from restnet_tf.methods.restnet import jumps
from restnet_tf.records import Cut, Piece, Plan, Reason, RestnetError, Stitch
from restnet_tf.stitches import exits, variant

WHOLE = 100_000


def chain(stages: tuple[int, ...] = (4, 4), whole: int = WHOLE) -> tuple[Cut, ...]:
    """Stages of so many blocks, each of as many MACs, at sizes that differ."""
    shapes = [(8 // 2**stage, 8 // 2**stage, 2) for stage, blocks in enumerate(stages) for _ in range(blocks)]
    step = whole // (len(shapes) + 1)
    return tuple(
        Cut(f"c{i}", i, "grid", shape, (None, None), step * (i + 1), whole - step * (i + 1), 10 * i, 0)
        for i, shape in enumerate(shapes)
    )


def ahead(*ends: int) -> jumps.Path:
    """A path in the large anchor, by the cuts that it leaves and goes on at in turns."""
    return tuple((("large", i), ("large", j)) for i, j in zip(ends[::2], ends[1::2], strict=True))


def test_jumps_go_ahead_to_the_same_shape_and_save_something():
    assert jumps.ahead("large", chain((3, 2))) == tuple(ahead(*ends)[0] for ends in ((0, 1), (0, 2), (1, 2), (3, 4)))
    # A block has 166 MACs, a map of 2 to 2 channels 256 at 64 places and 64 at 16: of the first stage one is too few.
    dear = {"large": chain((3, 2), whole=1000)}
    assert jumps.ahead("large", dear["large"]) == (*ahead(0, 2), *ahead(3, 4))
    assert [jumps.saved(dear, jump) for jump in ahead(0, 1, 0, 2, 3, 4)] == [166 - 256, 2 * 166 - 256, 166 - 64]


def test_exits_lead_from_every_cut_to_the_classes():
    anchor = networks.anchor((4, 6), 1)
    places = cuts.places(anchor)
    *rest, last = places
    assert (last.name, last.kind, last.shape, last.macs_after) == ("logits", "vector", (networks.CLASSES,), 0)
    # Behind the last grid comes the classifier itself, behind a pool that is a cut too.
    assert jumps.exits("large", places) == ((("large", 0), ("large", 4)), (("large", 1), ("large", 4)))
    assert jumps.exits("large", rest) == ()
    assert jumps.ahead("large", places) == jumps.ahead("large", rest)


def zeros(source: Cut, target: Cut) -> Stitch:
    layouts = source.layout, target.layout
    shape = exits.read(*layouts), target.layout.channels
    return Stitch(np.zeros(shape, np.float32), np.zeros(shape[1], np.float32), *layouts, target.clamp)


PATHS = {
    "L1-L3-L5-L6": ahead(1, 3, 5, 6),
    "L2-exit": ahead(2, 10),
    "L1-L3-L4-exit": ahead(1, 3, 4, 10),
    "L1-S0-S1-L6": ((("large", 1), ("small", 0)), (("small", 1), ("large", 6))),
    "S1-L2-L3-S1": ((("small", 1), ("large", 2)), (("large", 3), ("small", 1))),
}


@pytest.fixture(scope="module")
def anchors():
    return {"large": networks.anchor((4, 6), 4), "small": networks.anchor((4, 6), 1, seed=1)}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_costs_what_its_network_costs(anchors, name):
    places = {role: cuts.places(anchor) for role, anchor in anchors.items()}
    calls = {role: costs.nodes(anchor.model) for role, anchor in anchors.items()}
    whole = {role: Costs(costs.macs(each), costs.params(each)) for role, each in calls.items()}
    made = jumps.plan(PATHS[name], places, whole)
    assert (made.name, made.status) == (name, "candidate")
    assert made.cuts == tuple(index for jump in PATHS[name] for _, index in jump)
    model = variant.assemble(made, anchors, *(zeros(*jumps.ends(places, jump)) for jump in PATHS[name]))
    layers = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert made.macs == sum(costs.macs(costs.nodes(layer)) for layer in layers)
    assert made.params == sum(costs.params(costs.nodes(layer)) for layer in layers)
    assert jumps.path(made, places) == PATHS[name]
    assert (jumps.inside(made), jumps.between(made)) == ("S" not in name, False)


def test_what_is_too_short_or_over_the_budget_says_so():
    places, whole = {"large": chain((1, 1, 8))}, {"large": Costs(WHOLE, 100)}
    short = jumps.plan(ahead(2, 9), places, whole)
    assert (short.status, short.reason) == ("rejected", Reason("too_little_left", limit=jumps.LEAST_SHARE))
    over = jumps.plan(ahead(2, 3), places, whole, lambda macs, params: Reason.note(f"{macs} is too much"))
    assert over.reason == Reason.note(f"{over.macs} is too much")


def route(*ends: int, role: str = "large") -> Plan:
    names = [None, *(f"c{end}" for end in ends), None]
    pieces = [Piece(role, names[i], names[i + 1]) for i in range(0, len(names), 2)]
    return Plan("mine", tuple(pieces), 1, 1, 0.0, 0.0, None, "chosen")


PLACES = {"large": chain()}
AHEAD = jumps.ahead("large", PLACES["large"])


def test_plans_by_hand():
    jumps.check([route(0, 2), route(0, 1, 4, 6)], PLACES, AHEAD)
    jumps.check([Plan("out", (Piece("small", None, "x"),), 1, 1, 0.0, 0.0, None, "rejected")], PLACES, AHEAD)


@pytest.mark.parametrize(
    "wrong", [route(2, 0), route(0, 5), route(0, 1, 1, 2), route(), route(0, 2, role="small"), route(0, 12)]
)
def test_routes_that_are_no_paths_are_refused(wrong):
    with pytest.raises(RestnetError, match="plan mine"):
        jumps.check([wrong], PLACES, AHEAD)
