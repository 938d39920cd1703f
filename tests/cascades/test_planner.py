"""Which cascades are offered, which are not and why."""

from __future__ import annotations

import numpy as np
import pytest
import stage_answers
from stage_answers import candidate, labels

from restnet_tf.cascades.chains import StageCandidate
from restnet_tf.cascades.planner import Planned, plan
from restnet_tf.records import Excess, Reason
from tflite_export.budget import Term

TRUTH = labels()
SMALL, MIDDLE, LARGE = (
    candidate(name, skill, TRUTH) for name, skill in (("small", 0.6), ("middle", 1.2), ("large", 1.9))
)


def limit(name: str, value: float) -> Term:
    return Term(name, value, f"{name}<={value:g}")


def reasons(planned: Planned) -> dict[str, Reason]:
    return {verdict.chain.name: verdict.reason for verdict in planned.verdicts}


@pytest.fixture(scope="module")
def pair() -> Planned:
    return plan([LARGE, SMALL], TRUTH)


def test_a_pair_makes_cascades_that_beat_it(pair):
    assert len(pair.policies) == 4
    for policy in pair.policies:
        assert policy.chain.stages == ("small", "large")
        for lead, error in (policy.over_chord, policy.over_rival):
            assert lead > error > 0
        assert policy.turn.test.score.value > np.mean(SMALL.probabilities["test"].argmax(axis=1) == TRUTH["test"])
        assert 10e6 < policy.turn.rank.mean_macs < policy.chain.worst_macs == 110_000_000
        assert policy.held_out == policy.turn.rank.score.value


def test_places_are_spread_evenly_by_mean_cost(pair):
    macs = [p.turn.rank.mean_macs for p in pair.policies]
    even = np.linspace(10e6, macs[-1], 5)[1:]
    assert macs == pytest.approx(even, abs=0.026 * 100e6)
    assert len(plan([SMALL, LARGE], TRUTH, count=2).policies) == 2
    assert plan([SMALL, LARGE], TRUTH, count=1).policies[0].turn == pair.policies[-1].turn


def test_none_are_asked_for():
    assert plan([SMALL, LARGE], TRUTH, count=0) == plan([LARGE], TRUTH) == Planned()


def test_a_curve_goes_from_never_to_always(pair):
    curve = pair.policies[1].curve
    assert 15 < len(curve) <= 22
    assert pair.policies[1].turn in curve
    assert (curve[0].rank.reach, curve[-1].rank.reach) == ((1, 0), (1, 1))
    assert (curve[0].test.reach, curve[-1].test.reach) == ((1, 0), (1, 1))
    for split in ("rank", "test"):
        alone = [c.probabilities[split].argmax(axis=1) == TRUTH[split] for c in (SMALL, LARGE)]
        ends = [getattr(curve[i], split).score.right for i in (0, -1)]
        assert (np.stack(ends) == np.stack(alone)).all()


def test_the_same_again(pair):
    assert plan([LARGE, SMALL], TRUTH) == plan([SMALL, LARGE], TRUTH) == pair


def test_the_test_split_has_no_say(pair):
    """It reports alone: with other test images the same thresholds."""
    others = [
        StageCandidate(c.name, c.macs, {**c.probabilities, "test": c.probabilities["test"][::-1]})
        for c in (SMALL, LARGE)
    ]
    planned = plan(others, TRUTH)
    assert [p.turn.thresholds for p in planned.policies] == [p.turn.thresholds for p in pair.policies]
    assert [p.turn.test for p in planned.policies] != [p.turn.test for p in pair.policies]


def test_what_a_cheap_network_does_as_well_is_refused_with_its_name():
    cheap = candidate("cheap", 1.9, TRUTH, macs=11_000_000)
    planned = plan([SMALL, cheap, LARGE], TRUTH)
    assert reasons(planned)["small>large"] == Reason("no_better_on_mean", rival="cheap")
    assert "small>large" not in [p.chain.name for p in planned.policies]


def test_confidences_that_say_nothing_make_no_cascade():
    """Over many families: a coin that decides which goes on is a point of the chord."""
    offered = 0
    for seed in range(20):
        stages = [candidate(n, s, TRUTH, knows=False, seed=seed) for n, s in (("small", 0.6), ("large", 1.9))]
        planned = plan(stages, TRUTH)
        offered += bool(planned.policies)
        assert all(r.code in ("on_chord", "no_better_on_mean") for r in reasons(planned).values())
    assert offered <= 2


