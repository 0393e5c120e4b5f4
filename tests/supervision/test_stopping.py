"""Stopping workers, pools and everything; what is killed, and when."""

import anyio
import trio
from trio.testing import MockClock

from chaperone_async.core.events import StopRequested
from chaperone_async.core.spec import StopPolicy
from chaperone_async.system.ports import ExtendNotice, ReadyNotice, StoppingNotice
from tests.supervision.fakes import FakeWorld, Script, plan, pool_of, supervising

IMMORTAL = Script(obeys_term_after=float("inf"))


def kind(world: FakeWorld, *kinds: str) -> list[tuple[float, str, int]]:
    return [entry for entry in world.log if entry[1] in kinds]


async def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    world = FakeWorld(IMMORTAL)
    async with pool_of(world, plan(stop=StopPolicy(timeout=10))) as runner:
        await anyio.sleep(3)
        runner.submit(StopRequested(None, anyio.current_time()))
        await runner.until(lambda pool: pool.stopped)
        assert world.log == [(0, "spawn", 0), (3, "SIGTERM", 0), (13, "kill", 0), (13, "exit", 0)]


async def test_a_worker_that_obeys_is_never_killed() -> None:
    world = FakeWorld(Script(obeys_term_after=4.321))
    async with pool_of(world, plan(stop=StopPolicy(timeout=10))) as runner:
        await anyio.sleep(3)
        runner.submit(StopRequested(None, anyio.current_time()))
        await runner.until(lambda pool: pool.stopped)
        assert world.log == [(0, "spawn", 0), (3, "SIGTERM", 0), (7.321, "exit", 0)]


async def test_a_worker_that_asks_for_more_time_gets_it() -> None:
    world = FakeWorld(IMMORTAL)
    async with pool_of(world, plan(stop=StopPolicy(timeout=10))) as runner:
        await anyio.sleep(3)
        runner.submit(StopRequested(None, anyio.current_time()))
        await anyio.sleep(9)
        world.notice(ExtendNotice(world.ref(), seconds=20))
        await runner.until(lambda pool: pool.stopped)
        assert world.times("kill") == [32]


async def test_however_much_a_worker_says_time_passes() -> None:
    world = FakeWorld(IMMORTAL)
    async with pool_of(world, plan(stop=StopPolicy(timeout=10))) as runner, anyio.create_task_group() as tasks:
        await anyio.sleep(3)
        runner.submit(StopRequested(None, anyio.current_time()))
        await anyio.sleep(1)
        talker = world.ref()

        async def talk() -> None:
            while True:
                world.notice(ReadyNotice(talker))
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(talk)
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.jump(10)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert len(world.times("kill")) == 1
        tasks.cancel_scope.cancel()


async def test_a_shutdown_shares_one_deadline_over_three_pools() -> None:
    world = FakeWorld(IMMORTAL)
    specs = [plan(name, stop=StopPolicy(timeout=timeout)) for name, timeout in (("a", 5), ("b", 60), ("c", 600))]
    async with supervising(world, *specs) as supervisor:
        await anyio.sleep(2)
        supervisor.shut_down(anyio.current_time() + 30)
        await anyio.sleep(31)
        # a after its own grace; the others a second before the deadline, so that all is over by it
        assert world.times("SIGTERM") == [2, 2, 2]
        assert world.times("kill") == [7, 31, 31]
        assert not world.alive


async def test_a_second_shutdown_hurries() -> None:
    world = FakeWorld(IMMORTAL)
    async with supervising(world, plan(workers=2)) as supervisor:
        await anyio.sleep(2)
        supervisor.shut_down(anyio.current_time() + 30)
        await anyio.sleep(1.5)
        supervisor.shut_down(anyio.current_time())
        await anyio.sleep(0.001)
        assert world.times("kill") == [3.5, 3.5]
        assert not world.alive


async def test_a_second_shutdown_never_gives_more_time() -> None:
    world = FakeWorld(IMMORTAL)
    async with supervising(world, plan()) as supervisor:
        await anyio.sleep(2)
        supervisor.shut_down(12)
        supervisor.shut_down(1000)
        assert supervisor.deadline == 12
        await anyio.sleep(20)
        assert world.times("kill") == [11]


async def test_run_returns_when_the_shutdown_is_over() -> None:
    world = FakeWorld(Script(obeys_term_after=2))
    async with anyio.create_task_group() as tasks, supervising(world, plan(), plan("q")) as supervisor:
        tasks.start_soon(anyio.sleep, 5)
        await anyio.sleep(1)
        supervisor.shut_down(31)
        await supervisor.runner("p").until(lambda pool: pool.stopped)
        assert anyio.current_time() == 3
    assert anyio.current_time() == 5


async def test_a_supervisor_without_pools_ends_at_once() -> None:
    async with supervising(FakeWorld()) as supervisor:
        await anyio.sleep(1)
        supervisor.shut_down(31)
    assert anyio.current_time() == 1


async def test_a_spawn_that_comes_after_the_shutdown_is_ended_at_once() -> None:
    world = FakeWorld(Script(spawn_takes=5))
    async with supervising(world, plan()) as supervisor:
        await anyio.sleep(1)
        supervisor.shut_down(31)
        await anyio.sleep(10)
        assert world.log == [(0, "spawn", 0), (5, "SIGTERM", 0), (5, "SIGCONT", 0), (5, "exit", 0)]


async def test_cancelling_kills_and_reaps_everything() -> None:
    world = FakeWorld(IMMORTAL)
    async with supervising(world, plan(workers=2), plan("q")) as supervisor:
        await anyio.sleep(1)
        assert len(world.alive) == 3
        assert supervisor.names == ("p", "q")
    assert world.times("aclose") == [1, 1, 1]
    assert not world.times("SIGTERM")


async def test_cancelling_reaps_a_spawn_in_flight() -> None:
    world = FakeWorld(lambda ref: Script(spawn_takes=2 if ref.slot else 0))
    async with supervising(world, plan(workers=2)):
        await anyio.sleep(1)
        assert len(world.alive) == 1
    assert sorted(world.log) == [(0, "spawn", 0), (0, "spawn", 1), (1, "aclose", 0), (2, "aclose", 1)]


async def test_a_worker_that_says_it_stops_is_not_counted_as_ready() -> None:
    world = FakeWorld()
    async with pool_of(world, plan()) as runner:
        await runner.until(lambda pool: pool.ready)
        world.notice(StoppingNotice(world.ref()))
        await runner.until(lambda pool: not pool.ready)
        assert anyio.current_time() == 1


async def test_events_after_the_end_are_dropped() -> None:
    world = FakeWorld()
    async with supervising(world, plan()) as supervisor:
        runner = supervisor.runner("p")
        await anyio.sleep(2)
        supervisor.shut_down(32)
        await runner.until(lambda pool: pool.stopped)
        await anyio.sleep(1)
        before = runner.pool
        runner.submit(StopRequested(None, anyio.current_time()))
        assert runner.pool is before
