"""When every slot is looping and none is healthy, starting them all again and again helps nobody: the breaker opens.
One canary at a time is tried, each slot in turn; a worker that outlives `early` closes it and starts the rest."""

from chaperone_async.core.commands import Park, Release, Try
from chaperone_async.core.pool import Breaker, Pool
from chaperone_async.core.slots import Lane
from chaperone_async.core.states import Backoff, Finished, Frozen, Held, Waiting
from chaperone_async.core.turn import Turn


def tend_breaker(turn: Turn) -> None:
    """Open or close. Nobody waits for a canary while it is closed, whoever closed it."""
    pool = turn.pool
    if pool.hold is not None:
        return
    used = pool.spec.restart.crash_loop.action == "breaker"
    healthy = pool.slots.count(Lane.PROVEN) > 0
    if pool.breaker is None and used and not healthy and 0 < pool.wanted <= pool.slots.count(Lane.LOOPING):
        turn.change(breaker=Breaker(turn.at))
        turn.tell("pool.breaker_opened", f"all {pool.wanted} workers crash soon after their start")
    elif pool.breaker is not None and (healthy or not used or pool.wanted <= 0):
        turn.change(breaker=None)
        turn.tell("pool.breaker_closed", _why_closed(healthy=healthy, used=used))
        _release(turn, Lane.BACKOFF)
    if turn.pool.breaker is None:
        _release(turn, Lane.WAITING)


def _why_closed(*, healthy: bool, used: bool) -> str:
    if healthy:
        return "a worker has outlived the crash loop"
    return "no worker is wanted" if used else "not used any more"


def _release(turn: Turn, lane: Lane) -> None:
    while (index := turn.pool.slots.first(lane)) is not None:
        turn.apply(index, Release(fresh=True, at=turn.at))


def tend_canary(turn: Turn) -> None:
    """While the breaker is open, one worker is tried and the others wait. The last thing to be seen to: only then is it
    known which slots there are."""
    breaker = turn.pool.breaker
    if breaker is None or turn.pool.hold is not None:
        return
    trial = breaker.canary if breaker.canary is not None and on_trial(turn.pool, breaker.canary) else None
    until = _park_others(turn, trial)
    if trial is not None or turn.pool.live > turn.pool.leaving + turn.pool.slots.count(Lane.FROZEN):
        return
    after = 0 if breaker.canary is None else breaker.canary + 1
    chosen = turn.pool.slots.first(Lane.WAITING, after)
    if chosen is None:
        chosen = turn.pool.slots.first(Lane.WAITING)
    if chosen is not None:
        turn.change(breaker=Breaker(breaker.since, chosen, turn.pool.slots[chosen].history.crashed_at))
        turn.apply(chosen, Try(until, turn.at))
        turn.tell("pool.breaker_canary", f"slot {chosen} is tried in {max(0.0, until - turn.at):.1f} s")


def on_trial(pool: Pool, index: int) -> bool:
    """Whether this slot's worker, present or to come, is the canary: chosen, still wanted, and not crashed since."""
    breaker = pool.breaker
    if breaker is None or breaker.canary != index or index >= len(pool.slots):
        return False
    slot = pool.slots[index]
    if slot.surplus or isinstance(slot.state, Waiting | Held | Frozen | Finished):
        return False
    return slot.history.crashed_at == breaker.crashed_at


def _park_others(turn: Turn, trial: int | None) -> float:
    """When the next canary may start: at the end of the earliest back-off that is given up for the waiting."""
    ends = []
    index = turn.pool.slots.first(Lane.BACKOFF)
    while index is not None:
        state = turn.pool.slots[index].state
        if index != trial and isinstance(state, Backoff):
            ends.append(state.until)
            turn.apply(index, Park(turn.at))
        index = turn.pool.slots.first(Lane.BACKOFF, index + 1)
    return min(ends, default=turn.at + turn.pool.spec.restart.backoff.max)
