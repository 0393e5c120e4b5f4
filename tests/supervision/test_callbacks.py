"""The user's functions: heard before anything follows, bounded in time, unable to break supervision."""

from threading import Event as ThreadEvent
from typing import Any

import anyio

from chaperone_async.core import events as ev
from chaperone_async.core.spec import Callbacks, PoolSpec, StopPolicy
from chaperone_async.errors import StopPool
from chaperone_async.supervision.handle import Worker
from chaperone_async.supervision.hooks import Hooks, in_callback
from chaperone_async.system.ports import Usage
from tests.supervision.fakes import FakeWorld, Script, crashes_after, lives, plan, pool_of, supervising

ONE_CRASH = lives(crashes_after(5), Script())
FIRST = ev.WorkerRef("p", 0, 1)


def heard(workers: int = 1, **settings: Any) -> PoolSpec:
    return plan(workers=workers, callbacks=Callbacks(on_crash=True), **settings)


def asked(**settings: Any) -> PoolSpec:
    return plan(callbacks=Callbacks(on_unhealthy=True), **settings)


async def test_on_crash_is_heard_before_the_replacement() -> None:
    seen: list[tuple[str, object, object, float]] = []

    async def on_crash(worker: Worker) -> None:
        await anyio.sleep(2)
        seen.append((worker.status, worker.exit_reason, worker.exit_code, worker.uptime.total_seconds()))

    world = FakeWorld(ONE_CRASH)
    async with pool_of(world, heard(), Hooks(on_crash=on_crash)):
        await anyio.sleep(20)
        assert seen == [("crashed", "error", 1, 5)]
        assert world.times("spawn") == [0, 7]


async def test_stop_pool_raised_in_on_crash_is_a_veto_and_marks_the_pool_fatal() -> None:
    async def on_crash(worker: Worker) -> None:
        raise StopPool("the licence has expired")

    world = FakeWorld(lambda ref: crashes_after(5) if ref.slot == 0 else Script(obeys_term_after=1.5))
    async with pool_of(world, heard(workers=2), Hooks(on_crash=on_crash)) as runner:
        await runner.until(lambda pool: pool.state == "fatal")
        assert anyio.current_time() == 6.5
        await anyio.sleep(600)
        assert world.times("spawn") == [0, 0]
        assert runner.pool.fatal == "the licence has expired"
        assert runner.complaints.callback_failures == 0


async def test_what_a_function_says_can_be_told_in_json() -> None:
    async def on_crash(worker: Worker) -> None:
        if world.times("spawn") == [0]:
            raise RuntimeError("stale \udcff")
        raise StopPool(OSError("no \udcff"))

    world = FakeWorld(crashes_after(5))
    async with pool_of(world, heard(), Hooks(on_crash=on_crash)) as runner:
        runner.complaints.check_broken("python", "no \udcff")
        await runner.until(lambda pool: pool.state == "fatal")
        said = [runner.complaints.last_callback_failure, runner.pool.fatal, runner.complaints.broken_checks["python"]]
        assert said == ["on_crash: RuntimeError: stale \\udcff", "no \\udcff", "no \\udcff"]
        assert all(entry.news.detail.isascii() for entry in world.journal.entries())


async def test_a_hanging_async_callback_is_cut_off_and_supervision_goes_on() -> None:
    async def on_crash(worker: Worker) -> None:
        await anyio.sleep_forever()

    world = FakeWorld(ONE_CRASH)
    async with pool_of(world, heard(), Hooks(on_crash=on_crash)) as runner:
        await anyio.sleep(20)
        assert world.times("spawn") == [0, 15]
        assert runner.complaints.last_callback_failure == "on_crash: cut off: it did not return within 10 s"


async def test_a_hanging_sync_callback_is_cut_off_and_supervision_goes_on() -> None:
    released = ThreadEvent()
    world = FakeWorld(ONE_CRASH)
    async with pool_of(world, heard(), Hooks(on_crash=lambda _: released.wait())) as runner:
        await anyio.sleep(20)
        assert world.times("spawn") == [0, 15]
        assert runner.complaints.callback_failures == 1
    released.set()


async def test_a_callback_that_will_not_be_cut_off_delays_the_replacement_by_a_margin_only() -> None:
    async def on_crash(worker: Worker) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(100)

    world = FakeWorld(ONE_CRASH)
    async with pool_of(world, heard(), Hooks(on_crash=on_crash)):
        await anyio.sleep(20)
        assert world.times("spawn") == [0, 16]


async def test_a_raising_callback_is_told_with_its_traceback_counted_and_shown() -> None:
    async def on_crash(worker: Worker) -> None:
        raise ValueError("no such table")

    world = FakeWorld(ONE_CRASH)
    async with supervising(world, heard(), hooks=Hooks(on_crash=on_crash)) as supervisor:
        await anyio.sleep(20)
        assert world.times("spawn") == [0, 5]
        (failed,) = [entry.news for entry in world.journal.entries() if entry.news.kind == "callback.failed"]
        assert failed.detail.startswith("on_crash: Traceback")
        (view,) = supervisor.snapshot().pools
        assert view.callback_failures == 1
        assert view.last_callback_failure == "on_crash: ValueError: no such table"


async def test_a_callback_that_exits_the_program_does_not() -> None:
    async def on_crash(worker: Worker) -> None:
        raise SystemExit(1)

    world = FakeWorld(ONE_CRASH)
    async with pool_of(world, heard(), Hooks(on_crash=on_crash)) as runner:
        await anyio.sleep(20)
        assert world.times("spawn") == [0, 5]
        assert runner.complaints.last_callback_failure == "on_crash: SystemExit: 1"


