"""Cells of the transition table: stopping, dying, what follows, and slots without a process."""

from dataclasses import dataclass, replace

from chaperone_async.core.actions import Action, Announce, Consult, Death, Kill, Signal
from chaperone_async.core.commands import (
    Freeze,
    Halt,
    KillNow,
    Move,
    Park,
    Release,
    Rules,
    Try,
    after,
    tell,
    with_state,
)
from chaperone_async.core.events import CallbackReturned, Exited, JobOverdue, TimeExtended, TimePassed
from chaperone_async.core.reasons import Reason
from chaperone_async.core.restart import FRESH, Again, Ending, Finish, GiveUp, Verdict, decide, is_crash
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.spread import unit
from chaperone_async.core.states import (
    Backoff,
    Consulting,
    Doom,
    Fatal,
    Finished,
    Frozen,
    Held,
    Killing,
    Life,
    Running,
    Slot,
    Spawning,
    Starting,
    State,
    Stopping,
    Vacant,
    Waiting,
)

KILL_AGAIN_AFTER = 1.0  # seconds
OVERDUE_GRACE = 5.0  # seconds
CALLBACK_MARGIN = 1.0  # the runner cuts a callback off; this is only for a runner that does not


def halt(rules: Rules, slot: Slot, state: Starting | Running | Frozen, event: Halt) -> Move:
    return end_gracefully(rules, replace(slot, hold=event.hold), state.life, event.doom, event.at)


def halt_unborn(_rules: Rules, slot: Slot, state: Spawning, event: Halt) -> Move:
    return replace(slot, state=Spawning(state.life, state.doom or event.doom), hold=event.hold), ()


def kill_unborn(_rules: Rules, slot: Slot, state: Spawning, event: KillNow) -> Move:
    doom = replace(state.doom or event.doom, grace=0.0)
    return replace(slot, state=Spawning(state.life, doom), hold=event.hold), ()


def halt_stopping(rules: Rules, slot: Slot, state: Stopping, event: Halt) -> Move:
    """Already on its way: a stop asked for later may only shorten the way, and say what is to follow."""
    latest = max(event.at, _rung_time(rules, state.rungs))
    if event.hold is not None and state.doom.reason is Reason.SCALED_DOWN:  # patience was for who only makes room
        latest = min(latest, event.at + rules.spec.stop.timeout)
    return replace(slot, state=replace(state, kill_at=min(state.kill_at, latest)), hold=event.hold), ()


def halt_killing(_rules: Rules, slot: Slot, _state: State, event: Halt | KillNow) -> Move:
    return replace(slot, hold=event.hold), ()


def halt_empty(_rules: Rules, slot: Slot, _state: State, event: Halt | KillNow) -> Move:
    """No process: the slot is kept empty, or is free for a new one at once."""
    return replace(slot, state=Held() if event.hold else Vacant(), hold=event.hold), ()


def kill_now(_rules: Rules, slot: Slot, state: Starting | Running | Frozen | Stopping, event: KillNow) -> Move:
    doom = state.doom if isinstance(state, Stopping) else event.doom
    return _kill(replace(slot, hold=event.hold), state.life, doom, event.at)


def end_gracefully(rules: Rules, slot: Slot, life: Life, doom: Doom, at: float) -> Move:
    """Signal the main process, give it its grace, then kill the session. A stopped process must run to hear."""
    policy = rules.spec.stop
    rungs = _first_rung(rules, doom)
    kill_at = min(at + (policy.timeout if doom.grace is None else doom.grace), max(at, _rung_time(rules, rungs)))
    at_once = doom.grace == 0 or rules.kill_by <= at or rungs >= len(policy.then)
    told = Announce("worker.stopping", at, life.ref, life.worker_id, life.pid, doom.reason, doom.detail, doom.by)
    if kill_at <= at and at_once:  # else the rungs follow, one upon the other
        return after(told, _kill(slot, life, doom, at))
    actions: tuple[Action, ...] = (told, Signal(life.ref, policy.signal, policy.to))
    if isinstance(slot.state, Frozen | Spawning) or any(f.check == "process" for f in life.failing):
        actions = (*actions, Signal(life.ref, "SIGCONT", "session"))
    return with_state(slot, Stopping(life, doom, kill_at, rungs)), actions


