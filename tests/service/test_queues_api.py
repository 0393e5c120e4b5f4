"""What the API says of queues and their failed jobs, and of pools whose queue nobody can read."""

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import anyio
import pytest

from chaperone_async.core.backlog import Backlog
from chaperone_async.core.events import ScaleRequested
from chaperone_async.core.flow import Flow
from chaperone_async.core.spec import BackendUse, HealthPolicy
from chaperone_async.errors import QueueError, QueueUnavailable
from chaperone_async.service import queues
from chaperone_async.service.metrics import exposition
from chaperone_async.service.queues import QueueView, overview
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.ledger import JobFigures
from chaperone_async.supervision.readings import Demand
from chaperone_async.supervision.supervisor import PoolView, new_pool_view
from chaperone_async.system.ports import JobNotice, Telemetry
from tests.service.acting import acting
from tests.service.canned import Canned, up
from tests.service.queues import KeptJobs, pool, until
from tests.supervision.fakes import FakeQueue, FakeWorld, Script

REDIS_IS_GONE = QueueUnavailable("cannot reach redis at 127.0.0.1:6379: connection refused")


def holding(**by_pool: FakeQueue) -> FakeWorld:
    world = FakeWorld()
    world.queues = dict(by_pool)
    return world


# What there is


async def test_a_queue_tells_what_is_in_it_and_how_it_moves(tmp_path: Path) -> None:
    world = holding(emails=FakeQueue(ready=42, delayed=1, reserved=1, failed=2, oldest_age=7.25, next_due=30.0))
    async with acting(world, tmp_path, pool()) as stage:
        await until(stage, "/queues", lambda it: it["queues"][0]["ready"] == 42)
        world.queues["emails"].holds(40, reserved=1)
        world.said[world.ref(pool="emails")] = Telemetry(spoke=True, jobs_done=5)
        moving = await until(stage, "/queues", lambda it: it["queues"][0]["completions_per_minute"])
    (row,) = moving.document["queues"]
    assert (row["name"], row["queues"], row["pools"]) == ("emails", ["emails"], ["emails"])
    assert (row["ready"], row["delayed"], row["failed"], row["oldest_age"]) == (40, None, None, None)
    assert row["arrivals_per_minute"] == pytest.approx(row["completions_per_minute"] * 3 / 5, rel=0.01)
    assert row["time_to_clear"] == pytest.approx(40 * 60 / row["completions_per_minute"], abs=0.1)
    assert (row["problem"], row["failed_lists"]) == (None, [])


async def test_a_pool_whose_queue_cannot_be_read_is_degraded_and_nothing_of_it_is_unhealthy(tmp_path: Path) -> None:
    world = holding(emails=FakeQueue(ready=1))
    async with acting(world, tmp_path, pool()) as stage:
        known = await until(stage, "/pools/emails", lambda it: it["backlog"])
        assert (known.document["backlog"]["ready"], known.document["degraded"]) == (1, False)
        assert (known.document["backend"], known.document["state"]) == ("fake", "running")
        world.queues["emails"].now = REDIS_IS_GONE
        blind = await until(stage, "/pools/emails", lambda it: it["degraded"])
        assert blind.document["backlog"]["ready"] is None
        assert blind.document["backlog"]["problem"] == str(REDIS_IS_GONE)
        assert blind.document["state"] == "degraded"
        assert blind.document["reason"] == f"the queue cannot be read: {REDIS_IS_GONE}"
        for probe, told in (
            ("/livez", "ok"),
            ("/readyz?verbose", f"[+]emails ok, degraded: the queue cannot be read: {REDIS_IS_GONE}"),
            ("/healthz", f"emails running: 1 of 1 ready; degraded: the queue cannot be read: {REDIS_IS_GONE}"),
            ("/healthz/emails", "; degraded: "),
        ):
            answer = await stage.client.get(probe)
            assert answer.status == 200
            assert told in await answer.text()
        answer = await stage.client.get("/healthz", headers={"Accept": "application/json"})
        assert (await answer.json())["pools"][0]["degraded"] == blind.document["reason"]
        world.queues["emails"].holds(3)
        again = await until(stage, "/pools/emails", lambda it: not it["degraded"])
        assert (again.document["state"], again.document["reason"]) == ("running", None)


