"""What a worker starts ends with it, wherever it has gone to hide."""

from pathlib import Path

import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system import kin, sweep
from chaperone_async.system.child import OsProcesses
from chaperone_async.system.ports import ExitStatus
from tests.system.world import REF, Written, alive, pid_in

WAYS = {
    "in its session": "sh -c 'echo $$ > pid; exec sleep 1000' &",
    "in a session of its own": "setsid sh -c 'echo $$ > pid; exec sleep 1000' &",
    "forked twice and detached": "setsid -f setsid -f sh -c 'echo $$ > pid; exec sleep 1000'",
    "under a parent of another session": "setsid sh -c 'setsid sh -c \"echo \\$\\$ > pid; exec sleep 1000\"; :' &",
    "under a parent, without our environment": (
        "setsid sh -c 'env -i setsid -w sh -c \"echo \\$\\$ > pid; read x < fifo\"' &"
    ),
}


def worker(tmp_path: Path, script: str) -> PoolSpec:
    return PoolSpec(name="pool", command=("sh", "-c", f"cd {tmp_path}; test -p fifo || mkfifo fifo; {script}"))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_descendant_is_gone_when_the_worker_is_told_to_be(tmp_path: Path, way: str) -> None:
    async with OsProcesses(Written()) as processes:
        spec = worker(tmp_path, f"{way}\nwhile ! test -s pid; do sleep 0.01; done; exit 3")
        child = await processes.spawn(REF, "pool-1a2b3c", spec)
        assert await child.wait() == ExitStatus(code=3)
        assert not Path(f"/proc/{await pid_in(tmp_path / 'pid')}").exists()


async def test_a_kill_reaches_a_descendant_that_has_left_the_session_and_our_environment(tmp_path: Path) -> None:
    async with OsProcesses(Written()) as processes:
        spec = worker(tmp_path, "env -i setsid -w sh -c 'echo $$ > pid; read x < fifo'; :")
        child = await processes.spawn(REF, "pool-1a2b3c", spec)
        hidden = await pid_in(tmp_path / "pid")
        processes.kill(REF)
        assert await child.wait() == ExitStatus(signal=9)
        assert not Path(f"/proc/{hidden}").exists()


async def test_a_helper_detached_from_a_living_worker_is_left_alone_until_that_worker_ends(tmp_path: Path) -> None:
    async with OsProcesses(Written()) as processes:
        spec = worker(tmp_path, "setsid -f sh -c 'echo $$ > pid; exec sleep 1000'; exec sleep 1000")
        child = await processes.spawn(REF, "pool-1a2b3c", spec)
        helper = await pid_in(tmp_path / "pid")
        other = await processes.spawn(WorkerRef("pool", 1, 1), "pool-4d5e6f", worker(tmp_path, "exit 0"))
        await other.wait()  # which looks through all strays
        assert alive(helper)
        processes.signal(REF, "SIGTERM", "worker")
        await child.wait()
        assert not Path(f"/proc/{helper}").exists()


async def test_without_a_list_of_children_the_session_is_still_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kin, "children_are_listed", lambda: False)
    monkeypatch.setattr(sweep, "children_are_listed", lambda: False)
    async with OsProcesses(Written()) as processes:
        spec = worker(tmp_path, f"{WAYS['in its session']}\nwhile ! test -s pid; do sleep 0.01; done")
        child = await processes.spawn(REF, "pool-1a2b3c", spec)
        await child.wait()
        assert not Path(f"/proc/{await pid_in(tmp_path / 'pid')}").exists()
