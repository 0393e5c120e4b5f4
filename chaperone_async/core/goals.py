"""When what somebody asked for has come true, and when it never will. Each function gives a goal, which is asked about
the pool as it is, again and again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

from chaperone_async.core.events import Target, WorkerRef
from chaperone_async.core.pool import Pool
from chaperone_async.core.slots import Lane
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Finished, Frozen, Hold, Slot


@dataclass(frozen=True, slots=True)
class Reached:
    """`detail`: where that leaves something to say."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Missed:
    """It will not come true by itself any more."""

    why: str


@dataclass(frozen=True, slots=True)
class Underway:
    """`left`: what is still waited for."""

    left: str


Standing = Reached | Missed | Underway
_SHUTTING = Missed("the supervisor shuts down")
_GOES_ON = "the scaler goes on from there"
Goal = Callable[[Pool], Standing]


def started(target: Target) -> Goal:
    def look(pool: Pool) -> Standing:
        if target is None:
            return _never_ready(pool) or _settled(pool)
        return _one_ready(pool, target)

    return look


def stopped(target: Target) -> Goal:
    def look(pool: Pool) -> Standing:
        if target is None:
            if pool.hold is None or pool.hold.why != "stop":
                return Missed("it was started again meanwhile")
            return Underway(f"{pool.live} of {len(pool.slots)} still running") if pool.live else Reached()
        for slot in _targeted(pool, target):
            if slot.hold is None and not slot.surplus:
                return Missed("it was started again meanwhile")
            if slot.live:
                return Underway("it is still running")
        return Reached()

    return look


def replaced(old: frozenset[int], target: Target = None) -> Goal:
    """`old`: the generations that are to go; see `generations`."""

    def look(pool: Pool) -> Standing:
        lives = [slot for slot in pool.slots if slot.life is not None and slot.life.ref.generation in old]
        left = sum(slot.live for slot in lives)
        if left > sum(isinstance(slot.state, Frozen) for slot in lives):
            return _never_ready(pool) or _stuck(pool) or Underway(f"{len(old) - left} of {len(old)} replaced")
        if target is None:
            return _never_ready(pool) or _stuck(pool) or _settled(pool)
        return _one_ready(pool, target.slot if isinstance(target, WorkerRef) else target)

    return look


def paused(target: Target) -> Goal:
    def look(pool: Pool) -> Standing:
        if target is None and (pool.hold is None or pool.hold.why != "pause"):
            return Missed("it was resumed or stopped meanwhile")
        if target is not None and any(slot.live and slot.hold is None for slot in _targeted(pool, target)):
            return Missed("it was resumed meanwhile")
        left = sum(slot.live and not isinstance(slot.state, Frozen) for slot in _targeted(pool, target))
        return Underway(f"{left} still at work") if left else Reached()

    return look


def resumed(target: Target) -> Goal:
    def look(pool: Pool) -> Standing:
        """It is so as soon as it has been asked for."""
        left = sum(slot.hold is not None and slot.hold.why == "pause" for slot in _targeted(pool, target))
        return Missed("it was paused again meanwhile") if left else Reached()

    return look


def scaled(workers: int) -> Goal:
    def look(pool: Pool) -> Standing:
        if pool.desired != workers:
            return Missed(f"it was scaled to {pool.desired} meanwhile")
        if pool.shutting:
            return _SHUTTING
        if pool.hold is not None:
            return Reached(f"{held(pool.hold)}: its workers come when it runs again")
        return _never_ready(pool) or _settled(pool)

    return look


def scaled_for_now(workers: int) -> Goal:
    """Of a pool that scales itself: from there it goes on."""
    settled = scaled(workers)

    def look(pool: Pool) -> Standing:
        if pool.desired != workers:
            return Reached(f"the scaler has gone on to {pool.desired}")
        match settled(pool):
            case Reached(detail):
                return Reached("; ".join(filter(None, (detail, _GOES_ON))))
            case Underway(left):
                return Underway(f"{left}; {_GOES_ON}")
            case missed:
                return missed

    return look