async def test_a_worker_tells_of_its_job_and_a_pool_of_all_its_jobs(tmp_path: Path) -> None:
    world = holding(emails=FakeQueue(ready=0))
    async with acting(world, tmp_path, pool(workers=2)) as stage:
        first = world.ref(0, "emails")
        began = anyio.current_time() - 12
        world.said[first] = Telemetry(
            spoke=True, jobs_done=9, jobs_failed=1, current_job="1a2b", current_job_name="send",
            current_job_since=began, running=(("1a2b", began), ("3c4d", began + 1)),
        )  # fmt: skip
        for seconds in (1.0, 3.0):
            world.notice(JobNotice(first, "j", "send", "emails", True, seconds, 0.5, None, None))
        told = (await stage.ask("GET", "/pools/emails")).document
        stats = (await stage.ask("GET", "/stats")).document
    busy, idle = told["workers"]
    assert (busy["activity"], busy["current_job"], busy["current_job_name"]) == ("busy", "1a2b", "send")
    assert (busy["jobs_running"], busy["jobs_processed"], busy["jobs_failed"]) == (2, 9, 1)
    assert 12 <= busy["current_job_age"] < 12 + 20
    assert (idle["activity"], idle["current_job_age"], idle["jobs_running"]) == ("idle", None, 0)
    assert (told["jobs_failed"], told["jobs_per_minute"], told["average_job_time"]) == (1, 2, 2.0)
    assert (told["p95_job_time"], told["average_wait"], told["autoscale"], told["leaving"]) == (3.0, 0.5, None, 0)
    assert (stats["failed_jobs"], stats["p95_job_time"], stats["active_workers"]) == (1, 3.0, 1)


async def test_who_is_on_the_way_out_is_told_and_a_place_kept_free_is_not(tmp_path: Path) -> None:
    world = FakeWorld(Script(obeys_term_after=inf))
    async with acting(world, tmp_path, pool(workers=3)) as stage:
        runner = stage.supervisor.runner("emails")
        first, last = world.ref(0, "emails"), world.ref(2, "emails")
        world.said |= {world.ref(slot, "emails"): Telemetry(spoke=True, last_job_ended_at=slot) for slot in (0, 1, 2)}
        await runner.ask(ScaleRequested(2, anyio.current_time()))
        told = (await stage.ask("GET", "/pools/emails")).document
        assert (told["desired"], told["leaving"], len(told["workers"])) == (2, 1, 3)
        world.kill(first)
        await runner.until(lambda state: state.live == 2)
        told = (await stage.ask("GET", "/pools/emails")).document
        assert (told["leaving"], [row["slot"] for row in told["workers"]]) == (0, [1, 2])
        for ref in (world.ref(1, "emails"), last):
            world.kill(ref)


# Several pools


def view(spec: Any, *, ready: int | None = None, done: float | None = None, growth: float = 0.0) -> PoolView:
    demand = Demand(1.0, Backlog(ready=ready), flow=Flow(growth, done)) if ready is not None else Demand()
    return replace(new_pool_view(spec), demand=demand, can=frozenset({"backlog", "failed"}))


def names(rows: list[QueueView]) -> list[tuple[str, tuple[str, ...]]]:
    return [(",".join(row.queues), row.pools) for row in rows]


def test_pools_of_one_queue_are_one_line_and_what_they_do_adds_up() -> None:
    pools = [
        view(pool("a", "emails"), ready=10, done=20.0, growth=-30.0),
        view(pool("b", "emails"), ready=11, done=40.0, growth=-30.0),
    ]
    (row,) = overview(pools, lambda _: True)
    assert (row.pools, row.completions, row.lists) == (("a", "b"), 60.0, ("a",))
    assert row.arrivals == 30.0
    assert row.time_to_clear == row.demand.backlog.ready
    unknown = overview([pools[0], view(pool("b", "emails"))], lambda each: each.demand.at is not None)
    assert unknown[0].completions is None


def test_queues_of_the_same_name_in_different_places_are_different_queues() -> None:
    here, there = pool("a", "emails"), pool("b", "emails", settings='{"url": "redis://elsewhere"}')
    rows = overview([view(here), view(there)], lambda _: True)
    assert names(rows) == [("emails", ("a",)), ("emails", ("b",))]


def test_queues_that_are_read_together_are_told_together_and_what_is_done_of_each_is_known_apart() -> None:
    both = replace(view(pool("both", "high", "low")), queue_figures={"low": JobFigures(per_minute=7.0)})
    alone = view(pool("alone", "low"), ready=5, done=3.0)
    rows = overview([both, alone], lambda _: True)
    assert names(rows) == [("high,low", ("both",)), ("low", ("alone",))]
    assert rows[1].completions == 10.0


def test_lists_that_we_keep_are_one_for_each_pool() -> None:
    ours = BackendUse(name="fake", keeps_failed=False)
    told = [Backlog(ready=3, failed=19), Backlog(ready=3, failed=2)]
    pools = [
        replace(view(pool(name, "emails", backend=ours)), demand=Demand(1.0, backlog))
        for name, backlog in zip("ab", told, strict=True)
    ]
    (row,) = overview(pools, lambda _: True)
    assert (row.lists, row.demand.backlog.failed) == (("a", "b"), 21)
    (row,) = overview([pools[0], view(pool("b", "emails", backend=ours))], lambda _: True)
    assert row.demand.backlog.failed is None


