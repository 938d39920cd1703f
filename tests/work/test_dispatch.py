"""Which task goes to which worker: in their order, what was lost first, and copies of what is slow."""

from __future__ import annotations

import math

from restnet_tf.work.dispatch import Attempt, Dispatch


def placed(dispatch: Dispatch, idle: str, now: float = 0.0, memory: float = math.inf) -> list[Attempt]:
    return list(dispatch.place(idle, now, lambda worker: memory))


def numbers(attempts: list[Attempt]) -> list[int]:
    return [one.number for one in attempts]


def test_tasks_go_out_in_their_order_and_what_was_lost_is_the_next() -> None:
    dispatch = Dispatch(4)
    first, second = placed(dispatch, "ab")
    assert numbers([first, second]) == [0, 1]
    dispatch.lose(second)
    assert numbers(placed(dispatch, "bc")) == [1, 2]
    assert dispatch.losses[1] == 1


def test_the_first_result_of_a_task_counts_and_no_other() -> None:
    dispatch = Dispatch(2, least_slow_s=1.0)
    slow, quick = placed(dispatch, "ab")
    assert dispatch.end(quick, now=2.0)
    assert placed(dispatch, "b", now=3.9) == []  # less than twice what is usual
    (copy,) = placed(dispatch, "bc", now=4.1)  # and no third one
    assert (copy.number, copy.worker) == (0, "b")
    assert dispatch.end(copy, now=5.0)
    assert dispatch.finished
    assert not dispatch.end(slow, now=9.0)


def test_nothing_is_copied_while_tasks_wait_or_none_is_done() -> None:
    dispatch = Dispatch(2, least_slow_s=1.0)
    placed(dispatch, "ab")
    assert placed(dispatch, "c", now=1e6) == []
    waiting = Dispatch(3, least_slow_s=1.0)
    _, quick = placed(waiting, "ab")
    waiting.end(quick, now=1.0)
    assert numbers(placed(waiting, "b", now=1e6)) == [2]


def test_a_lost_copy_puts_nothing_in_line_while_the_other_runs() -> None:
    dispatch = Dispatch(2, least_slow_s=1.0)
    slow, quick = placed(dispatch, "ab")
    dispatch.end(quick, now=1.0)
    (copy,) = placed(dispatch, "b", now=9.0)
    dispatch.lose(copy)
    assert placed(dispatch, "c", now=9.0) != []  # another copy
    dispatch.lose(slow)
    assert list(dispatch.line) == []


def test_what_went_over_a_limit_waits_for_a_worker_with_more() -> None:
    dispatch = Dispatch(2)
    (large,) = placed(dispatch, "a", memory=10)
    dispatch.needs[0] = 10
    dispatch.lose(large)
    assert numbers(placed(dispatch, "a", memory=10)) == [1]
    assert numbers(placed(dispatch, "b", memory=11)) == [0]
