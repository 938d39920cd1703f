"""Settings of a chain in order of cost, and scores that thresholds chosen on the same images do not flatter."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import stage_answers

from restnet_tf.cascades import courses
from restnet_tf.cascades.chains import StageChain, by_cost, chains
from restnet_tf.cascades.courses import Course
from restnet_tf.cascades.thresholds import hand


def family(seed: int = 0, **kw: bool) -> list:
    truth = stage_answers.labels()
    skills = {"small": 0.8, "middle": 1.2, "large": 1.6}
    return by_cost(stage_answers.candidate(name, skill, truth, seed=seed, **kw) for name, skill in skills.items())


def all_courses(candidates: list) -> list[Course]:
    return courses.courses(chains(candidates, candidates), candidates, stage_answers.labels()["rank"], "max")


def by_hand(course: Course, candidates: list) -> tuple[np.ndarray, np.ndarray]:
    """Scores and mean MACs at every setting."""
    stages = [c.probabilities["rank"] for c in candidates if c.name in course.chain.stages]
    results = [hand(stages, t, course.confidence) for t in course.thresholds]
    right = [np.mean(scores.argmax(axis=1) == stage_answers.labels()["rank"]) for scores, _ in results]
    return np.array(right), np.array([np.cumsum(course.chain.macs)[stage].mean() for _, stage in results])


@pytest.mark.parametrize("row", range(4))
def test_a_course_goes_from_never_to_always(row: int):
    candidates = family()
    course = all_courses(candidates)[row]
    _, macs = by_hand(course, candidates)
    assert course.mean_macs == pytest.approx(macs)
    assert (np.diff(course.mean_macs) > 0).all()
    assert (np.diff(course.thresholds, axis=0) >= 0).all()
    assert (course.mean_macs[0], course.mean_macs[-1]) == (course.chain.macs[0], course.chain.worst_macs)
    assert (course.differing[0] > 0, course.differing[-1]) == (True, 0)
    assert (np.diff(course.differing) <= 0).all() or len(course.chain.stages) > 2


def test_no_label_chooses_the_thresholds_of_two_stages():
    candidates = family()
    pair = chains(candidates, ())[:1]
    one, other = (courses.courses(pair, candidates, truth, "max")[0] for truth in (np.zeros(300), np.ones(300)))
    assert (one.thresholds == other.thresholds).all()
    scores, _ = by_hand(all_courses(candidates)[0], candidates)
    assert all_courses(candidates)[0].scores.tolist() == scores.tolist()


def test_agreement_is_with_the_dearest_candidate():
    candidates = family()
    small_middle = all_courses(candidates)[0]
    answers = {c.name: c.probabilities["rank"].argmax(axis=1) for c in candidates}
    assert small_middle.agreement[0] == np.mean(answers["small"] == answers["large"])
    assert small_middle.agreement[-1] == np.mean(answers["middle"] == answers["large"])


def test_noise_is_not_taken_for_skill():
    """Three stages of one skill, with confidences that say nothing: what is chosen on images is better there."""
    fitted, held_out, fair = [], [], []
    for seed in range(30):
        truth = stage_answers.labels(100)
        random = np.random.default_rng(seed)
        names = ("small", "middle", "large")
        stages = by_cost(
            stage_answers.StageCandidate(
                name,
                stage_answers.MACS[name],
                {
                    "rank": stage_answers.probabilities(
                        truth["rank"], random.random(100) < 0.6, random.uniform(0.3, 1, 100)
                    )
                },
            )
            for name in names
        )
        (course,) = courses.courses(chains(stages, stages)[3:], stages, truth["rank"], "max")
        scores = [hand([s.probabilities["rank"] for s in stages], t, "max")[0] for t in course.thresholds]
        fitted.append(np.mean([np.mean(s.argmax(axis=1) == truth["rank"]) for s in scores]))
        held_out.append(course.scores.mean())
        fair.append(np.mean([np.mean(s.probabilities["rank"].argmax(axis=1) == truth["rank"]) for s in stages]))
    optimism, rest = np.subtract(fitted, fair), np.subtract(held_out, fair)
    assert optimism.mean() > 3 * optimism.std() / 30**0.5
    assert abs(rest.mean()) < 2 * rest.std() / 30**0.5


def test_the_path_is_the_best_of_all():
    random = np.random.default_rng(0)
    steps, grids = 4, 5
    scores = random.random((steps, steps, grids))
    costs = 1 + np.cumsum(np.cumsum(random.random((steps, steps, grids)), axis=0), axis=1)
    for i, path in enumerate(courses._best_paths(scores, costs)):
        every = [area(moves, scores[..., i], costs[..., i]) for moves in combinations(range(2 * steps - 2), steps - 1)]
        assert path[0].tolist() == [0, 0]
        assert path[-1].tolist() == [steps - 1, steps - 1]
        assert set(map(tuple, np.diff(path, axis=0).tolist())) <= {(0, 1), (1, 0)}
        moves = tuple(np.nonzero(np.diff(path[:, 0]))[0].tolist())
        assert area(moves, scores[..., i], costs[..., i]) == pytest.approx(max(every))


def area(moves: tuple[int, ...], scores: np.ndarray, costs: np.ndarray) -> float:
    """Under the scores over the logarithm of cost, along a path that climbs the first axis at these moves."""
    up = np.isin(np.arange(2 * len(scores) - 2), moves)
    ones, twos = (np.concatenate([[0], np.cumsum(x)]) for x in (up, ~up))
    return float(np.trapezoid(scores[ones, twos], np.log(costs[ones, twos])))


def test_a_resumed_stage_costs_its_rest():
    truth = stage_answers.labels()
    small = stage_answers.candidate("small", 0.8, truth)
    middle = stage_answers.candidate("middle", 1.2, truth, resumes={"small": 25_000_000})
    large = stage_answers.candidate("large", 1.6, truth, resumes={"small": 70_000_000, "middle": 200_000_000})
    assert chains([large, small, middle], [small, middle, large]) == (
        StageChain(("small", "middle"), (10_000_000, 25_000_000), (False, True)),
        StageChain(("small", "large"), (10_000_000, 70_000_000), (False, True)),
        StageChain(("middle", "large"), (30_000_000, 100_000_000), (False, False)),
        StageChain(("small", "middle", "large"), (10_000_000, 25_000_000, 100_000_000), (False, True, False)),
    )


def test_equal_costs_make_no_chain_and_threes_are_few():
    truth = stage_answers.labels(60)
    many = [stage_answers.candidate(f"n{i}", i / 20, truth, macs=1000 * (1 + max(i, 1))) for i in range(40)]
    every = chains(many, many)
    assert ("n0", "n1") not in [c.stages for c in every]
    assert len([c for c in every if len(c.stages) == 2]) == 40 * 39 / 2 - 1
    assert len([c for c in every if len(c.stages) == 3]) <= 220
