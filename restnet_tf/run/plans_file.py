"""``plans.json``: every route that was thought of, for a person to read and edit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.atomic import write_bytes
from restnet_tf.records import Piece, Plan, RestnetError

_FORMAT = 3
_PLAN_STATES = ("candidate", "chosen", "rejected")


def write_plans(path: Path, plans: Iterable[Plan]) -> None:
    """Plans as JSON that a person can read and edit: the chosen first, rejects by reason."""
    ranks = {"chosen": 0, "candidate": 1, "rejected": 2}
    ordered = sorted(plans, key=lambda p: (ranks[p.status], p.reason, p.macs, p.name))
    content = {"format": _FORMAT, "plans": [_plain(asdict(plan)) for plan in ordered]}
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def read_plans(path: Path) -> tuple[Plan, ...]:
    """Plans from a file, edited or not; raises ``RestnetError`` with the entry that is wrong."""
    try:
        entries = json.loads(path.read_text())["plans"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RestnetError(f"{path} is not a plans file: {error}") from None
    plans = []
    for index, entry in enumerate(entries):
        try:
            route = tuple(Piece(**piece) for piece in entry["route"])
            numbers = {name: np.nan if entry[name] is None else float(entry[name]) for name in ("cka", "r2")}
            plan = Plan(**{**entry, **numbers, "route": route})
        except (TypeError, KeyError, ValueError) as error:
            raise RestnetError(f"{path}: plan {index} is not understood: {error}") from None
        if plan.status not in _PLAN_STATES:
            raise RestnetError(f"{path}: plan {plan.name} has status {plan.status!r}; use one of {_PLAN_STATES}")
        plans.append(plan)
    return tuple(plans)


def _plain(value: Any) -> Any:
    """Without NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
