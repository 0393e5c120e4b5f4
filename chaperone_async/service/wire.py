"""The documents of the API, as types: what `views` builds, mypy checks, and openapi.json describes.

Memory in MB (10^6 bytes), durations in seconds, times RFC 3339 UTC.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from chaperone_async.core.demand import Strategy
from chaperone_async.core.pool import PoolState
from chaperone_async.core.status import Activity, Status
from chaperone_async.service.operations import OperationState
from chaperone_async.service.sentences import Level

Time = Annotated[str, Meta(description="RFC 3339, UTC", extra_json_schema={"format": "date-time"})]
Seconds = Annotated[float, Meta(description="seconds")]
Megabytes = Annotated[float, Meta(description="MB (10^6 bytes), of the whole process tree")]


class ProblemDocument(TypedDict):
    """What is wrong with a request, or why it failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: NotRequired[Annotated[list[str], Meta(description="one line for each thing that is wrong")]]


class WorkerDocument(TypedDict):
    """A slot of a pool, and the worker in it."""

    id: Annotated[str | None, Meta(description="of the worker in the slot, or the last one there; null: none yet")]
    slot: int
    pid: Annotated[int | None, Meta(description="null: no process")]
    queue: Annotated[str, Meta(description="all queues of the pool, by priority, separated by commas")]
    status: Status
    activity: Annotated[Activity, Meta(description="unknown: the worker sends no telemetry")]
    started_at: Time | None
    last_health_check: Time | None
    uptime: Seconds
    memory_usage: Megabytes
    cpu_percent: Annotated[float, Meta(description="of one core, of the whole process tree")]
    jobs_processed: int
    jobs_failed: int
    jobs_running: int
    current_job: Annotated[str | None, Meta(description="of several, the one that has been running longest")]
    current_job_name: str | None
    current_job_age: Annotated[float | None, Meta(description="seconds since it began")]
    restarts: int
    problem: Annotated[str | None, Meta(description="what fails, or why there is no process")]
    message: Annotated[str | None, Meta(description="what the worker said last with STATUS=")]
    held_by: Annotated[str | None, Meta(description="who paused or stopped it, or its pool")]
    held_since: Time | None
    held_until: Annotated[Time | None, Meta(description="when it goes on by itself; null: when somebody says so")]


class WorkersDocument(TypedDict):
    workers: list[WorkerDocument]


class BacklogDocument(TypedDict):
    """Counts of jobs, as last seen. null is unknown, never zero."""

    ready: Annotated[int | None, Meta(description="that wait, and that anybody may take")]
    delayed: int | None
    reserved: Annotated[int | None, Meta(description="that a worker has, taken in advance or in work")]
    failed: int | None
    oldest_age: Annotated[float | None, Meta(description="seconds that the longest waiting has waited")]
    next_due: Annotated[float | None, Meta(description="seconds until the first of the delayed is ready")]
    at: Annotated[Time | None, Meta(description="when that was")]
    problem: Annotated[str | None, Meta(description="why it is not known now")]


class AutoscaleDocument(TypedDict):
    min: int
    max: int
    strategy: Strategy
    target: Annotated[float, Meta(description="backlog: jobs per worker; latency: seconds until a job is taken")]


class PoolSummary(TypedDict):
    """A pool without its workers."""

    name: str
    queue: list[str]
    backend: Annotated[str | None, Meta(description="null: a command of its own")]
    state: Annotated[PoolState, Meta(description="degraded also where only the queue cannot be read")]
    degraded: Annotated[bool, Meta(description="it works, with less than it should have: see reason")]
    ready: bool
    worker_count: Annotated[int, Meta(description="as configured")]
    desired: int
    running: Annotated[int, Meta(description="processes at this moment")]
    ready_workers: int
    min_ready: int
    essential: bool
    reason: Annotated[str | None, Meta(description="why it is not as it should be")]
    held_by: Annotated[str | None, Meta(description="who paused or stopped it")]
    held_since: Time | None
    held_until: Annotated[Time | None, Meta(description="when it goes on by itself; null: when somebody says so")]
    leaving: Annotated[int, Meta(description="workers on their way out, beyond the desired ones")]
    autoscale: Annotated[AutoscaleDocument | None, Meta(description="null: it keeps its count")]
    backlog: Annotated[BacklogDocument | None, Meta(description="null: nobody tells")]
    jobs_processed: int
    jobs_failed: int
    jobs_per_minute: Annotated[float, Meta(description="that ended in the last minute")]
    average_job_time: Annotated[float | None, Meta(description="seconds, of the latest; null: no job has ended")]
    p95_job_time: Annotated[float | None, Meta(description="seconds that 95 % of the latest did not exceed")]
    average_wait: Annotated[float | None, Meta(description="seconds from ready to begun, where workers tell")]
    restarts: int
    callback_failures: int
    last_callback_failure: str | None
    broken_checks: Annotated[dict[str, str], Meta(description="health checks that cannot be made, and why")]


class PoolDocument(PoolSummary):
    """A pool with its workers, the lowest slot first."""

    workers: list[WorkerDocument]


class PoolsDocument(TypedDict):
    pools: list[PoolDocument]


