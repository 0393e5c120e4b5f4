"""Several pools side by side, and the whole service around them in one call."""

import os
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from chaperone_async.errors import ChaperoneError, DuplicatePool, UnknownPool
from chaperone_async.pools.supervisor import WorkerPoolSupervisor
from chaperone_async.service.compose import Composed
from chaperone_async.service.run import Settings, run_blocking, serve, supervise


class WorkerPoolRegistry:
    """Several pools side by side."""

    def __init__(self) -> None:
        self._pools: dict[str, WorkerPoolSupervisor] = {}
        self._composed: Composed | None = None
        self._over = anyio.Event()
        self._news = anyio.Event()

    def register(self, name: str, pool: WorkerPoolSupervisor) -> None:
        """While supervise() runs the pool starts at once. Raises DuplicatePool, and ConfigError for a bad pool."""
        if name in self._pools:
            raise DuplicatePool(name)
        if self._composed is not None:
            pool.attach(self._composed)
        self._pools[name] = pool
        self._news.set()

    def get(self, name: str) -> WorkerPoolSupervisor:
        """Raises UnknownPool."""
        if name not in self._pools:
            raise UnknownPool(name)
        return self._pools[name]

    def has(self, name: str) -> bool:
        return name in self._pools

    def all(self) -> dict[str, WorkerPoolSupervisor]:
        return dict(self._pools)

    async def stop(self, name: str) -> None:
        """Stop gracefully, and forget. Raises UnknownPool."""
        pool = self.get(name)
        await pool.stop()
        if self._pools.get(name) is not pool:  # somebody else has stopped it meanwhile
            return
        if self._composed is not None:
            await self._composed.supervisor.remove(pool.name)
        pool.detach()
        self._pools.pop(name, None)
        self._news.set()

    async def stop_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for name in list(self._pools):
                tasks.start_soon(self.stop, name)
        self._over.set()

    async def supervise(self) -> None:
        """Until stop_all(), or until every pool is stopped or given up. Installs no signal handlers."""
        await supervise(self)

    # What the composition root asks of whatever is to be supervised

    def attach(self, composed: Composed) -> None:
        if self._composed is not None:
            raise ChaperoneError("cannot supervise: these pools are being supervised already; stop them first")
        attached: list[WorkerPoolSupervisor] = []
        try:
            for pool in self._pools.values():
                pool.attach(composed)
                attached.append(pool)
        except BaseException:
            for pool in attached:
                pool.detach()
            raise
        self._composed = composed
        self._over = anyio.Event()

    async def over(self) -> None:
        while not self._over.is_set():
            self._news = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_first, tasks, self._news.wait)
                tasks.start_soon(_first, tasks, self._over.wait)
                if self._pools:
                    tasks.start_soon(_first, tasks, self._all_over)

    async def _all_over(self) -> None:
        """All at one moment: while one is waited for, another may be started again."""
        while left := [pool for pool in self._pools.values() if not pool.is_over]:
            await left[0].over()
        self._over.set()

    def detach(self) -> None:
        for pool in self._pools.values():
            pool.detach()
        self._composed = None


async def _first(tasks: TaskGroup, wait: Callable[[], Awaitable[object]]) -> None:
    await wait()
    tasks.cancel_scope.cancel()


def run(*pools: WorkerPoolSupervisor | WorkerPoolRegistry, listen: Sequence[str] = (), grace: float = 30.0) -> int:
    """Event loop, signal handling and, with `listen` ("127.0.0.1:9001", "unix:/path"), the HTTP probes and API. Blocks
    until a signal has drained the pools (within `grace` seconds) or all are stopped; returns the exit code."""
    registry = pools[0] if len(pools) == 1 and isinstance(pools[0], WorkerPoolRegistry) else WorkerPoolRegistry()
    for pool in pools:
        if isinstance(pool, WorkerPoolSupervisor):
            registry.register(pool.name, pool)
        elif pool is not registry:
            raise ChaperoneError("cannot run a registry beside something else; register all pools in it")
    settings = Settings(name=os.uname().nodename, grace=grace)
    return run_blocking(settings, registry, tuple(listen), serve)
