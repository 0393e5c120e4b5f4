"""The reading half of the API: what each address answers."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaperone_async.core.spec import MB, Callbacks
from chaperone_async.system.ports import Telemetry, Usage
from tests.core.world import World
from tests.service.canned import Canned, served, spec, up, world

API = "/api/v1"


async def get(canned: Canned, tmp_path: Path, path: str, accept: str = "*/*") -> tuple[int, Any]:
    async with served(canned.face(), tmp_path) as where, where.unix_session() as client:
        answer = await client.get(path, headers={"Accept": accept})
        text = await answer.text()
        return answer.status, json.loads(text) if "json" in answer.content_type else text


@pytest.fixture
def emails() -> World:
    """Three workers, the second of which has crashed and is back, and crashed again."""
    pool = up(spec(workers=3))
    for _ in range(2):
        pool.dies(pool.ref(1), code=3)
        pool.advance(5)
        pool.spawn_all()
        pool.advance(2)
    return pool


@pytest.fixture
def canned(emails: World) -> Canned:
    return Canned(emails, up(spec("sms")))


async def test_status_names_the_supervisor_and_sums_up_the_pools(canned: Canned, tmp_path: Path) -> None:
    _, document = await get(canned, tmp_path, f"{API}/status")
    assert (document["name"], document["version"], document["pid"]) == ("test", "1.2.3", 4321)
    assert document["state"] == "running"
    assert [(pool["name"], pool["state"], pool["running"]) for pool in document["pools"]] == [
        ("emails", "running", 3),
        ("sms", "running", 1),
    ]


async def test_stats_add_up(canned: Canned, emails: World, tmp_path: Path) -> None:
    first, second = emails.ref(0), emails.ref(2)
    canned.measure("emails", {first: Usage(memory=100 * MB, cpu_percent=10), second: Usage(memory=50 * MB)})
    canned.said.table[first] = Telemetry(spoke=True, jobs_done=3, busy_seconds=6.0, current_job="j")
    canned.said.table[second] = Telemetry(spoke=True, jobs_done=1, busy_seconds=2.0)
    _, document = await get(canned, tmp_path, f"{API}/stats")
    assert document == {
        "total_workers": 4, "active_workers": 1, "idle_workers": 1, "failed_workers": 0, "total_jobs_processed": 4,
        "failed_jobs": 0, "jobs_per_minute": 0.0, "average_job_time": 2.0, "p95_job_time": None, "memory_usage": 150.0,
        "cpu_usage": 10.0,
    }  # fmt: skip


async def test_a_pool_shows_its_workers_lowest_slot_first(canned: Canned, emails: World, tmp_path: Path) -> None:
    canned.measure("emails", {emails.ref(1): Usage(memory=128_400_000, cpu_percent=12.04)})
    canned.said.table[emails.ref(1)] = Telemetry(spoke=True, jobs_done=1247, status="sending")
    status, pool = await get(canned, tmp_path, f"{API}/pools/emails")
    assert status == 200
    assert (pool["name"], pool["worker_count"], pool["desired"], pool["running"]) == ("emails", 3, 3, 3)
    assert (pool["ready"], pool["state"], pool["queue"]) == (True, "running", ["emails"])
    assert [row["slot"] for row in pool["workers"]] == [0, 1, 2]
    row = pool["workers"][1]
    assert row["pid"] == emails.alive[emails.ref(1)]
    assert row["id"].startswith("emails-")
    assert (row["status"], row["activity"], row["restarts"]) == ("running", "idle", 2)
    assert (row["memory_usage"], row["cpu_percent"], row["jobs_processed"]) == (128.4, 12.0, 1247)
    assert row["message"] == "sending"
    for moment in (row["started_at"], row["last_health_check"]):
        assert moment.endswith("Z")
        assert "T" in moment


async def test_pools_are_a_list_of_the_same_documents(canned: Canned, tmp_path: Path) -> None:
    _, document = await get(canned, tmp_path, f"{API}/pools")
    assert [(pool["name"], len(pool["workers"])) for pool in document["pools"]] == [("emails", 3), ("sms", 1)]


async def test_a_pool_that_has_not_started_has_no_pids(tmp_path: Path) -> None:
    young = world(spec(workers=2))
    young.begin()
    _, document = await get(Canned(young), tmp_path, f"{API}/pools/emails/workers")
    assert [(row["pid"], row["status"], row["uptime"]) for row in document["workers"]] == [(None, "starting", 0)] * 2


async def test_a_worker_is_found_by_its_id_and_by_its_slot(canned: Canned, emails: World, tmp_path: Path) -> None:
    worker_id = emails.slot(1).last_id
    _, by_id = await get(canned, tmp_path, f"{API}/pools/emails/workers/{worker_id}")
    _, by_slot = await get(canned, tmp_path, f"{API}/pools/emails/workers/1")
    assert by_id["id"] == by_slot["id"] == worker_id


async def test_crashes_are_listed_newest_first(canned: Canned, tmp_path: Path) -> None:
    _, document = await get(canned, tmp_path, f"{API}/pools/emails/crashes")
    assert [(crash["id"], crash["slot"], crash["exit_code"]) for crash in document["crashes"]] == [(2, 1, 3), (1, 1, 3)]
    assert [crash["reason"] for crash in document["crashes"]] == ["error", "error"]


async def test_crashes_of_all_pools_are_listed_together(canned: Canned, tmp_path: Path) -> None:
    third = up(spec("faxes"))
    third.dies(third.ref(0), signal=11)
    canned.add(third)
    _, document = await get(canned, tmp_path, f"{API}/crashes?limit=2")
    assert [(crash["id"], crash["pool"]) for crash in document["crashes"]] == [(3, "faxes"), (2, "emails")]


async def test_logs_are_the_last_lines_as_text_or_json(canned: Canned, emails: World, tmp_path: Path) -> None:
    canned.processes.lines[emails.ref(0)] = ["one", "two", "three"]
    path = f"{API}/pools/emails/workers/0/logs"
    assert await get(canned, tmp_path, f"{path}?lines=2") == (200, "two\nthree\n")
    assert await get(canned, tmp_path, path, "application/json") == (200, {"lines": ["one", "two", "three"]})


async def test_the_logs_of_a_dead_worker_are_kept_with_its_death(canned: Canned, emails: World, tmp_path: Path) -> None:
    death = canned.supervisor.journal.crashes("emails")[0].death
    canned.processes.lines[death.ref] = ["last words"]
    path = f"{API}/pools/emails/workers/{death.worker_id}/logs"
    assert await get(canned, tmp_path, path) == (200, "last words\n")


@pytest.mark.parametrize(
    "path",
    ["status", "stats", "pools", "pools/emails", "pools/emails/workers", "pools/emails/crashes", "crashes"],
)
async def test_a_head_has_no_body_and_nothing_is_stored(canned: Canned, tmp_path: Path, path: str) -> None:
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        answer = await client.head(f"{API}/{path}")
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.content_type == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == "chaperone"


@pytest.mark.parametrize(
    "path",
    [
        "pools/faxes",
        "pools/faxes/workers",
        "pools/faxes/workers/0",
        "pools/faxes/workers/0/logs",
        "pools/faxes/crashes",
    ],
)
async def test_an_unknown_pool_is_not_found(canned: Canned, tmp_path: Path, path: str) -> None:
    status, document = await get(canned, tmp_path, f"{API}/{path}")
    assert document == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no pool named 'faxes'",
        "instance": f"{API}/{path}",
    }
    assert status == 404


@pytest.mark.parametrize("path", ["workers/emails-ffffff", "workers/99", "workers/emails-ffffff/logs"])
async def test_an_unknown_worker_is_not_found(canned: Canned, tmp_path: Path, path: str) -> None:
    status, document = await get(canned, tmp_path, f"{API}/pools/emails/{path}")
    assert status == 404
    assert "see /api/v1/pools/emails/workers" in document["detail"]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "1.5", "10001", "99999999999999999999", "²"])
@pytest.mark.parametrize("path", ["pools/emails/crashes?limit=", "pools/emails/workers/0/logs?lines="])
async def test_a_limit_that_is_not_a_number_in_range_is_a_bad_request(
    canned: Canned, tmp_path: Path, path: str, limit: str
) -> None:
    status, document = await get(canned, tmp_path, f"{API}/{path}{limit}")
    assert status == 400
    assert "must be a whole number from 1 to 10000" in document["detail"]


async def test_what_the_world_said_is_json_whatever_it_is(canned: Canned, emails: World, tmp_path: Path) -> None:
    canned.said.table[emails.ref(0)] = Telemetry(spoke=True, status='"\\\x00é\n', current_job="😀")
    async with served(canned.face(), tmp_path) as where, aiohttp.ClientSession() as client:
        answer = await client.get(f"http://{where.tcp}{API}/pools/emails")
        row = (await answer.json())["workers"][0]
        assert (row["message"], row["current_job"]) == ('"\\\x00é\n', "😀")


async def test_a_dead_worker_that_on_crash_is_asked_about_has_no_process(tmp_path: Path) -> None:
    asked = up(spec(workers=2, callbacks=Callbacks(on_crash=True)))
    asked.dies(asked.ref(1), code=3)
    canned = Canned(asked)
    _, pool = await get(canned, tmp_path, f"{API}/pools/emails")
    assert [(row["status"], row["pid"] is None) for row in pool["workers"]] == [("running", False), ("crashed", True)]
    _, stats = await get(canned, tmp_path, f"{API}/stats")
    assert stats["total_workers"] == 1