# Failed jobs


async def test_failed_jobs_are_listed_page_by_page(tmp_path: Path) -> None:
    async with acting(holding(emails=KeptJobs("1", "2", "3", ready=0)), tmp_path, pool()) as stage:
        first = (await stage.ask("GET", "/queues/emails/failed?limit=2")).document
        rest = (await stage.ask("GET", f"/queues/emails/failed?after={first['next']}")).document
    assert [job["id"] for job in first["failed"]] == ["3", "2"]
    assert first["failed"][0] == {
        "id": "3", "queue": "emails", "name": "send", "arguments": "'a'", "error": "ValueError: no",
        "at": "2001-09-09T01:46:40.000Z", "attempts": 3,
    }  # fmt: skip
    assert (first["queue"], first["pool"], first["recorded_by_chaperone"]) == ("emails", "emails", False)
    assert ([job["id"] for job in rest["failed"]], rest["next"]) == (["1"], None)


async def test_a_queue_and_a_job_may_have_braces_in_their_names(tmp_path: Path) -> None:
    jobs, emails = KeptJobs("{1}", "{2}", queue="{emails}", ready=0), "/queues/%7Bemails%7D/failed"
    async with acting(holding(emails=jobs), tmp_path, pool("emails", "{emails}")) as stage:
        assert len((await stage.ask("GET", emails)).document["failed"]) == 2
        assert (await stage.post(f"{emails}/%7B1%7D/retry")).document == {"retried": 1}
        assert (await stage.ask("DELETE", f"{emails}/%7B2%7D")).document == {"flushed": 1}


async def test_failed_jobs_are_retried_and_thrown_away_and_the_journal_tells_by_whom(tmp_path: Path) -> None:
    jobs = KeptJobs("1", "2", "a/b", "4", ready=0)
    async with acting(holding(emails=jobs), tmp_path, pool()) as stage:
        one = await stage.post("/queues/emails/failed/a%2Fb/retry")
        assert (one.status, one.document, jobs.retried) == (200, {"retried": 1}, ["a/b"])
        gone = await stage.ask("DELETE", "/queues/emails/failed/1")
        assert (gone.document, jobs.lists) == ({"flushed": 1}, {"emails": ["2", "4"]})
        assert (await stage.post("/queues/emails/failed/retry")).document == {"retried": 2}
        assert (await stage.ask("DELETE", "/queues/emails/failed")).document == {"flushed": 0}
        for ask in (("POST", "/queues/emails/failed/1/retry"), ("DELETE", "/queues/emails/failed/1")):
            none = await stage.ask(*ask)
            assert (none.status, "there is no failed job '1'" in none.document["detail"]) == (404, True)
        told = (await stage.ask("GET", "/events?kind=queue.retried,queue.flushed")).document["events"]
    assert [event["message"].partition(": ")[2] for event in reversed(told)] == [
        "1 failed job of the queue emails",
        "1 failed job of the queue emails",
        "2 failed jobs of the queue emails",
    ]
    assert {event["pool"] for event in told} == {"emails"}
    assert all(event["by"] for event in told)


