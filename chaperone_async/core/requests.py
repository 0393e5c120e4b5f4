"""What operators, callbacks and the supervisor may ask of a pool, one function each."""

from collections.abc import Callable, Iterator
from typing import Any

from chaperone_async.core import events as ev
from chaperone_async.core.actions import Announce, Signal
from chaperone_async.core.commands import Freeze, Halt, KillNow, Release, Retire
from chaperone_async.core.reasons import Reason
from chaperone_async.core.reloading import reload
from chaperone_async.core.shutdown import kill_time
from chaperone_async.core.sizing import scale
from chaperone_async.core.states import Doom, Due, Fatal, Finished, Hold, Slot
from chaperone_async.core.turn import Turn


def start(turn: Turn, request: ev.StartRequested) -> None:
    """Undo stops and pauses, forget crashes, close the breaker."""
    if not _may_run_again(turn, request.target):
        return
    if request.target is None:
        turn.tell("pool.started", by=request.by)
    turn.change(hold=None, fatal=None, breaker=None, stopped=False)
    for index in turn.targets(request.target):
        turn.apply(index, Release(fresh=True, at=turn.at))


def _may_run_again(turn: Turn, target: ev.Target) -> bool:
    """Not in a shutdown, and not for the sake of a worker that is no more."""
    return not turn.pool.shutting and (target is None or len(turn.targets(target)) > 0)


def stop(turn: Turn, request: ev.StopRequested) -> None:
    hold = Hold("stop", request.by, turn.at)
    detail = request.fatal or f"stopped by {request.by}"
    if request.target is None:
        turn.change(hold=hold, breaker=None, rolling=(), stopped=False)
        turn.tell("pool.stopping", detail, request.by)
    if request.fatal is not None:
        turn.change(fatal=request.fatal)
        turn.tell("pool.fatal", request.fatal, request.by)
    for index in turn.targets(request.target):
        turn.apply(index, Halt(Doom(Reason.STOP, detail, by=request.by), hold, turn.at))


def restart(turn: Turn, request: ev.RestartRequested) -> None:
    if not request.wakes and _is_held(turn, request.target):
        return
    doom = Doom(Reason.RESTART, f"restarted by {request.by}", by=request.by)
    for slot in _to_restart(turn, request.target, "pool.restarting", request.by):
        turn.apply(slot.index, Halt(doom, slot.hold, turn.at))


def _is_held(turn: Turn, target: ev.Target) -> bool:
    return turn.pool.hold is not None or any(turn.pool.slots[index].hold is not None for index in turn.targets(target))


def roll(turn: Turn, request: ev.RollRequested) -> None:
    due = Due(Reason.RESTART, f"rolling restart by {request.by}")
    for slot in _to_restart(turn, request.target, "pool.rolling", request.by):
        turn.apply(slot.index, Retire(due, turn.at))


def _to_restart(turn: Turn, target: ev.Target, kind: str, by: str) -> Iterator[Slot]:
    """The slots with a process. Those without start afresh, and so do all when the whole pool is restarted, but what
    was stopped or paused by hand, one by one, then stays so."""
    if not _may_run_again(turn, target):
        return
    whole = target is None
    one_by_one = whole and turn.pool.hold is None
    if target is None:
        turn.tell(kind, by=by)
    turn.change(hold=None, fatal=None, stopped=False)
    if target is None:
        turn.change(breaker=None)
    for index in turn.targets(target):
        slot = turn.pool.slots[index]
        kept = one_by_one and slot.hold is not None
        if not kept and (whole or slot.hold is not None or not slot.live):
            if slot.life is None:
                turn.change(breaker=None)
            turn.apply(index, Release(fresh=slot.life is None or (whole and slot.live), at=turn.at))
        if slot.live:
            yield turn.pool.slots[index]


