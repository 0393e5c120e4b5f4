"""Resource limits hold from a worker's first instruction on, and setting them changes nothing else about its start."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run as run_program

import anyio
import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import Launch, PoolSpec
from chaperone_async.system.child import OsProcesses
from chaperone_async.system.ports import ExitStatus, SpawnError
from tests.system.world import REF, Written, without_libc

LIMITS = (("nofile", 99), ("core", 0))


async def run(*command: str, launch: Launch) -> list[str]:
    async with OsProcesses(Written()) as processes:
        child = await processes.spawn(REF, "pool-1a2b3c", PoolSpec(name="pool", command=command, launch=launch))
        assert await child.wait() == ExitStatus(code=0), processes.output(REF, 1000)
        return list(processes.output(REF, 1000))


async def error_of(command: tuple[str, ...], launch: Launch) -> str:
    written = Written()
    async with OsProcesses(written) as processes:
        await anyio.wait_all_tasks_blocked()  # the background tasks have opened theirs
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(SpawnError) as caught:
            await processes.spawn(REF, "pool-1a2b3c", PoolSpec(name="pool", command=command, launch=launch))
        assert len(os.listdir("/proc/self/fd")) == before
        assert not written.readers
    return str(caught.value)


@contextmanager
def soft_limit(files: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_first_instruction_sees_the_limits(tmp_path: Path) -> None:
    launch = Launch(rlimits=LIMITS, nice=5, umask=0o027, directory=str(tmp_path))
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; nice; umask; pwd"
    assert await run("sh", "-c", script, launch=launch) == ["99", "99", "0", "5", "0027", str(tmp_path)]


async def test_the_worker_is_the_process_that_was_started_and_leads_its_session() -> None:
    async with OsProcesses(Written()) as processes:
        command = ("sh", "-c", "echo $$; cut -d' ' -f6 /proc/$$/stat")
        spec = PoolSpec(name="pool", command=command, launch=Launch(rlimits=LIMITS))
        child = await processes.spawn(REF, "pool-1a2b3c", spec)
        await child.wait()
        assert [int(line) for line in processes.output(REF, 9)] == [child.pid, child.pid]


async def test_dispositions_mask_and_descriptors_are_as_without_limits() -> None:
    status = await run("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status", launch=Launch(rlimits=LIMITS))
    assert [without_libc(line.split()[1]) for line in status] == [0, 0]
    listed = await run("ls", "-l", "/proc/self/fd", launch=Launch(rlimits=LIMITS))
    assert len([line for line in listed if " -> " in line]) == 4  # the fourth is the directory it lists


async def test_the_environment_is_the_workers_however_large() -> None:
    env = (*((f"LARGE{number}", "x" * 100_000) for number in range(4)), ("PYTHONHOME", "/nowhere"))
    launch = Launch(rlimits=LIMITS, env=env)
    script = "echo ${#LARGE0} ${#LARGE3} $PYTHONHOME $CHAPERONE_POOL"
    assert await run("sh", "-c", script, launch=launch) == ["100000 100000 /nowhere pool"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may switch users")
async def test_a_worker_of_another_user_gets_what_only_the_supervisors_may_set() -> None:
    nice = -3 if may_raise_priorities() else 3
    launch = Launch(rlimits=LIMITS, user="nobody", group="daemon", nice=nice)
    assert await run("sh", "-c", "ulimit -Hn; id -u; id -g; nice", launch=launch) == ["99", "65534", "1", str(nice)]


def may_raise_priorities() -> bool:
    """In a container root often may not: CAP_SYS_NICE is capability 23."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> 23 & 1)


def programs(folder: Path) -> Iterator[str]:
    for name, text, mode in (("plain", "#!/bin/sh\n", 0o644), ("text", "hello\n", 0o755), ("lost", "#!/none\n", 0o755)):
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
        yield str(folder / name)