def _kill(slot: Slot, life: Life, doom: Doom, at: float) -> Move:
    told = tell("worker.killed", life, at, doom.reason, doom.detail)
    return with_state(slot, Killing(life, doom, at + KILL_AGAIN_AFTER)), (told, Kill(life.ref))


def _first_rung(rules: Rules, doom: Doom) -> int:
    """A job that takes too long gets none: they would have it given back unblamed, to be begun again for ever."""
    return len(rules.spec.stop.then) if doom.reason is Reason.JOB_TIMEOUT else 0


def _rung_time(rules: Rules, rungs: int) -> float:
    """When the next rung of the ladder must be taken at the latest, so that the rest of it fits before the shutdown's
    deadline."""
    return rules.kill_by - sum(rung.seconds for rung in rules.spec.stop.then[rungs:])


def time_while_stopping(rules: Rules, slot: Slot, state: Stopping, event: TimePassed) -> Move:
    if state.rungs >= len(rules.spec.stop.then):
        return _kill(slot, state.life, state.doom, event.at)
    rung, rungs = rules.spec.stop.then[state.rungs], state.rungs + 1
    kill_at = min(event.at + rung.seconds, _rung_time(rules, rungs))
    told = tell("worker.urged", state.life, event.at, state.doom.reason, rung.signal)
    moved = with_state(slot, replace(state, kill_at=kill_at, rungs=rungs))
    return moved, (told, Signal(state.life.ref, rung.signal, "worker"))


def stop_extended(rules: Rules, slot: Slot, state: Stopping, event: TimeExtended) -> Move:
    kill_at = min(max(state.kill_at, event.at + event.seconds), _rung_time(rules, state.rungs))
    return with_state(slot, replace(state, kill_at=max(kill_at, state.kill_at))), ()


def overdue_stopping(rules: Rules, slot: Slot, state: Stopping, event: JobOverdue) -> Move:
    """It was left to finish a job that takes too long: what it has left, all rungs included, only becomes less."""
    doom = replace(state.doom, reason=Reason.JOB_TIMEOUT, detail=event.detail)
    left = sum(rung.seconds for rung in rules.spec.stop.then[state.rungs :])
    latest = min(event.at + min(rules.spec.stop.timeout, OVERDUE_GRACE), max(event.at, rules.kill_by))
    kill_at = min(state.kill_at + left, latest)
    return with_state(slot, replace(state, doom=doom, kill_at=kill_at, rungs=_first_rung(rules, doom))), ()


def kill_again(_rules: Rules, slot: Slot, state: Killing, event: TimePassed) -> Move:
    return with_state(slot, replace(state, again_at=event.at + KILL_AGAIN_AFTER)), (Kill(state.life.ref),)


@dataclass(frozen=True, slots=True)
class Exit:
    reason: Reason
    detail: str
    code: int | None
    signal: int | None


def exited(rules: Rules, slot: Slot, state: Starting | Running | Frozen | Stopping | Killing, event: Exited) -> Move:
    doom = state.doom if isinstance(state, Stopping | Killing) else None
    return die(rules, slot, state.life, doom, _read(rules.spec, event), event.at)


def _read(spec: PoolSpec, event: Exited) -> Exit:
    if event.oom:
        return Exit(Reason.OOM, "killed by the kernel: out of memory", None, event.signal)
    if event.signal is not None:
        return Exit(Reason.SIGNAL, f"killed by signal {event.signal}, not sent by the supervisor", None, event.signal)
    reason = Reason.EXIT if event.code in spec.restart.success_codes else Reason.ERROR
    return Exit(reason, f"exit code {event.code}", event.code, None)