def test_three_stages_are_weighed_with_all_pairs():
    planned = plan([SMALL, MIDDLE, LARGE], TRUTH)
    weighed = {p.chain.name for p in planned.policies} | set(reasons(planned))
    assert weighed == {"small>middle", "small>large", "middle>large", "small>middle>large"}
    assert not {p.chain.name for p in planned.policies} & set(reasons(planned))


def test_the_simpler_chain_is_taken_unless_more_stages_are_proved_better():
    """A middle stage that costs almost as much as the large one has nothing to give."""
    middle = candidate("middle", 1.2, TRUTH, macs=95_000_000)
    planned = plan([SMALL, middle, LARGE], TRUTH)
    assert {len(p.chain.stages) for p in planned.policies} == {2}
    assert reasons(planned)["small>middle>large"].code in ("simpler", "dominated_on_mean", "no_better_on_mean")


def test_one_place_is_for_a_low_worst_case():
    planned = plan([SMALL, MIDDLE, LARGE], TRUTH)
    worst = [p.chain.worst_macs for p in planned.policies]
    assert min(worst) <= max(worst) / 2
    assert len(planned.policies) <= 4
    macs = [p.turn.rank.mean_macs for p in planned.policies]
    assert macs == sorted(macs)


def test_a_resumed_stage_is_cheaper_on_the_mean():
    resumed = StageCandidate(LARGE.name, LARGE.macs, LARGE.probabilities, {"small": 60_000_000})
    chain = plan([SMALL, resumed], TRUTH).policies[-1].chain
    assert (chain.macs, chain.resumed) == ((10_000_000, 60_000_000), (False, True))


def test_budgets_of_the_worst_case_and_the_mean(pair):
    planned = plan([SMALL, LARGE], TRUTH, terms=[limit("macs", 100e6)])
    assert planned.policies == ()
    assert reasons(planned)["small>large"] == Reason("over_budget", excess=(Excess("macs<=1e+08", "macs", 110e6),))
    tight = pair.policies[1].turn.rank.mean_macs
    planned = plan([SMALL, LARGE], TRUTH, terms=[limit("mean.macs", tight), limit("flash", 1)])
    assert len(planned.policies) > 1
    assert max(p.turn.rank.mean_macs for p in planned.policies) == tight
    (reason,) = reasons(plan([SMALL, LARGE], TRUTH, terms=[limit("mean.macs", 11e6)])).values()
    assert (reason.code, reason.excess[0].figure) == ("over_budget", "mean.macs")


def without_labels(stage: StageCandidate) -> dict[str, np.ndarray]:
    return {split: values.argmax(axis=1) for split, values in stage.probabilities.items()}


def test_without_labels_agreement_counts():
    planned = plan([SMALL, LARGE], without_labels(LARGE), labelled=False)
    for policy in planned.policies:
        assert policy.turn.rank.score.value == policy.turn.rank.score.agreement
        assert policy.turn.test.score.value == policy.turn.test.score.agreement


def doubtful(name: str) -> StageCandidate:
    """Right answers have a little more than 0.4, as wrong ones often do, and a second that is far lower."""
    values = {}
    for split, truth in TRUTH.items():
        random = np.random.default_rng([7, *split.encode()])
        right, rows = random.random(len(truth)) < 0.7, np.arange(len(truth))
        first, second = 0.4 + 0.01 * right + 0.02 * random.random(len(truth)), np.where(right, 0.2, 0.39)
        classes = stage_answers.CLASSES
        p = np.repeat((1 - first - second)[:, None] / (classes - 2), classes, axis=1)
        p[rows, (truth + ~right) % classes] = first
        p[rows, (truth + ~right + 1) % classes] = second
        values[split] = p.astype(np.float32)
    return StageCandidate(name, 10_000_000, values)


def test_another_confidence_is_taken_where_it_is_proved_better():
    telling = [doubtful("small"), candidate("large", 2.5, TRUTH)]
    usual = plan(telling, TRUTH, confidences=("max",))
    better = plan(telling, TRUTH, confidences=("max", "margin"))
    assert {p.confidence for p in usual.policies} == {"max"}
    assert {p.confidence for p in better.policies} == {"margin"}
    assert {p.confidence for p in plan([SMALL, LARGE], TRUTH).policies} == {"max"}


def test_many_candidates_are_weighed_in_few_chains():
    truth = labels(60)
    many = [candidate(f"n{i:02}", 0.5 + i / 20, truth, macs=int(1e6 * 1.2**i)) for i in range(40)]
    planned = plan(many, truth)
    chains = {*reasons(planned), *(p.chain.name for p in planned.policies)}
    assert 780 <= len(chains) <= 1000
