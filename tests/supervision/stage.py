"""The production supervisor, control, operations and reloader over scripted processes, with the model beside them."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import anyio
import trio
from anyio.abc import TaskGroup
from trio.testing import MockClock

from chaperone_async.core.actions import Announce
from chaperone_async.core.events import WorkerRef
from chaperone_async.core.goals import Missed
from chaperone_async.core.spec import PoolSpec, SignalTarget
from chaperone_async.core.states import Running
from chaperone_async.service.compose import Composed
from chaperone_async.service.control import Control
from chaperone_async.service.operations import Operation, Operations
from chaperone_async.service.reload import Origin, Reloader
from chaperone_async.service.settings import Readied
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.supervision.supervisor import Supervisor
from chaperone_async.system.config.load import Config
from chaperone_async.system.ports import ReadyNotice
from tests.supervision.fakes import FakeChild, FakeWorld, Script
from tests.supervision.model import PoolModel, is_good

EARLY = 10.0
"""A worker that dies sooner speaks against a new configuration: only older ones are let die by chance."""
TEMPERS = {
    "prompt": Script(),
    "slow to stop": Script(obeys_term_after=1.9),
    "stubborn": Script(obeys_term_after=inf),
    "slow to start": Script(spawn_takes=2.2),
}


class Actors(FakeWorld):
    """A worker is what its command says: `good` ones are ready at once, `silent` ones never, `crash` dies early."""

    def __init__(self, tempers: Sequence[str]) -> None:
        super().__init__(self._temper)
        self._tempers = tempers
        self.specs: dict[WorkerRef, PoolSpec] = {}
        self.frozen: set[WorkerRef] = set()
        self.leaving: set[WorkerRef] = set()
        self.missed: list[str] = []
        self.calm: dict[str, int] = {}
        """Pools where nothing but a roll or a reload goes on, and how many of their workers must serve all the time."""

    def _temper(self, ref: WorkerRef) -> Script:
        script = TEMPERS[self._tempers[ref.generation % len(self._tempers)]]
        return replace(script, ends_after=0.2) if self.specs[ref].command[0] == "crash" else script

    async def spawn(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> FakeChild:
        self.specs[ref] = spec
        self.frozen.discard(ref)  # a pool that was removed and added again counts generations anew
        self.leaving.discard(ref)
        child = await super().spawn(ref, worker_id, spec)
        if is_good(spec):
            self.notice(ReadyNotice(ref))
        return child

    def signal(self, ref: WorkerRef, signal: str, to: SignalTarget) -> None:
        super().signal(ref, signal, to)
        if signal == "SIGSTOP":
            self.frozen.add(ref)
        elif signal == "SIGCONT":
            self.frozen.discard(ref)
        elif signal == "SIGTERM":
            self._sees_off(ref)

    def kill(self, ref: WorkerRef) -> None:
        super().kill(ref)
        self._sees_off(ref)

    def _sees_off(self, ref: WorkerRef) -> None:
        self.leaving.add(ref)
        serving = sum(is_good(self.specs[each]) and each not in self.leaving for each in self.of(ref.pool))
        if serving < self.calm.get(ref.pool, 0):
            self.missed.append(f"{ref.pool}: {serving} of {self.calm[ref.pool]} serve in the midst of a roll")

    def of(self, pool: str, slot: int | None = None) -> set[WorkerRef]:
        """Who lives there."""
        return {ref for ref in self.alive if ref.pool == pool and slot in {None, ref.slot}}


class Stage(Composed):
    """No pool here has active checks, and nothing is written."""

    def add(self, spec: PoolSpec, hooks: Hooks) -> PoolRunner:
        return self.supervisor.add(spec, hooks)

    def check(self, specs: Iterable[PoolSpec]) -> None:
        """All of them can be made."""


@dataclass
class Play:
    """One run. `file` is what the configuration says when it is read next; `turn` counts what was asked for."""

    world: Actors
    supervisor: Supervisor
    control: Control
    operations: Operations
    tasks: TaskGroup
    file: dict[str, PoolSpec]
    models: dict[str, PoolModel]
    reloader: Reloader
    turn: int = 0

    def runner(self, pool: str) -> PoolRunner:
        return self.supervisor.runner(pool)

    def settled(self, pool: str) -> bool:
        """It is in the plainest of all states: nothing is held and nothing goes on."""
        now, model = self.runner(pool).pool, self.models[pool]
        return model.plain and now.change is None and now.ready_count == now.live == model.desired == len(now.slots)

    def old_enough(self, pool: str, slot: int) -> WorkerRef | None:
        """The worker there, if its death says nothing of its configuration."""
        slots = self.runner(pool).pool.slots
        state = slots[slot].state if slot < len(slots) else None
        if isinstance(state, Running) and anyio.current_time() - state.life.spawned_at > EARLY:
            return state.life.ref
        return None

    def watch(self, operation: Operation, fact: Callable[[], str]) -> None:
        """When it has ended, it has ended truthfully: `fact` tells what is not so. What was asked for later, or dies at
        the same moment, excuses it."""
        self.tasks.start_soon(self._watch, operation.id, self.turn, fact)

    async def _watch(self, identifier: str, turn: int, fact: Callable[[], str]) -> None:
        ended = await self.operations.wait(identifier, inf)
        if ended.state == "failed":
            assert all(part.why for part in ended.parts.values() if isinstance(part, Missed))
        elif turn == self.turn:
            wrong = fact()
            assert not wrong, f"{ended.action} {ended.target} is done, but {wrong}"

    async def reload(self, *, force: bool) -> Operation:
        """It reads the file in a thread, of which the virtual clock knows nothing."""
        async with time_stands():
            _, operation = await self.reloader.reload("a play", force=force)
        return operation

    def unfinished(self) -> list[Operation]:
        return [operation for operation in self.operations.latest() if operation.state == "running"]


@asynccontextmanager
async def time_stands() -> AsyncIterator[None]:
    """Until the block is through, and all that follows from it at the same moment."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    clock.autojump_threshold = inf
    try:
        yield
        await anyio.wait_all_tasks_blocked()
    finally:
        clock.autojump_threshold = 0


