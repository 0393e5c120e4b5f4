"""What a pool's workers have told of their jobs: how many, how long, and how many a minute, in all and by queue."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from math import ceil

from chaperone_async.system.ports import JobNotice

WINDOW = 60.0
"""Seconds that a rate looks back."""
_MOST_QUEUES = 256  # that are told apart: their names come from the workers
_DURATIONS = 512  # the latest that are remembered for percentiles


@dataclass(frozen=True, slots=True)
class JobFigures:
    """`done` and `failed`: so far. `per_minute`: ended in the last minute. Seconds; None: no job has ended yet."""

    done: int = 0
    failed: int = 0
    per_minute: float = 0.0
    average: float | None = None
    p95: float | None = None
    wait: float | None = None  # average, of those that told how long they had waited


@dataclass(slots=True)
class _Account:
    done: int = 0
    failed: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_DURATIONS))
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=_DURATIONS))
    ends: deque[tuple[int, int]] = field(default_factory=deque)  # second, and how many ended in it

    def add(self, notice: JobNotice, at: float) -> None:
        self.done += notice.ok
        self.failed += not notice.ok
        if notice.seconds is not None:
            self.seconds.append(notice.seconds)
        if notice.wait is not None:
            self.waits.append(notice.wait)
        second = int(at)
        if self.ends and self.ends[-1][0] == second:
            self.ends[-1] = (second, self.ends[-1][1] + 1)
        else:
            self.ends.append((second, 1))
        self._forget(at)

    def _forget(self, at: float) -> None:
        while self.ends and self.ends[0][0] <= at - WINDOW:
            self.ends.popleft()

    def figures(self, at: float) -> JobFigures:
        self._forget(at)
        return JobFigures(
            self.done,
            self.failed,
            float(sum(many for _, many in self.ends)),
            _mean(self.seconds),
            _percentile(self.seconds, 0.95),
            _mean(self.waits),
        )


class Ledger:
    """Of one pool. Datagrams may be lost: the counts of workers, being cumulative, are the truth; these are about
    durations, rates and queues."""

    def __init__(self) -> None:
        self._all = _Account()
        self._queues: defaultdict[str, _Account] = defaultdict(_Account)

    def add(self, notice: JobNotice, at: float) -> None:
        self._all.add(notice, at)
        if notice.queue is not None and (notice.queue in self._queues or len(self._queues) < _MOST_QUEUES):
            self._queues[notice.queue].add(notice, at)

    def figures(self, at: float) -> JobFigures:
        return self._all.figures(at)

    def by_queue(self, at: float) -> dict[str, JobFigures]:
        return {queue: account.figures(at) for queue, account in self._queues.items()}

    @property
    def seconds(self) -> Iterable[float]:
        """That the latest jobs took."""
        return self._all.seconds


def p95_of(ledgers: Iterable[Ledger]) -> float | None:
    """Of the latest jobs of several pools."""
    return _percentile(chain.from_iterable(ledger.seconds for ledger in ledgers), 0.95)


def _mean(values: deque[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _percentile(values: Iterable[float], share: float) -> float | None:
    """The least value that so many of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)] if ordered else None