class StatusDocument(TypedDict):
    """The supervisor, and its pools in short."""

    name: str
    version: str
    pid: int
    state: Literal["running", "draining"]
    started_at: Time
    uptime: Seconds
    drain_ends_in: Annotated[float | None, Meta(description="seconds until what still lives is killed")]
    pools: list[PoolSummary]


class StatsDocument(TypedDict):
    """Sums over all pools."""

    total_workers: int
    active_workers: int
    idle_workers: int
    failed_workers: int
    total_jobs_processed: int
    failed_jobs: Annotated[int, Meta(description="runs that failed, as workers tell")]
    jobs_per_minute: float
    average_job_time: Annotated[float | None, Meta(description="seconds; null: no job has ended")]
    p95_job_time: Annotated[float | None, Meta(description="seconds that 95 % of the latest did not exceed")]
    memory_usage: Megabytes
    cpu_usage: Annotated[float, Meta(description="percent of one core")]


class CrashDocument(TypedDict):
    """The end of one worker, expected or not."""

    id: int
    worker_id: str
    slot: int
    pool: str
    pid: int | None
    at: Time
    reason: Annotated[str, Meta(description="exit, error, signal, oom, unhealthy, memory, max_time, restart, stop, …")]
    detail: str
    crashed: Annotated[bool, Meta(description="unexpected: it counts towards back-off")]
    exit_code: int | None
    exit_signal: int | None
    uptime: Seconds
    peak_memory: Megabytes
    cpu_seconds: float
    job: Annotated[str | None, Meta(description="what it was working on")]
    output: Annotated[list[str], Meta(description="the last lines it wrote")]


class CrashesDocument(TypedDict):
    crashes: Annotated[list[CrashDocument], Meta(description="newest first")]


class LinesDocument(TypedDict):
    lines: Annotated[list[str], Meta(description="oldest first")]


class WorkerLine(TypedDict):
    worker: Annotated[str | None, Meta(description="who wrote it; null: the supervisor, of lines that are lost")]
    line: str


class WorkerLinesDocument(TypedDict):
    lines: Annotated[list[WorkerLine], Meta(description="worker by worker, the oldest line of each first")]


class EventDocument(TypedDict):
    """Something that has happened."""

    seq: Annotated[int, Meta(description="grows by one with each event of one supervisor life")]
    at: Time
    event: Annotated[str, Meta(description="its kind, such as worker.crashed")]
    level: Level
    message: Annotated[str, Meta(description="the sentence of the supervisor's own log")]
    pool: Annotated[str | None, Meta(description="null: the supervisor's own")]
    worker: str | None
    slot: int | None
    pid: int | None
    reason: str | None
    detail: str | None
    by: Annotated[str | None, Meta(description="who asked for it")]


class EventsDocument(TypedDict):
    events: Annotated[list[EventDocument], Meta(description="newest first")]
    last: Annotated[int, Meta(description="the number of the newest event of all; 0: none yet")]
    epoch: Annotated[str, Meta(description="of this supervisor life: an event's id is <epoch>-<seq>")]


class OperationPart(TypedDict):
    """How it stands with one pool."""

    pool: str
    state: OperationState
    detail: Annotated[str | None, Meta(description="what is still waited for, or why it failed")]


class OperationDocument(TypedDict):
    """Something that was asked for, and what has become of it."""

    id: str
    action: str
    target: Annotated[str, Meta(description="a pool, pool:slot, a worker's id, or all")]
    state: Annotated[OperationState, Meta(description="failed: it will not come true by itself any more")]
    detail: Annotated[str | None, Meta(description="of all its pools, in one line")]
    by: str
    started_at: Time
    ended_at: Time | None
    pools: list[OperationPart]


class AddedWorkerDocument(OperationDocument):
    pool: Annotated[str, Meta(description="the pool that it is in")]


class OperationsDocument(TypedDict):
    operations: Annotated[list[OperationDocument], Meta(description="newest first")]


class DifferenceDocument(TypedDict):
    key: Annotated[str, Meta(description="as it is written in the configuration")]
    old: Any
    new: Any


class PoolDifference(DifferenceDocument):
    rolling: Annotated[bool, Meta(description="workers must be replaced for it; else it has effect at once")]


class SettingDifference(DifferenceDocument):
    live: Annotated[bool, Meta(description="it has effect at once; else when the supervisor is started again")]


class PlannedPool(TypedDict):
    pool: str
    kind: Literal["add", "remove", "change"]
    rolling: bool
    differences: list[PoolDifference]


class PlanDocument(TypedDict):
    """What a reload would change, or has begun to."""

    summary: str
    empty: bool
    pools: list[PlannedPool]
    unchanged: list[str]
    settings: list[SettingDifference]
    warnings: list[str]


class ReloadDocument(OperationDocument):
    plan: PlanDocument


class CheckDocument(TypedDict):
    name: str
    ok: bool
    reason: str | None


class ProbedPool(TypedDict):
    name: str
    state: PoolState
    ready: bool
    ready_workers: int
    desired: int
    degraded: Annotated[str | None, Meta(description="why it works with less than it should have")]


class ProbeDocument(TypedDict):
    status: Literal["ok", "failed"]
    checks: list[CheckDocument]


class HealthDocument(ProbeDocument):
    """A probe's verdict with a summary of the pools."""

    pools: list[ProbedPool]