@pytest.mark.parametrize(
    ("no", "status"), [(REDIS_IS_GONE, 503), (QueueError("NoSuchJobError: it has expired"), 502), (None, 503)]
)
async def test_a_queue_that_says_no_or_nothing_is_a_problem_that_says_why(
    no: QueueError | None, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = KeptJobs("1", ready=0)
    jobs.no = no
    async with acting(holding(emails=jobs), tmp_path, pool()) as stage:
        if no is None:
            monkeypatch.setattr(queues, "LONGEST", 0.05)
            jobs.takes = inf
        for method, path in (("GET", "failed"), ("POST", "failed/retry"), ("DELETE", "failed")):
            answer = await stage.ask(method, f"/queues/emails/{path}")
            assert (answer.status, answer.document["status"]) == (status, status)
            assert answer.document["detail"] == (str(no) if no else "no answer within 0.05 s")


async def test_who_cannot_be_asked_says_why(tmp_path: Path) -> None:
    plain = pool("plain", "q1", backend=None)
    unable = pool("unable", "q2")
    twice = [pool(name, "q3", settings=f'{{"db": "{name}"}}') for name in ("one", "two")]
    world = holding(unable=FakeQueue(ready=0), one=KeptJobs("1", queue="q3"), two=KeptJobs("2", queue="q3"))
    async with acting(world, tmp_path, plain, unable, *twice) as stage:
        for path, status, why in (
            ("q1/failed", 409, "pool 'plain' runs a command of its own, and only a backend knows them"),
            ("q2/failed", 409, "the backend 'fake' of pool 'unable' is not able to"),
            ("q3/failed", 409, "there are several lists; name a pool, one of one, two"),
            ("q3/failed?pool=nobody", 404, "there is no pool named 'nobody'"),
            ("q3/failed?pool=plain", 404, "no pool serves the queue 'q3'; the queues that are served: q1"),
            ("q4/failed", 404, "no pool serves the queue 'q4'; the queues that are served: q1, q2, q3"),
            ("q3/failed?limit=0", 400, "cannot use limit='0'"),
        ):
            answer = await stage.ask("GET", f"/queues/{path}")
            assert (answer.status, why in answer.document["detail"]) == (status, True), answer
        chosen = await stage.ask("GET", "/queues/q3/failed?pool=two")
        assert [job["id"] for job in chosen.document["failed"]] == ["2"]


# For scalers and scrapers


async def test_a_scaler_is_given_a_number_or_nothing_that_could_be_taken_for_one(tmp_path: Path) -> None:
    unready = pool(health=HealthPolicy(ready="notify"))
    world = holding(emails=FakeQueue(ready=40, reserved=2), blind=FakeQueue())
    async with acting(world, tmp_path, pool("blind"), pool("plain", backend=None)) as stage:
        stage.supervisor.add(unready, Hooks())
        value = await until(stage, "/scale/emails/backlog", lambda it: "value" in it)
        assert (value.status, value.document) == (200, {"value": 42})
        assert (await stage.client.get("/readyz")).status == 503
        world.queues["emails"].holds(7)
        world.said[world.ref(pool="emails")] = Telemetry(spoke=True, running=(("1", 0.0),))
        assert await until(stage, "/scale/emails/backlog", lambda it: it["value"] == 8)
        world.queues["emails"].now = REDIS_IS_GONE
        unknown = await until(stage, "/scale/emails/backlog", lambda it: "value" not in it)
        assert (unknown.status, str(REDIS_IS_GONE) in unknown.document["detail"]) == (503, True)
        never = await stage.ask("GET", "/scale/blind/backlog")
        assert (never.status, "it is not known yet" in never.document["detail"]) == (503, True)
        nobody = await stage.ask("GET", "/scale/plain/backlog")
        assert (nobody.status, "give the pool a backlog.source" in nobody.document["detail"]) == (409, True)


async def test_metrics_tell_of_queues_what_is_known_and_of_jobs_what_has_been() -> None:
    canned = Canned(up(pool("emails")), up(pool("blind")), up(pool("plain", backend=None)))
    runner = canned.supervisor.runner("emails")
    runner.demand = Demand(1.0, Backlog(ready=42, failed=2, oldest_age=7.5))
    canned.supervisor.runner("blind").demand = Demand(problem="cannot reach redis")
    ref = next(iter(up(pool("emails")).alive))
    canned.said.table[ref] = Telemetry(spoke=True, jobs_done=9, jobs_failed=1)
    for seconds in (1.0, 3.0):
        runner.ledger.add(JobNotice(ref, "j", "send", "emails", True, seconds, 0.5, None, None), 1.0)
    text = exposition(canned.supervisor, canned.views, "")[0].decode()
    lines = {line for line in text.splitlines() if not line.startswith("#")}
    assert lines >= {
        'chaperone_queue_up{pool="emails"} 1.0',
        'chaperone_queue_up{pool="blind"} 0.0',
        'chaperone_queue_jobs{pool="emails",state="ready"} 42.0',
        'chaperone_queue_jobs{pool="emails",state="failed"} 2.0',
        'chaperone_queue_oldest_seconds{pool="emails"} 7.5',
        'chaperone_jobs_total{pool="emails",result="done"} 9.0',
        'chaperone_jobs_total{pool="emails",result="failed"} 1.0',
        'chaperone_jobs_total{pool="plain",result="failed"} 0.0',
        'chaperone_job_seconds{pool="emails",statistic="average"} 2.0',
        'chaperone_job_seconds{pool="emails",statistic="p95"} 3.0',
        'chaperone_job_wait_seconds{pool="emails"} 0.5',
        'chaperone_pool_leaving_workers{pool="emails"} 0.0',
        'chaperone_pool_state{pool="blind",state="degraded"} 1.0',
    }
    unknown = [line for line in lines if line.startswith("chaperone_queue_") and ("delayed" in line or "plain" in line)]
    assert unknown == []
