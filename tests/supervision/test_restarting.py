"""What follows a death: a replacement at once, later, or one canary at a time."""

from itertools import pairwise

import anyio
import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import Backoff, RestartPolicy
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.system.ports import ExitStatus
from tests.supervision.fakes import FakeWorld, Script, crashes_after, lives, plan, pool_of

EXACT = RestartPolicy(backoff=Backoff(jitter=0))


async def test_the_first_crash_is_replaced_at_once_and_the_next_ones_back_off() -> None:
    world = FakeWorld(crashes_after(2))
    async with pool_of(world, plan(restart=EXACT)):
        await anyio.sleep(17)
        # alive for 2 s each time, then: nothing, 0.5, 1, 2, 4
        assert world.times("spawn") == [0, 2, 4.5, 7.5, 11.5]
        assert world.kinds().count("pool.breaker_opened") == 1


async def test_a_worker_that_ends_sooner_than_start_seconds_backs_off_from_the_first_time() -> None:
    world = FakeWorld(crashes_after(0.25))
    async with pool_of(world, plan(restart=EXACT)):
        await anyio.sleep(4)
        assert world.times("spawn") == [0, 0.75, 2]


async def test_a_command_that_cannot_be_started_backs_off_and_says_why() -> None:
    world = FakeWorld(Script(spawn_error="cannot run 'php': no such program on PATH"))
    async with pool_of(world, plan(restart=EXACT)) as runner:
        await anyio.sleep(1)
        assert world.times("spawn") == [0, 0.5]
        assert set(world.reasons()) == {Reason.SPAWN_ERROR}
        assert runner.pool.slots[0].last_error == "cannot run 'php': no such program on PATH"


async def test_an_expected_exit_is_replaced_at_once_every_time() -> None:
    world = FakeWorld(Script(ends_after=3, status=ExitStatus(code=0)))
    async with pool_of(world, plan()):
        await anyio.sleep(10)
        assert world.times("spawn") == [0, 3, 6, 9]
        assert set(world.reasons()) == {Reason.EXIT}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (ExitStatus(code=3), Reason.ERROR),
        (ExitStatus(signal=11), Reason.SIGNAL),
        (ExitStatus(signal=9, oom=True), Reason.OOM),
    ],
)
async def test_a_death_has_its_reason(status: ExitStatus, reason: Reason) -> None:
    world = FakeWorld(lives(Script(ends_after=5, status=status), Script()))
    async with pool_of(world, plan()):
        await anyio.sleep(6)
        (record,) = world.journal.crashes("p")
        assert (record.death.reason, record.death.exit_code, record.death.exit_signal, record.death.uptime) == (
            reason,
            status.code,
            status.signal,
            5,
        )


async def test_two_hours_of_crash_loop_try_one_canary_at_a_time_and_end_with_the_first_that_lives() -> None:
    def script(_: WorkerRef) -> Script:
        return crashes_after(0.2) if anyio.current_time() < 7200 else Script()

    world = FakeWorld(script)
    runner = PoolRunner(plan(workers=3), world.ports, world.journal, Hooks(), salt=7)
    async with anyio.create_task_group() as tasks:  # alone, without what ticks every second
        tasks.start_soon(runner.run)
        await runner.until(lambda pool: pool.state == "crash_loop")
        opened = anyio.current_time()
        assert opened < 60
        await anyio.sleep_until(7200)
        canaries = [at for at in world.times("spawn") if at > opened]
        gaps = [later - earlier for earlier, later in pairwise(canaries)]
        assert all(0.2 < gap <= 33.3 for gap in gaps)  # backoff.max and its jitter, and the life of the one before
        assert len(canaries) > 200
        assert len(world.alive) <= 1
        await runner.until(lambda pool: pool.breaker is None)
        assert len(world.alive) == 1  # the canary has outlived crash_loop.early
        await runner.until(lambda pool: pool.state == "running")
        assert anyio.current_time() < 7200 + 33.3 + 30 + 1.1
        tasks.cancel_scope.cancel()
    assert not world.alive
