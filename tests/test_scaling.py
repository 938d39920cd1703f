"""The replay of a build's tasks on more workers: by hand, and where it must end up."""

from __future__ import annotations

import pytest

from benchmarks import scaling
from benchmarks.scaling import Workload
from restnet_tf.work import resources, tasks
from restnet_tf.work.times import TaskTime, Times, Wave


def task(seconds: float, kind: str = tasks.FITS, *, alone: bool = False) -> TaskTime:
    return TaskTime("one", kind, "here:1", 2 * seconds, seconds, 0, alone)


SPENT = Times(
    1,
    40.0,
    (
        Wave(2.0, 12.0, (task(4.0, tasks.STATISTICS), task(6.0, tasks.STATISTICS)), 2.0),
        Wave(15.0, 29.0, (task(3.0), task(3.0), task(3.0), task(10.0, alone=True)), 3.0),
    ),
    (),
    1.0,
)


def test_a_workload_is_what_the_times_say() -> None:
    work = Workload.of(SPENT, 2)
    assert work.alone == (2.0, 3.0 + 5.0, 1.0)
    assert work.waves == ((4.0, 6.0), (3.0, 3.0, 3.0))
    assert (work.serial, work.shared, work.count) == (11.0, 19.0, 5)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 30.0), (2, 11 + 6 + 6), (3, 11 + 6 + 3), (64, 11 + 6 + 3)])
def test_tasks_go_to_the_first_free_worker(workers: int, seconds: float) -> None:
    assert scaling.replayed(Workload.of(SPENT, 2), workers, 0.0) == pytest.approx(seconds)


def test_no_number_of_workers_beats_the_critical_path() -> None:
    work = Workload.of(SPENT, 2)
    assert work.critical == scaling.replayed(work, 1000, 0.0) == 20.0


def test_a_scheduler_hands_out_one_after_the_other() -> None:
    work = Workload((0.0, 0.0), ((1.0,) * 10,))
    assert scaling.replayed(work, 10, 0.5) == pytest.approx(10 * 0.5 + 1.0)
    assert scaling.bound(work, 10, 0.5).startswith("the scheduler")
    assert scaling.scheduler_limit(1.0, 0.5) == 2


def test_more_points_are_more_tasks_of_their_kinds_alone() -> None:
    larger = Workload.of(scaling.grown(SPENT, 4), 2)
    assert [len(wave) for wave in larger.waves] == [2, 12]


def test_what_is_waited_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "cores", lambda: 2)
    assert scaling.bound(Workload((9.0, 0.0), ((1.0, 1.0),)), 2, 0.0) == "its own process, between tasks (90%)"
    assert scaling.bound(Workload((0.0, 0.0), ((9.0, 1.0, 1.0),)), 8, 0.0).startswith("the last task of each wave")
    page = scaling.page([], [("a run", SPENT)], 0.001)
    assert "can be 1.5 times as fast" in page
    assert "| 64 | 20 | 1.50 |" in page
