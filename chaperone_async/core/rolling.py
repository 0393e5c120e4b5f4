"""Replacing due workers one at a time: first one more worker (the surge), and only when it is ready does a due one go;
when that one's successor is ready, the next. Ready workers never become fewer than they were."""

from chaperone_async.core.commands import Halt
from chaperone_async.core.reasons import Reason
from chaperone_async.core.requests import release_surplus
from chaperone_async.core.slots import Lane
from chaperone_async.core.states import Doom, Finished, Held, Slot
from chaperone_async.core.turn import Turn


def tend_rolling(turn: Turn) -> None:
    if turn.pool.hold is not None:
        return
    while (idle := turn.pool.slots.first(Lane.DUE_IDLE)) is not None:
        _end(turn, idle)
    if turn.pool.rolling is not None:
        if _awaited(turn.pool.slots[turn.pool.rolling]):
            return
        turn.change(rolling=None)
    pool = turn.pool
    index = pool.slots.first(Lane.DUE)
    if index is None:
        if pool.surge:
            turn.change(surge=0)
            release_surplus(turn, "the replacements are ready", None)
    elif not pool.surge:
        turn.change(surge=1)
    elif index == pool.desired:
        _end(turn, index)
    elif len(pool.slots) > pool.desired and pool.slots[pool.desired].ready and pool.ready_count > pool.least_ready:
        turn.change(rolling=index)
        _end(turn, index)


def _awaited(slot: Slot) -> bool:
    """Whether this slot's next worker is still to become ready."""
    return not slot.ready and not isinstance(slot.state, Held | Finished)


def _end(turn: Turn, index: int) -> None:
    life = turn.pool.slots[index].life
    due = life.due if life is not None else None
    doom = Doom(due.reason, due.detail) if due is not None else Doom(Reason.RESTART)
    turn.apply(index, Halt(doom, None, turn.at))
