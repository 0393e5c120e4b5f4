"""A supervisor whose pools are in any state a test wants, with no process behind it, and the face served over it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import PoolSpec, SignalTarget
from chaperone_async.service.control import Control
from chaperone_async.service.http.connection import DEFAULT, Bounds
from chaperone_async.service.http.entrance import Entrance
from chaperone_async.service.http.face import Face
from chaperone_async.service.http.listen import Listener, bind
from chaperone_async.service.http.route import Route
from chaperone_async.service.http.server import serve
from chaperone_async.service.http.table import TABLE
from chaperone_async.service.operations import Operations
from chaperone_async.service.runtime_pools import RuntimePools
from chaperone_async.service.views import Views
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.journal import Journal
from chaperone_async.supervision.readings import Readings
from chaperone_async.supervision.supervisor import Supervisor
from chaperone_async.supervision.world import World as Ports
from chaperone_async.system.clock import WallClock
from chaperone_async.system.config.load import Tls
from chaperone_async.system.ports import Child, NoticeSink, OutputSink, SpawnError, Telemetry, Usage
from chaperone_async.system.threads import DaemonThreads
from tests.core.world import World


def spec(name: str = "emails", **changes: Any) -> PoolSpec:
    return PoolSpec(name=name, command=("worker",), queues=(name,), **changes)


def world(of: PoolSpec) -> World:
    """On the real clock's time, as the face reads it; nothing has been started."""
    made = World(of)
    made.now = time.monotonic()
    return made


def up(of: PoolSpec) -> World:
    """All workers ready, since `start_seconds` from now."""
    made = world(of)
    made.begin()
    made.up(of.restart.start_seconds)
    return made


@dataclass
class Written:
    """Processes that only ever wrote something, or write it when a test says so."""

    lines: dict[WorkerRef, list[str]] = field(default_factory=dict)
    followers: list[tuple[str | None, OutputSink]] = field(default_factory=list)

    def write(self, ref: WorkerRef, *lines: str) -> None:
        self.lines.setdefault(ref, []).extend(lines)
        for pool, sink in tuple(self.followers):
            if pool in {None, ref.pool}:
                sink(ref, "".join(f"{line}\n" for line in lines).encode())

    async def spawn(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> Child:
        raise SpawnError("nothing can be run here")

    def signal(self, ref: WorkerRef, signal: str, to: SignalTarget) -> None: ...

    def kill(self, ref: WorkerRef) -> None: ...

    def output(self, ref: WorkerRef, lines: int) -> Sequence[str]:
        return self.lines.get(ref, [])[-lines:]

    def follow(self, pool: str | None, sink: OutputSink) -> Callable[[], None]:
        follower = (pool, sink)
        self.followers.append(follower)
        return lambda: self.followers.remove(follower)

    def adopt(self, spec: PoolSpec) -> None: ...

    def forget(self, ref: WorkerRef) -> None: ...


SILENCE = Telemetry()


@dataclass
class Said:
    table: dict[WorkerRef, Telemetry] = field(default_factory=dict)

    def listen(self, pool: str, sink: NoticeSink) -> Callable[[], None]:
        return lambda: None

    def retire(self, pool: str, slot: int) -> None: ...

    def telemetry(self, ref: WorkerRef) -> Telemetry:
        return self.table.get(ref, SILENCE)


class NoSampler:
    def close(self) -> None: ...

    def sample(self, workers: Iterable[tuple[WorkerRef, int]]) -> Mapping[WorkerRef, Usage]:
        return {}


class Canned:
    def __init__(self, *worlds: World) -> None:
        self.processes, self.said = Written(), Said()
        threads = partial(DaemonThreads, 1, "canned")
        ports = Ports(self.processes, NoSampler(), self.said, WallClock().at, threads)
        self.supervisor = Supervisor(ports, Journal(), salt=7)
        self.views = Views("test", "1.2.3", 4321, ports.wall, self.said)
        self.supervisor._started_at = time.monotonic()
        self.supervisor._pulse_at = self.supervisor._started_at + 3600  # nobody gives signs of life: none is overdue
        for each in worlds:
            self.add(each)

    def add(self, state: World) -> None:
        runner = self.supervisor.add(state.spec, Hooks())
        runner.pool = state.pool
        for news in state.told:
            if news.death is not None:
                runner._bury(news.death)

    def measure(self, pool: str, usage: Mapping[WorkerRef, Usage]) -> None:
        born = max(slot.life.spawned_at for slot in self.supervisor.runner(pool).pool.slots if slot.life)
        self.supervisor.runner(pool).readings = Readings(born, usage)

    def stall(self, seconds: float) -> None:
        self.supervisor._pulse_at = time.monotonic() - seconds

    def break_pool(self, pool: str) -> None:
        self.supervisor._broken[pool] = "its supervision failed; see the log"

    def face(
        self, token: str | None = None, users: tuple[tuple[str, str], ...] = (), tls: Tls | None = None
    ) -> Face:  # fmt: skip
        control = Control(self.supervisor, Operations())
        runtime = RuntimePools(control, self.supervisor.add, lambda: 30.0)
        entrance = Entrance(token, users, tls)
        return Face(supervisor=self.supervisor, views=self.views, control=control, runtime=runtime, entrance=entrance)


@dataclass(frozen=True)
class Served:
    tcp: str
    unix: Path
    listeners: list[Listener]

    @property
    def port(self) -> int:
        return int(self.tcp.rpartition(":")[2])

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(f"http://{self.tcp}")

    def unix_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(str(self.unix)))

    async def raw(self, request: bytes) -> bytes:
        """All that comes back until the other side closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


@asynccontextmanager
async def served(
    face: Face, directory: Path, bounds: Bounds = DEFAULT, routes: Sequence[Route] = TABLE, tcp: str = "127.0.0.1:0"
) -> AsyncIterator[Served]:
    unix = directory / "chaperone.sock"
    listeners = bind([tcp, f"unix:{unix}"])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, face, listeners, bounds, routes)
        yield Served(listeners[0].address, unix, listeners)
        tasks.cancel_scope.cancel()
