"""Which blocks meet: windows of equal depth, nearest blocks of unequal depth, stages, shared shapes."""

from __future__ import annotations

import pytest
from networks import cuts_of

from restnet_tf.methods.snnet import windows
from restnet_tf.methods.snnet.windows import Sliding
from restnet_tf.records import Cut, RestnetError


def test_the_papers_windows_over_twelve_blocks():
    groups = windows.slid(12, Sliding(2, 1))
    assert len(groups) == 11
    pairs = [pair for group in groups for pair in group]
    assert len(pairs) == len(set(pairs)) == 34
    assert groups[0] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert groups[5] == [(5, 6), (6, 5), (6, 6)]  # (5, 5) was in the window before
    assert all(abs(i - j) < 2 for i, j in pairs)


def test_windows_that_do_not_overlap_hold_all_their_pairs():
    assert windows.slid(5, Sliding(2, 2)) == [
        [(0, 0), (0, 1), (1, 0), (1, 1)],
        [(2, 2), (2, 3), (3, 2), (3, 3)],
        [(4, 4)],
    ]


def test_nine_blocks_onto_three():
    assert windows.nearest(9, 3) == [[(0, 0), (1, 0), (2, 0)], [(3, 1), (4, 1), (5, 1)], [(6, 2), (7, 2), (8, 2)]]


def test_three_blocks_onto_nine():
    assert windows.nearest(3, 9) == [[(0, 0), (0, 1), (0, 2)], [(1, 3), (1, 4), (1, 5)], [(2, 6), (2, 7), (2, 8)]]


@pytest.mark.parametrize(("front", "back"), [(a, b) for a in range(1, 13) for b in range(1, 13) if a != b])
def test_unequal_depths_keep_the_ends_and_every_block(front: int, back: int):
    pairs = [pair for group in windows.nearest(front, back) for pair in group]
    assert pairs[0] == (0, 0)
    assert pairs[-1] == (front - 1, back - 1)
    assert len(pairs) == max(front, back)
    assert {i for i, _ in pairs} == set(range(front))
    assert {j for _, j in pairs} == set(range(back))


def test_stages_are_runs_of_one_kind_and_size_with_something_to_compute():
    found = [*cuts_of([16, 16, 8]), *cuts_of([1], kind="vector")]
    assert [[c.index for c in stage] for stage in windows.stages(found)] == [[0, 1], [2]]
    last = cuts_of([16, 8])
    idle = Cut("scores", 2, "grid", (8, 8, 4), (None, None), 30, 0, 0, 0)
    assert [len(stage) for stage in windows.stages([*last, idle])] == [1, 1]


def test_equal_depth_slides_inside_each_stage():
    both = {"A": cuts_of([16, 16, 16, 8, 8]), "B": cuts_of([16, 16, 16, 8, 8])}
    found = windows.between(both, "A", "B", Sliding())
    assert [w.name for w in found] == ["A0-B0", "A1-B2", "A3-B3"]
    assert found[2].pairs == ((3, 3), (3, 4), (4, 3), (4, 4))


def test_one_stage_of_another_depth_makes_all_nearest():
    both = {"A": cuts_of([16, 16, 8]), "B": cuts_of([16, 16, 8, 8])}
    found = windows.between(both, "A", "B", Sliding())
    assert [w.pairs for w in found] == [((0, 0),), ((1, 1),), ((2, 2), (2, 3))]


def test_only_stitches_of_one_shape_are_shared():
    both = {"A": cuts_of([8, 8], [4, 6]), "B": cuts_of([8, 8], 4)}
    shared = windows.between(both, "A", "B", Sliding())
    assert [w.pairs for w in shared] == [((0, 0), (0, 1)), ((1, 0), (1, 1))]
    own = windows.between(both, "A", "B", Sliding(share=False))
    assert [w.pairs for w in own] == [((0, 0),), ((0, 1),), ((1, 0),), ((1, 1),)]


def test_tokens_meet_the_grid_of_their_size():
    both = {"A": (*cuts_of([14]), *cuts_of([14] * 6, kind="tokens")), "B": cuts_of([28, 14, 14, 14, 7])}
    pairs = windows.matched(windows.stages(both["A"]), windows.stages(both["B"]))
    assert [(a[0].kind, len(a), b[0].shape[0], len(b)) for a, b in pairs] == [("tokens", 6, 14, 3)]


@pytest.mark.parametrize(("sizes", "scale"), [([24, 12, 6], 192 / 224), ([14, 7, 4], 112 / 224)])
def test_images_of_another_size_do_not_change_which_stages_meet(sizes: list[int], scale: float):
    """At half of the size the first stage has the grid of the other's second, and does not meet it."""
    both = {"A": cuts_of(sizes), "B": cuts_of([28, 14, 7])}
    found = windows.between(both, "A", "B", Sliding(1), scale=scale)
    assert [w.pairs for w in found] == [((0, 0),), ((1, 1),), ((2, 2),)]


def test_windows_that_do_not_fit_are_refused():
    both = {"A": cuts_of([16, 16, 8]), "B": cuts_of([16, 16, 8])}
    with pytest.raises(RestnetError, match=r"a window of 3 blocks is larger than the deepest stage .* has 2"):
        windows.between(both, "A", "B", Sliding(3))
    with pytest.raises(RestnetError, match="a stride of 2 leaves out blocks between windows of 1"):
        windows.between(both, "A", "B", Sliding(1, 2))
