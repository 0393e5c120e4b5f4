"""All pools side by side: add, remove, stop, snapshot(), submit(); and the shutdown with its one deadline."""

import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

import anyio
from anyio.abc import TaskGroup

from chaperone_async.core.actions import Announce
from chaperone_async.core.events import PoolEvent, ShutdownRequested, StopRequested
from chaperone_async.core.pool import Pool, new_pool
from chaperone_async.core.probes import Supervised
from chaperone_async.core.scaling import ClampName, Decision
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import DuplicatePool, UnknownPool
from chaperone_async.supervision.demand import DemandFeed
from chaperone_async.supervision.feeds import HealthFeed
from chaperone_async.supervision.hooks import Hooks, in_callback
from chaperone_async.supervision.journal import Journal
from chaperone_async.supervision.ledger import JobFigures, p95_of
from chaperone_async.supervision.readings import Demand, Readings, queue_problem
from chaperone_async.supervision.runner import PoolRunner, ProberMaker, no_probers
from chaperone_async.supervision.scaler import Scaler
from chaperone_async.supervision.world import World

PULSE = 1.0
RATE_WINDOW = 60


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool at one moment: the record, the last measured figures, and how its user functions fare."""

    pool: Pool
    readings: Readings
    jobs_processed: int
    callback_failures: int
    last_callback_failure: str
    broken_checks: Mapping[str, str]
    demand: Demand = Demand()  # noqa: RUF009  frozen
    jobs_failed: int = 0
    figures: JobFigures = JobFigures()  # noqa: RUF009  frozen
    queue_figures: Mapping[str, JobFigures] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()  # the latest last
    clamps: Mapping[ClampName, int] = field(default_factory=dict)  # in how many decisions each had a say
    can: frozenset[str] = frozenset()  # what may be asked of its queues, see `PoolQueue`


def new_pool_view(spec: PoolSpec) -> PoolView:
    """Of a pool that does not run yet."""
    return PoolView(new_pool(spec, 0), Readings(), 0, 0, "", {})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment (`at`, monotonic seconds). Frozen: whoever holds it sees no change."""

    at: float
    started_at: float
    pools: tuple[PoolView, ...]
    draining: bool
    deadline: float | None
    jobs_per_minute: float
    probed: Supervised