def die(rules: Rules, slot: Slot, life: Life, doom: Doom | None, end: Exit, at: float) -> Move:
    policy = rules.spec.restart
    uptime = at - life.spawned_at if life.pid else 0.0
    crashed = doom.fault if doom else is_crash(policy, end.reason, uptime)
    reason, detail = (doom.reason, doom.detail or end.detail) if doom else (end.reason, end.detail)
    if crashed and reason is Reason.EXIT:
        detail += f" after {uptime:.2f} s, sooner than start_seconds"
    pid = life.pid or None
    death = Death(
        life.ref, life.worker_id, pid, reason, detail, end.code, end.signal, uptime, crashed, at,
        was_ready=life.ready_at is not None,
    )  # fmt: skip
    kind = "worker.crashed" if crashed else "worker.exited"
    told = Announce(kind, at, life.ref, life.worker_id, pid, reason, detail, death=death)
    ending = Ending(reason, uptime, crashed, doom is not None and not doom.fault, at, life.due is not None)
    history, verdict = decide(policy, slot.history, ending, unit(life.ref, rules.salt))
    error = detail if crashed else ""
    slot = Slot(slot.index, slot.state, history, slot.hold, slot.restarts, slot.last_id, error, slot.surplus)
    news: tuple[Action, ...] = (told,)
    if crashed and history.looping:
        news = (told, Announce("slot.crash_loop", at, life.ref, life.worker_id, reason=reason, detail=detail))
    if crashed and rules.spec.callbacks.on_crash:
        until = at + rules.spec.callbacks.timeout + CALLBACK_MARGIN
        return with_state(slot, Consulting(life, verdict, until)), (*news, Consult(life.ref, "on_crash"))
    return after(*news, _settle(slot, verdict, at))


def _settle(slot: Slot, verdict: Verdict, at: float) -> Move:
    if slot.hold is not None:
        return with_state(slot, Held()), ()
    if slot.surplus:
        return with_state(slot, Vacant()), ()
    match verdict:
        case Again(delay=0):
            return with_state(slot, Vacant()), ()
        case Again(delay=delay):
            told = Announce("slot.backoff", at, detail=f"slot {slot.index}: next try in {delay:.2f} s")
            return with_state(slot, Backoff(at + delay)), (told,)
        case Finish():
            return with_state(slot, Finished()), (Announce("slot.finished", at, detail=f"slot {slot.index}"),)
        case GiveUp(detail=detail):
            told = Announce("slot.fatal", at, detail=f"slot {slot.index}: {detail}")
            return with_state(slot, Fatal(detail)), (told,)


def release_consulting(_rules: Rules, slot: Slot, state: Consulting, event: Release) -> Move:
    """Asked for a successor before on_crash has answered: there will be one, but on_crash is heard first. A restart
    asked for by on_crash itself is no way around the back-off."""
    if event.fresh:
        return replace(slot, state=replace(state, verdict=Again(0)), hold=None, history=FRESH), ()
    if slot.hold is None and isinstance(state.verdict, Finish):
        return with_state(slot, replace(state, verdict=Again(0))), ()
    return replace(slot, hold=None), ()


def consulted(_rules: Rules, slot: Slot, state: Consulting, event: CallbackReturned | TimePassed) -> Move:
    return _settle(slot, state.verdict, event.at)


# Without a process


def vacate(_rules: Rules, slot: Slot, _state: State, _event: TimePassed) -> Move:
    return with_state(slot, Vacant()), ()


def hold_empty(_rules: Rules, slot: Slot, _state: State, event: Freeze) -> Move:
    return replace(slot, state=Held(), hold=event.hold), ()


def hold_later(_rules: Rules, slot: Slot, _state: State, event: Freeze) -> Move:
    """A process is coming or going: the hold takes effect when that is over."""
    return replace(slot, hold=event.hold), ()


def free(_rules: Rules, slot: Slot, _state: State, event: Release) -> Move:
    return replace(slot, state=Vacant(), hold=None, history=FRESH if event.fresh else slot.history), ()


def free_in_time(rules: Rules, slot: Slot, state: State, event: TimePassed) -> Move:
    return free(rules, slot, state, Release(fresh=False, at=event.at))


def unhold(_rules: Rules, slot: Slot, _state: State, event: Release) -> Move:
    return replace(slot, hold=None, history=FRESH if event.fresh else slot.history), ()


def park(_rules: Rules, slot: Slot, _state: State, _event: Park) -> Move:
    return with_state(slot, Waiting()), ()


def be_canary(_rules: Rules, slot: Slot, _state: State, event: Try) -> Move:
    return with_state(slot, Backoff(event.until)), ()
