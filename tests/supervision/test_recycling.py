"""Healthy workers that have served long enough: the replacement is ready before the old one goes."""

from typing import Any

import anyio
import pytest

from chaperone_async.core.events import RollRequested, WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import MB, PoolSpec, RecyclePolicy
from chaperone_async.system.ports import JobNotice, Telemetry, Usage
from tests.supervision.fakes import FakeWorld, Script, plan, pool_of

FIRST = WorkerRef("p", 0, 1)


def recycled(**policy: Any) -> PoolSpec:
    return plan(recycle=RecyclePolicy(jitter=0, **policy))


async def test_the_replacement_is_ready_before_a_worker_over_max_jobs_goes() -> None:
    world = FakeWorld(Script(obeys_term_after=2))
    async with pool_of(world, recycled(max_jobs=100)) as runner:
        await anyio.sleep(5.25)
        world.said[FIRST] = Telemetry(jobs_done=100)
        world.notice(JobNotice(FIRST, "7", None, None, True, None, None, None, None))
        await anyio.sleep(20)
        assert world.log == [
            (0, "spawn", 0),
            (5.25, "spawn", 1),  # one more for the time being
            (6.25, "SIGTERM", 0),  # it has been alive for start_seconds
            (8.25, "exit", 0),
            (8.25, "spawn", 0),
            (9.25, "SIGTERM", 1),
            (11.25, "exit", 1),
        ]
        assert world.reasons() == [Reason.MAX_JOBS, Reason.SCALED_DOWN]
        assert runner.pool.ready_count == 1


@pytest.mark.parametrize(
    ("policy", "reason", "due_at"),
    [({"max_time": 60.5}, Reason.MAX_TIME, 60.5), ({"max_memory": 100 * MB}, Reason.MEMORY, 31)],
)
async def test_a_limit_of_time_or_memory_recycles(policy: dict[str, Any], reason: Reason, due_at: float) -> None:
    world = FakeWorld()
    async with pool_of(world, recycled(**policy)):
        await anyio.sleep(30.5)
        world.usage[FIRST] = Usage(memory=100 * MB)
        await anyio.sleep(35)
        assert world.reasons()[0] == reason
        assert world.times("spawn")[1] == due_at
        assert world.times("SIGTERM")[0] == due_at + 1


async def test_a_rolling_restart_never_goes_under_the_number_of_workers() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(workers=3)) as runner:
        await anyio.sleep(5)
        least = []
        runner.submit(RollRequested(None, anyio.current_time()))
        await anyio.sleep(0.001)
        old = {1, 2, 3}
        while old & {ref.generation for ref in world.alive} or len(world.alive) != 3:
            least.append(runner.pool.ready_count)
            await anyio.sleep(0.1)
        assert min(least) >= 3
        assert world.reasons().count(Reason.RESTART) == 3
