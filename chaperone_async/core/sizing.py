"""How many slots a pool has: scaling, and what becomes of those that are no longer wanted."""

from dataclasses import replace

from chaperone_async.core.commands import Halt
from chaperone_async.core.events import ScaleRequested
from chaperone_async.core.reasons import Reason
from chaperone_async.core.states import Doom
from chaperone_async.core.turn import Turn


def scale(turn: Turn, request: ScaleRequested) -> None:
    """By hand: a change of the configuration that is taken back later leaves this number alone."""
    resize(turn, max(0, request.workers), request.by)
    if turn.pool.change is not None:
        turn.change(change=replace(turn.pool.change, old_desired=None))


def resize(turn: Turn, workers: int, by: str) -> None:
    """Slots that are no longer wanted end gracefully, the highest ones first to go."""
    if workers == turn.pool.desired:
        return
    turn.tell("pool.scaled", f"from {turn.pool.desired} to {workers} workers", by)
    turn.change(desired=workers, rolling=tuple(index for index in turn.pool.rolling if index < workers))
    release_surplus(turn, "the pool became smaller", by)


def release_surplus(turn: Turn, detail: str, by: str | None) -> None:
    doom = Doom(Reason.SCALED_DOWN, detail, by=by)
    for index in range(turn.pool.target, len(turn.pool.slots)):
        turn.apply(index, Halt(doom, None, turn.at))
