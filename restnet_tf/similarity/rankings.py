"""How well what is known of plans beforehand ranks them as their loss does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from restnet_tf.records import Plan

CHANCE = "random"
RANKINGS = ("cka", "r2", CHANCE)
SPOKEN = {"cka": "CKA", "r2": "R2", CHANCE: "chance"}
_LEAST_ORDERED = 5  # plans, of which an order is told
_ROLES = 2  # pieces of a route of one jump


def foretold(plans: Iterable[Plan], seed: int) -> tuple[int, dict[str, float], float | None]:
    """Of plans between two anchors that were tried: how many, and how each ranking, in words, foretold their loss.

    1: the higher in the ranking, the lower the loss. Last, how the sums of single jumps foretold paths of several.
    """
    plans = tuple(plans)
    pairs = [p for p in plans if p.kl is not None and _between(p)]
    told = {SPOKEN[by]: 0.0 - value for by, value in order(pairs, seed).items() if np.isfinite(value)}
    return len(pairs), told, ranking(plans)


def ranks(plans: Sequence[Plan], by: str, seed: int) -> dict[str, float]:
    """How each plan ranks by a word of ``RANKINGS``, the higher the better."""
    if by != CHANCE:
        return {p.name: getattr(p, by) for p in plans}
    drawn = np.random.default_rng(seed).random(len(plans))
    return dict(zip((p.name for p in plans), drawn.tolist(), strict=True))


def order(plans: Iterable[Plan], seed: int) -> dict[str, float]:
    """Spearman's correlation of each ranking with the loss of the plans that were tried; empty where few were.

    -1: the higher in the ranking, the lower the loss.
    """
    from scipy import stats

    tried = [p for p in plans if p.kl is not None]
    if len(tried) < _LEAST_ORDERED:
        return {}
    kls = [p.kl for p in tried]
    values = {by: list(ranks(tried, by, seed).values()) for by in RANKINGS}
    return {by: float(stats.spearmanr(v, kls).statistic) for by, v in values.items()}


def ranking(plans: Iterable[Plan]) -> float | None:
    """Spearman's correlation of the estimates of paths of several jumps with their KLs; None where few were tried."""
    from scipy import stats

    tried = [p for p in plans if p.kl is not None and p.estimate is not None and len(p.route) > _ROLES]
    if len(tried) < _LEAST_ORDERED:
        return None
    return float(stats.spearmanr([p.estimate for p in tried], [p.kl for p in tried]).statistic)


def _between(one: Plan) -> bool:
    """Whether a route has one jump, from an anchor to another."""
    return len(one.route) == _ROLES and len({piece.anchor for piece in one.route}) == _ROLES
