"""The table of what dials save: the line between anchors is a coin's, and the cheapest position is told."""

from __future__ import annotations

import measured_points
import pytest

from benchmarks import dials
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR
from restnet_tf.run.directory import Run

SMALL = measured_points.point("small", 10_000_000, 100, ANCHOR)
LARGE = measured_points.point("large", 100_000_000, 180, ANCHOR)


def test_the_line_between_anchors_is_what_a_coin_gets() -> None:
    between = measured_points.point("between", 55_000_000, 150)
    chord, ahead, error = dials.lead(between, [SMALL, LARGE])
    assert chord == pytest.approx(0.7)
    assert ahead == pytest.approx(0.05)
    # Of 200 images 50 are won from the coin by half, 30 lost by half.
    assert error == pytest.approx(((80 * 0.25 / 200 - 0.05**2) / 200) ** 0.5)


def test_an_anchor_lies_on_its_own_line() -> None:
    for anchor in (SMALL, LARGE):
        assert dials.lead(anchor, [SMALL, LARGE]) == pytest.approx((anchor.test.value, 0, 0))


def test_a_run_has_a_row_for_each_position_and_says_what_is_saved(tmp_path, capsys) -> None:
    cascade = measured_points.cascade(SMALL, LARGE, (0.25, 0.75))
    Run(tmp_path).write_json(Run(tmp_path).points_path, points.to_json([SMALL, LARGE, cascade], {"metric": "accuracy"}))
    dials.main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| small>large ") for line in lines) == 2
    # Right answers grow with the root of the share that goes on: within a point of the large anchor only where all do.
    assert (
        lines[-2]
        == "of all positions the cheapest within a point on rank: small>large saves -10 % and has 90.0 %, +0.0 points"
    )
