"""The record of one pool: what is wanted, what is there, and what is going on between the two. `step` changes it."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from chaperone_async.core.slots import Lane, Slots
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Fatal, Finished, Held, Hold, Slot

PoolState = Literal["starting", "running", "degraded", "crash_loop", "paused", "stopping", "stopped", "fatal"]


@dataclass(frozen=True, slots=True)
class Breaker:
    """Open: every slot is looping and none is healthy. One canary at a time is tried; `crashed_at`: when its slot
    had crashed last when it was chosen, so that a new crash is noticed."""

    since: float
    canary: int | None = None
    crashed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A new specification on its way through the workers, until all that are wanted run it, are ready, and have been so
    until `proven_at`. Turns it out bad, `old` is taken back, and `old_desired` with it unless somebody has scaled the
    pool since.

    Generations under `proven` run the old specification, those from `first` on the newest; between them is what an
    earlier change had begun. `failures`: when some of the newest died early."""

    old: PoolSpec
    old_desired: int | None
    proven: int
    first: int
    by: str
    since: float
    failures: tuple[float, ...] = ()
    proven_at: float = inf  # infinity: not all are ready


@dataclass(frozen=True, slots=True)
class Undone:
    """A change that was taken back, and why."""

    why: str
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Pool:
    """`desired` workers live in slots 0..width-1, among which are those of the surplus; while due workers are replaced
    there are `surge` more.

    `rolling` are the slots whose replacements are awaited before the next ones go. `hold`: the pool is stopped or
    paused as a whole. `shutting`: the supervisor ends, nothing is spawned again, and `kill_by` bounds every grace.
    """

    spec: PoolSpec
    salt: int
    desired: int
    slots: Slots[Slot]
    next_generation: int = 1
    surge: int = 0
    rolling: tuple[int, ...] = ()
    breaker: Breaker | None = None
    change: Change | None = None
    undone: Undone | None = None  # the last change, if it was taken back
    hold: Hold | None = None
    shutting: bool = False
    kill_by: float = inf
    fatal: str | None = None
    started: bool = False  # has been ready once
    ready: bool = False
    stopped: bool = False  # the end of a stop has been announced

    def with_slots(self, slots: Slots[Slot], next_generation: int) -> "Pool":
        """What `dataclasses.replace` does, in a third of the time: each event changes these two."""
        return Pool(
            self.spec, self.salt, self.desired, slots, next_generation, self.surge, self.rolling, self.breaker,
            self.change, self.undone, self.hold, self.shutting, self.kill_by, self.fatal, self.started, self.ready,
            self.stopped,
        )  # fmt: skip

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def width(self) -> int:
        """The slots that are not a surge's."""
        return self.desired + self.slots.count(Lane.SURPLUS)

    @property
    def target(self) -> int:
        return self.width + self.surge

    @property
    def wanted(self) -> int:
        """Slots that ought to have a worker now."""
        return self.desired - self._own(Lane.HELD, Held) - self.finished

    @property
    def finished(self) -> int:
        return self._own(Lane.FINISHED, Finished)

    @property
    def given_up(self) -> int:
        return self._own(Lane.FATAL, Fatal)

    def _own(self, lane: Lane, kind: type) -> int:
        """Slots, not counting a surge's: what becomes of it takes nothing away from the others."""
        many = self.slots.count(lane)
        if not many or self.width >= len(self.slots):
            return many
        extra = (self.slots[index] for index in range(self.width, len(self.slots)))
        return many - sum(isinstance(slot.state, kind) for slot in extra)

    @property
    def least_ready(self) -> int:
        """Workers that must be ready for the pool to be ready; those that finished are not missed."""
        return max(0, min(self.spec.least_ready, self.desired - self.finished))

    @property
    def live(self) -> int:
        return self.slots.count(Lane.LIVE)

    @property
    def leaving(self) -> int:
        """Those among the living that were scaled away."""
        if not self.slots.count(Lane.SURPLUS):
            return 0
        return sum(slot.live for slot in self.slots if slot.surplus)

    @property
    def ready_count(self) -> int:
        return self.slots.count(Lane.READY)

    @property
    def next_deadline(self) -> float:
        """When the pool must be given `TimePassed` at the latest; infinity: only another event can change anything."""
        hold = inf if self.hold is None else self.hold.until
        change = inf if self.change is None else self.change.proven_at
        return min(self.slots.due, hold, change)

    @property
    def state(self) -> PoolState:
        if self.fatal is not None and not self.live:
            return "fatal"
        if self.hold is not None:
            if self.hold.why == "pause":
                return "paused"
            return "stopping" if self.live else "stopped"
        if self.breaker is not None:
            return "crash_loop"
        if not self.started:
            return "starting"
        return "running" if self.ready and self.ready_count >= self.wanted else "degraded"


def new_pool(spec: PoolSpec, salt: int) -> Pool:
    """A pool with nothing running yet: its first event fills it. `salt` should differ between supervisor lives."""
    return Pool(spec, salt, spec.workers, Slots())