async def test_on_unhealthy_decides_in_place_of_the_restart() -> None:
    calls: list[tuple[float, str]] = []

    async def on_unhealthy(worker: Worker) -> None:
        calls.append((anyio.current_time(), worker.status))

    world = FakeWorld()
    world.usage[FIRST] = Usage(state="T")
    async with pool_of(world, asked(), Hooks(on_unhealthy=on_unhealthy)) as runner:
        await anyio.sleep(6.5)
        assert calls == [(3, "unhealthy"), (6, "unhealthy")]
        assert world.log == [(0, "spawn", 0)]
        assert not runner.pool.ready


async def test_on_unhealthy_may_restart_the_worker() -> None:
    async def on_unhealthy(worker: Worker) -> None:
        await worker.restart()  # in a callback this does not wait

    world = FakeWorld(Script(obeys_term_after=20))
    world.usage[FIRST] = Usage(state="T")
    async with pool_of(world, asked(), Hooks(on_unhealthy=on_unhealthy)) as runner:
        await anyio.sleep(30)
        assert world.times("spawn") == [0, 23]
        assert runner.complaints.callback_failures == 0
        assert world.journal.crashes("p")[0].death.detail == "restarted by a callback"


async def test_a_restart_by_a_callback_undoes_no_stop() -> None:
    async def on_unhealthy(worker: Worker) -> None:
        runner.submit(ev.StopRequested(None, anyio.current_time()))
        worker.restart()

    world = FakeWorld(Script(obeys_term_after=1))
    world.usage[FIRST] = Usage(state="T")
    async with pool_of(world, asked(), Hooks(on_unhealthy=on_unhealthy)) as runner:
        await anyio.sleep(10)
        assert runner.pool.state == "stopped"


async def test_the_end_of_on_unhealthy_is_not_taken_for_the_end_of_on_crash() -> None:
    async def on_unhealthy(worker: Worker) -> None:
        await anyio.sleep(4)  # until second 7

    async def on_crash(worker: Worker) -> None:
        await anyio.sleep(9)  # from second 5 on

    world = FakeWorld(ONE_CRASH)
    world.usage[FIRST] = Usage(state="T")
    spec = plan(callbacks=Callbacks(on_crash=True, on_unhealthy=True))
    async with pool_of(world, spec, Hooks(on_crash=on_crash, on_unhealthy=on_unhealthy)):
        await anyio.sleep(20)
        assert world.times("spawn") == [0, 14]


async def test_a_shutdown_does_not_wait_for_a_callback() -> None:
    async def on_crash(worker: Worker) -> None:
        await anyio.sleep_forever()

    world = FakeWorld(crashes_after(5))
    async with supervising(world, heard(), hooks=Hooks(on_crash=on_crash)) as supervisor:
        await anyio.sleep(6)
        supervisor.shut_down(36)
        await supervisor.runner("p").until(lambda pool: pool.stopped)
        assert anyio.current_time() == 6


async def test_a_callback_sees_the_right_worker_even_if_its_slot_is_gone_when_it_begins() -> None:
    seen: list[str] = []

    async def on_unhealthy(worker: Worker) -> None:
        seen.append(f"{worker.pid} {worker.exit_reason}")

    async with pool_of(FakeWorld(), asked(), Hooks(on_unhealthy=on_unhealthy)) as runner:
        await anyio.sleep(2)
        failed = ev.CheckResult(FIRST, "process", passed=False)
        runner.submit(ev.HealthReported((failed, failed, failed), 2))
        runner.submit(ev.ScaleRequested(0, 2))
        runner.submit(ev.Exited(FIRST, 0, None, False, 2))
        await anyio.sleep(1)
        assert seen == ["1001 scaled_down"]
        assert not runner.pool.slots


async def test_a_kept_worker_remembers_its_own_end() -> None:
    kept: list[Worker] = []

    async def on_crash(worker: Worker) -> None:
        kept.append(worker)

    async with pool_of(FakeWorld(crashes_after(5)), heard(), Hooks(on_crash=on_crash)):
        await anyio.sleep(12)
        assert [worker.pid for worker in kept] == [1001, 1002]
        assert [worker.exit_code for worker in kept] == [1, 1]
        assert [worker.status for worker in kept] == ["crashed", "crashed"]


async def test_a_pool_added_by_a_callback_does_not_run_inside_the_callback() -> None:
    inside: list[bool] = []
    world = FakeWorld(lambda ref: crashes_after(5) if ref.pool == "p" else Script())
    async with supervising(world) as supervisor:

        async def on_crash(worker: Worker) -> None:
            supervisor.add(plan("q"), Hooks(), lambda *_: ())
            await anyio.sleep_forever()

        supervisor.add(heard(), Hooks(on_crash=on_crash))
        world.journal.listen(lambda entry: inside.append(in_callback.get()) if entry.pool == "q" else None)
        await anyio.sleep(8)
        assert world.ref(pool="q")
        assert set(inside) == {False}


async def test_outside_a_callback_an_order_awaited_waits_for_its_effect() -> None:
    world = FakeWorld(Script(obeys_term_after=4))
    async with pool_of(world, plan(stop=StopPolicy(timeout=10))) as runner:
        await anyio.sleep(2)
        worker = runner.worker(FIRST)
        await worker.restart()
        assert anyio.current_time() == 6
        assert worker.status == "stopped"
        assert worker.exit_reason == "restart"
        await anyio.sleep(2)
        other = runner.worker(world.ref())
        seen = []
        for order in (other.pause, other.resume, other.stop):
            await order()
            seen.append(other.status)
        assert seen == ["paused", "running", "stopped"]
        assert anyio.current_time() == 12
        await anyio.sleep(100)
        assert not world.alive
