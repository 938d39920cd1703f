"""The comparison of halving with equal shares: the same work, paired on the same images."""

from __future__ import annotations

import numpy as np
import pytest
from measured_points import point

from benchmarks import halving
from benchmarks.halving import BuiltFamily, EqualShares, PairedDifference
from restnet_tf.fitting.stints import Entrant, Stint
from restnet_tf.points.points import ANCHOR

SHARES = {"stitch": 10, "norm": 90, "relu": 10}
ENDS = point("small", 10_000_000, 100, ANCHOR), point("large", 100_000_000, 180, ANCHOR)


def test_every_entrant_has_its_share_and_no_more():
    contest = EqualShares([Entrant(name, SHARES, i) for i, name in enumerate("ab")], "norm", 1e-9)
    assert list(contest.rounds(dict)) == [dict.fromkeys("ab", Stint({"stitch": 10, "norm": 90}))]


def test_a_lead_is_paired_image_by_image():
    one, other = np.array([1, 1, 0, 1.0]), np.array([1, 0, 0, 0.0])
    assert PairedDifference.of(one, other) == PairedDifference(0.5, pytest.approx(0.25))
    assert PairedDifference.of(one, one) == PairedDifference(0.0, 0.0)


def test_within_a_budget_the_rank_split_chooses_and_anchors_are_choices():
    family = BuiltFamily((*ENDS, point("L1-S0", 30_000_000, 90), point("S0-L1", 50_000_000, 150)), 1e12)
    chosen = [family.within(macs * 1e6).name for macs in (10, 30, 60, 100)]
    assert chosen == ["small", "small", "S0-L1", "large"]


def test_the_page_holds_both_against_each_other():
    better, worse = (BuiltFamily((*ENDS, point("S0-L1", 50_000_000, n)), 1.5e12) for n in (170, 130))
    rows = {line.split(" | ")[0].strip("| "): line for line in halving.page(better, worse).splitlines() if "|" in line}
    own, other = (f.fitted[0].test for f in (better, worse))
    lead, _ = own.lead(other)
    assert (
        f"| {100 * own.value:.1f} | {100 * other.value:.1f} | {100 * lead:+.2f} ±" in rows["right of a point, test, %"]
    )
    assert rows["MACs of all, T"].startswith("| MACs of all, T | 1.50 | 1.50")
