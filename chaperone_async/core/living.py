"""Cells of the transition table: from nothing to a process, and while it lives."""

from dataclasses import replace
from math import inf

from chaperone_async.core import health, recycle
from chaperone_async.core.actions import Consult, Signal, Spawn
from chaperone_async.core.commands import (
    Adopt,
    Begin,
    Checked,
    Freeze,
    Move,
    Pardon,
    Release,
    Retire,
    Rules,
    after,
    tell,
    with_state,
)
from chaperone_async.core.ending import OVERDUE_GRACE, Exit, die, end_gracefully
from chaperone_async.core.events import (
    JobOverdue,
    LimitReached,
    ReadyTold,
    Spawned,
    SpawnFailed,
    StoppingTold,
    TimeExtended,
    TimePassed,
)
from chaperone_async.core.reasons import Reason
from chaperone_async.core.restart import FRESH
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Doom, Due, Frozen, Life, Running, Slot, Spawning, Starting, State, Stopping

_Served = Starting | Running | Frozen


def spawn(_rules: Rules, slot: Slot, _state: State, begin: Begin) -> Move:
    life = Life(begin.ref, begin.worker_id, begin.at)
    restarts = slot.restarts + (slot.last_id is not None)
    started = Slot(slot.index, Spawning(life), slot.history, None, restarts, begin.worker_id, slot.last_error)
    return started, (Spawn(begin.ref, begin.worker_id),)


def spawned(rules: Rules, slot: Slot, state: Spawning, event: Spawned) -> Move:
    recycle_at = recycle.recycle_at(rules.spec.recycle, event.ref, rules.salt, event.at)
    asked = state.life
    life = Life(
        asked.ref, asked.worker_id, asked.asked_at, event.pid, event.at, None, asked.told_ready, due=asked.due,
        recycle_at=recycle_at, awake_since=event.at,
    )  # fmt: skip
    told = tell("worker.started", life, event.at)
    if state.doom is not None:
        return after(told, end_gracefully(rules, slot, life, state.doom, event.at))
    if slot.hold is not None and slot.hold.why == "pause":
        return with_state(slot, Frozen(life)), (told, _pausing(rules, life))
    return after(told, _start(rules, slot, life, event.at))


def _start(rules: Rules, slot: Slot, life: Life, at: float) -> Move:
    alive_at = life.awake_since + rules.spec.restart.start_seconds
    starting = Starting(life, alive_at, _give_up_at(rules, alive_at, at))
    return _perhaps_ready(rules, with_state(slot, starting), starting, at)


def _give_up_at(rules: Rules, alive_at: float, since: float) -> float:
    timeout = rules.spec.health.start_timeout
    return max(since + timeout, alive_at) if timeout else inf


def _perhaps_ready(rules: Rules, slot: Slot, state: Starting, at: float) -> Move:
    """Starting ends when the worker has said so or has lived for start_seconds, and its active checks have passed."""
    policy, life = rules.spec.health, state.life
    alive = at >= life.awake_since + rules.spec.restart.start_seconds
    up = life.told_ready or (policy.ready == "alive" and alive)
    if not up or not health.active(policy) <= life.probed:
        return with_state(slot, replace(state, alive_at=inf)) if alive and state.alive_at != inf else slot, ()
    proven_at = life.spawned_at + rules.spec.restart.crash_loop.early if slot.history.looping else inf
    life = replace(life, ready_at=at)
    return with_state(slot, Running(life, proven_at)), (tell("worker.ready", life, at),)


def spawn_failed(rules: Rules, slot: Slot, state: Spawning, event: SpawnFailed) -> Move:
    return die(rules, slot, state.life, state.doom, Exit(Reason.SPAWN_ERROR, event.error, None, None), event.at)


def told_ready_early(_rules: Rules, slot: Slot, state: Spawning | Frozen, _event: ReadyTold) -> Move:
    return with_state(slot, replace(state, life=replace(state.life, told_ready=True))), ()


def told_ready(rules: Rules, slot: Slot, state: Starting, event: ReadyTold) -> Move:
    told = replace(state, life=replace(state.life, told_ready=True))
    return _perhaps_ready(rules, with_state(slot, told), told, event.at)


def start_extended(_rules: Rules, slot: Slot, state: Starting, event: TimeExtended) -> Move:
    return with_state(slot, replace(state, give_up_at=max(state.give_up_at, event.at + event.seconds))), ()


