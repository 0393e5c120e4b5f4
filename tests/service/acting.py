"""A supervisor that really runs its pools, of scripted processes, with the face served over it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anyio

from chaperone_async.core.spec import PoolSpec, RestartPolicy
from chaperone_async.service.views import Views
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.supervisor import Supervisor
from tests.service.canned import Canned, Served, served
from tests.supervision.fakes import FakeWorld

API = "/api/v1"
AT_ONCE = RestartPolicy(start_seconds=0)


class Acting(Canned):
    """Workers are ready as soon as they run."""

    def __init__(self, world: FakeWorld, *specs: PoolSpec) -> None:
        super().__init__()
        self.world = world
        self.supervisor = Supervisor(world.ports, world.journal, salt=7)
        self.views = Views("test", "1.2.3", 4321, world.ports.wall, world)
        for each in specs:
            self.supervisor.add(each, Hooks())


@dataclass(frozen=True)
class Answered:
    status: int
    document: Any
    location: str | None


@dataclass(frozen=True)
class Stage:
    supervisor: Supervisor
    where: Served
    client: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: object = None) -> Answered:
        async with self.client.request(method, f"{API}{path}", json=body) as answer:
            assert answer.content_type in {"application/json", "application/problem+json"}
            return Answered(answer.status, await answer.json(), answer.headers.get("Location"))

    async def post(self, path: str, body: object = None) -> Answered:
        return await self.ask("POST", path, body)

    async def workers(self, pool: str) -> list[Any]:
        rows: list[Any] = (await self.ask("GET", f"/pools/{pool}")).document["workers"]
        return rows

    async def until_ready(self, *pools: str) -> None:
        for name in pools:
            await self.supervisor.runner(name).until(lambda pool: pool.ready_count == pool.desired)


@asynccontextmanager
async def acting(world: FakeWorld, directory: Path, *specs: PoolSpec, token: str | None = None) -> AsyncIterator[Stage]:
    """All pools are ready."""
    made = Acting(world, *specs)
    face = made.face(token=token)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.supervisor.run)
        tasks.start_soon(face.control.operations.run)
        async with served(face, directory) as where, where.unix_session() as client:
            stage = Stage(made.supervisor, where, client)
            await stage.until_ready(*made.supervisor.names)
            yield stage
        tasks.cancel_scope.cancel()
    assert not world.alive
