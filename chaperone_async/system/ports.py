"""What supervision asks of the world. Real ones live beside this file; tests bring scripted ones.

All methods are called from the event loop. Nothing here raises for the world's failures except where it says so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from chaperone_async.core.backlog import Backlog
from chaperone_async.core.demand import Sample
from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import PoolSpec, SignalTarget


class SpawnError(Exception):
    """A worker could not be started. The message says what and why, such as
    `cannot run 'php': no such program on PATH` or `cannot run as user 'www': no such user`."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """Exactly one of `code` and `signal` is set. `oom`: the kernel killed it for want of memory."""

    code: int | None = None
    signal: int | None = None
    oom: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a worker's whole process tree, one sample. Memory in bytes, CPU in seconds since the start and in percent
    of one core since the sample before. `state` is the main process's letter from /proc/PID/stat."""

    memory: int = 0
    peak_memory: int = 0
    cpu_seconds: float = 0.0
    cpu_percent: float = 0.0
    state: str = "S"
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What one worker has said of itself over the notify socket. Times are monotonic seconds."""

    spoke: bool = False  # it sent any job event
    heartbeat_at: float | None = None  # the last WATCHDOG=1; None: not armed
    status: str = ""  # STATUS=
    jobs_done: int = 0
    jobs_failed: int = 0
    current_job: str | None = None
    current_job_name: str | None = None
    current_job_since: float | None = None
    last_job_ended_at: float | None = None
    busy_seconds: float = 0.0  # total duration of ended jobs
    running: tuple[tuple[str, float], ...] = ()  # jobs in work, with when they began; the longest running first
    mark: str = ""  # X_CHAPERONE_MARK: what its queue system knows it by


OutputSink = Callable[[WorkerRef, bytes], None]
"""Takes bytes made of whole lines, each ended by a newline."""


class Child(Protocol):
    """One live process life."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> ExitStatus:
        """Until the main process has been reaped and what it left behind in its session swept."""

    async def aclose(self) -> None:
        """Kill the session and reap, if that has not happened; shielded from cancellation. Idempotent."""


class Processes(Protocol):
    """Spawning and signalling, and what is known of each life: output and telemetry."""

    async def spawn(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> Child:
        """Start one worker. Raises SpawnError."""

    def signal(self, ref: WorkerRef, signal: str, to: SignalTarget) -> None:
        """Deliver a signal (a name, "SIGTERM"); nothing happens when that life is over."""

    def kill(self, ref: WorkerRef) -> None:
        """SIGKILL to the worker's whole session and every known descendant."""

    def output(self, ref: WorkerRef, lines: int) -> Sequence[str]:
        """The last lines this worker wrote, oldest first; also for a dead one until `forget`."""

    def follow(self, pool: str | None, sink: OutputSink) -> Callable[[], None]:
        """Whatever a worker of this pool (None: of any) writes from now on goes to `sink` too, which must not block and
        must not raise. Nothing comes twice, here and from `output`, or gets lost between the two, if both are asked
        without waiting in between. Returns its undoing."""

    def adopt(self, spec: PoolSpec) -> None:
        """How much output is kept, and when log files are rotated, is for this pool's living workers too as `spec` now
        says."""

    def forget(self, ref: WorkerRef) -> None:
        """Nobody will ask about this life again."""


@dataclass(frozen=True, slots=True)
class ReadyNotice:
    ref: WorkerRef


@dataclass(frozen=True, slots=True)
class StoppingNotice:
    ref: WorkerRef


@dataclass(frozen=True, slots=True)
class ExtendNotice:
    ref: WorkerRef
    seconds: float


class JobNotice(NamedTuple):
    """A job ended; the new telemetry is in the table. `arguments`: of a failed one, what it takes to send it again."""

    ref: WorkerRef
    job: str
    name: str | None
    queue: str | None
    ok: bool
    seconds: float | None
    wait: float | None
    error: str | None
    arguments: str | None


Notice = ReadyNotice | StoppingNotice | ExtendNotice | JobNotice
NoticeSink = Callable[[Notice], None]


class TelemetrySource(Protocol):
    """What workers have said: a table, and notices of what cannot wait for the next tick."""

    def listen(self, pool: str, sink: NoticeSink) -> Callable[[], None]:
        """Notices about this pool's workers go to `sink`, at once. Returns its undoing."""

    def retire(self, pool: str, slot: int) -> None:
        """This slot is no more; one of that number may come again."""

    def telemetry(self, ref: WorkerRef) -> Telemetry:
        """An empty one for a worker that has said nothing."""


@dataclass(frozen=True, slots=True)
class DeadWorker:
    """Whose jobs are to be put back. `jobs`: the ids of those it had told to be in work; `mark` as in `Telemetry`;
    `blamed`: they may be what it has died of."""

    worker_id: str
    slot: int
    pid: int
    jobs: tuple[str, ...]
    mark: str
    blamed: bool = True


@dataclass(frozen=True, slots=True)
class FailedJob:
    """`at`: seconds since the epoch. None: not known."""

    id: str
    queue: str | None
    name: str | None
    arguments: str | None
    error: str | None
    at: float | None
    attempts: int | None


@dataclass(frozen=True, slots=True)
class FailedPage:
    """The newest first. `next`: the id to go on after; None: that was all. `recorded_by_us`: the queue system itself
    keeps none."""

    jobs: tuple[FailedJob, ...]
    next: str | None
    recorded_by_us: bool = False


class PoolQueue(Protocol):
    """The queues of one pool, seen from outside. Whatever it asks is bounded in time; all raise QueueUnavailable, where
    nobody answers, and QueueError."""

    @property
    def can(self) -> frozenset[str]:
        """Of backlog, failed, retry, flush, reclaim."""

    async def backlog(self) -> Backlog: ...
    async def call_for(self, sample: Sample) -> float | None:
        """What the function of strategy "python" calls for; None: it does not say."""

    async def failed(self, queue: str, limit: int, after: str | None) -> FailedPage:
        """Of one of the pool's queues, as in all of these."""

    async def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        """How many; None: all."""

    async def flush(self, queue: str, ids: Sequence[str] | None) -> int: ...
    async def reclaim(self, dead: DeadWorker) -> int:
        """Jobs put back into their queue."""

    def note_failed(self, notice: JobNotice) -> None:
        """A job has failed: for the list that we keep where the queue system keeps none."""


class UsageSampler(Protocol):
    def sample(self, workers: Iterable[tuple[WorkerRef, int]]) -> Mapping[WorkerRef, Usage]:
        """One pass over all given (ref, pid): a worker that is gone is left out. Never blocks for long."""

    def close(self) -> None:
        """Let go of what it keeps open."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """None: the check itself could not be made, which is neither pass nor fail."""

    passed: bool | None
    detail: str = ""


class Prober(Protocol):
    """One active check, made ready for one pool."""

    @property
    def check(self) -> str:
        """http, tcp, exec or python."""

    async def probe(self, ref: WorkerRef, worker_id: str, pid: int) -> Verdict:
        """One try, within the pool's health time-out. Never raises."""