def reloaded(spec: PoolSpec, since: float) -> Goal:
    """`since`: when it was asked for."""

    def look(pool: Pool) -> Standing:
        if pool.spec != spec:
            undone = pool.undone is not None and pool.undone.at >= since
            taken_back = f"taken back: {pool.undone.why}" if undone and pool.undone is not None else ""
            return Missed(taken_back or "it was changed again meanwhile")
        if pool.shutting:
            return _SHUTTING
        if pool.hold is not None and (pool.hold.why == "pause" or not pool.live):
            return Reached(f"{held(pool.hold)}: it has effect when the pool runs again")
        if pool.change is not None:
            due = pool.slots.count(Lane.DUE) + pool.slots.count(Lane.DUE_IDLE) + len(pool.rolling)
            settled = _settled(pool)
            if pool.slots.count(Lane.FROZEN) and not due and isinstance(settled, Reached):
                return settled
            if pool.change.proven_at < inf:
                return Underway("all are ready, and on trial for a moment")
            return Underway(f"{due} to be replaced" if due else "the last replacements get ready")
        return _never_ready(pool) or _settled(pool)

    return look


def generations(pool: Pool, target: Target = None) -> frozenset[int]:
    """Those that live now."""
    lives = (slot.life for slot in _targeted(pool, target) if slot.live)
    return frozenset(life.ref.generation for life in lives if life is not None)


def _targeted(pool: Pool, target: Target) -> Iterator[Slot]:
    """The slots that the request meant; none for a life that is over."""
    if target is None:
        yield from pool.slots
        return
    index = target if isinstance(target, int) else target.slot
    if index < len(pool.slots):
        slot = pool.slots[index]
        if isinstance(target, int) or (slot.life is not None and slot.life.ref == target):
            yield slot


def _settled(pool: Pool) -> Standing:
    """All that is wanted is ready or paused by hand, one by one, and nothing else lives."""
    frozen = pool.slots.count(Lane.FROZEN)
    if pool.surge == 0 and pool.ready_count + frozen == pool.live == max(0, pool.wanted):
        return Reached(f"{frozen} paused: {'it goes' if frozen == 1 else 'they go'} on when resumed" if frozen else "")
    if (looping := _looping(pool)) is not None:
        return looping
    leaving = pool.live - pool.ready_count
    return Underway(f"{pool.ready_count} of {pool.wanted} ready" + (f", {leaving} more live" if leaving > 0 else ""))


def _one_ready(pool: Pool, target: Target) -> Standing:
    for slot in _targeted(pool, target):
        if slot.surplus:
            return Missed("it was scaled away: nobody follows in its slot")
        if slot.hold is not None:
            return Missed(held(slot.hold))
        if slot.ready:
            return Reached()
        if isinstance(slot.state, Finished):
            return Reached("it has finished")
        if slot.history.looping:
            return Missed(f"it is in a crash loop: {slot.last_error}")
        return Underway(f"slot {slot.index} is not ready yet" + (f": {slot.last_error}" if slot.last_error else ""))
    return Missed("there is no such worker any more")


def _never_ready(pool: Pool) -> Missed | None:
    """Why not everything that is wanted will get ready by itself."""
    if pool.fatal is not None:
        return Missed(f"the pool has given up: {pool.fatal}")
    if pool.hold is not None:
        return Missed(held(pool.hold))
    if pool.breaker is not None:
        return Missed(f"its workers are in a crash loop: {_last_error(pool)}")
    return None


def _stuck(pool: Pool) -> Missed | None:
    """A replacement that does not get up keeps the old ones in place."""
    for index in (*pool.rolling, *range(pool.width, len(pool.slots))):
        slot = pool.slots[index]
        if slot.history.looping and not slot.ready:
            return Missed(f"the replacement is in a crash loop: {slot.last_error}; the old workers stay")
        if isinstance(slot.state, Finished) and slot.last_error:
            return Missed(f"the replacement has crashed for good: {slot.last_error}")
    return None


def _looping(pool: Pool) -> Missed | None:
    """A slot that is wanted, and that crashes again and again, while others do well."""
    for lane in (Lane.FATAL, Lane.BACKOFF):
        index = pool.slots.first(lane)
        while index is not None and index < pool.width:
            slot = pool.slots[index]
            if slot.history.looping:
                return Missed(f"slot {index} is in a crash loop: {slot.last_error}")
            index = pool.slots.first(lane, index + 1)
    return None


def _last_error(pool: Pool) -> str:
    return next((slot.last_error for slot in pool.slots if slot.last_error), "see the log")


def held(hold: Hold) -> str:
    word = "paused" if hold.why == "pause" else "stopped"
    return f"{word} by {hold.by}" + (" for a time" if hold.until < inf else "")
