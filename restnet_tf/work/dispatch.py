"""Which task is where: tasks in line, attempts at them on workers, what was lost, and second copies of slow ones.

Nothing here knows what a worker is but its name, or what the time is but what it is told.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

# An attempt that takes so many times as long as is usual gets a copy elsewhere, where there is a worker to spare.
_SLOW = 2.0


@dataclass(frozen=True)
class Attempt:
    """A task, by its number, on a worker since a moment (s)."""

    number: int
    worker: str
    since: float


@dataclass
class Dispatch:
    """So many tasks; ``least_slow_s``: what takes less is not slow, whatever is usual."""

    count: int
    least_slow_s: float = 60.0
    losses: Counter[int] = field(default_factory=Counter)
    needs: dict[int, int] = field(default_factory=dict)  # bytes of memory that a task went over

    def __post_init__(self) -> None:
        """All tasks wait."""
        self.line: deque[int] = deque(range(self.count))
        self.attempts: list[Attempt] = []
        self.done: set[int] = set()
        self._took: list[float] = []

    @property
    def finished(self) -> bool:
        """Whether every task has a result."""
        return len(self.done) == self.count

    def place(self, idle: Iterable[str], now: float, memory: Callable[[str], float]) -> Iterator[Attempt]:
        """Attempts to begin on idle workers: of the tasks in line, then copies of what is slow.

        ``memory`` is what a worker may take (bytes).
        """
        for worker in idle:
            number = self._next(memory(worker))
            if number is None:
                number = self._slowest(now, memory(worker))
            if number is not None:
                attempt = Attempt(number, worker, now)
                self.attempts.append(attempt)
                yield attempt

    def end(self, attempt: Attempt, now: float) -> bool:
        """An attempt has a result: whether it is the first of its task."""
        self.attempts.remove(attempt)
        if attempt.number in self.done:
            return False
        self.done.add(attempt.number)
        self._took.append(now - attempt.since)
        return True

    def lose(self, attempt: Attempt) -> None:
        """An attempt came to nothing; its task is the next in line, unless there is a copy."""
        self.attempts.remove(attempt)
        self.losses[attempt.number] += 1
        if attempt.number not in self.done and attempt.number not in {one.number for one in self.attempts}:
            self.line.appendleft(attempt.number)

    def _next(self, memory: float) -> int | None:
        for number in self.line:
            if self._fits(number, memory):
                self.line.remove(number)
                return number
        return None

    def _slowest(self, now: float, memory: float) -> int | None:
        if self.line or not self._took:
            return None
        limit = max(self.least_slow_s, _SLOW * statistics.median(self._took))
        copies = Counter(one.number for one in self.attempts)
        slow = [
            one
            for one in self.attempts
            if now - one.since > limit
            and copies[one.number] == 1
            and one.number not in self.done
            and self._fits(one.number, memory)
        ]
        return min(slow, key=lambda one: one.since).number if slow else None

    def _fits(self, number: int, memory: float) -> bool:
        return memory > self.needs.get(number, 0)