def pause(turn: Turn, request: ev.PauseRequested) -> None:
    """Freeze, or let the job finish and keep the slots empty. What is stopped by hand stays stopped; what is paused is
    paused anew, by whoever asked last and for as long."""
    pool = turn.pool
    if pool.hold is not None and not _is_paused(pool.hold):
        return
    whole = request.target is None
    # A worker of a paused pool is not to wake before the others.
    until = request.until if whole or pool.hold is None else max(request.until, pool.hold.until)
    hold = Hold("pause", request.by, turn.at, until)
    if whole:
        turn.change(hold=hold)
        turn.tell("pool.paused", f"mode {pool.spec.pause}", request.by)
    command: Halt | Freeze = Freeze(hold, turn.at)
    if pool.spec.pauses_by == "drain":
        command = Halt(Doom(Reason.STOP, f"paused by {request.by}", by=request.by), hold, turn.at)
    for index in turn.targets(request.target):
        slot = turn.pool.slots[index]
        if _is_paused(slot.hold) or (slot.hold is None and not isinstance(slot.state, Finished | Fatal)):
            turn.apply(index, command)


def resume(turn: Turn, request: ev.ResumeRequested) -> None:
    """The others of a paused pool stay paused, one by one, where only one is resumed."""
    paused = [index for index in turn.targets(request.target) if _is_paused(turn.pool.slots[index].hold)]
    if _is_paused(turn.pool.hold) and (request.target is None or paused):
        turn.change(hold=None)
        if request.target is None:
            turn.tell("pool.resumed", by=request.by)
    for index in paused:
        turn.apply(index, Release(fresh=False, at=turn.at))


def _is_paused(hold: Hold | None) -> bool:
    return hold is not None and hold.why == "pause"


def end_pause(turn: Turn) -> None:
    """The time of a pause is over."""
    hold = turn.pool.hold
    if hold is None or hold.until > turn.at:
        return
    turn.change(hold=None)
    turn.tell("pool.resumed", by="the end of its time")
    for index in turn.targets(None):
        if turn.pool.slots[index].hold == hold:
            turn.apply(index, Release(fresh=False, at=turn.at))


def send_signal(turn: Turn, request: ev.SignalRequested) -> None:
    for index in turn.targets(request.target):
        slot = turn.pool.slots[index]
        life = slot.life
        if slot.live and life is not None and life.pid:
            turn.actions.append(Signal(life.ref, request.signal, request.to))
            turn.actions.append(
                Announce(
                    "worker.signalled", turn.at, life.ref, life.worker_id, life.pid,
                    detail=request.signal, by=request.by,
                )
            )  # fmt: skip


def kill(turn: Turn, request: ev.KillRequested) -> None:
    doom = Doom(Reason.RESTART, f"killed by {request.by}", by=request.by)
    for index in turn.targets(request.target):
        slot = turn.pool.slots[index]
        if slot.live:
            turn.apply(index, KillNow(doom, slot.hold, turn.at))


def shut_down(turn: Turn, request: ev.ShutdownRequested) -> None:
    """Everything ends by the deadline. Asked again with an earlier one, it hurries."""
    first = not turn.pool.shutting
    hold = Hold("stop", "shutdown", turn.at)
    kill_by = min(turn.pool.kill_by, kill_time(request.deadline, turn.at))
    turn.change(shutting=True, change=None, hold=hold, breaker=None, rolling=(), kill_by=kill_by)
    if first and not turn.pool.stopped:
        turn.tell("pool.stopping", "the supervisor shuts down")
    doom = Doom(Reason.STOP, "the supervisor shuts down")
    command = KillNow if kill_by <= turn.at else Halt
    for index in range(len(turn.pool.slots)):
        turn.apply(index, command(doom, hold, turn.at))


REQUESTS: dict[type, Callable[[Turn, Any], None]] = {
    ev.ScaleRequested: scale,
    ev.StartRequested: start,
    ev.StopRequested: stop,
    ev.RestartRequested: restart,
    ev.RollRequested: roll,
    ev.PauseRequested: pause,
    ev.ResumeRequested: resume,
    ev.KillRequested: kill,
    ev.SignalRequested: send_signal,
    ev.ReloadRequested: reload,
    ev.ShutdownRequested: shut_down,
}
