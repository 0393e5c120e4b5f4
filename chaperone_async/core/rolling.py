"""Replacing due workers, `max_surge` at a time: first that many more workers (the surge), and only when one of them is
ready does a due one go; when that one's successor is ready, the next. Ready workers never become fewer than they were.

With `max_surge` 0 there are no extra workers: one goes before its successor comes, while `least_ready` others are left.
"""

from chaperone_async.core.commands import Halt, Release
from chaperone_async.core.pool import Pool
from chaperone_async.core.reasons import Reason
from chaperone_async.core.sizing import end_surge
from chaperone_async.core.slots import Lane
from chaperone_async.core.states import Doom, Finished, Slot
from chaperone_async.core.turn import Turn


def tend_rolling(turn: Turn) -> None:
    if turn.pool.hold is not None:
        return
    _free_surge(turn)
    while (idle := turn.pool.slots.first(Lane.DUE_IDLE)) is not None:
        _end(turn, idle)
    awaited = tuple(index for index in turn.pool.rolling if _awaited(turn.pool.slots[index]))
    if awaited != turn.pool.rolling:
        turn.change(rolling=awaited)
    if turn.pool.slots.first(Lane.DUE) is None:
        if turn.pool.surge and not turn.pool.rolling and not _leans_on_surge(turn.pool):
            turn.change(surge=0)
            end_surge(turn, "the replacements are ready", None)
        return
    _raise_surge(turn)
    while (index := _next(turn.pool)) is not None:
        if index < turn.pool.width:
            turn.change(rolling=(*turn.pool.rolling, index))
        _end(turn, index)


def _free_surge(turn: Turn) -> None:
    """What stands in for others is not stopped or paused on its own: they would wait for it."""
    for index in range(turn.pool.width, min(turn.pool.target, len(turn.pool.slots))):
        if turn.pool.slots[index].hold is not None:
            turn.apply(index, Release(fresh=False, at=turn.at))


def _raise_surge(turn: Turn) -> None:
    pool = turn.pool
    due = pool.slots.count(Lane.DUE) + len(pool.rolling)
    # Where nobody can be spared, even a pool without a surge needs one.
    most = pool.spec.max_surge or (1 if _able(pool) <= pool.least_ready else 0)
    if min(most, due) > pool.surge:
        turn.change(surge=min(most, due))


def _next(pool: Pool) -> int | None:
    """The due worker that may go now: one of the surge, which serves nobody, before the others."""
    extra = [pool.slots[index] for index in range(pool.width, len(pool.slots))]
    if pool.ready_count + sum(map(_has_succeeded, extra)) <= min(pool.least_ready, _able(pool)):
        return None
    surge = pool.slots.first(Lane.DUE, pool.width)
    if surge is not None:
        return surge
    spared = sum(map(_relieves, extra)) if pool.surge else 1
    return pool.slots.first(Lane.DUE) if len(pool.rolling) < spared else None


def _able(pool: Pool) -> int:
    """How many may be ready. Whoever is stopped or paused one by one, or has given up, was missing before: that is no
    reason never to go on."""
    return pool.wanted - pool.slots.count(Lane.FROZEN) - pool.given_up


def _leans_on_surge(pool: Pool) -> bool:
    """Whether too few would be ready without it: one that was due has died by itself, and its successor is to come."""
    extra = sum(pool.slots[index].ready for index in range(pool.width, len(pool.slots)))
    return extra > 0 and pool.ready_count - extra < min(pool.least_ready, _able(pool))


def _relieves(slot: Slot) -> bool:
    """Whether this slot of the surge stands in for another. One that has finished as it should proves as much."""
    return slot.ready or _has_succeeded(slot)


def _has_succeeded(slot: Slot) -> bool:
    """Not where it crashed, and the policy wants no successor even so."""
    return isinstance(slot.state, Finished) and not slot.last_error


def _awaited(slot: Slot) -> bool:
    """Whether this slot's next worker is still to become ready: not one that somebody has stopped or paused."""
    return not slot.ready and slot.hold is None and not _has_succeeded(slot)


def _end(turn: Turn, index: int) -> None:
    life = turn.pool.slots[index].life
    due = life.due if life is not None else None
    doom = Doom(due.reason, due.detail) if due is not None else Doom(Reason.RESTART)
    turn.apply(index, Halt(doom, None, turn.at))
