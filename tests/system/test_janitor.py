"""However the supervisor dies, no worker outlives it."""

import asyncio
import os
import signal
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from chaperone_async.core.spec import PoolSpec
from chaperone_async.system import janitor as janitor_program
from chaperone_async.system.child import OsProcesses
from chaperone_async.system.janitor import read_table
from tests.system.world import REF, Written, alive, carriers, until

LIMIT = 60.0
SUPERVISOR = """
import asyncio, os, signal, sys
from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.child import OsProcesses
from tests.system.world import Written

COUNT, COMMAND = int(sys.argv[1]), tuple(sys.argv[2:])

async def main():
    written = Written()
    async with OsProcesses(written) as processes:
        async def one(slot):
            await processes.spawn(WorkerRef("pool", slot, 1), f"pool-{slot}", PoolSpec(name="pool", command=COMMAND))
        slot = 0
        if COUNT:
            await asyncio.gather(*(one(slot) for slot in range(COUNT)))
        print(processes._janitor.pid, flush=True)
        while not COUNT:  # spawn for ever
            await one(slot := slot + 1)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@asynccontextmanager
async def supervisor(count: int, *command: str) -> AsyncIterator[tuple[Process, int, str]]:
    """One in a process of its own, with the janitor's pid and a mark that all workers carry in their environment."""
    mark = f"TEST_MARK={uuid.uuid4().hex}"
    name, value = mark.split("=")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, str(count), *command, stdin=PIPE, stdout=PIPE, env={**os.environ, name: value}
    )
    assert process.stdout is not None
    janitor = int(await process.stdout.readline())
    try:
        yield process, janitor, mark
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await until(lambda: not carriers(mark) and not alive(janitor), LIMIT)


async def killed_leaves_nothing(process: Process, mark: str) -> None:
    """How long that takes is a matter of the benchmarks: on a busy machine a second is not much."""
    process.kill()
    await process.wait()
    await until(lambda: not carriers(mark), LIMIT)


async def test_two_hundred_workers_and_what_left_their_sessions_die_with_a_killed_supervisor() -> None:
    async with supervisor(200, "sh", "-c", "setsid sleep 1000 & exec sleep 1000") as (process, _, mark):
        await until(lambda: len(carriers(mark)) == 401)
        await killed_leaves_nothing(process, mark)


async def test_a_detached_orphan_that_has_no_parent_of_ours_any_more_dies_too() -> None:
    async with supervisor(1, "sh", "-c", "setsid -f setsid -f sleep 1000; exec sleep 1000") as (process, _, mark):
        await until(lambda: len(carriers(mark)) == 3)
        await killed_leaves_nothing(process, mark)


async def test_workers_that_ignore_every_signal_die_too() -> None:
    async with supervisor(3, "sh", "-c", "trap '' HUP INT TERM; sleep 1000; sleep 1000") as (process, _, mark):
        await killed_leaves_nothing(process, mark)


@pytest.mark.parametrize("attempt", range(5))
async def test_a_supervisor_killed_in_the_middle_of_a_spawn_leaves_nothing(attempt: int) -> None:
    async with supervisor(0, "sleep", "1000") as (process, _, mark):
        await until(lambda: len(carriers(mark)) > 5 + 3 * attempt)
        await killed_leaves_nothing(process, mark)


async def test_a_janitor_that_dies_is_replaced_and_the_next_knows_all_workers() -> None:
    async with supervisor(5, "env", "-i", "sleep", "1000") as (process, janitor, mark):

        def others() -> list[int]:
            return [pid for pid, stat in read_table().items() if stat[0] == process.pid and pid != janitor]

        workers = others()
        os.kill(janitor, signal.SIGKILL)
        await until(lambda: len(others()) == 6)
        await killed_leaves_nothing(process, mark)  # they carry no mark: only the register tells
        await until(lambda: not any(map(alive, workers)), LIMIT)


async def test_the_janitor_hears_no_signal_but_kill() -> None:
    async with supervisor(1, "sleep", "1000") as (process, janitor, mark):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
            os.kill(janitor, number)
        await killed_leaves_nothing(process, mark)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_what_is_forked_from_the_supervisor_does_not_hold_the_janitors_pipe() -> None:
    async with OsProcesses(Written()) as processes:
        forked = os.fork()
        if not forked:
            os._exit(os.path.exists(f"/proc/self/fd/{processes._janitor._pipe}"))
        assert os.waitpid(forked, 0)[1] == 0


async def test_a_clean_end_leaves_no_janitor() -> None:
    async with supervisor(3, "sleep", "1000") as (process, janitor, mark):
        await process.communicate(b"")
        assert process.returncode == 0
        assert not Path(f"/proc/{janitor}").exists()
        assert not carriers(mark)


async def test_a_stopped_janitor_is_replaced_before_its_pipe_is_full() -> None:
    async with OsProcesses(Written()) as processes:
        janitor = processes._janitor.pid
        assert janitor is not None
        os.kill(janitor, signal.SIGSTOP)
        for session in range(100_000, 130_000):
            processes._janitor.add(session)
        for session in range(100_000, 130_000):
            processes._janitor.discard(session)
        await until(lambda: processes._janitor.pid not in {janitor, None})
        child = await processes.spawn(REF, "pool-1", PoolSpec(name="pool", command=("true",)))
        assert (await child.wait()).code == 0


@pytest.mark.parametrize(
    ("alive_for", "rounds"), [(10, 10 + janitor_program.QUIET_ROUNDS), (1000, janitor_program.LEAST_ROUNDS)]
)
def test_a_janitor_that_was_suspended_looks_again_before_it_gives_up(
    alive_for: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaping = count(step=100)
    monkeypatch.setattr(janitor_program, "time", SimpleNamespace(monotonic=lambda: next(leaping), sleep=lambda _: None))
    made: list[int] = []

    def kill_round(_sessions: set[int], _mark: bytes) -> bool:
        made.append(len(made))
        return len(made) <= alive_for

    monkeypatch.setattr(janitor_program, "kill_round", kill_round)
    janitor_program.kill_all(set(), b"")
    assert len(made) == rounds
