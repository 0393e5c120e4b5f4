"""One pool's queue, watched: sampled at each interval, with what follows from it for stalled workers. What it learns is
the runner's `demand`."""

from collections.abc import Callable

import anyio

from chaperone_async.core.backlog import Backlog
from chaperone_async.core.demand import Present, Sample
from chaperone_async.core.events import LimitReached
from chaperone_async.core.flow import Flow, Look, flow, follow
from chaperone_async.core.reasons import Reason
from chaperone_async.core.scaling import leavers
from chaperone_async.core.slots import Lane
from chaperone_async.core.stall import Progress, StallState, watch
from chaperone_async.core.states import Life, Running
from chaperone_async.errors import QueueError
from chaperone_async.supervision.leaving import candidates, reports
from chaperone_async.supervision.readings import Demand
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.system.ports import PoolQueue

_LATE = 0.5  # seconds
_STALE = 3.0  # intervals after which a sample tells nothing any more


class DemandFeed:
    """One per pool: reads the backlog at each interval, where anybody can tell it. `grown` is called where more waits
    than did the last time."""

    def __init__(self, runner: PoolRunner, grown: Callable[[], None] = lambda: None) -> None:
        self._runner = runner
        self._grown = grown
        self._stall = StallState()
        self._asked: PoolQueue | None = None
        self._queue: PoolQueue | None = None  # whose looks those are
        self._looks: tuple[Look, ...] = ()

    async def run(self) -> None:
        next_at = anyio.current_time()
        while True:
            await self._runner.until(lambda _: self._can_be_told())
            begun_at = await self._wait_for(next_at)
            if self._runner.over:
                await anyio.sleep_forever()  # and be cancelled
            policy, self._asked = self._runner.pool.spec.backlog, self._runner.queue
            await self._look(policy.timeout)
            self._watch_for_stall()
            next_at = max(begun_at + policy.interval, anyio.current_time())

    async def _wait_for(self, next_at: float) -> float:
        """Or for another queue, or interval: that is not to wait for the old one's time."""
        with anyio.CancelScope(deadline=next_at):
            await self._runner.until(lambda _: self._runner.queue is not self._asked)
        if self._runner.queue is not self._asked:
            return min(next_at, anyio.current_time())
        await anyio.sleep_until(next_at)  # the pool has ended, perhaps
        return next_at

    def _can_be_told(self) -> bool:
        return self._runner.queue is not None and "backlog" in self._runner.queue.can

    async def _look(self, timeout: float) -> None:  # noqa: ASYNC109  of the sample
        runner, queue = self._runner, self._runner.queue
        if queue is None:
            return
        try:
            with anyio.fail_after(timeout + _LATE):  # whoever is asked keeps to the time-out, and says more
                backlog = await queue.backlog()
                called = await self._call_for(backlog)
        except (QueueError, OSError) as error:  # among them TimeoutError
            why = str(error) or f"no answer within {timeout:g} s"
            if runner.demand.problem is None:
                runner.tell("queue.unreachable", why)
            runner.demand = Demand(problem=why)
            return
        if runner.demand.problem is not None:
            runner.tell("queue.reachable", f"{backlog.ready} jobs ready" if backlog.ready is not None else "")
        if queue is runner.queue:  # else it is another one since
            grown = (backlog.ready or 0) > (runner.demand.backlog.ready or 0)
            runner.demand = Demand(anyio.current_time(), backlog, None, called, self._follow(queue, backlog))
            if grown and runner.pool.spec.autoscale is not None:
                self._grown()

    def _follow(self, queue: PoolQueue, backlog: Backlog) -> Flow:
        if queue is not self._queue:
            self._queue, self._looks = queue, ()
        if backlog.ready is None:
            return Flow()
        runner = self._runner
        tells = reports(runner.pool, runner.telemetry)
        running = sum(len(said.running) for said in runner.said())
        held = backlog.ready + (running if backlog.reserved is None else backlog.reserved)
        self._looks = follow(self._looks, Look(anyio.current_time(), held, runner.tally.ended() if tells else None))
        return flow(self._looks)

    async def _call_for(self, backlog: Backlog) -> float | None:
        runner = self._runner
        policy = runner.pool.spec.autoscale
        if runner.queue is None or policy is None or policy.python is None:
            return None
        return await runner.queue.call_for(sample_of(runner, Demand(anyio.current_time(), backlog)))

    def _watch_for_stall(self) -> None:
        pool, now = self._runner.pool, anyio.current_time()
        stall = pool.spec.health.stall
        if self._runner.demand.problem is not None:
            return  # which proves nothing, in either way
        if not stall or pool.hold is not None or self._runner.demand.at is None:
            self._stall = StallState()
            return
        self._stall, many = watch(stall, self._stall, self._progress(now))
        for life in self._stuck()[:many]:
            waiting = self._runner.demand.backlog.ready
            detail = f"{waiting} jobs wait, and nothing has got on for {now - self._stall.since:.0f} s"
            self._runner.submit(LimitReached(life.ref, Reason.STALLED, detail, now))

    def _progress(self, now: float) -> Progress:
        said = list(self._runner.said())
        return Progress(
            at=now,
            ready=self._runner.demand.backlog.ready,
            running=sum(len(telemetry.running) for telemetry in said),
            moved=self._runner.tally.ended(),
            beat_at=max((t.heartbeat_at for t in said if t.heartbeat_at is not None), default=None),
        )

    def _stuck(self) -> list[Life]:
        """Who may be recycled, the longest idle first."""
        pool = self._runner.pool
        slots = [pool.slots[index] for index in leavers(candidates(pool, self._runner.telemetry))]
        return [slot.state.life for slot in slots if isinstance(slot.state, Running) and slot.state.life.due is None]


def present_of(runner: PoolRunner) -> Present:
    pool = runner.pool
    leaving = sum(slot.live for slot in pool.slots if slot.surplus) if pool.slots.count(Lane.SURPLUS) else 0
    return Present(pool.desired, leaving)


def sample_of(runner: PoolRunner, demand: Demand) -> Sample:
    """What the scaler is told. A sample that is too old is none. Where workers do not tell of their jobs, what is in
    work is what the queue has given out."""
    now, policy = anyio.current_time(), runner.pool.spec.backlog
    fresh = demand.at is not None and now - demand.at <= _STALE * policy.interval + policy.timeout
    backlog = demand.backlog if fresh else Backlog()
    said = list(runner.said())
    tells = reports(runner.pool, runner.telemetry)
    running = tuple(now - since for telemetry in said for _, since in telemetry.running)
    due = None if backlog.next_due is None or demand.at is None else demand.at + backlog.next_due
    return Sample(
        at=now,
        backlog=backlog.ready,
        oldest_age=backlog.oldest_age,
        busy=len(running) if tells else backlog.reserved,
        running=running if tells else None,
        completed=runner.tally.ended() if tells else None,
        worked=runner.tally.seconds() if tells else None,
        next_due=due,
        called=demand.called if fresh else None,
        read_at=demand.at,
        at_once=1 if runner.pool.spec.backend is None else runner.pool.spec.backend.at_once,
    )
