"""What a queue calls for, before any limit: arrivals and service time learnt from samples, and workers from those.

The rate forgets with time, because a minute without arrivals says something. The service time forgets with jobs,
because a minute without jobs says nothing of how long one takes: it is never reset.
"""

from dataclasses import dataclass, replace
from math import ceil, exp
from typing import Literal

Strategy = Literal["backlog", "latency", "python"]
RATE_MEMORY = 30.0
"""Seconds in which an old arrival rate loses two thirds of its say."""
SERVICE_WEIGHT = 0.05
"""The say of one job in the service time: about the last twenty count."""
_UNUSUAL = 2.0  # a job in work for so many service times is none of those that the service time was learnt from


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalePolicy:
    """Interface §3 `[pools.X.autoscale]`, with `workers = { min, max }`. Times in seconds."""

    strategy: Strategy = "backlog"
    target: float = 10.0  # backlog: jobs per worker; latency: seconds until a job is taken
    min: int = 1
    max: int = 10
    max_step: int = 1  # workers more, or fewer, per cooldown
    cooldown: float = 3.0
    tolerance: float = 0.1  # a need this close to the present workers, as a share of them, changes nothing
    stabilization: float = 30.0  # as Celery's keepalive; with 0, some six times as many are started
    scale_to_zero_after: float = 300.0  # of being empty, where `min` is 0
    python: str | None = None  # strategy python: "module:function", called with the sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is known of a queue at one moment. None is unknown, never zero. `arrived`, `completed` and `worked` count
    from some beginning; where one falls, it was begun anew. `read_at`: when the backlog was read, where that is not
    `at`."""

    at: float
    backlog: int | None = None  # ready, and taken by nobody
    oldest_age: float | None = None  # of those
    busy: int | None = None  # jobs in work
    running: tuple[float, ...] | None = None  # how long each job in work has been
    completed: int | None = None
    worked: float | None = None  # seconds that the completed took
    arrived: int | None = None
    next_due: float | None = None  # when the first delayed job becomes ready
    called: float | None = None  # strategy python: the workers that the function has called for
    read_at: float | None = None
    at_once: int = 1  # jobs that one worker does at a time


@dataclass(frozen=True, slots=True)
class Present:
    """`leaving`: asked to go and not gone. They take no job any more, and their place is not free yet."""

    active: int
    leaving: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    rate: float = 0.0  # jobs a second
    service: float | None = None  # seconds of work a job; None: no job was seen to end
    unpaid: float = 0.0  # seconds of work seen since a job ended last
    last: Sample | None = None


def learn(estimate: Estimate, sample: Sample) -> Estimate:
    """A sample without a backlog, or with one that was seen already, is left out; the next one covers its time."""
    last = estimate.last
    if sample.backlog is None or (last is not None and _read_at(sample) <= _read_at(last)):
        return estimate
    if last is None:
        return replace(estimate, last=sample)
    span = sample.at - last.at
    rate, unpaid, service = estimate.rate, estimate.unpaid + _work_seen(last, sample, span), estimate.service
    if (arrived := _arrivals(last, sample)) is not None:
        rate += (1 - exp(-span / RATE_MEMORY)) * (arrived / span - rate)
    if jobs := _grown(last.completed, sample.completed):
        worked = _grown(last.worked, sample.worked)
        taken = (unpaid if worked is None else worked) / jobs
        unpaid = 0.0
        service = taken if service is None else service + (1 - (1 - SERVICE_WEIGHT) ** jobs) * (taken - service)
    return Estimate(rate, service, unpaid, sample)


def _read_at(sample: Sample) -> float:
    return sample.at if sample.read_at is None else sample.read_at


def _work_seen(last: Sample, sample: Sample, span: float) -> float:
    """So that service times can be told where nobody measures them: what was in work, for as long as it was."""
    return 0.0 if last.busy is None or sample.busy is None else (last.busy + sample.busy) / 2 * span


def _grown(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None or now < before else now - before


def _arrivals(last: Sample, sample: Sample) -> float | None:
    """Counted, or what must have come for the backlog to be what it is."""
    if (counted := _grown(last.arrived, sample.arrived)) is not None:
        return counted
    completed = _grown(last.completed, sample.completed)
    if completed is None or last.backlog is None or sample.backlog is None:
        return None
    return max(0.0, sample.backlog - last.backlog + completed + (sample.busy or 0) - (last.busy or 0))


def in_flight(sample: Sample, present: Present) -> int:
    """Jobs that those who stay have in work: who is leaving takes one along."""
    return max(0, (sample.busy or 0) - present.leaving)


def is_empty(sample: Sample, present: Present) -> bool:
    """Known to have nothing to do now: nothing waits, is in work, or was delayed until a moment that has come."""
    due = sample.next_due is not None and sample.next_due <= sample.at
    return sample.backlog == 0 and not in_flight(sample, present) and not due


def workers_needed(policy: AutoscalePolicy, estimate: Estimate, sample: Sample, present: Present) -> float | None:
    """Not rounded and not limited; None: the backlog is unknown. Grows with the backlog, all else being equal."""
    if policy.strategy == "python":
        return sample.called
    if sample.backlog is None:
        return None
    jobs = sample.backlog + in_flight(sample, present)
    if policy.strategy == "backlog":
        return jobs / policy.target
    return max(
        _for_latency(policy.target, estimate, sample, present, jobs), _late(policy.target, sample, present, jobs)
    )


def _for_latency(target: float, estimate: Estimate, sample: Sample, present: Present, jobs: int) -> float:
    """Of n workers those who are free start a job at once, and each starts one more per service time: within the target
    n·target/service + n - busy. That must be all who wait and all who come meanwhile; solved for n.

    Jobs far shorter than the target: the offered load, and what drains the backlog in time. Far longer: a worker each.
    One that does several jobs at a time counts as so many.
    """
    if estimate.service is None:  # one more while jobs wait, until the first has told how long they take
        return min(ceil(jobs / sample.at_once), present.active + bool(sample.backlog))
    if estimate.service <= 0:
        return min(jobs, 1)
    unusual = max(target, _UNUSUAL * estimate.service)
    stuck = max(0, sum(age > unusual for age in sample.running or ()) - present.leaving)
    lanes = stuck + (max(0, jobs - stuck) + estimate.rate * target) / (1 + target / estimate.service)
    return lanes / sample.at_once


def _late(target: float, sample: Sample, present: Present, jobs: int) -> int:
    """A job that waits for too long proves the estimate wrong. More workers than jobs would help nobody."""
    late = bool(sample.backlog) and sample.oldest_age is not None and sample.oldest_age > target
    return min(jobs, present.active + 1) if late else 0
