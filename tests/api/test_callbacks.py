"""on_crash, on_unhealthy and health checks with real workers, in either colour of function."""

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from chaperone_async import StopPool, Worker, WorkerPoolRegistry, WorkerPoolSupervisor
from tests.api.world import CRASHES, STEADY, eventually, pids, pool_of, ready, supervised


def last_words(worker: Worker) -> tuple[Any, ...]:
    return (worker.slot, worker.status, worker.exit_reason, worker.exit_code, worker.exit_signal, worker.logs())


async def test_an_async_on_crash_gets_the_dead_worker() -> None:
    told: list[tuple[Any, ...]] = []
    uptimes: list[timedelta] = []

    async def on_crash(worker: Worker) -> None:
        told.append(last_words(worker))
        uptimes.append(worker.uptime)
        assert isinstance(worker.pid, int)

    pool = pool_of(CRASHES).on_crash(on_crash)
    async with supervised(pool):
        await eventually(lambda: told)
        assert told[0] == (0, "crashed", "error", 3, None, ["about to die"])
        assert timedelta(0) < uptimes[0] < timedelta(seconds=60)
        await eventually(lambda: pool.status()["restarts"] >= 1)
        assert pool.status()["callback_failures"] == 0


async def test_a_sync_on_crash_gets_the_dead_worker_in_a_thread() -> None:
    told: list[tuple[Any, ...]] = []
    threads: list[threading.Thread] = []
    uptimes: list[timedelta] = []

    def on_crash(worker: Worker) -> None:
        threads.append(threading.current_thread())
        uptimes.append(worker.uptime)
        told.append(last_words(worker))

    pool = pool_of(["sh", "-c", "echo bye; kill -SEGV $$"]).on_crash(on_crash)
    async with supervised(pool):
        await eventually(lambda: told)
        assert told[0] == (0, "crashed", "signal", None, signal.SIGSEGV, ["bye"])
        assert uptimes[0] > timedelta(0)
        assert threads[0] is not threading.main_thread()


def failures(pool: WorkerPoolSupervisor) -> int:
    """So many checks have failed in a row."""
    found = re.search(r"\((\d+) in a row\)", pool.status()["workers"][0]["problem"])
    return int(found[1]) if found else 0


async def test_on_unhealthy_replaces_the_restart() -> None:
    met = threading.Event()

    def on_unhealthy(worker: Worker) -> None:
        assert worker.status == "unhealthy"
        assert not worker.is_responsive()
        met.set()

    pool = pool_of(STEADY).on_unhealthy(on_unhealthy)
    async with supervised(pool):
        await eventually(ready(pool))
        (pid,) = pids(pool)
        os.kill(pid, signal.SIGSTOP)
        await eventually(met.is_set)
        await eventually(lambda: failures(pool) >= 6)
        assert pids(pool) == [pid]
        assert pool.status()["callback_failures"] == 0


async def test_a_sync_callback_restarts_the_worker_without_await() -> None:
    def on_unhealthy(worker: Worker) -> None:
        worker.restart()

    pool = pool_of(STEADY).on_unhealthy(on_unhealthy)
    async with supervised(pool):
        await eventually(ready(pool))
        (pid,) = pids(pool)
        os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: pids(pool) not in ([pid], []))
        assert pool.status()["callback_failures"] == 0


def veto(_: Worker) -> None:
    raise StopPool("no more of this")


async def async_veto(worker: Worker) -> None:
    veto(worker)


async def test_a_worker_may_be_asked_by_the_loop_itself_and_beside_a_loop_of_the_callback_s_own() -> None:
    told: list[tuple[timedelta, list[str]]] = []

    def ask(worker: Worker) -> None:
        told.append((worker.uptime, worker.logs()))
        worker.restart()

    async def on_unhealthy(worker: Worker) -> None:
        asyncio.get_running_loop().call_soon(ask, worker)

    async def within(worker: Worker) -> None:
        ask(worker)

    for callback in (on_unhealthy, lambda worker: asyncio.run(within(worker))):
        pool = pool_of(STEADY).on_unhealthy(callback)
        async with supervised(pool):
            await eventually(ready(pool))
            (pid,) = pids(pool)
            os.kill(pid, signal.SIGSTOP)
            await eventually(lambda: pids(pool) not in ([pid], []))  # noqa: B023  called at once
            assert pool.status()["callback_failures"] == 0
    assert len(told) == 2


VETOES: list[tuple[str, Callable[[WorkerPoolSupervisor], WorkerPoolSupervisor], list[str]]] = [
    ("on_crash", lambda pool: pool.on_crash(veto), CRASHES),
    ("async on_crash", lambda pool: pool.on_crash(async_veto), CRASHES),
    ("check", lambda pool: pool.with_health_check(veto), STEADY),
    ("async check", lambda pool: pool.with_health_check(async_veto), STEADY),
    ("on_unhealthy", lambda pool: pool.with_health_check(lambda _: False).on_unhealthy(veto), STEADY),
]


