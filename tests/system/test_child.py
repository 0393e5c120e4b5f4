"""Workers as real processes: what they get, what is told of their end, and that nothing of them stays."""

import asyncio
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import HealthPolicy, Launch, PoolSpec
from chaperone_async.system.child import OsProcesses
from chaperone_async.system.launch import set_nice
from chaperone_async.system.ports import ExitStatus, Processes
from tests.system.world import REF, Written, alive, pid_in, until, without_libc


def shell(script: str, **fields: Any) -> PoolSpec:
    return PoolSpec(name="pool", command=("sh", "-c", script), **fields)


async def test_it_is_the_port() -> None:
    port: Processes = OsProcesses(Written())
    assert port


async def run(spec: PoolSpec) -> tuple[ExitStatus, list[str]]:
    async with OsProcesses(Written()) as processes:
        child = await processes.spawn(REF, "pool-1a2b3c", spec)
        return await child.wait(), list(processes.output(REF, 1000))


async def test_the_words_of_a_command_expand() -> None:
    spec = PoolSpec(name="pool", queues=("a", "b"), command=("echo", "{queue}", "{slot}", "--id={worker_id}", "{x}"))
    assert await run(spec) == (ExitStatus(code=0), ["a,b 0 --id=pool-1a2b3c {x}"])


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 7", ExitStatus(code=7)),
        ("kill -9 $$", ExitStatus(signal=9)),
        ("kill -TERM $$", ExitStatus(signal=15)),
    ],
)
async def test_the_exit_is_told_exactly(script: str, status: ExitStatus) -> None:
    assert (await run(shell(script)))[0] == status


async def test_the_environment_is_ours_then_the_files_then_the_pools_then_what_every_worker_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "CHAPERONE_TOKEN", "INHERITED"):
        monkeypatch.setenv(name, "outer")
    file = tmp_path / ".env"
    file.write_text("A=file\nB=file\n")
    spec = shell(
        "env",
        queues=("q",),
        launch=Launch(env=(("B", "pool"), ("CHAPERONE_POOL", "x")), env_file=str(file)),
        health=HealthPolicy(heartbeat=1.5),
    )
    _, lines = await run(spec)
    found = dict(line.split("=", 1) for line in lines)
    assert found["INHERITED"] == "outer"
    assert (found["A"], found["B"], found["CHAPERONE_POOL"]) == ("file", "pool", "pool")
    assert (found["CHAPERONE_QUEUE"], found["CHAPERONE_SLOT"]) == ("q", "0")
    assert (found["CHAPERONE_WORKER_ID"], found["WATCHDOG_USEC"]) == ("pool-1a2b3c", "1500000")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_PID", "CHAPERONE_TOKEN"} & set(found)


async def test_directory_umask_and_nice_are_applied(tmp_path: Path) -> None:
    launch = Launch(directory=str(tmp_path), umask=0o027, nice=5)
    barrier = tmp_path / "go"  # nice is set from outside, right after the start
    os.mkfifo(barrier)
    async with OsProcesses(Written()) as processes:
        spec = shell("read _ < go; pwd; umask; nice", launch=launch)
        child = await processes.spawn(REF, "pool-1a2b3c", spec)
        await anyio.to_thread.run_sync(barrier.write_text, "go\n")
        assert await child.wait() == ExitStatus(code=0)
        assert processes.output(REF, 9) == [str(tmp_path), "0027", "5"]


async def test_nice_is_for_a_child_that_has_not_ended_already() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    before = os.getpriority(os.PRIO_PROCESS, 0)
    for not_ours in (ended.pid, os.getpid()):
        set_nice(not_ours, Launch(nice=before + 1))
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may switch users")
async def test_a_worker_runs_as_the_user_and_in_the_group_it_is_given() -> None:
    spec = shell("id -u; id -g; id -G; echo $USER $HOME", launch=Launch(user="nobody", group="daemon"))
    _, lines = await run(spec)
    assert lines[:2] == ["65534", "1"]
    assert set(lines[2].split()) <= {"1", "65534"}
    assert lines[3].startswith("nobody /")


async def test_a_worker_has_default_dispositions_and_an_empty_mask_whatever_we_inherited() -> None:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGQUIT, signal.SIGUSR2)}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        _, lines = await run(PoolSpec(name="pool", command=("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")))
        assert [without_libc(line.split()[1]) for line in lines] == [0, 0]
        assert signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        for number, handler in before.items():
            signal.signal(number, handler)


async def test_a_worker_inherits_no_descriptor_but_the_three() -> None:
    _, lines = await run(PoolSpec(name="pool", command=("ls", "-l", "/proc/self/fd")))
    targets = [line.split(" -> ")[1] for line in lines if " -> " in line]
    assert targets[0] == "/dev/null"
    assert targets[1] == targets[2]
    assert len(targets) == 4  # and the directory it lists


