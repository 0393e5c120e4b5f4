"""Changing a pool's specification while it runs. What needs new workers goes through them one after the other, by the
rules of rolling.py; a specification whose workers die early, or never get ready, is taken back."""

from dataclasses import replace
from math import inf

from chaperone_async.core.actions import Announce, Death
from chaperone_async.core.commands import Adopt, Pardon, Release, Retire
from chaperone_async.core.events import ReloadRequested
from chaperone_async.core.plan import differ, rolls, taken_back
from chaperone_async.core.pool import Change, Pool, Undone
from chaperone_async.core.reasons import Reason
from chaperone_async.core.sizing import resize
from chaperone_async.core.slots import Lane
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Due, Fatal, Finished, Slot
from chaperone_async.core.turn import Turn

TRIAL = 5
"""Times `start_seconds`."""
_HOPELESS = frozenset({Reason.START_TIMEOUT})


def reload(turn: Turn, request: ReloadRequested) -> None:
    pool, old, new = turn.pool, turn.pool.spec, request.spec
    if pool.shutting or new == old:
        return
    size = _size(pool, new)
    turn.change(spec=new, undone=None)
    turn.tell("pool.changed", ", ".join(difference.key for difference in differ(old, new)), request.by)
    if rolls(old, new):
        scaled = new.autoscale is not None and old.autoscale is None  # from now on its size is nobody's wish
        _begin(turn, _change(pool, pool.desired if size is not None or scaled else None, request))
    else:
        if pool.change is not None:  # what it may go back to keeps what is accepted now
            back = replace(pool.change, old=taken_back(new, pool.change.old))
            turn.change(change=back if size is None else replace(back, old_desired=None))
        for index in turn.targets(None):
            turn.apply(index, Adopt(old, turn.at))
            if _is_wanted_again(turn.pool.slots[index], old, new):
                turn.apply(index, Release(fresh=True, at=turn.at))
    if size is not None:
        resize(turn, size, request.by, request.leavers)


def _is_wanted_again(slot: Slot, old: PoolSpec, new: PoolSpec) -> bool:
    """By a policy that asks for a successor where the old one asked for none."""
    if isinstance(slot.state, Fatal):
        return new.restart.crash_loop.action != "fatal"
    if not isinstance(slot.state, Finished) or new.restart.mode == old.restart.mode:
        return False
    return new.restart.mode == "always" or (new.restart.mode == "on-failure" and slot.last_error != "")


def _size(pool: Pool, new: PoolSpec) -> int | None:
    """How many workers a pool of the new specification is to have; None: as many as before. A pool that scales itself
    keeps what it has, within its bounds."""
    if new.autoscale is not None:
        within = min(max(pool.desired, new.autoscale.min), new.autoscale.max)
        return None if within == pool.desired else within
    return new.workers if new.workers != pool.spec.workers or pool.spec.autoscale is not None else None


def _change(pool: Pool, old_desired: int | None, request: ReloadRequested) -> Change:
    """A change that was under way has not been proven: there is nothing in it to go back to."""
    first, before = pool.next_generation, pool.change
    if before is None:
        return Change(pool.spec, old_desired, first, first, request.by, request.at)
    known = old_desired if before.old_desired is None else before.old_desired
    return Change(before.old, known, before.proven, first, request.by, request.at)


def _begin(turn: Turn, change: Change) -> None:
    turn.change(change=change, breaker=None)
    if turn.pool.hold is None:
        turn.change(fatal=None)
    due = Due(Reason.RELOAD, f"its configuration was changed by {change.by}")
    for index in turn.targets(None):
        slot = turn.pool.slots[index]
        if slot.hold is None:
            turn.apply(index, Release(fresh=True, at=turn.at))
        if slot.live:
            turn.apply(index, Retire(due, turn.at))


