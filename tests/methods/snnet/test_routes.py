"""From windows to configurations: how many, what they cost, which are out and why."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import networks
from networks import cuts_of

from restnet_tf import words
from restnet_tf.graph import costs, cuts
from restnet_tf.graph.costs import Costs
from restnet_tf.methods.snnet import routes
from restnet_tf.methods.snnet.routes import Chain
from restnet_tf.methods.snnet.windows import Sliding
from restnet_tf.records import Cut, Piece, Plan, Reason
from restnet_tf.stitches import stitch

OVER = Reason.note("over")


def wide(scale: int, depth: int = 12) -> tuple[Cut, ...]:
    """Tokens of a ViT: each block costs ``scale`` million MACs, so that no stitch weighs against it."""
    made = cuts_of([4] * depth, kind="tokens")
    unit = scale * 1_000_000
    return tuple(
        Cut(c.name, c.index, c.kind, c.shape, c.clamp, unit * (c.index + 1), unit * (depth - c.index), 0, 0, c.grid)
        for c in made
    )


def chain(depth: int = 12) -> Chain:
    cut_lists = {role: wide(scale, depth) for role, scale in (("A", 1), ("B", 4), ("C", 16))}
    macs = {role: found[-1].macs_before + found[-1].macs_after for role, found in cut_lists.items()}
    return Chain(cut_lists, {role: Costs(m, 0) for role, m in macs.items()}, dict.fromkeys("ABC", 4))


def chosen(plans: tuple[Plan, ...]) -> list[Plan]:
    return [p for p in plans if p.status == "chosen"]


def test_three_anchors_of_twelve_blocks_make_71_configurations_with_themselves():
    assert len(chosen(routes.propose(chain(), Sliding()))) + 3 == 71


def test_both_directions_double_them_and_names_say_where_they_run():
    found = chosen(routes.propose(chain(), Sliding(), order="both"))
    assert len(found) == 2 * 68
    by_name = {p.name: p for p in found}
    assert len(by_name) == len(found)
    assert by_name["A3-B4"].route == (Piece("A", None, "block3"), Piece("B", "block4", None))
    assert by_name["C3-B4"].route == (Piece("C", None, "block3"), Piece("B", "block4", None))
    assert "A3-C4" not in by_name  # no neighbours


def test_two_stitch_routes_stay_inside_a_pair_and_run_forwards():
    one = {p.name for p in routes.propose(chain(4), Sliding())}
    more = [p for p in chosen(routes.propose(chain(4), Sliding(), two_stitch=True)) if p.name not in one]
    assert {tuple(piece.anchor for piece in p.route) for p in more} == {
        ("A", "B", "A"),
        ("B", "A", "B"),
        ("B", "C", "B"),
        ("C", "B", "C"),
    }
    # Through the last pair of each window: 1, 2, 3; away at one of them, back at a later one.
    assert {p.name for p in more if p.route[0].anchor == "A"} == {"A1-B1-B2-A2", "A1-B1-B3-A3", "A2-B2-B3-A3"}


def test_a_route_costs_its_pieces_and_its_stitches():
    found = {p.name: p for p in routes.propose(chain(4), Sliding(), two_stitch=True)}
    a, b = chain(4).cut_lists["A"], chain(4).cut_lists["B"]
    joint = stitch.macs(a[1].layout, b[1].layout)
    assert found["A1-B2"].macs == a[1].macs_before + b[2].macs_after + joint
    middle = b[3].macs_before - b[1].macs_before
    assert found["A1-B1-B3-A3"].macs == a[1].macs_before + middle + a[3].macs_after + 2 * joint
    assert isnan(found["A1-B2"].cka)


def test_what_costs_no_more_or_no_less_than_its_neighbours_is_rejected_with_the_reason():
    anchors = {
        "A": networks.anchor((6, 8), 3, seed=1, name="a"),
        "B": networks.anchor((7, 9), 3, seed=2, name="b"),
    }
    cut_lists = {role: cuts.find(a.model) for role, a in anchors.items()}
    whole = {role: Costs(costs.macs(costs.nodes(a.model)), 0) for role, a in anchors.items()}
    found = routes.propose(Chain(cut_lists, whole, dict.fromkeys("AB", 8)), Sliding(), order="both")
    out = [p for p in found if p.status == "rejected"]
    assert {words.sentence(p.reason) for p in out} == {
        "costs no less than the costlier of the two anchors",
        "costs no more than the cheaper of the two anchors",
    }
    for p in found:
        between = whole["A"].macs < p.macs < whole["B"].macs
        assert between == (p.status == "chosen"), p.name


def test_budget_and_number_of_points_reject_with_their_reasons():
    found = routes.propose(chain(), Sliding(), refuse=lambda macs, params: OVER if macs > 60e6 else None)
    assert {p.macs > 60e6 for p in found if p.reason == OVER} == {True}
    assert all(p.macs <= 60e6 for p in chosen(found))
    few = chosen(routes.propose(chain(), Sliding(), most=5))
    assert len(few) == 5
    dear = {p.name for p in found if p.reason == OVER}
    without = routes.propose(
        chain(),
        Sliding(),
        most=5,
        within=lambda plans: [replace(p, status="rejected", reason=OVER) if p.name in dear else p for p in plans],
    )
    assert {p.name for p in without if p.reason == OVER} == dear
    assert len(chosen(without)) == 5  # so many of those that are left
    assert max(p.macs for p in few) > 4 * min(p.macs for p in few)


def test_joints_are_where_a_route_changes_anchors():
    (plan,) = (p for p in routes.propose(chain(4), Sliding(), two_stitch=True) if p.name == "A1-B1-B3-A3")
    assert routes.joints(plan, chain(4).cut_lists) == [("A", 1, "B", 1), ("B", 3, "A", 3)]
    assert plan.cuts == (1, 1, 3, 3)


def test_routes_of_real_anchors_cost_what_their_models_do():
    from restnet_tf.records import Stitch
    from restnet_tf.stitches import variant

    anchors, _ = networks.pair(convolutions=1)
    roles = {"A": anchors["small"], "B": anchors["large"]}
    cut_lists = {role: cuts.find(a.model) for role, a in roles.items()}
    calls = {role: costs.nodes(a.model) for role, a in roles.items()}
    whole = {role: Costs(costs.macs(c), costs.params(c)) for role, c in calls.items()}
    plans = chosen(routes.propose(Chain(cut_lists, whole, dict.fromkeys("AB", 8)), Sliding(), two_stitch=True))
    assert any(len(p.route) == 3 for p in plans)
    for p in plans:
        made = []
        for front, i, back, j in routes.joints(p, cut_lists):
            a, b = cut_lists[front][i].layout, cut_lists[back][j].layout
            kernel = networks.np.zeros((a.channels, b.channels), "float32")
            made.append(Stitch(kernel, networks.np.zeros(b.channels, "float32"), a, b, (None, None)))
        model = variant.assemble(p, roles, *made)
        flat = sum(costs.macs(costs.nodes(layer)) for layer in model.layers if hasattr(layer, "layers"))
        assert flat == p.macs, p.name
