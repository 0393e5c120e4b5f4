"""When every slot is looping and none is healthy, starting them all again and again helps nobody: the breaker opens.
One canary at a time is tried, each slot in turn; a worker that outlives `early` closes it and starts the rest."""

from chaperone_async.core.commands import Park, Release, Try
from chaperone_async.core.pool import Breaker
from chaperone_async.core.slots import Lane
from chaperone_async.core.states import Backoff, Slot, Waiting
from chaperone_async.core.turn import Turn


def tend_breaker(turn: Turn) -> None:
    pool = turn.pool
    if pool.spec.restart.crash_loop.action != "breaker" or pool.hold is not None:
        return
    healthy = pool.slots.count(Lane.PROVEN) > 0
    if pool.breaker is None:
        if healthy or not 0 < pool.wanted <= pool.slots.count(Lane.LOOPING):
            return
        turn.change(breaker=Breaker(turn.at))
        turn.tell("pool.breaker_opened", f"all {pool.wanted} workers crash soon after their start")
        pool = turn.pool
    if healthy:
        _close(turn)
    elif pool.breaker is not None:
        _tend_canary(turn, pool.breaker)


def _close(turn: Turn) -> None:
    turn.change(breaker=None)
    turn.tell("pool.breaker_closed", "a worker has outlived the crash loop")
    for lane in (Lane.WAITING, Lane.BACKOFF):
        while (index := turn.pool.slots.first(lane)) is not None:
            turn.apply(index, Release(fresh=True, at=turn.at))


def _tend_canary(turn: Turn, breaker: Breaker) -> None:
    canary, slots = breaker.canary, turn.pool.slots
    on_trial = canary is not None and canary < len(slots) and _on_trial(slots[canary], breaker)
    until = turn.at + turn.pool.spec.restart.backoff.max
    index = slots.first(Lane.BACKOFF)
    while index is not None:
        state = turn.pool.slots[index].state
        if not (on_trial and index == canary) and isinstance(state, Backoff):
            until = state.until
            turn.apply(index, Park(turn.at))
        index = turn.pool.slots.first(Lane.BACKOFF, index + 1)
    if on_trial or turn.pool.live:
        return
    after = 0 if canary is None else canary + 1
    chosen = turn.pool.slots.first(Lane.WAITING, after)
    if chosen is None:
        chosen = turn.pool.slots.first(Lane.WAITING)
    if chosen is not None:
        turn.change(breaker=Breaker(breaker.since, chosen, turn.pool.slots[chosen].history.crashes))
        turn.apply(chosen, Try(until, turn.at))
        turn.tell("pool.breaker_canary", f"slot {chosen} is tried in {max(0.0, until - turn.at):.1f} s")


def _on_trial(slot: Slot, breaker: Breaker) -> bool:
    """Chosen, and it has not crashed since."""
    return not isinstance(slot.state, Waiting) and slot.history.crashes == breaker.crashes
