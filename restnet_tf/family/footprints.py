"""What files take before anything is fitted: a route is linked with stitches of any values, which are as large.

The anchors are compiled anyway, so this is no guess by formula: flash and arena are read off a file as it will be. What
a rung adds to a stitch, or a back of a route's own differs by, is all that is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from restnet_tf.family.anchor_pieces import AnchorPieces, Members
from restnet_tf.family.linker import Joint, Linker
from restnet_tf.fitting.results import CLOSED_FORM, Fitted
from restnet_tf.points import points, select
from restnet_tf.points.front import Footprint
from restnet_tf.stitches import stitch
from tflite_export import link

if TYPE_CHECKING:
    from restnet_tf.family.family import Family
    from restnet_tf.records import Plan, Reason


# What of a budget limits files: known only where they are linked.
OF_FILES = ("flash", "ram")


def of(members: Members, names: Sequence[str], precision: str) -> dict[str, Footprint]:
    """Of the files of points in a precision, by name: routes by their plans, and networks that are whole."""
    plans = {name: members.plans[name] for name in names if name in members.plans}
    blanks = {name: _unfitted(members.family, plan) for name, plan in plans.items()}
    linker = Linker(_BlankPieces(members, precision), plans, blanks, precision)
    sizes: dict[str, Footprint] = {}
    for name in names:
        sizes[name] = _footprint(linker.variant(name))
        members.family.report.progress(len(sizes), len(names))
    return sizes


def within(family: Family, plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """The plans; rejected where in every precision the file would be over the budget's flash or ram."""
    terms = [term for term in family.budget if term.name in OF_FILES]
    names = [p.name for p in plans if p.status != "rejected"]
    if not terms or not names:
        return tuple(plans)
    family.report.stage("flash and arena of the plans, by files of stitches that are not fitted yet")
    members = Members(family, {p.name: p for p in plans}, {})
    excesses: dict[str, list[Reason | None]] = {name: [] for name in names}
    for precision in family.settings.precisions:
        for name, own in _kept(members, names, precision).items():
            excesses[name].append(select.exceeded(terms, flash=own.flash, ram=own.arena))
    out = {name: _least(reasons) for name, reasons in excesses.items() if all(reasons)}
    return tuple(replace(p, status="rejected", reason=out[p.name]) if p.name in out else p for p in plans)


def _kept(members: Members, names: Sequence[str], precision: str) -> dict[str, Footprint]:
    """As ``of``, from the run while it is built or linked into it: plans are made more than once."""
    run = members.family.run
    path = run.cache_path(f"footprints.{precision}.json")
    sizes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if missing := [name for name in names if name not in sizes]:
        sizes |= {name: (own.flash, own.arena) for name, own in of(members, missing, precision).items()}
        run.write_json(path, sizes)
    return {name: Footprint(*sizes[name]) for name in names}


def _least(reasons: Sequence[Reason | None]) -> Reason:
    """The excess that is the smallest of all precisions'."""
    return min((r for r in reasons if r), key=lambda r: max(e.value or 0 for e in r.excess))


class _BlankPieces(AnchorPieces):
    """The anchors as they are, joined by stitches as they come; nothing is run."""

    def file(self, point: str, route: link.Route) -> bytes:
        """One point's own file, as large as it will be."""
        return link.variant(route, precision=self._precision)

    def joined(self, joint: Joint, lead: link.Route) -> link.Route:
        """A route with one more piece, the anchor's own."""
        return replace(lead, back=self.object(joint.back.anchor), start=joint.back.start)


def _unfitted(family: Family, plan: Plan) -> Fitted:
    """A plan's stitches, of no use yet."""
    cuts = {role: {cut.name: cut for cut in every} for role, every in family.places.items()}
    ends = [(cuts[a.anchor][str(a.stop)], cuts[b.anchor][str(b.start)]) for a, b in pairwise(plan.route)]
    *before, last = (stitch.blank(*pair) for pair in ends)
    return Fitted(last, CLOSED_FORM, 0.0, 0.0, (), tuple(before))


def _footprint(content: bytes) -> Footprint:
    return Footprint(len(content), points.arena(content))
