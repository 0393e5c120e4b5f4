"""The states of a slot, each with just what it needs to know, and the slot around them.

vacant ──▶ spawning ──▶ starting ──▶ running ◀──▶ frozen
  ▲            │            │           │            │      any live state
  │            ▼            ▼           ▼            ▼
  │◀─ backoff ◀─ consulting ◀──────── (exit) ◀── killing ◀── stopping
  │◀─ waiting (for the breaker's canary)
  └── held (stopped or paused by hand) · finished (policy wants no successor) · fatal (gave up)
"""

from dataclasses import dataclass, field
from math import inf

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.health import Failing
from chaperone_async.core.reasons import Reason
from chaperone_async.core.restart import FRESH, History, Verdict
from chaperone_async.core.slots import Lane


@dataclass(frozen=True, slots=True)
class Due:
    """Why a worker is to be replaced as soon as its replacement is ready."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Doom:
    """Why a worker is being ended. `fault`: its own; counts as a crash. `grace` in seconds; None: as configured."""

    reason: Reason
    detail: str = ""
    fault: bool = False
    grace: float | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a slot stays without a running worker: `stop` or `pause`, by whom, since when, and until when."""

    why: str
    by: str
    since: float
    until: float = inf


@dataclass(frozen=True, slots=True)
class Life:
    """One incarnation."""

    ref: WorkerRef
    worker_id: str
    asked_at: float
    pid: int = 0
    spawned_at: float = 0.0
    ready_at: float | None = None
    told_ready: bool = False
    leaving: bool = False  # said STOPPING=1
    probed: frozenset[str] = frozenset()  # the active checks that have passed
    failing: tuple[Failing, ...] = ()
    unhealthy: bool = False
    due: Due | None = None
    recycle_at: float = inf
    awake_since: float = 0.0  # its start, or when it was resumed last: while it is paused its time stands still


@dataclass(frozen=True, slots=True)
class Vacant:
    """To be filled, or to be removed where the pool has become smaller."""


@dataclass(frozen=True, slots=True)
class Held:
    """Kept empty, see the slot's `hold`."""


@dataclass(frozen=True, slots=True)
class Spawning:
    """Asked for; no process is known yet. `doom`: it is to end as soon as it exists."""

    life: Life
    doom: Doom | None = None


@dataclass(frozen=True, slots=True)
class Starting:
    life: Life
    alive_at: float  # then it has lived for start_seconds
    give_up_at: float


@dataclass(frozen=True, slots=True)
class Running:
    life: Life
    proven_at: float = inf  # a looping slot's worker that lives until then has broken the loop


@dataclass(frozen=True, slots=True)
class Frozen:
    life: Life


@dataclass(frozen=True, slots=True)
class Stopping:
    """`rungs`: so many further signals of the stop policy have been sent; at `kill_at` the next one follows, or
    SIGKILL."""

    life: Life
    doom: Doom
    kill_at: float
    rungs: int = 0


@dataclass(frozen=True, slots=True)
class Killing:
    """SIGKILL was sent. A process in uninterruptible sleep survives that: it is sent again at `again_at`."""

    life: Life
    doom: Doom
    again_at: float


@dataclass(frozen=True, slots=True)
class Consulting:
    """Dead; on_crash is asked before anything follows, until `until` at the latest."""

    life: Life
    verdict: Verdict
    until: float


@dataclass(frozen=True, slots=True)
class Backoff:
    until: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pool's breaker is open and another slot's worker is the canary."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Ended, and the restart policy wants no successor."""


@dataclass(frozen=True, slots=True)
class Fatal:
    detail: str


Live = Spawning | Starting | Running | Frozen | Stopping | Killing
LIVE = (Spawning, Starting, Running, Frozen, Stopping, Killing)
State = Vacant | Held | Live | Consulting | Backoff | Waiting | Finished | Fatal


@dataclass(frozen=True, slots=True)
class Slot:
    """`surplus`: scaled away. Who lives there is on its way out, nobody follows, and the slot stays where it is until
    the pool grows again or there is nothing above it. `due` and `tally` are derived once, for the tree of slots."""

    index: int
    state: State = Vacant()
    history: History = FRESH
    hold: Hold | None = None
    restarts: int = 0
    last_id: str | None = None
    last_error: str = ""  # why the last worker died, in words
    surplus: bool = False
    due: float = field(init=False, default=inf)
    tally: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "due", _due(self.state, self.hold))
        object.__setattr__(self, "tally", _tally(self))

    @property
    def life(self) -> Life | None:
        """The incarnation that has a process or is getting one, or whose death on_crash is looking at."""
        return getattr(self.state, "life", None)

    @property
    def live(self) -> bool:
        return isinstance(self.state, LIVE)

    @property
    def ready(self) -> bool:
        return isinstance(self.state, Running) and not self.state.life.unhealthy and not self.state.life.leaving


def _due(state: State, hold: Hold | None) -> float:
    match state:
        case Held() | Frozen() if hold is not None:
            return hold.until
        case Running(life=life, proven_at=proven_at):
            return min(proven_at, inf if life.due else life.recycle_at)
        case Starting():
            return min(state.alive_at, state.give_up_at)
        case Stopping():
            return state.kill_at
        case Killing():
            return state.again_at
        case Consulting() | Backoff():
            return state.until
        case _:
            return inf


_LANES: dict[type, int] = {
    Vacant: Lane.VACANT.one,
    Held: Lane.HELD.one,
    Spawning: Lane.LIVE.one,
    Starting: Lane.LIVE.one,
    Running: Lane.LIVE.one,
    Frozen: Lane.LIVE.one + Lane.FROZEN.one,
    Stopping: Lane.LIVE.one,
    Killing: Lane.LIVE.one,
    Consulting: 0,
    Backoff: Lane.BACKOFF.one,
    Waiting: Lane.WAITING.one,
    Finished: Lane.FINISHED.one,
    Fatal: Lane.FATAL.one,
}
_LOOPING, _READY, _DUE = Lane.LOOPING.one, Lane.READY.one, Lane.DUE.one
_SURPLUS, _SURPLUS_LIVE = Lane.SURPLUS.one, Lane.SURPLUS.one + Lane.LIVE.one
_READY_PROVEN, _DUE_IDLE = Lane.READY.one + Lane.PROVEN.one, Lane.DUE.one + Lane.DUE_IDLE.one


def _tally(slot: Slot) -> int:
    state = slot.state
    if slot.surplus:
        return _SURPLUS_LIVE if isinstance(state, LIVE) else _SURPLUS
    tally = _LANES[type(state)]
    looping = slot.history.looping
    if looping and not isinstance(state, Held | Finished):  # those are not wanted now
        tally += _LOOPING
    ready = slot.ready
    if ready:
        tally += _READY if looping else _READY_PROVEN
    if isinstance(state, Starting | Running) and state.life.due is not None:
        tally += _DUE if ready else _DUE_IDLE
    return tally
