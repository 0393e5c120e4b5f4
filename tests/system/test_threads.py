"""Threads that may be abandoned."""

import asyncio
import gc
import threading
import time
import weakref
from contextvars import ContextVar

import anyio
import pytest

from chaperone_async.system import threads
from chaperone_async.system.threads import DaemonThreads, NoThreadError
from tests.system.world import no_thread_to_be_had

NAME: ContextVar[str] = ContextVar("NAME")


async def test_a_call_returns_what_the_function_does_in_the_caller_s_context() -> None:
    NAME.set("the caller's")
    assert await DaemonThreads(1, "t").run(lambda number: (number, NAME.get()), 3) == (3, "the caller's")


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x"), SystemExit(3), KeyboardInterrupt("x")])
async def test_an_exception_arrives_as_the_very_one_that_was_raised(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await DaemonThreads(1, "t").run(fail)
    assert raised.value is error


async def test_a_thread_is_used_again() -> None:
    pool = DaemonThreads(8, "t")
    seen = set()
    for _ in range(50):
        seen.add(await pool.run(threading.get_ident))
        while pool._idle < len(pool):  # it answers a moment before it is idle
            await asyncio.sleep(0)
    assert len(seen) == len(pool) == 1


async def test_more_calls_than_threads_wait_their_turn() -> None:
    pool = DaemonThreads(3, "t")
    done: list[int] = []

    async def call(number: int) -> None:
        await pool.run(time.sleep, 0.001)
        done.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(call, number)
    assert sorted(done) == list(range(100))
    assert len(pool) == 3


async def test_a_call_given_up_before_it_began_never_begins_and_its_thread_is_free_only_after_the_running_one() -> None:
    pool, running, release = DaemonThreads(1, "t"), threading.Event(), threading.Event()
    begun: list[str] = []

    def run() -> None:
        running.set()
        release.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run, run)
        while not running.is_set():
            await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    with anyio.move_on_after(0.05):
        await pool.run(begun.append, "too late")
    release.set()
    assert await pool.run(lambda: "free") == "free"
    assert begun == []
    assert len(pool) == 1


async def test_a_call_given_up_while_all_threads_hang_leaves_nothing_behind() -> None:
    pool, running, release = DaemonThreads(1, "t"), threading.Event(), threading.Event()

    def hang() -> None:
        running.set()
        release.wait()

    class Held:
        """Something of the user's."""

    async def give_up() -> "weakref.ref[Held]":
        held = Held()
        with anyio.move_on_after(0.01):
            await pool.run(id, held)
        return weakref.ref(held)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run, hang)
        while not running.is_set():
            await anyio.sleep(0.001)
        left = await asyncio.create_task(give_up())
        gc.collect()
        assert left() is None
        release.set()


async def test_an_idle_thread_ends_and_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_KEPT_IDLE", 0.01)
    pool = DaemonThreads(2, "t")
    for _ in range(3):
        assert await pool.run(lambda: 1) == 1
        with anyio.fail_after(60):
            while len(pool):
                await anyio.sleep(0.005)


async def test_a_call_for_which_there_is_no_thread_is_refused_or_waits_for_one_there_is() -> None:
    pool, running, release = DaemonThreads(2, "t"), threading.Event(), threading.Event()
    with no_thread_to_be_had(), pytest.raises(NoThreadError):
        await pool.run(int)
    assert len(pool) == 0

    def run() -> None:
        running.set()
        release.wait()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.run, run)
            while not running.is_set():
                await anyio.sleep(0.001)
            with no_thread_to_be_had():
                tasks.start_soon(pool.run, int)
                await anyio.wait_all_tasks_blocked()
            release.set()
    assert len(pool) == 1
