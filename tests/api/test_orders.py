"""stop, scale, pause, resume, restart; supervise() itself: its end, its cancellation, its good manners."""

import asyncio
import os
import signal
import time
from pathlib import Path

import anyio
import pytest

from chaperone_async import ChaperoneError, ConfigError, WorkerPoolSupervisor
from chaperone_async.core.events import PauseRequested
from tests.api.world import STEADY, STUBBORN, eventually, has_children, pids, pool_of, ready, supervised
from tests.e2e.service import hears


def deaf(pool: WorkerPoolSupervisor) -> bool:
    """All have come so far as to ignore SIGTERM."""
    return all(hears(pid, signal.SIGTERM) for pid in pids(pool))


def letter(pid: int) -> str:
    """The state of a process: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_supervise_returns_when_the_pool_is_stopped() -> None:
    pool = pool_of(STEADY, workers=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.supervise)
        await eventually(ready(pool, 2))
        await pool.stop()
        assert pids(pool) == []


async def test_cancelling_supervise_leaves_no_process() -> None:
    pool = pool_of(STUBBORN, workers=3)
    async with supervised(pool):
        await eventually(ready(pool, 3))
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert not has_children()


async def test_supervise_may_be_cancelled_as_a_task_of_asyncio() -> None:
    pool = pool_of(STUBBORN)
    task = asyncio.create_task(pool.supervise())
    await eventually(ready(pool))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not has_children()


async def test_supervise_touches_no_signal_handler() -> None:
    def dispositions() -> dict[int, object]:
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    inherited = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # workers must not inherit that
    try:
        before = dispositions()
        pool = pool_of(STEADY)
        async with supervised(pool):
            await eventually(ready(pool))
            during = dispositions()
        assert [number for number in before if during[number] != before[number]] in ([], [signal.SIGUSR1])
        assert dispositions() == before
    finally:
        signal.signal(signal.SIGUSR1, inherited)


async def test_a_pool_cannot_be_supervised_twice_at_once() -> None:
    pool = pool_of(STEADY)
    async with supervised(pool):
        await eventually(ready(pool))
        before = pids(pool)
        with pytest.raises(ChaperoneError, match="cannot supervise pool 'emails': it is supervised already; stop it"):
            await pool.supervise()
        assert pids(pool) == before


async def test_a_pool_can_be_supervised_again_after_the_end() -> None:
    pool = pool_of(STEADY)
    for _ in range(2):
        async with supervised(pool):
            await eventually(ready(pool))
            await pool.stop()
        assert pool.status()["state"] == "stopped"


async def test_scale_returns_when_so_many_are_ready() -> None:
    pool = pool_of(STEADY, workers=1)
    async with supervised(pool):
        await eventually(ready(pool))
        await pool.scale(4)
        assert len(pids(pool)) == 4
        await pool.scale(2)
        assert [row["slot"] for row in pool.status()["workers"]] == [0, 1]
        await pool.scale(0)
        assert pids(pool) == []


async def test_scale_before_supervise_sets_the_configured_number() -> None:
    pool = pool_of(STEADY)
    await pool.scale(3)
    assert pool.status()["worker_count"] == 3
    async with supervised(pool):
        await eventually(ready(pool, 3))


async def test_scale_refuses_what_cannot_be() -> None:
    pool = WorkerPoolSupervisor("emails").workers(min=1, max=10).command(STEADY)
    with pytest.raises(ChaperoneError, match="cannot scale 'emails' to 11: its max is 10"):
        await pool.scale(11)
    with pytest.raises(ChaperoneError, match="cannot scale 'emails' to -1: the least is 0"):
        await pool.scale(-1)


BACKLOG = {"autoscale": {"target": 5}, "backlog": {"source": {"command": ["backlog"]}}}


@pytest.mark.parametrize(
    "pool",
    [
        WorkerPoolSupervisor("emails").command(STEADY).configure(**BACKLOG).workers(min=1, max=10),
        WorkerPoolSupervisor("emails").command(STEADY).configure(workers={"min": 1, "max": 10}, **BACKLOG),
    ],
)
async def test_a_pool_that_scales_itself_has_bounds_however_they_are_written(pool: WorkerPoolSupervisor) -> None:
    policy = pool.spec.autoscale
    assert policy is not None
    assert (policy.min, policy.max, pool.spec.max_workers) == (1, 10, 10)
    with pytest.raises(ChaperoneError, match="cannot scale 'emails' to 11: its max is 10"):
        await pool.scale(11)
    await pool.scale(3)
    assert (pool.spec.workers, pool.spec.max_workers) == (3, 10)


def test_a_contradiction_is_refused() -> None:
    with pytest.raises(ChaperoneError, match="cannot set the number of workers: min 3 is over max 2"):
        WorkerPoolSupervisor("emails").workers(min=3, max=2)
    with pytest.raises(ChaperoneError, match="none was given"):
        WorkerPoolSupervisor("emails").workers()
    with pytest.raises(ConfigError, match="worker_s"):
        _ = WorkerPoolSupervisor("emails").command("w").configure(worker_s=3).spec


async def test_pause_freezes_plain_commands_and_resume_undoes_it() -> None:
    pool = pool_of(STEADY, workers=2)
    async with supervised(pool):
        await eventually(ready(pool, 2))
        before = pids(pool)
        await pool.pause()
        await eventually(lambda: all(letter(pid) == "T" for pid in before))
        assert pool.status()["state"] == "paused"
        await pool.resume()
        await eventually(lambda: all(letter(pid) == "S" for pid in before))
        assert pids(pool) == before
        await eventually(lambda: pool.status()["state"] == "running")


async def test_resume_does_not_wait_for_what_is_stopped_by_hand() -> None:
    pool = pool_of(STUBBORN, stop={"timeout": "30s"})
    async with supervised(pool), anyio.create_task_group() as tasks:
        await eventually(ready(pool))
        await eventually(lambda: deaf(pool))
        (pid,) = pids(pool)
        tasks.start_soon(pool.stop)
        await eventually(lambda: pool.status()["state"] == "stopping")
        await asyncio.wait_for(pool.resume(), 60)
        assert pool.status()["state"] == "stopping"
        os.kill(pid, signal.SIGKILL)


async def test_restart_replaces_every_worker_and_never_goes_under_their_number() -> None:
    pool = pool_of(STEADY, workers=3)
    fewest: list[int] = []

    async def count() -> None:
        while True:
            fewest.append(pool.status()["ready_workers"])
            await anyio.sleep(0.002)

    async with supervised(pool), anyio.create_task_group() as tasks:
        await eventually(ready(pool, 3))
        before = pids(pool)
        tasks.start_soon(count)
        await pool.restart()
        tasks.cancel_scope.cancel()
        assert len(pids(pool)) == 3
        assert not set(before) & set(pids(pool))
    assert min(fewest) >= 3


async def test_a_paused_pool_is_restarted_before_restart_returns() -> None:
    pool = pool_of(STEADY)
    async with supervised(pool):
        await eventually(ready(pool))
        before = pids(pool)
        await pool.pause()
        await pool.restart()
        assert pids(pool) not in (before, [])


async def test_what_somebody_else_has_undone_is_not_waited_for() -> None:
    pool = pool_of(STUBBORN, stop={"timeout": 0.3})
    async with supervised(pool):
        await eventually(ready(pool))
        await eventually(lambda: deaf(pool))
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pool.scale, 4)
                tasks.start_soon(pool.scale, 2)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pool.stop)
                tasks.start_soon(pool.restart)
        assert len(pids(pool)) == 2


async def test_a_stubborn_worker_is_killed_after_its_grace() -> None:
    pool = pool_of(STUBBORN, stop={"timeout": 0.3})
    async with supervised(pool):
        await eventually(ready(pool))
        await eventually(lambda: deaf(pool))
        began = time.monotonic()
        await pool.stop()
        assert 0.3 <= time.monotonic() - began < 20


async def test_a_worker_paused_by_hand_is_not_waited_for() -> None:
    pool = pool_of(STEADY, workers=2)
    async with supervised(pool):
        await eventually(ready(pool, 2))
        assert pool._runner is not None
        await pool._runner.ask(PauseRequested(0, anyio.current_time()))
        with anyio.fail_after(60):
            await pool.scale(3)
            await pool.restart()
        assert [worker["status"] for worker in pool.status()["workers"]] == ["paused", "running", "running"]


NOT_IN_SLOT_1 = ["sh", "-c", "test {slot} != 1 && exec sleep 600"]
GIVES_UP = {"crash_loop": {"count": 1, "action": "fatal"}}


async def test_scale_does_not_wait_for_slots_that_have_given_up() -> None:
    pool = pool_of(NOT_IN_SLOT_1, restart=GIVES_UP)
    async with supervised(pool):
        await eventually(ready(pool))
        with anyio.fail_after(60):
            await pool.scale(2)
            await pool.scale(4)
        assert [worker["status"] for worker in pool.status()["workers"]] == ["running", "fatal", "running", "running"]


async def test_restart_does_not_wait_for_a_replacement_that_has_given_up() -> None:
    pool = pool_of(NOT_IN_SLOT_1, restart=GIVES_UP)
    async with supervised(pool):
        await eventually(ready(pool))
        before = pids(pool)
        with anyio.fail_after(60):
            await pool.restart()
        assert pids(pool) == before


async def test_scale_waits_until_a_crash_loop_is_over(tmp_path: Path) -> None:
    restart = {"crash_loop": {"count": 1, "early": 0.1}, "backoff": {"initial": 0.05, "max": 0.05}}
    pool = pool_of(["sh", "-c", f"test -e {tmp_path}/mended && exec sleep 600"], workers=0, restart=restart)
    ready_then: list[int] = []

    async def scale() -> None:
        await pool.scale(2)
        ready_then.append(pool.status()["ready_workers"])

    async with supervised(pool):
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(scale)
                await eventually(lambda: pool.status()["state"] == "crash_loop" and pool.status()["restarts"] > 2)
                assert not ready_then
                (tmp_path / "mended").touch()
        assert ready_then == [2]