async def test_the_cause_of_a_failure_is_told_in_the_same_words(tmp_path: Path) -> None:
    commands = [(program,) for program in programs(tmp_path)]
    assert "null" in await error_of(("a\0b",), Launch(rlimits=LIMITS))
    for command in [*commands, ("phpp",), (f"{tmp_path}/absent",), (f"{tmp_path}/",), ("",)]:
        assert await error_of(command, Launch(rlimits=LIMITS)) == await error_of(command, Launch())
    for launch in ({"directory": f"{tmp_path}/x"}, {"env": (("A=B", "c"),)}, {"user": "nosuch"}):
        assert await error_of(("true",), Launch(rlimits=LIMITS, **launch)) == await error_of(
            ("true",), Launch(**launch)
        )


def everybody_may_run(program: str) -> bool:
    path = Path(program).resolve()
    return all(place.stat().st_mode & 0o001 for place in (path, *path.parents, *Path(program).absolute().parents))


@pytest.mark.skipif(os.geteuid() == 0 and not everybody_may_run(sys.executable), reason="this Python is root's alone")
async def test_what_an_unprivileged_supervisor_may_not_do() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = os.geteuid()
    os.seteuid(before or 65534)
    try:
        for launch in (Launch(user="daemon", rlimits=LIMITS), Launch(group="daemon", rlimits=LIMITS)):
            assert "not permitted to switch" in await error_of(("true",), launch)
        assert "cannot set nice -5: not permitted" in await error_of(("true",), Launch(nice=-5, rlimits=LIMITS))
        more = Launch(rlimits=(("core", 0), ("nofile", hard + 1)))
        assert f"cannot set rlimit 'nofile' to {hard + 1}: not allowed to raise" in await error_of(("true",), more)
    finally:
        os.seteuid(before)


async def test_cancelled_in_the_middle_a_start_leaves_nothing() -> None:
    async with OsProcesses(Written()) as processes:
        spec = PoolSpec(name="pool", command=("sleep", "1000"), launch=Launch(rlimits=LIMITS))
        for turns in range(6):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(processes.spawn, WorkerRef("pool", 0, turns), "pool-1a2b3c", spec)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()


async def test_a_limit_of_open_files_too_low_for_the_workers_is_raised() -> None:
    with soft_limit(64):
        async with OsProcesses(Written()) as processes:
            spec = PoolSpec(name="pool", command=("sleep", "1000"))
            for slot in range(40):
                await processes.spawn(WorkerRef("pool", slot, 1), f"pool-{slot}", spec)
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 128


async def test_a_limit_of_open_files_that_suffices_is_left_to_the_workers_as_it_is() -> None:
    with soft_limit(2048):
        assert await run("sh", "-c", "ulimit -Sn", launch=Launch()) == ["2048"]


STARVED = """
import os, resource, anyio
from contextlib import suppress
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.child import OsProcesses
from chaperone_async.system.ports import SpawnError
from tests.system.world import REF, Written

async def main():
    async with OsProcesses(Written()) as processes:
        await anyio.wait_all_tasks_blocked()
        opened = len(os.listdir("/proc/self/fd"))
        few = max(map(int, os.listdir("/proc/self/fd"))) + 9
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
        spare = []
        with suppress(OSError):
            while True:
                spare.append(os.dup(0))
        while spare:  # none left for the pipe, and then for what the start itself needs
            try:
                child = await processes.spawn(REF, "pool-1a2b3c", PoolSpec(name="pool", command=("true",)))
            except SpawnError as error:
                assert "oo many open files" in str(error), error
            else:
                await child.wait()
            os.close(spare.pop())
        await anyio.wait_all_tasks_blocked()
        assert len(os.listdir("/proc/self/fd")) == opened

anyio.run(main)
"""


def test_at_the_hard_limit_a_start_fails_and_says_why() -> None:
    ended = run_program(
        [sys.executable, "-c", STARVED], check=False, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
