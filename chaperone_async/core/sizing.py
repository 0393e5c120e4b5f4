"""How many slots a pool has: scaling, and what becomes of those that are no longer wanted."""

from dataclasses import replace
from math import inf

from chaperone_async.core.commands import Halt
from chaperone_async.core.events import ScaleRequested
from chaperone_async.core.reasons import Reason
from chaperone_async.core.scaling import Leaver
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Doom, Slot
from chaperone_async.core.turn import Turn


def scale(turn: Turn, request: ScaleRequested) -> None:
    """By hand, a change of the configuration that is taken back later leaves this number alone."""
    resize(turn, max(0, request.workers), request.by, request.leavers, why=request.why)
    if turn.pool.change is not None and not request.patient:  # else it is the scaler's, nobody's wish
        turn.change(change=replace(turn.pool.change, old_desired=None))


def resize(turn: Turn, workers: int, by: str, leavers: tuple[Leaver, ...] = (), why: str = "") -> None:
    """Slots that are no longer wanted end gracefully: those of `leavers` in their order, then the highest ones. `why`:
    a sentence of the scaler's, which tells from where to where, too."""
    more = workers - turn.pool.desired
    if more == 0:
        return
    turn.tell("pool.scaled", why or f"from {turn.pool.desired} to {workers} workers", by)
    if more > 0:
        _recall(turn, more)
        turn.change(desired=workers)
    else:
        _dismiss(turn, -more, by, leavers)


def _recall(turn: Turn, most: int) -> None:
    """Slots of the surplus are used again before there are more: first those that nobody has to leave. Whoever is left
    to finish his job, however long that takes, stands in for nobody meanwhile."""
    surplus = [slot for slot in turn.pool.slots if slot.surplus and not _is_patient(slot)]
    for slot in sorted(surplus, key=lambda slot: (slot.live, slot.index))[:most]:
        wanted = Slot(slot.index, hold=slot.hold) if slot.life is None else replace(slot, surplus=False)
        turn.change(slots=turn.pool.slots.put(slot.index, wanted))


def _is_patient(slot: Slot) -> bool:
    doom: Doom | None = getattr(slot.state, "doom", None)
    return doom is not None and doom.grace is not None


def _dismiss(turn: Turn, many: int, by: str, leavers: tuple[Leaver, ...]) -> None:
    unborn = min(many, max(0, turn.pool.width - len(turn.pool.slots)))  # a pool that was given up adds no slots
    turn.change(desired=turn.pool.desired - unborn)
    many -= unborn
    patience = {leaver.slot: patience_for(turn.pool.spec) for leaver in leavers if leaver.patiently}
    width = min(turn.pool.width, len(turn.pool.slots))
    chosen = [leaver.slot for leaver in leavers if leaver.slot < width]
    order = dict.fromkeys([*chosen, *range(width - 1, -1, -1)])
    going = [index for index in order if not turn.pool.slots[index].surplus][:many]
    turn.change(
        desired=turn.pool.desired - len(going),
        rolling=tuple(index for index in turn.pool.rolling if index not in going),
    )
    for index in going:
        turn.change(slots=turn.pool.slots.put(index, replace(turn.pool.slots[index], surplus=True)))
        doom = Doom(Reason.SCALED_DOWN, "the pool became smaller", grace=patience.get(index), by=by)
        turn.apply(index, Halt(doom, None, turn.at))


def patience_for(spec: PoolSpec) -> float:
    """Seconds that a busy worker gets to finish: never less than its job may take."""
    return spec.job.timeout + spec.stop.timeout if spec.job.timeout else inf


def end_surge(turn: Turn, detail: str, by: str | None) -> None:
    doom = Doom(Reason.SCALED_DOWN, detail, by=by)
    for index in range(turn.pool.target, len(turn.pool.slots)):
        turn.apply(index, Halt(doom, None, turn.at))
