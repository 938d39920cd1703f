"""The tasks of a composition: members that are compiled for the pool, and the branches of the search.

Each process reads the composition for itself, from the same options, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from restnet_tf.methods.stitchnet import findings, outlook, reading, search
from restnet_tf.methods.stitchnet.composition import Composition
from restnet_tf.methods.stitchnet.options import Options
from restnet_tf.progress import Silent
from restnet_tf.work import tasks
from restnet_tf.work.tasks import CONVERSIONS, SEARCH, Progress, Task


@dataclass(frozen=True)
class Branch:
    """The nets that begin with one member's first fragment; ``options`` are those of the composition."""

    options: Options
    role: str


@dataclass(frozen=True)
class MemberOrder:
    """A member that is to be compiled to a precision."""

    options: Options
    role: str
    precision: str


def compile(composition: Composition) -> None:
    """Every member in every precision that is asked for, and in float32, which the search runs."""
    due = outlook.new(composition)
    with composition.timed("pool"), _here(composition):
        work = [
            Task(
                f"compiling {composition.names[role]} to {precision}, once for this pool",
                compiled,
                MemberOrder(composition.options, role, precision),
                kind=CONVERSIONS,
            )
            for role, precision in due
        ]
        for lines in composition.execute(work, composition.report):
            for line in lines:
                composition.report.say(line)
        for role, precision in due:
            if precision not in (new := composition.members[role].new):
                new.append(precision)
        composition.compile()


def searched(composition: Composition, roles: Sequence[str]) -> None:
    """Search for nets from each of these starts, into the run."""
    starts = list(composition.pool)
    work = [
        Task(
            f"searching, start {starts.index(role) + 1} of {len(starts)}: {composition.names[role]}",
            branched,
            Branch(composition.options, role),
            kind=SEARCH,
        )
        for role in roles
    ]
    with composition.timed("search"), _here(composition):
        tasks.finish(composition.execute, work, composition.report)


def compiled(order: MemberOrder, progress: Progress) -> tuple[str, ...]:
    """Compile a member into the pool; what there is to say of it. A task."""
    composition, report = _composition(order.options)
    report.lines.clear()
    composition.object(order.role, order.precision)
    return tuple(report.lines)


def branched(branch: Branch, progress: Progress) -> None:
    """Search one branch, into the run; a task."""
    composition, _ = _composition(branch.options)
    part = search.search(composition.space, composition.pool[branch.role][0])
    findings.write(composition.run.search_path(branch.role), part)


# What this process has read already, by its options.
_opened: dict[Options, Composition] = {}


@contextmanager
def _here(composition: Composition) -> Iterator[None]:
    """Spare this process reading what it has."""
    _opened[composition.options] = composition
    try:
        yield
    finally:
        _opened.clear()


def _composition(options: Options) -> tuple[Composition, Silent]:
    """The composition, and a report that keeps what it has to say, where nobody else hears it."""
    if options in _opened:
        return _opened[options], Silent()
    return _read(options)


@lru_cache(maxsize=1)
def _read(options: Options) -> tuple[Composition, Silent]:
    report = Silent()
    return reading.composition(options, report), report
