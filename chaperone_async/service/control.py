"""Everything that may be asked of running pools: requests are handed on, and operations follow what comes of it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from typing import Literal

import anyio

from chaperone_async.core import events as ev
from chaperone_async.core import goals
from chaperone_async.core.events import PoolEvent, Target
from chaperone_async.core.goals import Goal, Missed, Standing
from chaperone_async.core.pool import Pool
from chaperone_async.errors import ChaperoneError, ConflictError, UnknownWorker
from chaperone_async.service.operations import Follow, Operation, Operations, Report, follow_goal, reached
from chaperone_async.supervision.journal import Entry
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.supervision.supervisor import Supervisor

ALL = "all"
MOST_WORKERS = 100_000
Action = Literal["start", "stop", "restart", "pause", "resume"]


class UnacceptableError(ChaperoneError):
    """It is understood, and cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """`now`: a restart that does not wait for replacements. `seconds`: after which a pause ends by itself."""

    now: bool = False
    seconds: float = inf


PLAIN = How()


class Control:
    """`by` says everywhere who asks, in words for the log and the status. All requests raise UnknownPool, and
    ConflictError where the supervisor shuts down or the pool is being removed."""

    def __init__(self, supervisor: Supervisor, operations: Operations) -> None:
        self.supervisor = supervisor
        self.operations = operations
        self._one_count_at_a_time = anyio.Lock()

    async def act(self, action: Action, pool: str, by: str, worker: str | None = None, how: How = PLAIN) -> Operation:
        """On a pool, on `all`, or on one worker, by its id or its slot's number. A restart of all wakes no pool that
        somebody has stopped or paused. Raises UnknownWorker."""
        followed: dict[str, Follow] = {}
        for runner in self._concerned(pool, worker):
            target = None if worker is None else find_target(runner.pool, worker)
            if pool == ALL and action == "restart" and runner.pool.hold is not None:
                followed[runner.pool.name] = reached(f"{goals.held(runner.pool.hold)}: it stays so")
                continue
            event, goal = _prepare(action, runner.pool, target, by, how)
            await runner.ask(event)
            followed[runner.pool.name] = follow_goal(runner, goal)
        return self.operations.begin(action, _named(pool, worker), by, followed)

    async def scale(self, pool: str, workers: int, by: str, *, relative: bool = False) -> Operation:
        """To so many, or by so many; a pool that scales itself goes on from there. Raises UnacceptableError, and
        ConflictError outside the bounds of such a pool."""
        async with self._one_count_at_a_time:  # two that ask for one more each get two more
            runner = self.runner(pool)
            wanted = runner.pool.desired + workers if relative else workers
            policy = runner.pool.spec.autoscale
            if policy is not None and not policy.min <= wanted <= policy.max:
                between = f"it scales itself between {policy.min} and {policy.max}"
                advice = "write a number in between, or change its workers in the configuration"
                raise ConflictError(f"cannot scale {pool!r} to {wanted} workers: {between}; {advice}")
            most = runner.pool.spec.max_workers or MOST_WORKERS
            if not 0 <= wanted <= most:
                raise UnacceptableError(f"cannot scale {pool!r} to {wanted} workers; write a number from 0 to {most}")
            await runner.ask(ev.ScaleRequested(wanted, anyio.current_time(), by))
        goal = goals.scaled(wanted) if policy is None else goals.scaled_for_now(wanted)
        return self.operations.begin("scale", pool, by, {pool: follow_goal(runner, goal)})

    async def signal(self, pool: str, signal: str, by: str, worker: str | None = None) -> Operation:
        """`signal` is a name, "SIGHUP". SIGKILL is a kill: the whole session, and known to have been asked for. Raises
        UnknownWorker."""
        followed: dict[str, Follow] = {}
        for runner in self._concerned(pool, worker):
            target = None if worker is None else find_target(runner.pool, worker)
            now, reached_by = anyio.current_time(), goals.generations(runner.pool, target)
            killing = signal == "SIGKILL"
            event = ev.KillRequested(target, now, by) if killing else ev.SignalRequested(target, signal, now, by)
            await runner.ask(event)
            count = f"{len(reached_by)} worker{'' if len(reached_by) == 1 else 's'}"
            followed[runner.pool.name] = reached(f"{signal} was sent to {count}")
        return self.operations.begin("signal", _named(pool, worker), by, followed)

    async def drain(self, pool: str, by: str, worker: str | None = None) -> Operation:
        """Stop, and say whether everybody could finish: a worker that had to be killed makes it fail. Raises
        UnknownWorker."""
        followed: dict[str, Follow] = {}
        with ExitStack() as listening:  # no longer, where who asks goes away before it has begun
            for runner in self._concerned(pool, worker):
                target = None if worker is None else find_target(runner.pool, worker)
                killed = _Killed(self.supervisor, runner.pool.name, target)
                listening.callback(killed.end)
                await runner.ask(ev.StopRequested(target, anyio.current_time(), by))
                followed[runner.pool.name] = killed.follow(follow_goal(runner, goals.stopped(target)))
            operation = self.operations.begin("drain", _named(pool, worker), by, followed)
            listening.pop_all()
        return operation

    def runners(self, pool: str) -> Sequence[PoolRunner]:
        """The pool of this name, or all that are there to stay."""
        if pool != ALL:
            return [self.runner(pool)]
        self.refuse_at_the_end()
        supervisor = self.supervisor
        return [supervisor.runner(name) for name in supervisor.names if name not in supervisor.leaving]

    def runner(self, pool: str) -> PoolRunner:
        self.refuse_at_the_end()
        runner = self.supervisor.runner(pool)
        if pool in self.supervisor.leaving:
            raise ConflictError(f"cannot change pool {pool!r}: it is being removed; wait until that is over")
        return runner

    def _concerned(self, pool: str, worker: str | None) -> Sequence[PoolRunner]:
        """A worker is one pool's."""
        return self.runners(pool) if worker is None else [self.runner(pool)]

    def refuse_at_the_end(self) -> None:
        if self.supervisor.deadline is not None:
            raise ConflictError("cannot change anything: the supervisor is shutting down; start it again")