async def test_no_thread_waits_for_a_child() -> None:
    async with OsProcesses(Written()) as processes:
        before = set(threading.enumerate())
        for slot in range(5):
            await processes.spawn(WorkerRef("pool", slot, 1), f"pool-{slot}", shell("sleep 1000"))
        assert not set(threading.enumerate()) - before


async def test_signals_reach_the_worker_alone_or_its_group_or_its_session(tmp_path: Path) -> None:
    """A worker with a child in its group and one in a group of its own; each says which signal it got."""
    script = """
import os, signal, sys, time
def tell(name):
    def told(number, frame):
        with open(name, "a") as file: file.write(signal.Signals(number).name + "\\n")
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP): signal.signal(number, told)
    open(name, "a").close()
if os.fork() == 0: tell("grouped")
elif os.fork() == 0: os.setpgid(0, 0); tell("apart")
else: tell("main")
while True: time.sleep(0.01)  # short: a signal just before a long one would wait for its end
"""
    spec = PoolSpec(name="pool", command=("python3", "-c", script), launch=Launch(directory=str(tmp_path)))

    def heard(name: str) -> list[str]:
        return (tmp_path / name).read_text().split()

    async with OsProcesses(Written()) as processes:
        await processes.spawn(REF, "pool-1a2b3c", spec)
        await until(lambda: len(list(tmp_path.iterdir())) == 3)
        processes.signal(REF, "SIGUSR1", "worker")
        await until(lambda: heard("main") == ["SIGUSR1"])
        processes.signal(REF, "SIGUSR2", "group")
        await until(lambda: heard("main") == ["SIGUSR1", "SIGUSR2"] and heard("grouped") == ["SIGUSR2"])
        processes.signal(REF, "SIGHUP", "session")
        await until(lambda: heard("apart") == ["SIGHUP"] and heard("grouped") == ["SIGUSR2", "SIGHUP"])


async def test_nothing_is_signalled_once_a_life_is_over() -> None:
    async with OsProcesses(Written()) as processes:
        child = await processes.spawn(REF, "pool-1a2b3c", shell("exit 0"))
        await child.wait()
        processes.signal(REF, "SIGTERM", "group")
        processes.kill(REF)
        await child.aclose()
        assert await child.wait() == ExitStatus(code=0)


async def test_nobody_is_signalled_between_the_reaping_and_its_being_known() -> None:
    async with OsProcesses(Written()) as processes:
        child = await processes.spawn(REF, "pool-1a2b3c", shell("exit 3"))
        await until(lambda: not alive(child.pid))
        for target in ("worker", "group", "session"):
            processes.signal(REF, "SIGTERM", target)
        processes.kill(REF)
        assert await child.wait() == ExitStatus(code=3)


async def test_closing_a_child_kills_and_reaps_it_even_when_cancelled(tmp_path: Path) -> None:
    async with OsProcesses(Written()) as processes:
        child = await processes.spawn(REF, "pool-1a2b3c", shell(f"trap '' TERM; echo $$ > {tmp_path}/pid; sleep 1000"))
        await pid_in(tmp_path / "pid")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await child.aclose()
        assert not Path(f"/proc/{child.pid}").exists()
        assert await child.wait() == ExitStatus(signal=9)
        await child.aclose()


async def test_a_cancelled_wait_loses_nothing() -> None:
    async with OsProcesses(Written()) as processes:
        child = await processes.spawn(REF, "pool-1a2b3c", shell("sleep 1000"))
        with anyio.move_on_after(0.01):
            await child.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.wait)
            tasks.start_soon(child.wait)
            processes.signal(REF, "SIGTERM", "worker")
        assert await child.wait() == ExitStatus(signal=15)


async def test_leaving_the_block_kills_whoever_still_runs() -> None:
    async with OsProcesses(Written()) as processes:
        children = [
            await processes.spawn(WorkerRef("pool", slot, 1), f"pool-{slot}", shell("sleep 1000")) for slot in range(10)
        ]
    assert not any(Path(f"/proc/{child.pid}").exists() for child in children)


async def test_a_hundred_deaths_at_once_cost_linear_work() -> None:
    async with OsProcesses(Written()) as processes:
        children = [
            await processes.spawn(WorkerRef("pool", slot, 1), f"pool-{slot}", shell("exec sleep 1000"))
            for slot in range(100)
        ]
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        statuses = await asyncio.gather(*(child.wait() for child in children))
        assert set(statuses) == {ExitStatus(signal=9)}


async def test_the_users_own_subprocess_keeps_its_status() -> None:
    async with OsProcesses(Written()) as processes:
        own = await asyncio.create_subprocess_exec("sh", "-c", "exit 42")
        blocking = subprocess.Popen(["sh", "-c", "exit 43"])
        child = await processes.spawn(REF, "pool-1a2b3c", shell("exit 44"))
        assert await child.wait() == ExitStatus(code=44)
        assert await own.wait() == 42
        assert blocking.wait() == 43