class Supervisor:
    """`salt` should differ between supervisor lives: worker ids and jitter come from it."""

    def __init__(self, world: World, journal: Journal, salt: int) -> None:
        self.journal = journal
        self.deadline: float | None = None
        self._world = world
        self._salt = salt
        self._runners: dict[str, PoolRunner] = {}
        self._leaving: set[str] = set()
        self._removed = 0
        self._broken: dict[str, str] = {}
        self._tasks: TaskGroup | None = None
        self._started_at = 0.0
        self._pulse_at = 0.0
        self._ended = anyio.Event()
        self._jobs_each_second: deque[int] = deque(maxlen=RATE_WINDOW + 1)
        self.scaler = Scaler(self._runners.values)

    # Pools

    def add(self, spec: PoolSpec, hooks: Hooks, make_probers: ProberMaker = no_probers) -> PoolRunner:
        """A pool added while the supervisor runs starts at once. Raises DuplicatePool, and ConfigError where its active
        checks cannot be made."""
        if spec.name in self._runners:
            raise DuplicatePool(spec.name)
        salt = self._salt + crc32(spec.name.encode()) + self._removed  # no id of a pool that was removed comes again
        runner = PoolRunner(spec, self._world, self.journal, hooks, salt, make_probers)
        self._runners[spec.name] = runner
        if self._tasks is not None:
            self._tasks.start_soon(self._run_pool, runner, name=f"pool {spec.name}")
        if self.deadline is not None:
            runner.submit(ShutdownRequested(self.deadline, anyio.current_time()))
        return runner

    async def remove(self, name: str, by: str = "operator") -> None:
        """Stop a pool gracefully, and forget it. Raises UnknownPool."""
        runner = self.runner(name)
        self._leaving.add(name)
        runner.submit(StopRequested(None, anyio.current_time(), by))
        try:
            await runner.until(lambda pool: not pool.live)
        finally:
            self._leaving.discard(name)
        now = anyio.current_time()
        runner.submit(ShutdownRequested(now, now))
        self._forget(name)

    @property
    def leaving(self) -> frozenset[str]:
        """Pools that are being removed."""
        return frozenset(self._leaving)

    def _forget(self, name: str) -> None:
        self._removed += 1
        runner = self._runners.pop(name, None)
        if runner is not None:
            runner.forget()
        self._broken.pop(name, None)
        self.journal.forget(name)

    def runner(self, name: str) -> PoolRunner:
        try:
            return self._runners[name]
        except KeyError:
            raise UnknownPool(name) from None

    def submit(self, name: str, event: PoolEvent) -> None:
        """Raises UnknownPool."""
        self.runner(name).submit(event)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._runners)

    # Looking

    def view(self, runner: PoolRunner, now: float | None = None) -> PoolView:
        """`now` is for a callback of the loop's own, which is no task: there none can be asked."""
        now = anyio.current_time() if now is None else now
        complaints = runner.complaints
        return PoolView(
            runner.pool, runner.readings, runner.tally.done(), complaints.callback_failures,
            complaints.last_callback_failure, complaints.broken_checks, runner.demand, runner.tally.failed(),
            runner.ledger.figures(now), runner.ledger.by_queue(now), tuple(runner.decisions), dict(runner.clamps),
            frozenset() if runner.queue is None else runner.queue.can,
        )  # fmt: skip

    def snapshot(self) -> Snapshot:
        now = anyio.current_time()
        views = tuple(self.view(runner, now) for runner in self._runners.values())
        draining = self.deadline is not None
        return Snapshot(now, self._started_at, views, draining, self.deadline, self._rate(), self.probed())

    def probed(self) -> Supervised:
        """What the probes look at: counters only, however many workers there are. A pool that is being removed is
        missed by nobody."""
        wanted = {name: runner for name, runner in self._runners.items() if name not in self._leaving}
        pools = tuple(runner.pool for runner in wanted.values())
        pulse_age = anyio.current_time() - self._pulse_at
        problems = [(name, runner.demand.problem) for name, runner in wanted.items()]
        degraded = tuple((name, queue_problem(why)) for name, why in problems if why is not None)
        return Supervised(pools, pulse_age, self.deadline is not None, tuple(self._broken.items()), degraded)

    def p95_job_time(self) -> float | None:
        """Seconds that 95 % of the latest jobs did not exceed; None: no job has ended yet."""
        return p95_of(runner.ledger for runner in self._runners.values())

    def _rate(self) -> float:
        """Jobs finished in the last minute; in a younger supervisor's whole life."""
        jobs = self._jobs_each_second
        return float(max(0, jobs[-1] - jobs[0])) * RATE_WINDOW / max(1, len(jobs) - 1) if len(jobs) > 1 else 0.0

    # Running

    async def run(self) -> None:
        """Until `shut_down` has been called and every pool has ended. Cancelled: everything is killed and reaped."""
        self._started_at = self._pulse_at = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._pulse)
            tasks.start_soon(self.scaler.run)
            for runner in self._runners.values():
                tasks.start_soon(self._run_pool, runner, name=f"pool {runner.pool.name}")
            await self._ended.wait()
            tasks.cancel_scope.cancel()
        self._tasks = None

    def shut_down(self, deadline: float) -> None:
        """Drain all pools; what still lives at `deadline` (monotonic) is killed. Called again, it may only hurry."""
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)
        for runner in self._runners.values():
            runner.submit(ShutdownRequested(self.deadline, anyio.current_time()))
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        ended = (name in self._broken or runner.over for name, runner in self._runners.items())
        if self.deadline is not None and all(ended):
            self._ended.set()

    async def _pulse(self) -> None:
        while True:
            self._pulse_at = anyio.current_time()
            self._jobs_each_second.append(sum(runner.tally.done() for runner in self._runners.values()))
            await anyio.sleep(PULSE)

    async def _run_pool(self, runner: PoolRunner) -> None:
        """A bug in one pool's supervision ends that pool, not the others; livez says so."""
        name = runner.pool.name
        in_callback.set(False)  # it may have been added by one
        leave = self._world.telemetry.listen(name, runner.notice)
        feed, demand = HealthFeed(runner), DemandFeed(runner, self.scaler.nudge)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed.run)
                tasks.start_soon(demand.run)
                await runner.run()
                tasks.cancel_scope.cancel()
        except Exception:  # noqa: BLE001  whatever it is, the other pools go on; livez fails, so it cannot go unseen
            self._broken[name] = why = "its supervision failed; see the log"
            runner.give_up(why)
            news = Announce("pool.broken", anyio.current_time(), detail=traceback.format_exc())
            self.journal.add(name, news)
        finally:
            leave()
        self._end_if_empty()
