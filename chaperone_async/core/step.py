"""`step(pool, event)` → (pool', actions): the whole of a pool's behaviour.

Each event is first given to the slot it concerns (worker.py) or to the request's function (requests.py); then the pool
is brought back in line with what is wanted of it. Only what the event touched is looked at: O(log n) in its workers.
"""

from chaperone_async.core.actions import Action
from chaperone_async.core.breaker import on_trial, tend_breaker, tend_canary
from chaperone_async.core.commands import Checked, Freeze, Park
from chaperone_async.core.events import Fact, HealthReported, PoolEvent, TimePassed
from chaperone_async.core.pool import Pool
from chaperone_async.core.reloading import conclude_change, tend_change
from chaperone_async.core.requests import REQUESTS, end_pause
from chaperone_async.core.rolling import tend_rolling
from chaperone_async.core.slots import Lane
from chaperone_async.core.states import Fatal, Hold, Slot
from chaperone_async.core.turn import Turn


def step(pool: Pool, event: PoolEvent) -> tuple[Pool, tuple[Action, ...]]:
    turn = Turn(pool, event.at)
    if isinstance(event, TimePassed):
        _pass_time(turn, event)
    elif isinstance(event, HealthReported):
        for result in event.results:
            if turn.current(result.ref) is not None:
                turn.apply(result.ref.slot, Checked(result, event.at))
    elif isinstance(event, Fact):
        _give_to_worker(turn, event)
    else:
        REQUESTS[type(event)](turn, event)
    _reconcile(turn)
    return turn.pool, tuple(turn.actions)


def _give_to_worker(turn: Turn, fact: Fact) -> None:
    """A fact about a life that is over changes nothing."""
    if turn.current(fact.ref) is not None:
        turn.apply(fact.ref.slot, fact)


def _pass_time(turn: Turn, event: TimePassed) -> None:
    end_pause(turn)
    while (index := turn.pool.slots.first_due(event.at)) is not None:
        before = turn.pool.slots[index]
        turn.apply(index, event)
        if turn.pool.slots[index] is before:
            raise RuntimeError(f"a deadline has passed and changed nothing: {before}")


def _reconcile(turn: Turn) -> None:
    tend_change(turn)
    tend_breaker(turn)
    tend_rolling(turn)
    _fill(turn)
    _trim(turn)
    conclude_change(turn)
    tend_canary(turn)
    _announce(turn)


def _fill(turn: Turn) -> None:
    """Every vacant slot that is wanted gets a worker, or is put on the hold that keeps it empty: also one that is added
    to a pool on hold, so that it stays so when only another one is started."""
    hold = turn.pool.hold
    index = _next_vacant(turn, 0)
    while index is not None and index < turn.pool.target:
        _occupy(turn, index, hold)
        index = _next_vacant(turn, index + 1)


def _next_vacant(turn: Turn, start: int) -> int | None:
    """With none left, one more if there ought to be: filling a slot may be what ends the pool's having given up."""
    index = turn.pool.slots.first(Lane.VACANT, start)
    if index is None and turn.pool.fatal is None and len(turn.pool.slots) < turn.pool.target:
        index = len(turn.pool.slots)
        turn.change(slots=turn.pool.slots.append(Slot(index)))
    return index


def _occupy(turn: Turn, index: int, hold: Hold | None) -> None:
    if hold is not None:
        turn.apply(index, Freeze(hold, turn.at))
    elif turn.pool.breaker is not None and not on_trial(turn.pool, index):
        turn.apply(index, Park(turn.at))
    else:
        if turn.pool.fatal is not None and index < turn.pool.width:  # not every slot has given up any more
            turn.change(fatal=None)
        turn.begin(index)


def _trim(turn: Turn) -> None:
    """Slots beyond what is wanted disappear when nobody lives there, the highest first: none is tried again there, and
    none has a right to stay because it has given up or finished."""
    while (last := len(turn.pool.slots) - 1) >= 0:
        slot = turn.pool.slots[last]
        if slot.life is not None or not (slot.surplus or last >= turn.pool.target):
            return
        turn.change(slots=turn.pool.slots.pop())


def _announce(turn: Turn) -> None:
    pool = turn.pool
    if pool.fatal is None and pool.hold is None and 0 < pool.wanted <= pool.given_up:
        index = pool.slots.first(Lane.FATAL)
        state = pool.slots[index].state if index is not None else None
        detail = state.detail if isinstance(state, Fatal) else ""
        turn.change(fatal=f"every slot gave up: {detail}")
        turn.tell("pool.fatal", turn.pool.fatal or "")
    pool = turn.pool
    ready = pool.ready_count >= pool.least_ready and pool.fatal is None
    if ready != pool.ready:
        turn.change(ready=ready, started=pool.started or ready)
        if pool.hold is None:
            turn.tell("pool.ready" if ready else "pool.unready", f"{pool.ready_count} of {pool.desired} workers ready")
    if pool.hold is not None and pool.hold.why == "stop" and not pool.stopped and not pool.live:
        turn.change(stopped=True)
        turn.tell("pool.stopped")
