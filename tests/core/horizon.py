"""Laravel Horizon's balancing, written out from its sources: whom ours is compared with.

With its flaws: delayed and reserved jobs are not counted, runtimes are forgotten at each snapshot, and a pool is grown
by its active workers alone, in the places of those who have yet to leave.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Literal

from chaperone_async.core.demand import Present, Sample
from chaperone_async.core.scaling import Candidate


@dataclass(frozen=True)
class Queue:
    """`size`: ready jobs; `runtime`: mean seconds of a job since the last snapshot, 0 where none has ended."""

    size: int
    runtime: float
    active: int
    leaving: int = 0


@dataclass(frozen=True)
class Horizon:
    """One supervisor's options: `most` is the total of all pools, `least` of each."""

    most: int = 10
    least: int = 1
    shift: int = 1
    strategy: Literal["time", "size"] = "time"

    def wants(self, queues: Mapping[str, Queue]) -> dict[str, float]:
        sizes = {name: queue.size for name, queue in queues.items()}
        times = {name: queue.size * queue.runtime for name, queue in queues.items()}
        if sum(times.values()) > 0:
            needs = sizes if self.strategy == "size" else times
            return {name: self.most * need / sum(needs.values()) for name, need in needs.items()}
        return {name: self.most if size > 0 else self.least for name, size in sizes.items()}

    def scale(self, queues: Mapping[str, Queue]) -> dict[str, int]:
        """Active workers of each pool afterwards. One pool after the other, those that want least first."""
        wants = self.wants(queues)
        after = {name: queue.active for name, queue in queues.items()}
        totals = {name: queue.active + queue.leaving for name, queue in queues.items()}
        for name in sorted(queues, key=lambda name: wants[name]):
            queue, wanted, everybody = queues[name], ceil(wants[name]), sum(totals.values())
            if wanted > totals[name]:
                up = min(max(0, self.most - everybody), self.shift)
                ceiling = max(self.least, self.most - (len(queues) - 1) * self.least)
                after[name] = min(totals[name] + up, ceiling, wanted)
            elif wanted < totals[name]:
                down = min(everybody - self.least, self.shift)
                after[name] = max(totals[name] - down, self.least, wanted)
            totals[name] += max(0, after[name] - queue.active)  # who is started counts; who is asked to go does as well
        return after


@dataclass
class HorizonControl:
    """In the simulator: scales each `cooldown`, and takes a snapshot every five minutes, as its schedule is."""

    horizon: Horizon
    cooldown: float = 3.0
    snapshot: float = 300.0
    _scaled: float = -inf
    _snapped: float = 0.0
    _since: dict[str, tuple[int, float]] = field(default_factory=dict)

    def decide(self, samples: Mapping[str, Sample], presents: Mapping[str, Present]) -> Mapping[str, int]:
        now = next(iter(samples.values())).at
        if now - self._snapped >= self.snapshot:
            self._snapped = now
            self._since = {name: _ended(sample) for name, sample in samples.items()}
        if now - self._scaled < self.cooldown:
            return {name: present.active for name, present in presents.items()}
        self._scaled = now
        queues = {
            name: Queue(sample.backlog or 0, self._runtime(name, sample), present.active, present.leaving)
            for name, sample, present in ((name, samples[name], presents[name]) for name in samples)
        }
        return self.horizon.scale(queues)

    def _runtime(self, name: str, sample: Sample) -> float:
        completed, worked = _ended(sample)
        completed_before, worked_before = self._since.get(name, (0, 0.0))
        jobs = completed - completed_before
        return (worked - worked_before) / jobs if jobs else 0.0

    def leavers(self, candidates: Iterable[Candidate]) -> tuple[int, ...]:
        """The oldest, busy or not."""
        return tuple(sorted(candidate.slot for candidate in candidates))


def _ended(sample: Sample) -> tuple[int, float]:
    return sample.completed or 0, sample.worked or 0.0
