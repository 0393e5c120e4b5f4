"""Queues, failed jobs and the scaler's decisions → plain dicts, as `queue_wire` describes them; see `views`."""

from collections.abc import Callable
from datetime import UTC, datetime

from chaperone_async.core.scaling import Decision
from chaperone_async.core.spec import PoolSpec
from chaperone_async.service.queue_wire import (
    DecisionDocument,
    FailedDocument,
    FailedJobDocument,
    InputsDocument,
    QueueDocument,
)
from chaperone_async.service.queues import QueueView
from chaperone_async.service.wire import AutoscaleDocument, BacklogDocument
from chaperone_async.supervision.readings import Demand
from chaperone_async.system.ports import FailedJob, FailedPage

Time = Callable[[float], str]
"""Monotonic seconds as RFC 3339."""


def view_backlog(demand: Demand, time: Time) -> BacklogDocument:
    backlog = demand.backlog
    return {
        "ready": backlog.ready,
        "delayed": backlog.delayed,
        "reserved": backlog.reserved,
        "failed": backlog.failed,
        "oldest_age": _rounded(backlog.oldest_age, 3),
        "next_due": _rounded(backlog.next_due, 3),
        "at": None if demand.at is None else time(demand.at),
        "problem": demand.problem,
    }


def view_autoscale(spec: PoolSpec) -> AutoscaleDocument | None:
    policy = spec.autoscale
    if policy is None:
        return None
    return {"min": policy.min, "max": policy.max, "strategy": policy.strategy, "target": policy.target}


def view_queue(queue: QueueView, time: Time) -> QueueDocument:
    return {
        **view_backlog(queue.demand, time),
        "name": ",".join(queue.queues),
        "queues": list(queue.queues),
        "pools": list(queue.pools),
        "arrivals_per_minute": _rounded(queue.arrivals, 1),
        "completions_per_minute": _rounded(queue.completions, 1),
        "time_to_clear": _rounded(queue.time_to_clear, 1),
        "failed_lists": list(queue.lists),
    }


def view_failed(queue: str, pool: str, page: FailedPage) -> FailedDocument:
    return {
        "queue": queue,
        "pool": pool,
        "failed": [_failed_job(job, queue) for job in page.jobs],
        "next": page.next,
        "recorded_by_chaperone": page.recorded_by_us,
    }


def _failed_job(job: FailedJob, queue: str) -> FailedJobDocument:
    return {
        "id": job.id,
        "queue": job.queue or queue,
        "name": job.name,
        "arguments": job.arguments,
        "error": job.error,
        "at": None if job.at is None else _moment(job.at),
        "attempts": job.attempts,
    }


def _moment(seconds: float) -> str | None:
    """Since the epoch, as a library has written it: what is no time is not known."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def view_decision(decision: Decision, time: Time) -> DecisionDocument:
    return {
        "at": time(decision.at),
        "before": decision.from_,
        "wanted": decision.wanted,
        "raw": _rounded(decision.raw, 4),
        "clamps": [
            {"name": step.name, "before": step.before, "after": step.after, "why": step.why} for step in decision.steps
        ],
        "inputs": _inputs(decision, time),
        "reason": decision.reason,
    }


def _inputs(decision: Decision, time: Time) -> InputsDocument:
    sample = decision.sample
    return {
        "backlog": sample.backlog,
        "oldest_age": _rounded(sample.oldest_age, 3),
        "busy": sample.busy,
        "running": None if sample.running is None else [round(seconds, 3) for seconds in sample.running],
        "completed": sample.completed,
        "worked": _rounded(sample.worked, 3),
        "next_due": None if sample.next_due is None else _due(sample.next_due, time),
        "called": sample.called,
    }


def _due(at: float, time: Time) -> str | None:
    """A job may be put off to the end of days."""
    try:
        return time(at)
    except OverflowError:
        return None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