def time_while_starting(rules: Rules, slot: Slot, state: Starting, event: TimePassed) -> Move:
    slot, actions = _perhaps_ready(rules, slot, state, event.at)
    if isinstance(slot.state, Running) or event.at < state.give_up_at:
        return slot, actions
    doom = Doom(Reason.START_TIMEOUT, f"not ready {event.at - state.life.spawned_at:.1f} s after its start", fault=True)
    return end_gracefully(rules, slot, state.life, doom, event.at)


# While it lives


def check_starting(rules: Rules, slot: Slot, state: Starting, event: Checked) -> Move:
    life = _judge(rules, state.life, event)
    if life is state.life:
        return slot, ()
    slot, actions = _health_changed(rules, with_state(slot, replace(state, life=life)), state.life, life, event.at)
    if isinstance(slot.state, Starting):
        return after(*actions, _perhaps_ready(rules, slot, slot.state, event.at))
    return slot, actions


def check_running(rules: Rules, slot: Slot, state: Running, event: Checked) -> Move:
    life = _judge(rules, state.life, event)
    if life is state.life:
        return slot, ()
    return _health_changed(rules, with_state(slot, replace(state, life=life)), state.life, life, event.at)


def check_stopping(rules: Rules, slot: Slot, state: Stopping, event: Checked) -> Move:
    """Patience is for a job: who bloats meanwhile has the time that others have to stop. Heartbeats may end with the
    stop, and so may what answers active checks."""
    patient = state.doom.grace is not None and event.result.check in health.PASSIVE - {"heartbeat"}
    life = _judge(rules, state.life, event) if patient else state.life
    if life is state.life:
        return slot, ()
    if not life.unhealthy:
        return with_state(slot, replace(state, life=life)), ()
    kill_at = min(state.kill_at, event.at + rules.spec.stop.timeout)
    moved = with_state(slot, replace(state, life=life, kill_at=kill_at))
    worst = health.worst(life.failing)
    if state.life.unhealthy or worst is None:
        return moved, ()
    told = tell("worker.unhealthy", life, event.at, health.reason_for(worst), health.describe(worst))
    return moved, (told,)


def _judge(rules: Rules, life: Life, event: Checked) -> Life:
    result, policy = event.result, rules.spec.health
    failing = health.judge(
        policy, life.failing, result, event.at - life.awake_since, probed=result.check in life.probed
    )
    passed = result.passed and result.check not in health.PASSIVE
    probed = life.probed | {result.check} if passed else life.probed
    if failing == life.failing and probed == life.probed:
        return life
    return replace(life, failing=failing, probed=probed, unhealthy=health.is_unhealthy(policy, failing))


def _health_changed(rules: Rules, slot: Slot, before: Life, life: Life, at: float) -> Move:
    worst = health.worst(life.failing)
    if worst is None:
        return slot, (tell("worker.recovered", life, at),) if before.failing else ()
    reason, detail = health.reason_for(worst), health.describe(worst)
    if not life.unhealthy:
        news = before.unhealthy or not before.failing
        return slot, (tell("worker.degraded", life, at, reason, detail),) if news else ()
    told = () if before.unhealthy else (tell("worker.unhealthy", life, at, reason, detail),)
    if rules.spec.callbacks.on_unhealthy:
        asked = worst.count % rules.spec.health.failure_threshold == 0 and worst not in before.failing
        return slot, (*told, Consult(life.ref, "on_unhealthy")) if asked else told
    return after(*told, end_gracefully(rules, slot, life, Doom(reason, detail, fault=True), at))


def stopping_told(_rules: Rules, slot: Slot, state: _Served, event: StoppingTold) -> Move:
    life = replace(state.life, leaving=True)
    return with_state(slot, replace(state, life=life)), (tell("worker.leaving", life, event.at),)


def limit_reached(_rules: Rules, slot: Slot, state: _Served, event: LimitReached) -> Move:
    return _due(slot, state, Due(event.reason, event.detail), event.at)


def retire(_rules: Rules, slot: Slot, state: Spawning | _Served, event: Retire) -> Move:
    return _due(slot, state, event.due, event.at)


