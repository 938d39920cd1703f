"""``plans.json``: every route that was thought of, for a person to read and edit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from restnet_tf import words
from restnet_tf.atomic import write_bytes
from restnet_tf.records import Plan, RestnetError
from restnet_tf.schema import SCHEMA

_FORMAT = 4
_STATUSES = ("candidate", "chosen", "rejected")
_ORDER = {"chosen": 0, "candidate": 1, "rejected": 2}


@dataclass(frozen=True)
class PlansFile:
    """The content of the file; one that a person wrote may say no format."""

    format: int = field(default=_FORMAT, kw_only=True)
    plans: tuple[Plan, ...]


def write_plans(path: Path, plans: Iterable[Plan]) -> None:
    """Plans as JSON that a person can read and edit: the chosen first, rejects by reason."""
    ordered = sorted(plans, key=lambda p: (_ORDER[p.status], words.sentence(p.reason), p.macs, p.name))
    write_bytes(path, SCHEMA.text(PlansFile(tuple(ordered))))


def read_plans(path: Path) -> tuple[Plan, ...]:
    """Plans from a file, edited or not; raises ``RestnetError`` with the path to what is wrong in it."""
    try:
        plans = SCHEMA.load(PlansFile, path).plans
    except (OSError, ValueError) as error:
        raise RestnetError(f"{path} is not a plans file: {error}") from None
    for plan in plans:
        if plan.status not in _STATUSES:
            raise RestnetError(f"{path}: plan {plan.name} has status {plan.status!r}; use one of {_STATUSES}")
    return plans