def configuration(pools: dict[str, PoolSpec]) -> Config:
    return Config(
        name="play", listen=(), token=None, users=(), tls=None, grace=30.0, log_format="text", log_level="info",
        pools=tuple(pools.values()), source="/play.toml",
    )  # fmt: skip


@asynccontextmanager
async def playing(tempers: Sequence[str], pools: dict[str, PoolSpec]) -> AsyncIterator[Play]:
    """From second 0. Afterwards the supervisor is shut down, and nobody may be left."""
    world = Actors(tempers)
    supervisor = Supervisor(world.ports, world.journal, salt=7)
    file = dict(pools)

    def tell(kind: str, detail: str) -> None:
        world.journal.add(None, Announce(kind, anyio.current_time(), detail=detail))

    nothing: Any = None
    stage = Stage(supervisor, world.ports, nothing, tell, nothing)
    for spec in pools.values():
        stage.add(spec, Hooks())
    async with anyio.create_task_group() as tasks:
        operations = Operations()
        tasks.start_soon(operations.run)
        tasks.start_soon(supervisor.run)
        await anyio.wait_all_tasks_blocked()
        origin = Origin(configuration(file), lambda: configuration(file), lambda: "")
        reloader = Reloader(stage, operations, tasks, origin, lambda _: Readied(lambda: None))
        models = {name: PoolModel.of(spec) for name, spec in pools.items()}
        control = Control(supervisor, operations)
        yield Play(world, supervisor, control, operations, tasks, file, models, reloader)
        world.calm = {}
        supervisor.shut_down(anyio.current_time() + 10)
        await anyio.sleep(11)
        assert not world.missed, world.missed
        assert not world.alive, "somebody is left after the shutdown"
        assert supervisor.probed().draining
        tasks.cancel_scope.cancel()
