"""The table of where the time of a command went, for somebody who has never seen one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restnet_tf import atomic
from restnet_tf.work import tasks, times
from restnet_tf.work.times import Portion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from restnet_tf.work.times import Times

WORDS = {
    tasks.STATISTICS: "statistics: how alike networks are inside; stitches in closed form",
    tasks.TRIALS: "trials: what each stitch does before it is trained",
    tasks.FEATURES: "features: what networks make of the data, kept on disk for training",
    tasks.FITS: "fits: training stitches",
    tasks.TRAINING: "training: of whole networks, and of stitches together",
    tasks.CONVERSIONS: "conversions: networks made into .tflite files",
    tasks.SCORINGS: "scorings: what networks and files answer on the rank and test splits",
    tasks.SEARCH: "search: composing networks of fragments",
}
# So many stages are named of what this process did itself; the rest is one row.
_NAMED = 4
_LEAST_S = 0.05
_WIDEST = 68  # columns of a kind of work: the table takes no more than a hundred


def of(spent: Times) -> Table:
    """A row a kind of work, the costliest first; behind them what was done between, by stage."""
    from rich.table import Table

    here = times.between(spent)
    kinds = times.by_kind(spent)
    whole = sum(one.seconds for one in (*kinds, *here)) or 1.0
    table = Table(title=title(spent), caption=caption(spent), title_justify="left", caption_justify="left")
    table.min_width = len(title(spent))
    table.add_column("work", max_width=_WIDEST)
    for name in ("tasks", "seconds", "share"):
        table.add_column(name, justify="right")
    for one in kinds:
        table.add_row(WORDS.get(one.kind, "other tasks"), str(one.tasks), *_amounts(one, whole))
    for one in _shortened(here):
        table.add_row(f"between tasks: {one.kind or 'starting'}", "", *_amounts(one, whole))
    return table


def title(spent: Times) -> str:
    """How long it took, by how many."""
    many = f"{spent.workers} processes" if spent.workers > 1 else "one process"
    return f"Where the time went: {_spoken(spent.seconds)} by the clock, {many}"


def caption(spent: Times) -> str:
    """How well the processes were used, what took longest, and the most memory."""
    busy = sum(task.seconds for task in spent.tasks)
    room = spent.workers * sum(wave.stop_s - wave.start_s for wave in spent.waves) or 1.0
    slowest = max(spent.tasks, key=lambda task: task.seconds)
    most = max(task.peak_bytes for task in spent.tasks)
    memory = f"; the most memory of a process: {atomic.spoken(most)}" if most else ""
    return (
        f"While there were tasks, the processes were at them {min(1.0, busy / room):.0%} of the time. The longest:"
        f" {slowest.title}, {_spoken(slowest.seconds)}{memory}."
    )


def _shortened(shares: Sequence[Portion]) -> list[Portion]:
    """The costliest, and all others as one."""
    named, rest = list(shares[:_NAMED]), shares[_NAMED:]
    named += [Portion("all else", 0, sum(one.seconds for one in rest))] if rest else []
    return [one for one in named if one.seconds >= _LEAST_S]


def _amounts(one: Portion, whole: float) -> tuple[str, str]:
    return f"{one.seconds:,.1f}", f"{one.seconds / whole:.0%}"


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
