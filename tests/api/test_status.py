"""status(): before, while and after; every key of the interface's example."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chaperone_async import ConfigError, WorkerPoolSupervisor
from tests.api.world import SPEAKS, STEADY, eventually, pids, pool_of, ready, supervised

NUMBER = (int, float)
ROUNDING = timedelta(seconds=1)
POOL: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "worker_count": int,
    "desired": int,
    "running": int,
    "ready": bool,
    "state": str,
    "queue": list,
    "workers": list,
}
WORKER: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "slot": int,
    "pid": int,
    "queue": str,
    "status": str,
    "activity": str,
    "started_at": str,
    "last_health_check": str,
    "uptime": NUMBER,
    "memory_usage": NUMBER,
    "cpu_percent": NUMBER,
    "jobs_processed": int,
    "current_job": (str, type(None)),
    "restarts": int,
}


def wrong_types(document: dict[str, Any], wanted: dict[str, type | tuple[type, ...]]) -> list[str]:
    return [key for key, kind in wanted.items() if key not in document or not isinstance(document[key], kind)]


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def test_status_works_before_supervise() -> None:
    status = WorkerPoolSupervisor("email-workers").workers(5).queue("high", "default").command("w").status()
    assert (status["worker_count"], status["desired"], status["running"], status["workers"]) == (5, 5, 0, [])
    assert (status["name"], status["queue"], status["ready"]) == ("email-workers", ["high", "default"], False)


def test_status_before_supervise_needs_no_command() -> None:
    assert WorkerPoolSupervisor("email-workers").workers(3).status()["worker_count"] == 3


def test_status_works_before_supervise_with_a_backend_too() -> None:
    pool = WorkerPoolSupervisor("mails").workers(3).configure(backend="celery", celery={"app": "proj.app"})
    assert pool.status()["worker_count"] == 3


async def test_a_pool_without_a_command_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match=r"command.*is missing; add one"):
        await WorkerPoolSupervisor("email-workers").workers(3).supervise()


async def test_status_while_running_has_every_key_of_the_interface() -> None:
    pool = pool_of(SPEAKS, workers=2)
    async with supervised(pool):
        await eventually(ready(pool, 2))
        await eventually(lambda: all(row["activity"] == "busy" for row in pool.status()["workers"]))
        await eventually(lambda: all(row["memory_usage"] > 0 for row in pool.status()["workers"]))
        before = datetime.now(UTC)
        status = pool.status()
        after = datetime.now(UTC)
        assert not wrong_types(status, POOL)
        assert [wrong_types(row, WORKER) for row in status["workers"]] == [[], []]
        assert [row["slot"] for row in status["workers"]] == [0, 1]
        row = status["workers"][0]
        assert row["id"].removeprefix("emails-").isalnum()
        assert len(row["id"]) == len("emails-1a2b3c")
        assert (row["status"], row["activity"], row["jobs_processed"]) == ("running", "busy", 1)
        assert (row["current_job"], row["restarts"], row["queue"]) == ("job-2", 0, "emails")
        assert 1 < row["memory_usage"] < 500
        assert 0 < row["uptime"] < 60
        told = moment(row["started_at"]) + timedelta(seconds=row["uptime"])
        assert before - ROUNDING <= told <= after + ROUNDING
        assert moment(row["started_at"]) <= moment(row["last_health_check"])


async def test_status_may_be_asked_in_another_thread_and_by_the_loop_itself() -> None:
    pool, told = pool_of(STEADY), list[Any]()
    async with supervised(pool):
        await eventually(ready(pool))
        assert (await asyncio.to_thread(pool.status))["running"] == 1
        asyncio.get_running_loop().call_soon(lambda: told.append(pool.status()))
        await eventually(lambda: told)
        assert told[0]["running"] == 1


async def test_running_is_the_truth_and_worker_count_what_was_configured() -> None:
    pool = pool_of(STEADY, workers=3)
    async with supervised(pool):
        await eventually(ready(pool, 3))
        await pool.scale(1)
        status = pool.status()
        assert (status["worker_count"], status["desired"], status["running"]) == (3, 1, 1)


async def test_status_after_the_end_is_the_last_state() -> None:
    pool = pool_of(STEADY, workers=2)
    async with supervised(pool):
        await eventually(ready(pool, 2))
        await pool.stop()
    status = pool.status()
    assert (status["state"], status["running"], status["worker_count"]) == ("stopped", 0, 2)
    assert [row["status"] for row in status["workers"]] == ["stopped", "stopped"]
    assert pids(pool) == []


async def test_status_after_a_cancellation_tells_of_no_worker() -> None:
    pool = pool_of(STEADY, workers=2)
    async with supervised(pool):
        await eventually(ready(pool, 2))
    status = pool.status()
    assert (status["state"], status["running"], status["ready"], status["workers"]) == ("stopped", 0, False, [])
