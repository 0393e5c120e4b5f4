"""Pools of arq workers, by `backend = "arq"` alone, on a real Redis."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arq.connections import RedisSettings, create_pool
from arq.jobs import Job, JobStatus

from chaperone_async.agent.arq import Watch, _sign, settings
from chaperone_async.attendant.arq import Attendant
from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.arq import Arq, ArqTable
from chaperone_async.system.backends.protocol import Asked, Unsuited
from tests.backends.apps.arq_app import WorkerSettings
from tests.backends.promises import JOBS, QUEUE, Counts, Promises, SafePromises, Shop, lossless
from tests.backends.servers import Run
from tests.e2e.service import Launch, until

APP = "tests.backends.apps.arq_app.WorkerSettings"


class ArqShop(Shop):
    backend = "arq"
    options = f'arq = {{ app = "{APP}", concurrency = 1 }}\njob.sleep = 0.02'

    def send(self, job: str, what: str, *, delay: float | None = None) -> None:
        asyncio.run(self._send(job, what, delay))

    async def _send(self, job: str, what: str, delay: float | None) -> None:
        redis = await create_pool(RedisSettings.from_dsn(self.server))
        await redis.enqueue_job(job, str(self.place), what, _queue_name=QUEUE, _defer_by=delay)
        await redis.aclose()

    def counts(self) -> Counts:
        return asyncio.run(self._counts())

    async def _counts(self) -> Counts:
        redis = await create_pool(RedisSettings.from_dsn(self.server))
        jobs = [Job(str(job.job_id), redis, QUEUE) for job in await redis.queued_jobs(queue_name=QUEUE)]
        found = [await job.status() for job in jobs]
        await redis.aclose()
        wanted = {"ready": JobStatus.queued, "reserved": JobStatus.in_progress, "delayed": JobStatus.deferred}
        return {name: found.count(status) for name, status in wanted.items()}


class TestArq(Promises, SafePromises):
    @pytest.fixture
    def shop(self, redis_url: str, tmp_path: Path) -> ArqShop:
        return ArqShop(redis_url, tmp_path)


def test_no_job_is_lost_while_workers_are_killed_scaled_rolled_and_drained(run: Run, tmp_path: Path) -> None:
    outcome = lossless("arq", run, tmp_path)
    assert (outcome.ran, outcome.never, outcome.kills) == (JOBS, (), 2)


@pytest.fixture
def attendant(redis_url: str) -> Iterator[Attendant]:
    attendant = Attendant({"redis_settings": RedisSettings.from_dsn(redis_url)})
    yield attendant
    if attendant._client is not None:
        attendant._loop.run(attendant._client.aclose())


def test_figures_and_what_is_sent_again_are_those_of_arq_itself(
    attendant: Attendant, redis_url: str, tmp_path: Path
) -> None:
    shop = ArqShop(redis_url, tmp_path)
    assert attendant.backlog([QUEUE])["ready"] == 0
    shop.send("work", "now")
    shop.send("work", "later", delay=3600)
    attendant.send("work", [str(tmp_path), "again"], {}, QUEUE)
    until(lambda: attendant.backlog([QUEUE])["ready"] == 2)  # arq's times are whole milliseconds, a moment ahead
    backlog = attendant.backlog([QUEUE])
    assert {name: backlog[name] for name in shop.counts()} == shop.counts()
    assert (backlog["ready"], backlog["delayed"], backlog["reserved"]) == (2, 1, 0)
    assert 0 <= backlog["oldest_age"] < 20
    assert 3500 < backlog["next_due"] <= 3600


def test_a_job_that_arq_will_try_again_has_not_failed_yet(launch: Launch, redis_url: str, tmp_path: Path) -> None:
    source = Path(__file__).with_name("apps").joinpath("arq_app.py").read_text()
    (tmp_path / "app.py").write_text(
        source + "\n\nfrom arq import Retry\n\nasync def work(_context, place, what):\n    raise Retry(defer=0.01)\n\n"
        "WorkerSettings.functions = [work]\nWorkerSettings.max_tries = 3\n"
    )
    shop = ArqShop(redis_url, tmp_path)
    pool = shop.pool(f"directory = {json.dumps(str(tmp_path))}").replace(APP, "app.WorkerSettings")
    service = launch(pool, probe="/readyz")
    shop.send("work", "never")
    told = service.until(lambda: (w := service.workers("jobs")[0])["jobs_failed"] and w)
    assert (told["jobs_processed"], told["jobs_failed"]) == (2, 1)
    (failed,) = service.get(f"/api/v1/queues/{QUEUE}/failed").json["failed"]
    assert failed["error"].startswith("Retry")


def test_an_application_may_have_a_client_of_its_own_in_the_context(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    async def connect(context: dict[str, Any]) -> None:
        context["redis"] = "its own"

    async def start() -> Any:
        redis = await create_pool(RedisSettings.from_dsn(redis_url))
        await settings()["on_startup"]({"redis": redis})
        await redis.aclose()
        return redis.zrangebyscore

    monkeypatch.setenv("CHAPERONE_TARGET", APP)
    monkeypatch.setattr(WorkerSettings, "on_startup", staticmethod(connect), raising=False)
    assert asyncio.run(start()).__module__ == settings.__module__


def test_an_application_s_own_keys_may_be_bytes(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    async def keep() -> bytes:
        redis = await create_pool(RedisSettings.from_dsn(redis_url))
        _sign(redis)
        await redis.pipeline().psetex(b"own", 60_000, b"value").execute()
        kept: bytes = await redis.get("own")
        await redis.aclose()
        return kept

    monkeypatch.setenv("CHAPERONE_WORKER_ID", "w-1")
    assert asyncio.run(keep()) == b"value"


def test_the_pulse_waits_for_looks_as_seldom_as_they_are() -> None:
    assert Watch(QUEUE, QUEUE, 5, every=60)._pulse._silence > 120


def plan(job: JobOptions | None = None, **options: Any) -> Any:
    table = ArqTable(**options)
    asked = Asked(pool="p", queues=(QUEUE,), options=table, python="python", job=job or JobOptions())
    return Arq().plan(asked)


def test_arq_is_told_what_it_can_honour_and_the_rest_is_refused() -> None:
    asked = plan(JobOptions(tries=3, sleep=0.5, timeout=60), app=APP)
    assert asked.honours == {"tries", "sleep"}
    told = json.loads(dict(asked.env)["CHAPERONE_AGENT"])
    assert (told["tries"], told["sleep"], told["patience"]) == (3, 0.5, 28)
    with pytest.raises(Unsuited, match=r"raise arq\.Retry"):
        plan(JobOptions(backoff=(1.0,)), app=APP)
    with pytest.raises(Unsuited, match="0 would have no job done"):
        plan(JobOptions(tries=0), app=APP)
    with pytest.raises(Unsuited, match="0 would ask the queue without a pause"):
        plan(JobOptions(sleep=0.0), app=APP)
    with pytest.raises(Unsuited, match="is missing"):
        plan()


def test_that_arq_is_in_maintenance_is_said(launch: Launch, redis_url: str, tmp_path: Path) -> None:
    service = launch(ArqShop(redis_url, tmp_path).pool("workers = 0"))
    assert len(service.lines("pools.jobs.backend: arq gets no new features")) == 1
    checked = service.cli("config", "check")
    assert (checked.code, checked.err) == (0, "")
    assert "warning: pools.jobs.backend: arq gets no new features" in checked.out
