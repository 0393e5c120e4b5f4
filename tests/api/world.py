"""What the tests of the Python API share: quick pools, commands for workers, waiting for facts."""

import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from chaperone_async import WorkerPoolRegistry, WorkerPoolSupervisor

STEADY = ["sleep", "600"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"]
CRASHES = ["sh", "-c", "echo about to die; exit 3"]
SPEAKS = [
    sys.executable,
    "-c",
    """
import signal
from chaperone_async.worker import notify
notify.ready()
notify.heartbeat()
with notify.job("job-1", name="send_email"):
    pass
with notify.job("job-2", name="send_email"):
    print("at work", flush=True)
    signal.pause()
""",
]


def pool_of(command: list[str], workers: int = 1, name: str = "emails", **table: Any) -> WorkerPoolSupervisor:
    """Quick to be ready and quick to look."""
    restart = {"start_seconds": 0.05, **table.pop("restart", {})}
    health = {"interval": 0.05, **table.pop("health", {})}
    stop = {"timeout": "5s", **table.pop("stop", {})}
    pool = WorkerPoolSupervisor(name).workers(workers).queue("emails").command(command)
    return pool.configure(restart=restart, health=health, stop=stop, **table)


async def eventually(condition: Callable[[], object], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        await anyio.sleep(0.005)


def ready(pool: WorkerPoolSupervisor, workers: int = 1) -> Callable[[], bool]:
    return lambda: bool(pool.status()["ready_workers"] == workers)


@asynccontextmanager
async def supervised(what: WorkerPoolSupervisor | WorkerPoolRegistry) -> AsyncIterator[None]:
    """While the block runs; then it is cancelled, if it has not ended by itself."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(what.supervise)
        yield
        tasks.cancel_scope.cancel()


def has_children() -> bool:
    """Living ones, or zombies."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def pids(pool: WorkerPoolSupervisor) -> list[int]:
    return [row["pid"] for row in pool.status()["workers"] if row["pid"] is not None]