def tend_change(turn: Turn) -> None:
    """Look whether the change under way has turned out bad."""
    change = turn.pool.change
    if change is None:
        return
    for action in tuple(turn.actions):
        death = action.death if isinstance(action, Announce) else None
        if death is not None and _speaks_against(turn.pool.spec, change, death):
            since = turn.at - _memory(turn.pool.spec)
            change = replace(change, failures=(*(at for at in change.failures if at > since), turn.at))
            turn.change(change=change)
            if _is_hopeless(turn.pool.spec, change, death):
                _take_back(turn, change, f"{_count(len(change.failures))} ended early, the last: {death.detail}")
                return


def conclude_change(turn: Turn) -> None:
    """Look whether it is through: once the pool is in line with what is wanted, for no other event may follow."""
    pool, change = turn.pool, turn.pool.change
    if change is None:
        return
    if not _is_through(pool):
        proven_at = inf
    elif pool.live:
        proven_at = min(change.proven_at, turn.at + trial(pool.spec))
    else:  # nothing is wanted, or the pool is stopped: there is nobody to be tried
        proven_at = turn.at
    if proven_at <= turn.at:
        turn.change(change=None)
        turn.tell("pool.reloaded", f"as {change.by} asked", change.by)
    elif proven_at != change.proven_at:
        turn.change(change=replace(change, proven_at=proven_at))


def trial(spec: PoolSpec) -> float:
    """Seconds that all must have been ready before a change is called good: some programs are ready and die."""
    return min(spec.restart.crash_loop.early, TRIAL * spec.restart.start_seconds)


def _memory(spec: PoolSpec) -> float:
    """Seconds for which an early death speaks against a change: at least those in which it takes `count` of them."""
    loop, backoff, policy = spec.restart.crash_loop, spec.restart.backoff, spec.health
    unready = max(policy.start_timeout, policy.start_grace + policy.failure_threshold * policy.interval)
    return max(loop.window, loop.count * (max(loop.early, unready) + backoff.max * (1 + backoff.jitter)))


def _speaks_against(spec: PoolSpec, change: Change, death: Death) -> bool:
    if not death.crashed or death.ref.generation < change.first:
        return False
    return death.uptime < spec.restart.crash_loop.early or not death.was_ready or death.reason in _HOPELESS


def _is_hopeless(spec: PoolSpec, change: Change, death: Death) -> bool:
    """Where nobody follows the dead, the first one is the last that could be tried."""
    tries = 1 if spec.restart.mode == "never" else spec.restart.crash_loop.count
    return death.reason in _HOPELESS or len(change.failures) >= tries


def _count(failures: int) -> str:
    return f"{failures} new worker{'' if failures == 1 else 's'}"


def _is_through(pool: Pool) -> bool:
    """All that is wanted runs the new specification and is ready; or nothing is wanted. A pool that is held has proven
    nothing yet."""
    if pool.hold is not None:
        return False
    due = pool.slots.count(Lane.DUE) + pool.slots.count(Lane.DUE_IDLE)
    return due == pool.surge == 0 and pool.ready_count == pool.live - pool.leaving == max(0, pool.wanted)


def _take_back(turn: Turn, change: Change, why: str) -> None:
    spec, desired = turn.pool.spec, turn.pool.desired
    undone = Undone(why, change.by, turn.at)
    fatal = None if turn.pool.hold is None else turn.pool.fatal
    turn.change(spec=change.old, change=None, undone=undone, breaker=None, fatal=fatal)
    turn.tell("pool.rolled_back", why, change.by)
    due = Due(Reason.RELOAD, f"what {change.by} had changed is taken back")
    for index in turn.targets(None):
        slot = turn.pool.slots[index]
        if slot.live and slot.life is not None:
            newer = slot.life.ref.generation >= change.proven
            turn.apply(index, Retire(due, turn.at) if newer else Pardon(turn.at))
        elif slot.hold is None:
            turn.apply(index, Release(fresh=True, at=turn.at))
        turn.apply(index, Adopt(spec, turn.at))
    scaled_itself = spec.autoscale is not None and change.old.autoscale is None
    if change.old_desired is not None and (scaled_itself or desired == spec.workers):
        resize(turn, change.old_desired, change.by)