class _Killed:
    """Listens, from now on, for workers of a pool, or for the one, that have to be killed."""

    def __init__(self, supervisor: Supervisor, pool: str, target: Target) -> None:
        self._pool = pool
        self._target = target
        self._ids: list[str] = []
        self.end = supervisor.journal.listen(self._hear)

    def _hear(self, entry: Entry) -> None:
        news = entry.news
        if entry.pool != self._pool or news.kind != "worker.killed" or news.ref is None or news.worker_id is None:
            return
        if self._target is None or self._target in {news.ref, news.ref.slot}:
            self._ids.append(news.worker_id)

    def follow(self, stop: Follow) -> Follow:
        async def follow(report: Report) -> Standing:
            try:
                standing = await stop(report)
            finally:
                self.end()
            if not self._ids or isinstance(standing, Missed):
                return standing
            return Missed(f"stopped, but {', '.join(self._ids)} had to be killed: what was under way there is cut off")

        return follow


def find_target(pool: Pool, worker: str) -> Target:
    """One incarnation by its id; a slot by its number, or by the id of its last worker. Raises UnknownWorker."""
    index = int(worker) if worker.isascii() and worker.isdigit() and len(worker) < 7 else None
    for each in pool.slots:
        if each.index == index:
            return each.index
        if each.last_id == worker:
            return each.life.ref if each.live and each.life is not None else each.index
    raise UnknownWorker(pool.name, worker)


def _prepare(action: Action, pool: Pool, target: Target, by: str, how: How) -> tuple[PoolEvent, Goal]:
    now = anyio.current_time()
    match action:
        case "start":
            return ev.StartRequested(target, now, by), goals.started(target)
        case "stop":
            return ev.StopRequested(target, now, by), goals.stopped(target)
        case "pause":
            return ev.PauseRequested(target, now, by, now + how.seconds), goals.paused(target)
        case "resume":
            return ev.ResumeRequested(target, now, by), goals.resumed(target)
        case "restart":
            request: Callable[[Target, float, str], PoolEvent] = ev.RestartRequested if how.now else ev.RollRequested
            return request(target, now, by), goals.replaced(goals.generations(pool, target), target)


def _named(pool: str, worker: str | None) -> str:
    if worker is None:
        return pool
    return f"{pool}:{worker}" if worker.isdigit() else worker
