"""Where the time went: every task is timed where it runs, what lies between is told by its stage, files add up."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from stages import Stages

from restnet_tf.progress import Crew, Silent
from restnet_tf.work import tasks, times
from restnet_tf.work.tasks import Task
from restnet_tf.work.times import Ledger, Portion, StageTime, TaskTime, Times, Wave


def doubled(number: int, progress: tasks.Progress) -> int:
    progress(1, 1)
    return 2 * number


def stopped(number: int, progress: tasks.Progress) -> int:
    raise KeyboardInterrupt


def test_an_executor_does_the_same_and_its_tasks_are_timed() -> None:
    report = Stages()
    ledger = Ledger(report)
    execute = ledger.around(tasks.serially)
    work = [Task("first", doubled, 1, kind=tasks.FITS), Task("second", doubled, 2, kind=tasks.SCORINGS)]
    assert list(execute(work, ledger)) == [2, 4]
    assert list(execute([Task("third", doubled, 3, kind=tasks.FITS)], ledger)) == [6]
    spent = ledger.times
    assert [[task.title for task in wave.tasks] for wave in spent.waves] == [["first", "second"], ["third"]]
    assert all(task.worker.endswith(f":{os.getpid()}") for task in spent.tasks)
    assert all(0 <= task.seconds < 5 for task in spent.tasks)
    assert [stage.title for stage in spent.stages] == report.stages == ["first", "second", "third"]
    assert [(one.kind, one.tasks) for one in sorted(times.by_kind(spent), key=lambda one: one.kind)] == [
        (tasks.FITS, 2),
        (tasks.SCORINGS, 1),
    ]


def test_all_that_is_reported_is_handed_on() -> None:
    heard: list[object] = []

    class Heard(Silent):
        def progress(self, done: int, total: int) -> None:
            heard.append((done, total))

        def crew(self, crew: Crew) -> None:
            heard.append(crew)

    report, crew = Heard(), Crew(0, 1, 1, ())
    ledger = Ledger(report)
    ledger.progress(1, 2)
    ledger.crew(crew)
    ledger.say("a line")
    assert (heard, report.lines) == ([(1, 2), crew], ["a line"])


def task(seconds: float, kind: str = tasks.FITS) -> TaskTime:
    return TaskTime("one", kind, "here:1", seconds, seconds, 0)


def test_what_lies_between_tasks_is_told_by_the_stage_before() -> None:
    waves = (Wave(4.0, 6.0, (task(2.0),)), Wave(10.0, 12.0, (task(2.0),)))
    stages = (StageTime("loading", 1.0), StageTime("fitting", 4.0), StageTime("linking", 7.0))
    spent = Times(1, 15.0, waves, stages)
    # Nothing was told of the first second; "linking" was the last word before and behind the second wave.
    assert times.between(spent) == (
        Portion("linking", 0, 6.0),
        Portion("loading", 0, 3.0),
        Portion("", 0, 1.0),
        Portion("fitting", 0, 1.0),
    )


def test_calls_add_up_in_a_file_even_one_that_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    for work in ([Task("one", doubled, 1)], [Task("one", doubled, 1), Task("two", stopped, 1)]):
        ledger = Ledger(Silent())
        try:
            with times.kept(ledger, path):
                list(ledger.around(tasks.serially)(work, ledger))
        except KeyboardInterrupt:
            pass
    assert [len(call.tasks) for call in times.read(path).calls] == [1, 1]


def test_a_call_that_did_nothing_leaves_no_file_and_a_broken_one_is_begun_anew(tmp_path: Path) -> None:
    path, ledger = tmp_path / "times.json", Ledger(Silent())
    with times.kept(ledger, path):
        pass
    assert not path.exists()
    path.write_text("{")
    with times.kept(ledger, path):
        list(ledger.around(tasks.serially)([Task("one", doubled, 1)], ledger))
    assert len(json.loads(path.read_text())["calls"]) == 1


def test_an_error_of_a_task_arrives_as_it_is() -> None:
    ledger = Ledger(Silent())
    with pytest.raises(KeyboardInterrupt):
        list(ledger.around(tasks.serially)([Task("one", stopped, 1)], ledger))
    assert ledger.waves == []


def test_processor_seconds_between_tasks_are_those_of_the_process_alone() -> None:
    ledger = Ledger(Silent())
    _busy(0.2)
    list(ledger.around(tasks.serially)([Task("one", busy, 0.3)], ledger))
    _busy(0.1)
    spent = ledger.times
    assert 0.2 <= spent.waves[0].own_cpu_s < 0.3
    assert 0.1 <= spent.own_cpu_s < 0.2


def busy(seconds: float, progress: tasks.Progress) -> None:
    _busy(seconds)


def _busy(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
