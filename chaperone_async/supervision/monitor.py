"""One task per worker process, from spawn to reap. It reports facts and decides nothing."""

from collections.abc import Callable

import anyio

from chaperone_async.core.events import Exited, PoolEvent, Spawned, SpawnFailed, WorkerRef
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.ports import Processes, SpawnError

Report = Callable[[PoolEvent], None]


async def monitor_worker(ref: WorkerRef, worker_id: str, spec: PoolSpec, processes: Processes, report: Report) -> None:
    """Its last act is the exit. Cancelled, it kills and reaps at once."""
    try:
        child = await processes.spawn(ref, worker_id, spec)
    except SpawnError as error:
        report(SpawnFailed(ref, str(error), anyio.current_time()))
        return
    try:
        report(Spawned(ref, child.pid, anyio.current_time()))
        status = await child.wait()
    finally:
        await child.aclose()
    report(Exited(ref, status.code, status.signal, status.oom, anyio.current_time()))
