"""Snapshot → plain dicts: the only wire format. Memory in MB (10^6 bytes), durations in seconds, times RFC 3339 UTC."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from math import inf

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.pool import Pool, PoolState
from chaperone_async.core.slots import Lane
from chaperone_async.core.spec import MB, PoolSpec
from chaperone_async.core.states import Hold, Slot
from chaperone_async.core.status import status_of
from chaperone_async.service.queue_views import view_autoscale, view_backlog, view_decision, view_queue
from chaperone_async.service.queue_wire import DecisionsDocument, QueueDocument
from chaperone_async.service.queues import overview
from chaperone_async.service.wire import (
    PoolDocument,
    PoolSummary,
    StatsDocument,
    StatusDocument,
    WorkerDocument,
)
from chaperone_async.supervision.handle import activity_of
from chaperone_async.supervision.leaving import reports
from chaperone_async.supervision.readings import queue_problem
from chaperone_async.supervision.supervisor import PoolView, Snapshot
from chaperone_async.system.ports import TelemetrySource, Usage

Wall = Callable[[float], datetime]
TIMES_REMEMBERED = 4096


def rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(TIMES_REMEMBERED)
def _text(origin: datetime, at: float) -> str:
    """`origin` is when monotonic time was 0, and moves only where the clock is set. Workers' times are asked for again
    and again: making them anew would be half the cost of a status."""
    return rfc3339(origin + timedelta(seconds=at))


@dataclass(frozen=True, slots=True)
class _Moment:
    """What all workers of a pool have in common in one view."""

    now: float
    origin: datetime
    queue: str
    checked_at: float
    checked: str | None
    usage: Mapping[WorkerRef, Usage]
    spec: PoolSpec


class Views:
    """`wall` turns monotonic seconds into an aware UTC time."""

    def __init__(self, name: str, version: str, pid: int, wall: Wall, telemetry: TelemetrySource) -> None:
        self.name, self.version, self.pid, self.wall = name, version, pid, wall
        self._telemetry = telemetry

    def time(self, at: float) -> str:
        return _text(self.wall(0.0), at)

    def monotonic(self, moment: datetime) -> float:
        """When `time` shows this moment."""
        return (moment - self.wall(0.0)).total_seconds()

    def status(self, snapshot: Snapshot) -> StatusDocument:
        return {
            "name": self.name,
            "version": self.version,
            "pid": self.pid,
            "state": "draining" if snapshot.draining else "running",
            "started_at": self.time(snapshot.started_at),
            "uptime": round(snapshot.at - snapshot.started_at, 3),
            "drain_ends_in": None if snapshot.deadline is None else round(max(0.0, snapshot.deadline - snapshot.at), 3),
            "pools": [self.pool_summary(view) for view in snapshot.pools],
        }

    def pool_summary(self, view: PoolView) -> PoolSummary:
        pool = view.pool
        backend, demand, figures = pool.spec.backend, view.demand, view.figures
        state, reason = state_of(view), self._reason(view)
        return {
            "name": pool.name,
            "queue": list(pool.spec.queues),
            "backend": None if backend is None else backend.name,
            "state": state,
            "degraded": demand.problem is not None or (state == "degraded" and reason is not None),
            "ready": pool.ready,
            "worker_count": pool.spec.workers,
            "desired": pool.desired,
            "running": sum(slot.life.pid > 0 for slot in pool.slots if slot.live and slot.life is not None),
            "ready_workers": pool.ready_count,
            "min_ready": pool.least_ready,
            "essential": pool.spec.essential,
            "reason": reason,
            "held_by": None if pool.hold is None else pool.hold.by,
            "held_since": None if pool.hold is None else self.time(pool.hold.since),
            "held_until": self._end_of(pool.hold),
            "leaving": leaving_of(pool),
            "autoscale": view_autoscale(pool.spec),
            "backlog": view_backlog(demand, self.time) if demand.at is not None or demand.problem is not None else None,
            "jobs_processed": view.jobs_processed,
            "jobs_failed": view.jobs_failed,
            "jobs_per_minute": round(figures.per_minute, 1),
            "average_job_time": _rounded(figures.average),
            "p95_job_time": _rounded(figures.p95),
            "average_wait": _rounded(figures.wait),
            "restarts": sum(slot.restarts for slot in pool.slots),
            "callback_failures": view.callback_failures,
            "last_callback_failure": view.last_callback_failure or None,
            "broken_checks": dict(view.broken_checks),
        }

    def _reason(self, view: PoolView) -> str | None:
        """All that is not as it should be, the worst first."""
        pool, problem = view.pool, view.demand.problem
        if pool.fatal is not None or pool.hold is not None:
            return pool.fatal or self._hold(pool.hold)
        unread = None if problem is None else queue_problem(problem)
        return "; ".join(filter(None, (self._last_error(view), unread))) or None

    def _hold(self, hold: Hold | None) -> str | None:
        if hold is None:
            return None
        return f"{'paused' if hold.why == 'pause' else 'stopped'} by {hold.by}"

    def _end_of(self, hold: Hold | None) -> str | None:
        return None if hold is None or hold.until == inf else self.time(hold.until)

    def _last_error(self, view: PoolView) -> str | None:
        if view.pool.state in {"running", "starting"} and view.pool.ready:
            return None
        return next((slot.last_error for slot in view.pool.slots if slot.last_error), None)

    def pool(self, view: PoolView, now: float) -> PoolDocument:
        """With all its workers, the lowest slot first."""
        return {**self.pool_summary(view), "workers": self.workers(view, now)}

    def workers(self, view: PoolView, now: float) -> list[WorkerDocument]:
        moment = self._moment(view, now)
        return [self._worker(slot, moment) for slot in view.pool.slots if not (slot.surplus and slot.life is None)]

    def worker(self, view: PoolView, slot: Slot, now: float) -> WorkerDocument:
        return self._worker(slot, self._moment(view, now))

    def _moment(self, view: PoolView, now: float) -> "_Moment":
        measured, origin = view.readings, self.wall(0.0)
        checked = None if measured.at is None else _text(origin, measured.at)
        return _Moment(now, origin, view.pool.spec.queue, measured.at or 0.0, checked, measured.usage, view.pool.spec)

    def _worker(self, slot: Slot, moment: "_Moment") -> WorkerDocument:
        row: WorkerDocument = {
            "id": slot.last_id,
            "slot": slot.index,
            "pid": None,
            "queue": moment.queue,
            "status": status_of(slot),
            "activity": "unknown",
            "started_at": None,
            "last_health_check": None,
            "uptime": 0.0,
            "memory_usage": 0.0,
            "cpu_percent": 0.0,
            "jobs_processed": 0,
            "jobs_failed": 0,
            "jobs_running": 0,
            "current_job": None,
            "current_job_name": None,
            "current_job_age": None,
            "restarts": slot.restarts,
            "problem": self._problem(slot),
            "message": None,
            "held_by": None,
            "held_since": None,
            "held_until": None,
        }
        if slot.hold is not None:
            row["held_by"] = slot.hold.by
            row["held_since"] = self.time(slot.hold.since)
            row["held_until"] = self._end_of(slot.hold)
        life = slot.life
        if life is None:
            return row
        if life.pid and slot.live:  # else on_crash is being asked about a dead one
            row["pid"] = life.pid
            row["started_at"] = _text(moment.origin, life.spawned_at)
            row["last_health_check"] = moment.checked if moment.checked_at >= life.spawned_at else None
            row["uptime"] = round(moment.now - life.spawned_at, 3)
        usage = moment.usage.get(life.ref)
        if usage is not None:
            row["memory_usage"] = round(usage.memory / MB, 1)
            row["cpu_percent"] = round(usage.cpu_percent, 1)
        said = self._telemetry.telemetry(life.ref)
        row["activity"] = activity_of(said, moment.spec)
        row["jobs_processed"], row["jobs_failed"] = said.jobs_done, said.jobs_failed
        row["jobs_running"] = len(said.running)
        row["current_job"], row["current_job_name"] = said.current_job, said.current_job_name
        if said.current_job_since is not None:
            row["current_job_age"] = round(max(0.0, moment.now - said.current_job_since), 3)
        row["message"] = said.status or None
        return row

    def _problem(self, slot: Slot) -> str | None:
        if slot.life is not None and slot.life.failing:
            return "; ".join(f"{f.check}: {f.detail} ({f.count} in a row)" for f in slot.life.failing)
        return self._hold(slot.hold) or (slot.last_error or None if not slot.ready else None)

    def stats(self, snapshot: Snapshot, p95_job_time: float | None) -> StatsDocument:
        rows = [row for view in snapshot.pools for row in self.workers(view, snapshot.at)]
        live = [row for row in rows if row["pid"] is not None]
        lives = [slot.life for view in snapshot.pools for slot in view.pool.slots if slot.life is not None]
        said = [self._telemetry.telemetry(life.ref) for life in lives]
        ended, busy = sum(t.jobs_done + t.jobs_failed for t in said), sum(t.busy_seconds for t in said)
        return {
            "total_workers": len(live),
            "active_workers": sum(row["activity"] == "busy" for row in live),
            "idle_workers": sum(row["activity"] == "idle" for row in live),
            "failed_workers": sum(row["status"] in {"crashed", "backoff", "fatal", "unhealthy"} for row in rows),
            "total_jobs_processed": sum(view.jobs_processed for view in snapshot.pools),
            "failed_jobs": sum(view.jobs_failed for view in snapshot.pools),
            "jobs_per_minute": round(snapshot.jobs_per_minute, 1),
            "average_job_time": round(busy / ended, 4) if ended else None,
            "p95_job_time": _rounded(p95_job_time),
            "memory_usage": round(sum(row["memory_usage"] for row in live), 1),
            "cpu_usage": round(sum(row["cpu_percent"] for row in live), 1),
        }

    def queues(self, snapshot: Snapshot) -> list[QueueDocument]:
        return [view_queue(queue, self.time) for queue in overview(snapshot.pools, self._tells)]

    def _tells(self, view: PoolView) -> bool:
        return bool(view.jobs_processed or view.jobs_failed) or reports(view.pool, self._telemetry)

    def in_work(self, view: PoolView) -> int:
        """What workers have, as their queue says, or else they themselves."""
        reserved = view.demand.backlog.reserved
        if reserved is not None:
            return reserved
        lives = [slot.life for slot in view.pool.slots if slot.live and slot.life is not None]
        return sum(len(self._telemetry.telemetry(life.ref).running) for life in lives)

    def decisions(self, view: PoolView, limit: int) -> DecisionsDocument:
        latest = list(reversed(view.decisions))[:limit]
        return {"decisions": [view_decision(decision, self.time) for decision in latest]}


def state_of(view: PoolView) -> PoolState:
    """For people: a pool whose queue cannot be read works, and not as it should."""
    return "degraded" if view.pool.state == "running" and view.demand.problem is not None else view.pool.state


def leaving_of(pool: Pool) -> int:
    return sum(slot.live for slot in pool.slots if slot.surplus) if pool.slots.count(Lane.SURPLUS) else 0


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