def _due(slot: Slot, state: Spawning | _Served, due: Due, at: float) -> Move:
    """Another reason takes the place of a reload's, for that one may be taken back."""
    before = state.life.due
    if before is not None and (before.reason is not Reason.RELOAD or due.reason is Reason.RELOAD):
        return slot, ()
    life = replace(state.life, due=due)
    return with_state(slot, replace(state, life=life)), (tell("worker.due", life, at, due.reason, due.detail),)


def pardon(_rules: Rules, slot: Slot, state: Spawning | _Served, _event: Pardon) -> Move:
    due = state.life.due
    if due is None or due.reason is not Reason.RELOAD:
        return slot, ()
    return with_state(slot, replace(state, life=replace(state.life, due=None))), ()


def adopt(rules: Rules, slot: Slot, state: _Served, _event: Adopt) -> Move:
    """A limit on its time counts from its start, whenever it was set. Checks that are made no more fail no more."""
    life, policy = state.life, rules.spec.health
    failing = tuple(f for f in life.failing if f.check in health.PASSIVE | health.active(policy))
    life = replace(
        life,
        recycle_at=recycle.recycle_at(rules.spec.recycle, life.ref, rules.salt, life.spawned_at),
        failing=failing,
        unhealthy=life.unhealthy and health.is_unhealthy(policy, failing),
    )
    return with_state(slot, replace(state, life=life)), ()


def adopt_starting(rules: Rules, slot: Slot, state: Starting, event: Adopt) -> Move:
    """Looked at again, for it may lack nothing more. One that has asked for more time, or was paused, keeps what it
    got, unless that time itself is another."""
    alive_at, give_up_at = state.life.awake_since + rules.spec.restart.start_seconds, state.give_up_at
    if _start_times(event.before) != _start_times(rules.spec):
        give_up_at = max(_give_up_at(rules, alive_at, state.life.spawned_at), event.at)
    return adopt(rules, slot, replace(state, alive_at=alive_at, give_up_at=give_up_at), event)


def _start_times(spec: PoolSpec) -> tuple[float, float]:
    return spec.health.start_timeout, spec.restart.start_seconds


def time_while_running(rules: Rules, slot: Slot, state: Running, event: TimePassed) -> Move:
    if event.at >= state.proven_at:
        slot = replace(slot, state=replace(state, proven_at=inf), history=FRESH)
        return slot, (tell("worker.proven", state.life, event.at),)
    detail = f"served {event.at - state.life.spawned_at:.0f} s of at most {rules.spec.recycle.max_time:g} s"
    return _due(slot, state, Due(Reason.MAX_TIME, detail), event.at)


def freeze(rules: Rules, slot: Slot, state: Starting | Running, event: Freeze) -> Move:
    frozen = replace(slot, state=Frozen(state.life), hold=event.hold)
    return frozen, (_pausing(rules, state.life), tell("worker.paused", state.life, event.at))


def _pausing(rules: Rules, life: Life) -> Signal:
    """Whatever it is, SIGCONT undoes it. Who is not ready yet is frozen: it has no job, and might die of a signal that
    it does not listen to so early."""
    how = rules.spec.pauses_by
    stops = how in {"drain", "SIGSTOP"} or life.ready_at is None
    return Signal(life.ref, "SIGSTOP", "session") if stops else Signal(life.ref, how, "worker")


def overdue(rules: Rules, slot: Slot, state: Starting | Running, event: JobOverdue) -> Move:
    """Its job would keep it from stopping for as long as it is let: a moment must do, to clean up."""
    grace = min(rules.spec.stop.timeout, OVERDUE_GRACE)
    return end_gracefully(rules, slot, state.life, Doom(Reason.JOB_TIMEOUT, event.detail, grace=grace), event.at)


def thaw_in_time(rules: Rules, slot: Slot, state: Frozen, event: TimePassed) -> Move:
    return thaw(rules, slot, state, Release(fresh=False, at=event.at))


def thaw(rules: Rules, slot: Slot, state: Frozen, event: Release) -> Move:
    life = replace(state.life, failing=(), unhealthy=False, awake_since=event.at)
    free = replace(slot, hold=None, history=FRESH if event.fresh else slot.history)
    woken = (Signal(life.ref, "SIGCONT", "session"), tell("worker.resumed", life, event.at))
    if life.ready_at is None:
        return after(*woken, _start(rules, free, life, event.at))
    proven_at = life.spawned_at + rules.spec.restart.crash_loop.early if free.history.looping else inf
    return replace(free, state=Running(life, max(proven_at, event.at))), woken
