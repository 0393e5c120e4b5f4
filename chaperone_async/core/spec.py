"""What the operator asked for: one frozen `PoolSpec` per pool, already checked and in base units (seconds, bytes)."""

from dataclasses import dataclass, field
from typing import Any, Literal

from chaperone_async.core.backlog import Combine
from chaperone_async.core.demand import AutoscalePolicy

RestartMode = Literal["always", "on-failure", "never"]
LoopAction = Literal["breaker", "fatal", "alert"]
OnFatal = Literal["unready", "exit", "ignore"]
PauseMode = Literal["auto", "drain", "freeze"]
SignalTarget = Literal["worker", "group", "session"]
ReadyWhen = Literal["alive", "notify"]
LogMode = Literal["inherit", "file"]

MB = 1_000_000
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The surroundings of a worker process. Paths are as written; `user` and `group` are names or numbers."""

    env: tuple[tuple[str, str], ...] = ()
    env_file: str | None = None
    env_file_digest: str | None = None  # of what is in it, so that a change can be seen
    directory: str | None = None
    user: str | None = None
    group: str | None = None
    umask: int | None = None
    nice: int | None = None
    rlimits: tuple[tuple[str, int], ...] = ()  # ("nofile", 4096): soft and hard limit; -1 is unlimited


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    interval: float = 1.0
    timeout: float = 5.0
    failure_threshold: int = 3
    start_grace: float = 10.0  # failures of active checks are not counted before this, or before the first success
    ready: ReadyWhen = "alive"  # what ends `starting`: being alive for start_seconds, or the worker's own READY=1
    start_timeout: float = 60.0  # `starting` for longer than this is ended with reason start_timeout; 0 = never
    memory_limit: int = 512 * MB  # bytes, of the whole process tree; 0 = off
    heartbeat: float = 0.0  # armed by the worker's first WATCHDOG=1; 0 = off
    http: str | None = None
    tcp: str | None = None
    exec: tuple[str, ...] = ()
    python: str | None = None  # "module:function", called with the Worker
    callback: bool = False  # a with_health_check function was given in Python
    stall: float = 0.0  # jobs wait, and nobody gets on with any, for so long: recycle one worker, then more; 0 = never


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    initial: float = 0.5
    factor: float = 2.0
    max: float = 30.0
    jitter: float = 0.1  # a delay is lengthened by up to this share of itself
    reset_after: float = 60.0  # a run this long clears the count


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashLoop:
    count: int = 5
    window: float = 300.0
    early: float = 30.0
    action: LoopAction = "breaker"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    mode: RestartMode = "always"
    success_codes: tuple[int, ...] = (0,)
    start_seconds: float = 1.0
    backoff: Backoff = field(default_factory=Backoff)
    crash_loop: CrashLoop = field(default_factory=CrashLoop)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecyclePolicy:
    """When a healthy worker is replaced, gracefully; 0 = never. Each limit is lowered per worker by up to `jitter`."""

    max_time: float = 0.0
    max_jobs: int = 0
    max_memory: int = 0  # bytes
    jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class Rung:
    """A further signal to the main process, and the seconds it gets before the next, or SIGKILL, follows."""

    signal: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPolicy:
    """`signal`, and after `timeout` each of `then`, and in the end SIGKILL over the whole session."""

    signal: str = "SIGTERM"
    timeout: float = 30.0
    to: SignalTarget = "worker"
    then: tuple[Rung, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPolicy:
    mode: LogMode = "inherit"
    path: str | None = None  # {pool}, {slot} expand
    max_size: int = 50 * MB  # bytes; 0 = never rotated
    backups: int = 10
    keep: int = 1000  # last lines kept in memory per worker


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What a worker is to do with a job, as far as its command line can be told. None: not said; times in seconds."""

    timeout: float | None = None
    tries: int | None = None
    backoff: tuple[float, ...] | None = None
    sleep: float | None = None
    max_exceptions: int | None = None


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where a backlog can be read. `options` belong to the kind: a stream's group, a query, a JSON pointer."""

    kind: str
    address: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogPolicy:
    """How the backlog is sampled. No sources: the backend tells, if it can."""

    sources: tuple[SourceSpec, ...] = ()
    combine: Combine = "sum"
    interval: float = 1.0
    timeout: float = 5.0  # of one sample


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendUse:
    """The queue system of a pool's workers; see system/backends/protocol.py. `settings`, for its attendant, is a JSON
    object."""

    name: str
    attendant: str | None = None
    settings: str = "{}"
    python: str | None = None  # the application's interpreter; None: our own
    options: tuple[tuple[str, Any], ...] = ()  # as they were written
    can: frozenset[str] = frozenset()
    honours: frozenset[str] = frozenset()  # the job options that its command line has
    reports: bool = False  # an agent in the worker tells of its jobs
    beats: bool = True  # it gives signs of life by itself
    at_once: int = 1  # jobs that one worker does at a time, as far as is known
    keeps_failed: bool = True  # else we do
    pause_signal: str | None = None  # what pauses its workers, until SIGCONT
    warning: str | None = None  # what the backend wants to be known


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """Which user functions wait for a say; the functions themselves live in the shell."""

    on_crash: bool = False
    on_unhealthy: bool = False
    timeout: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    name: str
    command: tuple[str, ...]  # {queue} {pool} {slot} {worker_id} expand at spawn
    queues: tuple[str, ...] = ("default",)
    workers: int = 1  # the configured count; what the pool starts with
    max_workers: int | None = None  # with autoscaling: `workers` is the least
    autoscale: AutoscalePolicy | None = None
    backlog: BacklogPolicy = field(default_factory=BacklogPolicy)
    backend: BackendUse | None = None
    min_ready: int | None = None  # None: 1, or 0 where workers is 0
    max_surge: int = 1  # workers replaced at a time, each only when its replacement is ready; 0: one, without an extra
    essential: bool = True
    on_fatal: OnFatal = "unready"
    launch: Launch = field(default_factory=Launch)
    health: HealthPolicy = field(default_factory=HealthPolicy)
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    recycle: RecyclePolicy = field(default_factory=RecyclePolicy)
    stop: StopPolicy = field(default_factory=StopPolicy)
    pause: PauseMode = "auto"
    job: JobOptions = field(default_factory=JobOptions)
    logs: LogPolicy = field(default_factory=LogPolicy)
    callbacks: Callbacks = field(default_factory=Callbacks)
    crash_records: int = 50  # deaths remembered

    @property
    def queue(self) -> str:
        """The queues as one word, in order of priority, as queue systems' command lines take them."""
        return ",".join(self.queues)

    @property
    def pauses_by(self) -> Literal["drain", "SIGSTOP"] | str:  # noqa: PYI051  the two that are known here
        """What `pause.mode` comes to: a signal, or that workers finish and their slots stay empty."""
        if self.pause == "auto" and self.backend is not None:
            return self.backend.pause_signal or "drain"
        return "drain" if self.pause == "drain" else "SIGSTOP"

    @property
    def least_ready(self) -> int:
        """Workers that must be ready for the pool to be ready."""
        return min(1, self.workers) if self.min_ready is None else self.min_ready
