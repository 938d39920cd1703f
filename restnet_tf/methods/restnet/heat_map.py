"""The CKA heat map of a run, with the stitches that were chosen."""

from __future__ import annotations

from restnet_tf import atomic
from restnet_tf.family.family import Family
from restnet_tf.methods.restnet.jumps import between
from restnet_tf.methods.restnet.options import ROLES, Options
from restnet_tf.records import Plan
from restnet_tf.report import plots
from restnet_tf.run import plans_file
from restnet_tf.similarity.features import Statistics


def draw(family: Family[Options], statistics: Statistics) -> None:
    """``similarity.png``; one that is there already stays."""
    path = family.run.similarity_plot_path
    if path.exists():
        return
    index = {role: {cut.name: cut.index for cut in cut_list} for role, cut_list in family.cut_lists.items()}
    chosen = [p for p in plans_file.read_plans(family.run.plans_path) if p.status == "chosen" and between(p)]
    large, small = ([cut.name for cut in family.cut_lists[role]] for role in ROLES)
    title = (
        f"{family.anchors['large'].name} (rows) against {family.anchors['small'].name} on {family.data.name}\n"
        "chosen stitches: > large front, small back; < small front, large back"
    )
    atomic.write_bytes(path, plots.heat_map(statistics.cka, large, small, title, [_mark(p, index) for p in chosen]))


def _mark(plan: Plan, index: dict[str, dict[str, int]]) -> tuple[int, int, str]:
    """Row, column and marker of a chosen stitch."""
    front, back = plan.route
    ends = {front.anchor: str(front.stop), back.anchor: str(back.start)}
    marker = ">" if front.anchor == "large" else "<"
    return index["large"][ends["large"]], index["small"][ends["small"]], marker
