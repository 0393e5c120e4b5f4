"""Pools that are added and removed over HTTP, and one more worker for a queue."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaperone_async.core.spec import MB, HealthPolicy, JobOptions, PoolSpec
from tests.service.acting import AT_ONCE, acting
from tests.service.canned import spec
from tests.supervision.fakes import FakeWorld, Script

NEVER = float("inf")
NEW = {"name": "reports", "queue": ["high", "low"], "command": "worker", "workers": 2, "restart": {"start_seconds": 0}}
TOLD = ("worker", "--timeout={timeout}", "--sleep={sleep}", "--tries={tries}")
JOB = JobOptions(timeout=60, sleep=3, tries=3)


def pool(name: str = "emails", **changes: Any) -> PoolSpec:
    return spec(name, **{"restart": AT_ONCE, **changes})


def with_options(name: str = "emails", **changes: Any) -> PoolSpec:
    return replace(pool(name, job=JOB, **changes), command=TOLD)


async def test_a_pool_is_added_as_it_would_be_configured_and_removed_again(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        added = await stage.post("/pools?wait=30", NEW)
        assert (added.status, added.document["state"], added.document["action"]) == (200, "done", "add")
        shown = (await stage.ask("GET", "/pools/reports")).document
        assert (shown["queue"], shown["running"], shown["state"]) == (["high", "low"], 2, "running")

        removed = await stage.ask("DELETE", "/pools/reports?wait=30")
        assert (removed.status, removed.document["state"]) == (200, "done")
        assert stage.supervisor.names == ("emails",)
        assert (await stage.post("/pools?wait=30", NEW)).document["state"] == "done"


async def test_all_that_is_wrong_with_a_pool_is_told_at_once(tmp_path: Path) -> None:
    wrong = {"name": "reports", "workres": 2, "workers": "five", "health": {"intervall": 1}, "stop": {"timeout": "40s"}}
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        answer = await stage.post("/pools", wrong)
        assert answer.status == 422
        assert answer.document["errors"] == [
            "workres: unknown key; did you mean 'workers'?",
            "workers: 'five' is not a whole number; write a count such as 5",
            "health.intervall: unknown key; did you mean 'interval'?",
            'command: is missing; add one such as command = "python worker.py"',
            "stop.timeout: 40 s is longer than all of shutdown.grace, 30 s; write less, or raise that",
        ]
        assert stage.supervisor.names == ("emails",)


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({**NEW, "name": "emails"}, 409, "cannot add pool 'emails': there is one of that name"),
        ({**NEW, "name": "all"}, 422, "cannot be a pool's name"),
        ({"command": "worker"}, 422, "it has no name"),
        ({**NEW, "name": 7}, 422, "it has no name"),
        ({**NEW, "job": {"sleep": 5}}, 422, "job.sleep: cannot be honoured"),
        ([NEW], 422, "is not a JSON object"),
    ],
)
async def test_a_pool_that_cannot_be_is_refused(body: object, status: int, why: str, tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        answer = await stage.post("/pools", body)
        assert (answer.status, stage.supervisor.names) == (status, ("emails",))
        assert why in answer.document["detail"]


async def test_a_pool_is_removed_once_and_not_at_all_if_the_configuration_defines_it(tmp_path: Path) -> None:
    world = FakeWorld(Script(obeys_term_after=NEVER))
    async with acting(world, tmp_path, pool()) as stage:
        defined = await stage.ask("DELETE", "/pools/emails")
        assert defined.status == 409
        assert "remove it from the configuration and reload, or stop it" in defined.document["detail"]

        await stage.post("/pools?wait=30", NEW)
        assert (await stage.ask("DELETE", "/pools/reports")).status == 202
        for again in (
            await stage.ask("DELETE", "/pools/reports"),
            await stage.post("/pools/reports/start"),
            await stage.post("/pools", NEW),
        ):
            assert again.status == 409
        assert (await stage.ask("DELETE", "/pools/nope")).status == 404
        assert (await stage.post("/pools/all/pause?wait=30")).document["pools"][0]["pool"] == "emails"


async def test_one_more_worker_goes_where_its_queue_is_served_alone(tmp_path: Path) -> None:
    both = replace(pool("both"), queues=("emails", "sms"))
    async with acting(FakeWorld(), tmp_path, both, pool("emails"), replace(pool("more"), queues=("emails",))) as stage:
        answer = await stage.post("/workers?wait=30", {"queue": "emails"})
        assert (answer.status, answer.document["state"], answer.document["pool"]) == (200, "done", "emails")
        assert len(await stage.workers("emails")) == 2
        assert (await stage.post("/workers", {"queue": "sms"})).document["pool"] == "both"


async def test_one_more_worker_with_the_options_that_all_have_joins_them(tmp_path: Path) -> None:
    wanted = {"queue": "emails", "timeout": 60, "memory": 512, "sleep": 3, "tries": 3}
    async with acting(FakeWorld(), tmp_path, with_options()) as stage:
        answer = await stage.post("/workers?wait=30", wanted)
        assert (answer.document["action"], answer.document["pool"]) == ("scale", "emails")
        assert len(await stage.workers("emails")) == 2


async def test_one_more_worker_with_options_of_its_own_gets_a_pool_of_its_own(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, with_options(workers=2)) as stage:
        answer = await stage.post("/workers?wait=30", {"queue": "emails", "timeout": 90, "memory": 256})
        assert (answer.status, answer.document["action"], answer.document["pool"]) == (200, "add", "emails-1")
        made = stage.supervisor.runner("emails-1").pool.spec
        assert made.job == JobOptions(timeout=90, sleep=3, tries=3)
        assert (made.health.memory_limit, made.workers, made.queues) == (256 * MB, 1, ("emails",))
        assert made.command == TOLD

        again = await stage.post("/workers?wait=30", {"queue": "emails", "timeout": 90, "memory": 256})
        assert (again.document["pool"], len(await stage.workers("emails-1"))) == ("emails-1", 2)
        assert (await stage.post("/workers", {"queue": "emails", "tries": 1})).document["pool"] == "emails-2"
        assert (await stage.post("/workers", {"queue": "emails"})).document["pool"] == "emails"
        assert (await stage.ask("DELETE", "/pools/emails-1?wait=30")).document["state"] == "done"


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"queue": "nope"}, 404, "no pool serves the queue 'nope'; the queues that are served: emails"),
        ({"queue": "emails", "sleep": 1, "tries": 2}, 422, "its command lacks {sleep} and {tries}"),
        ({"queue": "emails", "memory": 100}, 200, ""),
        ({"queue": "emails", "memory": 0}, 200, ""),
        ({"queue": "emails", "timeout": -1}, 422, "cannot use timeout: -1"),
        ({"queue": "emails", "colour": 1}, 422, "there is no key 'colour' here"),
        ({}, 422, "queue is missing"),
    ],
)
async def test_options_go_as_far_as_the_command_can_tell_them(
    body: object, status: int, why: str, tmp_path: Path
) -> None:
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        answer = await stage.post("/workers?wait=30", body)
        assert answer.status == status, answer
        assert why in answer.document["detail"] if status != 200 else answer.document["pool"] == "emails-1"


async def test_a_worker_must_not_get_less_memory_than_its_pool_recycles_at(tmp_path: Path) -> None:
    recycling = pool(recycle=replace(pool().recycle, max_memory=400 * MB), health=HealthPolicy(memory_limit=512 * MB))
    async with acting(FakeWorld(), tmp_path, recycling) as stage:
        answer = await stage.post("/workers", {"queue": "emails", "memory": 300})
        assert (answer.status, stage.supervisor.names) == (422, ("emails",))
        assert "it is recycled at 400 MB; write more than that" in answer.document["detail"]


async def test_a_worker_that_was_added_by_request_makes_nobody_unready(tmp_path: Path) -> None:
    world = FakeWorld(lambda ref: Script(ends_after=0.0 if ref.pool == "emails-1" else NEVER))
    async with acting(world, tmp_path, pool()) as stage:
        await stage.post("/workers", {"queue": "emails", "memory": 100})
        async with stage.client.get("/readyz") as ready, stage.client.get("/startupz") as startup:
            assert (ready.status, startup.status) == (200, 200)