@pytest.mark.parametrize(("arm", "command"), [veto[1:] for veto in VETOES], ids=[veto[0] for veto in VETOES])
async def test_stop_pool_ends_supervision_and_marks_the_pool_fatal(
    arm: Callable[[WorkerPoolSupervisor], WorkerPoolSupervisor], command: list[str]
) -> None:
    pool = arm(pool_of(command, health={"start_grace": 0}))
    await asyncio.wait_for(pool.supervise(), 60)
    status = pool.status()
    assert (status["state"], status["reason"], status["running"], status["restarts"]) == (
        "fatal",
        "no more of this",
        0,
        0,
    )
    assert status["callback_failures"] == 0


async def test_stopping_the_pool_inside_on_crash_is_a_veto_too() -> None:
    crashes: list[str] = []
    pool = pool_of(CRASHES)

    @pool.on_crash
    async def on_crash(worker: Worker) -> None:
        crashes.append(worker.id)
        await pool.stop()

    await asyncio.wait_for(pool.supervise(), 60)
    assert len(crashes) == 1
    assert (pool.status()["state"], pool.status()["restarts"]) == ("fatal", 0)


async def test_a_check_is_inside_a_callback() -> None:
    pool = pool_of(STEADY)

    @pool.with_health_check
    async def check(worker: Worker) -> bool:
        await pool.stop()
        return True

    await asyncio.wait_for(pool.supervise(), 60)
    assert (pool.status()["state"], pool.status()["reason"]) == ("fatal", "stopped inside a callback")


async def test_a_sync_callback_may_hand_back_what_is_to_be_awaited() -> None:
    pool = pool_of(CRASHES)
    pool.on_crash(lambda _: pool.stop())
    await asyncio.wait_for(pool.supervise(), 60)
    assert (pool.status()["state"], pool.status()["restarts"]) == ("fatal", 0)


async def test_a_callback_that_raises_is_counted_and_shown_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def on_crash(worker: Worker) -> None:
        raise KeyError("mail")

    pool = pool_of(CRASHES).on_crash(on_crash)
    async with supervised(pool):
        await eventually(lambda: pool.status()["restarts"] >= 1)
        status = pool.status()
    assert status["callback_failures"] >= 1
    assert status["last_callback_failure"] == "on_crash: KeyError: 'mail'"
    assert 'raise KeyError("mail")' in caplog.text


async def test_a_callback_that_raises_a_cancellation_of_its_own_does_no_harm() -> None:
    async def on_crash(worker: Worker) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    pool = pool_of(CRASHES).on_crash(on_crash)
    async with supervised(pool):
        await eventually(lambda: pool.status()["restarts"] >= 1)
        assert "CancelledError" in pool.status()["last_callback_failure"]


async def test_a_check_that_raises_a_cancellation_of_its_own_does_not_end_the_checks() -> None:
    calls: list[str] = []

    async def check(worker: Worker) -> bool:
        calls.append(worker.id)
        if len(calls) == 1:
            task = asyncio.create_task(asyncio.sleep(60))
            task.cancel()
            await task
        return True

    pool = pool_of(STEADY).with_health_check(check)
    async with supervised(pool):
        await eventually(ready(pool))
        assert len(calls) > 1
        assert "CancelledError" in pool.status()["last_callback_failure"]


async def test_a_hanging_callback_is_cut_off() -> None:
    async def on_crash(worker: Worker) -> None:
        await asyncio.sleep(600)

    pool = pool_of(CRASHES, callback_timeout=0.2).on_crash(on_crash)
    async with supervised(pool):
        await eventually(lambda: pool.status()["restarts"] >= 1)
        assert pool.status()["last_callback_failure"].endswith("cut off: it did not return within 0.2 s")


async def test_a_sync_callback_of_one_pool_never_delays_another_pool() -> None:
    released, entered = threading.Event(), threading.Event()

    def block(worker: Worker) -> None:
        entered.set()
        released.wait(100)

    registry = WorkerPoolRegistry()
    blocked = pool_of(CRASHES, name="blocked", callback_timeout=120).on_crash(block)
    free = pool_of(STEADY, name="free")
    registry.register("blocked", blocked)
    registry.register("free", free)
    try:
        async with supervised(registry):
            await eventually(entered.is_set)
            await eventually(ready(free))
            asked = time.monotonic()
            (pid,) = pids(free)
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: pids(free) not in ([pid], []))
            assert time.monotonic() - asked < 60
            assert blocked.status()["restarts"] == 0
    finally:
        released.set()
