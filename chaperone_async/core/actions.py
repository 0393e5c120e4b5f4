"""What to do, in the imperative. The runner performs actions in order and never waits for one."""

from dataclasses import dataclass
from typing import Literal

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import SignalTarget

Hook = Literal["on_crash", "on_unhealthy"]


@dataclass(frozen=True, slots=True)
class Spawn:
    ref: WorkerRef
    worker_id: str


@dataclass(frozen=True, slots=True)
class Signal:
    ref: WorkerRef
    signal: str  # "SIGTERM"
    to: SignalTarget


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to the worker's whole session."""

    ref: WorkerRef


@dataclass(frozen=True, slots=True)
class Death:
    """The end of one worker, as far as the core knows it. `uptime` in seconds; 0 for one that never started."""

    ref: WorkerRef
    worker_id: str
    pid: int | None
    reason: Reason
    detail: str
    exit_code: int | None
    exit_signal: int | None
    uptime: float
    crashed: bool  # unexpected: counts towards back-off and crash loops
    at: float
    was_ready: bool = False


@dataclass(frozen=True, slots=True)
class Consult:
    """Run a user callback. Of on_crash the runner reports the end with CallbackReturned; on_unhealthy needs no answer,
    and must not get one: it might be taken for on_crash's, once its worker has died."""

    ref: WorkerRef
    hook: Hook


@dataclass(frozen=True, slots=True)
class Announce:
    """An entry for the journal. Every `kind` there is has its sentence in service/sentences.py."""

    kind: str
    at: float
    ref: WorkerRef | None = None
    worker_id: str | None = None
    pid: int | None = None
    reason: Reason | None = None
    detail: str = ""
    by: str | None = None
    death: Death | None = None


Action = Spawn | Signal | Kill | Consult | Announce
