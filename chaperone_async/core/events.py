"""What happened, in the past tense. Every event says when (`at`, monotonic seconds), and facts say to whom.

A `WorkerRef` names one incarnation: a generation is never used twice, so a fact that arrives late changes nothing.
"""

from dataclasses import dataclass
from math import inf

from chaperone_async.core.reasons import Reason
from chaperone_async.core.scaling import Leaver
from chaperone_async.core.spec import PoolSpec, SignalTarget


@dataclass(frozen=True, slots=True)
class WorkerRef:
    pool: str
    slot: int
    generation: int


Target = WorkerRef | int | None
"""Whom a request means: one incarnation, one slot, or (None) the whole pool."""


# Facts, reported by the shell about one worker


@dataclass(frozen=True, slots=True)
class Spawned:
    ref: WorkerRef
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The process could not be started; `error` is the exact cause in words."""

    ref: WorkerRef
    error: str
    at: float


@dataclass(frozen=True, slots=True)
class Exited:
    """The main process was reaped. Exactly one of `code` and `signal` is set; `oom` only with a signal."""

    ref: WorkerRef
    code: int | None
    signal: int | None
    oom: bool
    at: float


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's verdict on one worker. `check`: process, memory, heartbeat, http, tcp, exec or python."""

    ref: WorkerRef
    check: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthReported:
    """Only what may change something: failures, and passes of what failed before or never passed."""

    results: tuple[CheckResult, ...]
    at: float


@dataclass(frozen=True, slots=True)
class ReadyTold:
    """The worker said READY=1."""

    ref: WorkerRef
    at: float


@dataclass(frozen=True, slots=True)
class StoppingTold:
    """The worker said STOPPING=1: it goes by itself."""

    ref: WorkerRef
    at: float


@dataclass(frozen=True, slots=True)
class TimeExtended:
    """The worker said EXTEND_TIMEOUT_USEC=: it wants `seconds` from now to finish starting or stopping."""

    ref: WorkerRef
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A recycling limit (MEMORY, MAX_JOBS) was reached: replace the worker when it can be done without a gap."""

    ref: WorkerRef
    reason: Reason
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class JobOverdue:
    """The worker has had a job for longer than `job.timeout` allows."""

    ref: WorkerRef
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class CallbackReturned:
    """on_crash has had its say about this worker (or was cut off)."""

    ref: WorkerRef
    at: float


@dataclass(frozen=True, slots=True)
class TimePassed:
    at: float


# Requests: what an operator, a callback or the supervisor wants


@dataclass(frozen=True, slots=True)
class ScaleRequested:
    """`leavers`: who goes first where workers become fewer, which the runner knows; `patient`: those that are busy are
    given the time that their jobs may take; `why` is told."""

    workers: int
    at: float
    by: str = "operator"
    patient: bool = False
    leavers: tuple[Leaver, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class StartRequested:
    target: Target
    at: float
    by: str = "operator"


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Stop and stay stopped until started. `fatal`: the pool is given up, for this reason."""

    target: Target
    at: float
    by: str = "operator"
    fatal: str | None = None


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """Stop now and start again, without waiting for a replacement. `wakes`: also what is stopped or paused."""

    target: Target
    at: float
    by: str = "operator"
    wakes: bool = True


@dataclass(frozen=True, slots=True)
class RollRequested:
    """Replace one after the other, each replacement ready before the old one goes."""

    target: Target
    at: float
    by: str = "operator"


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """`until`: when it ends by itself (monotonic)."""

    target: Target
    at: float
    by: str = "operator"
    until: float = inf


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    target: Target
    at: float
    by: str = "operator"


@dataclass(frozen=True, slots=True)
class KillRequested:
    """SIGKILL at once; what follows is decided as after a restart."""

    target: Target
    at: float
    by: str = "operator"


@dataclass(frozen=True, slots=True)
class SignalRequested:
    """Deliver this signal (a name, "SIGHUP") to the workers that live; what they make of it is theirs."""

    target: Target
    signal: str
    at: float
    by: str = "operator"
    to: SignalTarget = "worker"


@dataclass(frozen=True, slots=True)
class ReloadRequested:
    """The pool is to be as `spec` says: at once where no worker needs to be replaced for it, else worker by worker.
    `leavers`: who goes first where workers become fewer, which the runner knows."""

    spec: PoolSpec
    at: float
    by: str = "operator"
    leavers: tuple[Leaver, ...] = ()


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """The supervisor ends. Workers still alive at `deadline` are killed; nothing is spawned any more."""

    deadline: float
    at: float


Fact = (
    Spawned
    | SpawnFailed
    | Exited
    | ReadyTold
    | StoppingTold
    | TimeExtended
    | LimitReached
    | JobOverdue
    | CallbackReturned
)
Request = (
    ScaleRequested
    | StartRequested
    | StopRequested
    | RestartRequested
    | RollRequested
    | PauseRequested
    | ResumeRequested
    | KillRequested
    | SignalRequested
    | ReloadRequested
    | ShutdownRequested
)
PoolEvent = Fact | HealthReported | TimePassed | Request
