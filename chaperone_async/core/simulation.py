"""Queues and their workers in virtual time: what a scaler would have done with these jobs, and how long they waited.

A worker takes `start_up` seconds to start, then one job after the other, the oldest first, or `at_once` at a time.
Whoever is asked to go finishes what it has, and costs worker-seconds until it has gone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil
from typing import NamedTuple, Protocol

from chaperone_async.core.budget import decide_together
from chaperone_async.core.demand import AutoscalePolicy, Present, Sample
from chaperone_async.core.scaling import Candidate, Decision, ScalerState, leavers

_PATIENCE = 3600.0  # beyond all the work there is; a scaler that has no worker by then will have none


class Job(NamedTuple):
    at: float
    service_time: float  # seconds of work


class Control(Protocol):
    """What decides. It sees all queues at once, since they may share a budget; all is by the queue's name."""

    def decide(self, samples: Mapping[str, Sample], presents: Mapping[str, Present]) -> Mapping[str, int]:
        """How many workers shall stay or be started."""
        ...

    def leavers(self, candidates: Iterable[Candidate]) -> tuple[int, ...]:
        """Who goes first. A slot here is never used again: the lowest is the oldest worker."""
        ...


class Scaler:
    """The real one. `hear` gets each decision, those that change nothing too, under its queue's name."""

    def __init__(
        self,
        policies: Mapping[str, AutoscalePolicy],
        total: int | None = None,
        hear: Callable[[str, Decision], None] = lambda *_: None,
    ) -> None:
        self._policies, self._total, self._hear = policies, total, hear
        self._states = {name: ScalerState() for name in policies}

    def decide(self, samples: Mapping[str, Sample], presents: Mapping[str, Present]) -> Mapping[str, int]:
        decisions, self._states = decide_together(self._total, self._policies, self._states, samples, presents)
        for name, decision in decisions.items():
            self._hear(name, decision)
        return {name: decision.wanted for name, decision in decisions.items()}

    def leavers(self, candidates: Iterable[Candidate]) -> tuple[int, ...]:
        return leavers(candidates)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one queue. `waits`: of each job that was taken, in seconds; `ended`: when the last had been done."""

    waits: tuple[float, ...]
    left: int  # jobs that nobody took
    worker_seconds: float
    busy_seconds: float
    most: int  # workers at a time, the leaving included
    started: int  # workers, those of the start included
    ended: float


def simulate(
    jobs: Mapping[str, Sequence[Job]],
    control: Control,
    start: Mapping[str, int],
    *,
    interval: float = 1.0,
    start_up: float = 1.0,
    until: float = 0.0,
    at_once: int = 1,
) -> dict[str, Outcome]:
    """Jobs are in order of arrival, the time is from 0. `start`: workers at the start, all ready. The control is asked
    each `interval`, to the end of all work, and at least `until`."""
    queues = {name: _Queue(list(arrivals), start[name], start_up, at_once) for name, arrivals in jobs.items()}
    work = [job for arrivals in jobs.values() for job in arrivals]
    latest = max((job.at for job in work), default=0.0)
    patience = max(latest, until) + sum(job.service_time for job in work) + _PATIENCE
    ticks, now = 0, 0.0
    while True:
        for queue in queues.values():
            queue.advance(now)
        working = now < patience and any(queue.unfinished for queue in queues.values())
        if now >= until and not working:
            break
        samples = {name: queue.sample(now) for name, queue in queues.items()}
        presents = {name: queue.present() for name, queue in queues.items()}
        for name, workers in control.decide(samples, presents).items():
            queues[name].resize(workers, control, now)
        ticks += 1
        now = ticks * interval
    return {name: queue.outcome(now) for name, queue in queues.items()}


@dataclass(slots=True)
class _Worker:
    born: float
    since: float  # when it became idle, or will have started
    begun: list[float] = field(default_factory=list)  # when each of its jobs was
    leaving: bool = False

    @property
    def candidate_since(self) -> float:
        return min(self.begun, default=self.since)


class _Event(NamedTuple):
    """A worker has started, or has done a job."""

    at: float
    worker: int
    begun: float = 0.0
    worked: float | None = None  # seconds; None: it has started


class _Queue:
    """One queue and its workers, by number: nobody gets a number twice."""

    def __init__(self, arrivals: list[Job], workers: int, start_up: float, at_once: int) -> None:
        self._arrivals, self._start_up, self._at_once = arrivals, start_up, at_once
        self._waiting: deque[Job] = deque()
        self._workers: dict[int, _Worker] = {}
        self._idle: list[int] = []  # a heap of those who take the next job, with some who have gone or are to go
        self._events: list[_Event] = []  # a heap
        self._arrived = self._completed = self._busy = self._born = self._most = 0
        self._worked = self._worker_seconds = self._ended = 0.0
        self._waits: list[float] = []
        for _ in range(workers):
            self._start(0.0, 0.0)

    @property
    def unfinished(self) -> bool:
        return self._completed < len(self._arrivals)

    def advance(self, now: float) -> None:
        """All that happens up to now, in the order of time; a worker is free before a job of the same moment comes."""
        while True:
            coming = self._arrivals[self._arrived] if self._arrived < len(self._arrivals) else None
            event = self._events[0].at if self._events else None
            if event is not None and event <= now and (coming is None or event <= coming.at):
                self._free(heappop(self._events))
            elif coming is not None and coming.at <= now:
                self._arrived += 1
                self._waiting.append(coming)
                self._assign(coming.at)
            else:
                return

    def _free(self, event: _Event) -> None:
        worker = self._workers.get(event.worker)
        if worker is None:  # it went before it had started
            return
        lanes = self._at_once
        if event.worked is not None:
            lanes = 1
            self._busy -= 1
            self._completed += 1
            self._worked += event.worked
            self._ended = event.at
            worker.begun.remove(event.begun)
        worker.since = event.at
        if not worker.leaving:
            for _ in range(lanes):
                heappush(self._idle, event.worker)
            self._assign(event.at)
        elif not worker.begun:
            self._end(event.worker, event.at)

    def _assign(self, at: float) -> None:
        while self._waiting and self._idle:
            number = heappop(self._idle)
            worker = self._workers.get(number)
            if worker is None or worker.leaving:
                continue
            job = self._waiting.popleft()
            worker.begun.append(at)
            self._busy += 1
            self._waits.append(at - job.at)
            heappush(self._events, _Event(at + job.service_time, number, at, job.service_time))

    def sample(self, now: float) -> Sample:
        return Sample(
            at=now,
            backlog=len(self._waiting),
            oldest_age=now - self._waiting[0].at if self._waiting else None,
            busy=self._busy,
            running=tuple(now - begun for worker in self._workers.values() for begun in worker.begun),
            completed=self._completed,
            worked=self._worked,
            arrived=self._arrived,
            at_once=self._at_once,
        )

    def present(self) -> Present:
        leaving = sum(worker.leaving for worker in self._workers.values())
        return Present(len(self._workers) - leaving, leaving)

    def resize(self, workers: int, control: Control, now: float) -> None:
        staying = {number: worker for number, worker in self._workers.items() if not worker.leaving}
        for _ in range(workers - len(staying)):
            self._start(now, now + self._start_up)
        if workers < len(staying):
            candidates = [Candidate(number, bool(w.begun), w.candidate_since) for number, w in staying.items()]
            for number in control.leavers(candidates)[: len(staying) - workers]:
                if staying[number].begun:
                    staying[number].leaving = True
                else:
                    self._end(number, now)

    def _start(self, now: float, ready: float) -> None:
        self._workers[self._born] = _Worker(now, since=ready)
        heappush(self._events, _Event(ready, self._born))
        self._born += 1
        self._most = max(self._most, len(self._workers))

    def _end(self, number: int, at: float) -> None:
        self._worker_seconds += at - self._workers.pop(number).born

    def outcome(self, now: float) -> Outcome:
        cost = self._worker_seconds + sum(now - worker.born for worker in self._workers.values())
        left = len(self._arrivals) - len(self._waits)
        return Outcome(tuple(self._waits), left, cost, self._worked, self._most, self._born, self._ended)


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that so many of all do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)] if ordered else 0.0
