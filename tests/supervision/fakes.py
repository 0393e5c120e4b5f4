"""A scripted world behind the ports: processes that live and die as written, on whatever clock the test runs."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from typing import Any

import anyio
from anyio import to_thread

from chaperone_async.core.backlog import Backlog
from chaperone_async.core.demand import Sample
from chaperone_async.core.events import ReloadRequested, WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import MB, PoolSpec, SignalTarget
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.journal import Journal
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.supervision.supervisor import Supervisor
from chaperone_async.supervision.world import World
from chaperone_async.system.ports import (
    DeadWorker,
    ExitStatus,
    FailedPage,
    JobNotice,
    Notice,
    NoticeSink,
    OutputSink,
    Prober,
    SpawnError,
    Telemetry,
    Usage,
    Verdict,
)


@dataclass(frozen=True)
class Script:
    """One life: it ends `ends_after` seconds from its spawn with `status`, or `obeys_term_after` seconds after a
    SIGTERM; infinity is never."""

    ends_after: float = inf
    status: ExitStatus = field(default_factory=lambda: ExitStatus(code=1))
    obeys_term_after: float = 0.0
    spawn_takes: float = 0.0
    spawn_error: str | None = None
    output: tuple[str, ...] = ()


class FakeChild:
    def __init__(self, world: "FakeWorld", ref: WorkerRef, script: Script) -> None:
        self.pid = 1000 + ref.generation
        self._world = world
        self._ref = ref
        self._script = script
        self._status: ExitStatus | None = None
        self._dies_at = anyio.current_time() + script.ends_after
        self._dies_as = script.status
        self._hurried = anyio.Event()

    def dies(self, at: float, status: ExitStatus) -> None:
        if at < self._dies_at:
            self._dies_at, self._dies_as = at, status
            self._hurried.set()

    def hears(self, signal: str) -> None:
        if signal == "SIGTERM":
            self.dies(anyio.current_time() + self._script.obeys_term_after, ExitStatus(code=0))

    async def wait(self) -> ExitStatus:
        while self._status is None:
            self._hurried = anyio.Event()
            with anyio.CancelScope(deadline=self._dies_at):
                await self._hurried.wait()
            if anyio.current_time() >= self._dies_at:
                self._reaped(self._dies_as, "exit")
        return self._status

    async def aclose(self) -> None:
        if self._status is None:
            self._reaped(ExitStatus(signal=9), "aclose")

    def _reaped(self, status: ExitStatus, how: str) -> None:
        self._status = status
        del self._world.alive[self._ref]
        self._world.note(how, self._ref)


class FakeQueue:
    """A pool's queues as written: `now` is what they hold, or why nobody can say. `reclaimed`: whose jobs were put
    back; `tried`: how often."""

    can = frozenset({"backlog", "reclaim"})

    def __init__(self, **counts: Any) -> None:
        self.now: Backlog | Exception = Backlog(**counts)
        self.takes = 0.0
        self.asked = 0
        self.called: float | None = None
        self.reclaims = 0
        self.tried = 0
        self.reclaimed: list[DeadWorker] = []
        self.failures: list[JobNotice] = []

    def holds(self, ready: int | None, **counts: Any) -> None:
        self.now = Backlog(ready=ready, **counts)

    async def backlog(self) -> Backlog:
        self.asked += 1
        await anyio.sleep(self.takes)
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    async def call_for(self, sample: Sample) -> float | None:
        return self.called

    async def failed(self, queue: str, limit: int, after: str | None) -> FailedPage:
        return FailedPage((), None)

    async def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        return 0

    async def flush(self, queue: str, ids: Sequence[str] | None) -> int:
        return 0

    async def reclaim(self, dead: DeadWorker) -> int:
        self.tried += 1
        await anyio.sleep(self.takes)
        if isinstance(self.now, Exception):
            raise self.now
        self.reclaimed.append(dead)
        return self.reclaims

    def note_failed(self, notice: JobNotice) -> None:
        self.failures.append(notice)


class FakeWorld:
    """All ports at once. `log` is what was done to whom and when, to the millisecond: (at, what, slot).

    `script` says how each life goes; `usage` and `said` are what a look at a worker shows.
    """

    def __init__(self, script: Callable[[WorkerRef], Script] | Script | None = None) -> None:
        self._script = script if callable(script) else lambda _: script or Script()
        self.log: list[tuple[float, str, int]] = []
        self.alive: dict[WorkerRef, FakeChild] = {}
        self.forgotten: list[WorkerRef] = []
        self.adopted: list[PoolSpec] = []
        self.usage: dict[WorkerRef, Usage] = {}
        self.said: dict[WorkerRef, Telemetry] = {}
        self.signal_bug: dict[str, Exception] = {}
        self.journal = Journal()
        self._sinks: dict[str, NoticeSink] = {}
        self.retired: list[tuple[str, int]] = []
        self.queues: dict[str, FakeQueue] = {}

    @property
    def ports(self) -> World:
        return World(self, self, self, wall, AbandonedThreads, lambda spec: self.queues.get(spec.name))

    def note(self, what: str, ref: WorkerRef) -> None:
        self.log.append((round(anyio.current_time(), 3), what, ref.slot))

    # Processes

    async def spawn(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> FakeChild:
        script = self._script(ref)
        self.note("spawn", ref)
        with anyio.CancelScope(shield=True):  # as the real one: what is being born is not lost
            await anyio.sleep(script.spawn_takes)
        if script.spawn_error is not None:
            raise SpawnError(script.spawn_error)
        self.alive[ref] = FakeChild(self, ref, script)
        return self.alive[ref]

    def signal(self, ref: WorkerRef, signal: str, to: SignalTarget) -> None:
        if ref.pool in self.signal_bug:
            raise self.signal_bug[ref.pool]
        self.note(signal, ref)
        if ref in self.alive:
            self.alive[ref].hears(signal)

    def kill(self, ref: WorkerRef) -> None:
        self.note("kill", ref)
        if ref in self.alive:
            self.alive[ref].dies(anyio.current_time(), ExitStatus(signal=9))

    def output(self, ref: WorkerRef, lines: int) -> Sequence[str]:
        return self._script(ref).output[-lines:]

    def follow(self, pool: str | None, sink: OutputSink) -> Callable[[], None]:
        """Here nobody writes while he lives."""
        return lambda: None

    def adopt(self, spec: PoolSpec) -> None:
        self.adopted.append(spec)

    def forget(self, ref: WorkerRef) -> None:
        self.forgotten.append(ref)

    # UsageSampler

    def close(self) -> None:
        """It keeps nothing open."""

    def sample(self, workers: Iterable[tuple[WorkerRef, int]]) -> Mapping[WorkerRef, Usage]:
        return {ref: self.usage.get(ref, Usage(memory=10 * MB)) for ref, _ in workers if ref in self.alive}

    # TelemetrySource

    def listen(self, pool: str, sink: NoticeSink) -> Callable[[], None]:
        self._sinks[pool] = sink
        return lambda: None

    def telemetry(self, ref: WorkerRef) -> Telemetry:
        return self.said.get(ref, Telemetry())

    def retire(self, pool: str, slot: int) -> None:
        self.retired.append((pool, slot))

    def notice(self, notice: Notice) -> None:
        self._sinks[notice.ref.pool](notice)

    # Looking

    def ref(self, slot: int = 0, pool: str = "p") -> WorkerRef:
        """The living worker of this slot."""
        return next(ref for ref in self.alive if (ref.pool, ref.slot) == (pool, slot))

    def times(self, what: str) -> list[float]:
        return [at for at, done, _ in self.log if done == what]

    def kinds(self) -> list[str]:
        return [entry.news.kind for entry in self.journal.entries()]

    def reasons(self, pool: str = "p") -> list[Reason]:
        """Of the deaths, oldest first."""
        return [record.death.reason for record in reversed(self.journal.crashes(pool))]


class FakeProber:
    """Answers with `verdict`, after `takes` seconds. `asked`: when it was called about which slot."""

    def __init__(self, verdict: Verdict, check: str = "http", takes: float = 0.0) -> None:
        self.check = check
        self.verdict = verdict
        self.takes = takes
        self.asked: list[tuple[float, int]] = []

    async def probe(self, ref: WorkerRef, worker_id: str, pid: int) -> Verdict:
        self.asked.append((round(anyio.current_time(), 3), ref.slot))
        await anyio.sleep(self.takes)
        return self.verdict


class AbandonedThreads:
    """Real ones: what a sync function does takes no virtual time, and the clock may jump past it."""

    async def run(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await to_thread.run_sync(partial(function, *arguments), abandon_on_cancel=True)


def reload(runner: PoolRunner, spec: PoolSpec, by: str = "a test") -> None:
    runner.submit(ReloadRequested(spec, anyio.current_time(), by))


def wall(at: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=at)


def lives(*scripts: Script) -> Callable[[WorkerRef], Script]:
    """One script per generation, the last one for all that follow."""
    return lambda ref: scripts[min(ref.generation, len(scripts)) - 1]


def crashes_after(seconds: float) -> Script:
    return Script(ends_after=seconds)


def plan(name: str = "p", workers: int = 1, **settings: Any) -> PoolSpec:
    return PoolSpec(name=name, command=("w",), workers=workers, **settings)


@asynccontextmanager
async def supervising(
    world: FakeWorld, *specs: PoolSpec, hooks: Hooks | None = None, probers: tuple[Prober, ...] = ()
) -> AsyncIterator[Supervisor]:
    """The pools run from second 0. What the block has not ended is cancelled, and then nothing may be left alive."""
    supervisor = Supervisor(world.ports, world.journal, salt=7)
    for spec in specs:
        supervisor.add(spec, hooks or Hooks(), lambda *_: probers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        yield supervisor
        tasks.cancel_scope.cancel()
    assert not world.alive


@asynccontextmanager
async def pool_of(
    world: FakeWorld, spec: PoolSpec, hooks: Hooks | None = None, *probers: Prober
) -> AsyncIterator[PoolRunner]:
    """One pool."""
    async with supervising(world, spec, hooks=hooks, probers=probers) as supervisor:
        yield supervisor.runner(spec.name)
