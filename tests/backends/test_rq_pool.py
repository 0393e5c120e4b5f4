"""Pools of RQ workers, by `backend = "rq"` alone, on a real Redis."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.executions import Execution
from rq.job import Job, Retry
from rq.registry import FailedJobRegistry
from rq.suspension import resume, suspend

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.rq import Rq, attend
from chaperone_async.attendant.rq_reclaim import DEATHS
from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.protocol import Asked, Unsuited
from chaperone_async.system.backends.rq import Rq as Backend
from chaperone_async.system.backends.rq import RqTable
from chaperone_async.system.config.show import explain
from tests.backends.adapters import ADAPTERS
from tests.backends.apps import work
from tests.backends.apps.work import done
from tests.backends.lossless import prepared, url_of
from tests.backends.servers import Run
from tests.e2e.service import Document, Launch, Service

JOBS = int(os.environ.get("NO_JOB_LOST", "100"))
QUEUE = "mails"


class Application:
    """Puts jobs into the queue."""

    def __init__(self, url: str, place: Path) -> None:
        self.url, self.place = url, place
        self.redis = Redis.from_url(url)
        self.queue = Queue(QUEUE, connection=self.redis)

    def send(self, function: Any, what: object, *arguments: Any, **options: Any) -> Job:
        return self.queue.enqueue(function, str(self.place), what, *arguments, **options)

    def pool(self, more: str = "") -> str:
        return f'[pools.jobs]\nbackend = "rq"\nqueue = "{QUEUE}"\nrq.url = "{self.url}"\n{more}\n'

    def until_done(self, service: Service, *what: str) -> None:
        service.until(lambda: set(what) <= set(done(self.place)))

    def allow(self, what: str) -> None:
        (self.place / what).touch()


@pytest.fixture
def app(redis_url: str, tmp_path: Path) -> Application:
    return Application(redis_url, tmp_path)


@pytest.fixture
def attendant(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Rq:
    monkeypatch.setenv("RQ_REDIS_URL", redis_url)
    return attend({"max_deaths": 2})


def worker_of(service: Service) -> Document:
    return service.workers("jobs")[0]


def test_a_pool_by_its_backend_alone_does_jobs_and_tells_of_them(launch: Launch, app: Application) -> None:
    service = launch(app.pool(), probe="/readyz")
    for n in range(5):
        app.send(work.work, n)
    app.send(work.fail, "peace")
    app.send(work.hold, "gate")
    app.until_done(service, "gate-began")
    held = service.until(lambda: (w := worker_of(service))["activity"] == "busy" and w)
    assert held["jobs_processed"] == 5
    assert service.get("/api/v1/stats").json["active_workers"] == 1
    app.allow("gate")
    service.until(lambda: (w := worker_of(service))["activity"] == "idle" and w["jobs_processed"] == 6)
    assert app.queue.count == 0


def test_a_worker_that_is_stopped_finishes_its_job(launch: Launch, app: Application) -> None:
    service = launch(app.pool(), probe="/readyz")
    app.send(work.hold, "gate")
    app.until_done(service, "gate-began")
    service.send(signal.SIGTERM)
    service.until(lambda: service.lines("is stopping"))
    app.allow("gate")
    assert service.wait() == 0
    assert done(app.place) == ["gate-began", "gate-ended"]


@pytest.mark.parametrize("kind", ["", "rq.simple = true"])
def test_the_job_of_a_killed_worker_is_done_by_the_next(launch: Launch, app: Application, kind: str) -> None:
    service = launch(app.pool(kind), probe="/readyz")
    job = app.send(work.hold, "gate")
    app.until_done(service, "gate-began")
    os.kill(worker_of(service)["pid"], signal.SIGKILL)
    service.until(lambda: done(app.place).count("gate-began") == 2)
    app.allow("gate")
    service.until(lambda: worker_of(service)["jobs_processed"] == 1)
    assert done(app.place) == ["gate-began", "gate-began", "gate-ended"]
    assert len(service.crashes("jobs")) == 1
    assert app.redis.hget(job.key, DEATHS) is None, "it may be sent again under the same id"


@pytest.mark.parametrize("kind", ["", "rq.simple = true"])
def test_a_worker_with_a_long_job_is_healthy(launch: Launch, app: Application, kind: str) -> None:
    service = launch(app.pool(f'{kind}\nhealth = {{ heartbeat = "4s", interval = "0.2s" }}'), probe="/readyz")
    app.send(work.work, "long", 6.0)
    app.until_done(service, "long")
    assert not service.lines("heartbeat check failed")


def test_a_worker_that_starts_while_rq_is_suspended_is_ready_and_healthy(launch: Launch, app: Application) -> None:
    suspend(app.redis)
    health = 'health = { start_timeout = "5s", heartbeat = "4s", interval = "0.2s" }'
    service = launch(app.pool(health), probe="/readyz")
    app.send(work.work, 1)
    time.sleep(6)
    assert done(app.place) == []
    resume(app.redis)
    app.until_done(service, "1")
    assert service.crashes("jobs") == []


@pytest.mark.parametrize("kind", ["", "rq.simple = true"])
def test_a_run_that_rq_will_try_again_has_not_failed(launch: Launch, app: Application, kind: str) -> None:
    service = launch(app.pool(kind), probe="/readyz")
    app.send(work.fail, "peace", retry=Retry(max=1))
    if not kind:
        app.send(work.die, "", retry=Retry(max=1))
    app.send(work.work, "last")
    runs, failures = (5, 2) if not kind else (3, 1)
    service.until(lambda: (w := worker_of(service))["jobs_processed"] + w["jobs_failed"] == runs)
    assert worker_of(service)["jobs_failed"] == failures


def test_no_job_is_lost_while_workers_are_killed_scaled_rolled_and_drained(run: Run, tmp_path: Path) -> None:
    adapter = ADAPTERS["rq"]
    trial = prepared(adapter, tmp_path, url_of(adapter, run), workers=2)
    with trial.service.start().until_up():
        outcome = trial.run(JOBS, kills=2)
    assert (outcome.ran, outcome.never, outcome.kills) == (JOBS, (), 2)
    assert outcome.twice <= 2
    assert not trial.service.lines("cannot put back")


def test_its_figures_are_those_of_rq_itself(app: Application, attendant: Rq) -> None:
    first = app.send(work.work, 1)
    app.send(work.work, 2)
    app.queue.enqueue("tests.backends.apps.work.note", str(app.place), "later", depends_on=first)
    backlog = attendant.backlog([QUEUE, "other"])
    assert {name: backlog[name] for name in ("ready", "delayed", "reserved", "failed")} == {
        "ready": app.queue.count,
        "delayed": app.queue.deferred_job_registry.count,
        "reserved": 0,
        "failed": 0,
    }
    assert backlog["oldest_age"] is not None
    assert 0 <= backlog["oldest_age"] < 20


def test_failed_jobs_are_listed_and_done_again_or_forgotten(launch: Launch, app: Application, attendant: Rq) -> None:
    service = launch(app.pool("rq.simple = true"), probe="/readyz")
    failing = [app.send(work.fail, f"peace-{n}").id for n in range(3)]
    service.until(lambda: attendant.backlog([QUEUE])["failed"] == 3)
    assert FailedJobRegistry(QUEUE, app.redis).count == 3
    page = attendant.failed(QUEUE, 2, None)
    rest = attendant.failed(QUEUE, 2, page["next"])
    assert {job["id"] for job in page["jobs"] + rest["jobs"]} == set(failing)
    assert rest["next"] is None
    assert page["jobs"][0]["name"] == "tests.backends.apps.work.fail"
    assert page["jobs"][0]["error"].startswith("RuntimeError: no peace-")
    app.allow("peace-0")
    assert attendant.retry(QUEUE, [failing[0], "no such job"]) == 1
    app.until_done(service, "peace-0")
    assert attendant.flush(QUEUE, [failing[1]]) == 1
    assert attendant.flush(QUEUE, None) == 1
    assert attendant.failed(QUEUE, 10, None) == {"jobs": [], "next": None}
    assert not Job.exists(failing[2], app.redis)


def test_a_job_that_was_taken_and_not_begun_goes_back(app: Application, attendant: Rq) -> None:
    job = app.send(work.work, 1)
    app.redis.lmove(app.queue.key, app.queue.intermediate_queue_key)
    assert attendant.backlog([QUEUE])["ready"] == 0
    assert attendant.reclaim({"id": "jobs-1", "queues": [QUEUE], "jobs": [], "mark": ""}) == 1
    assert app.queue.job_ids == [job.id]
    assert app.redis.llen(app.queue.intermediate_queue_key) == 0


def test_a_job_that_was_taken_from_one_of_several_queues_goes_back_once(app: Application, attendant: Rq) -> None:
    job = app.send(work.work, 1)
    app.redis.lpop(app.queue.key)
    dead = {"id": "jobs-1", "queues": ["other", QUEUE], "jobs": [], "mark": job.id}
    assert [attendant.reclaim(dead), attendant.reclaim(dead)] == [1, 0]
    assert app.queue.job_ids == [job.id]


@pytest.mark.parametrize(("retry", "status"), [(None, "failed"), (Retry(max=1), "queued")])
def test_a_job_that_has_cost_too_many_workers_is_left_to_rq(
    app: Application, attendant: Rq, retry: Retry | None, status: str
) -> None:
    job = app.send(work.work, 1, retry=retry, on_failure=Callback(work.failed))
    for life, blamed in (("jobs-1", True), ("jobs-2", False), ("jobs-3", True)):
        assert app.queue.get_job_ids() == [job.id]
        die_with(app, job.id, life)
        dead = {"id": life, "queues": [QUEUE], "jobs": [job.id], "mark": "", "blamed": blamed}
        with ThreadPoolExecutor() as threads:  # as attendants do it
            threads.submit(attendant.reclaim, dead).result()
    assert job.get_status() == status
    assert done(app.place) == ["failed"]
    assert app.queue.count == FailedJobRegistry(QUEUE, app.redis).count ^ 1


def die_with(app: Application, job_id: str, worker: str) -> None:
    """As a worker leaves a job behind that it has begun."""
    app.redis.lpop(app.queue.key)
    job = Job.fetch(job_id, connection=app.redis)
    with app.redis.pipeline() as pipe:
        Execution.create(job, 100, pipe, worker)
        job.prepare_for_execution(worker, pipe)
        pipe.execute()


def test_a_redis_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RQ_REDIS_URL", f"redis://:secret@127.0.0.1:{nobody.getsockname()[1]}/0")
        with pytest.raises(Unavailable, match="Connection refused") as raised:
            attend({"max_deaths": 2}).backlog([QUEUE])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "job", "key", "why"),
    [
        ({}, {"tries": 3}, "job.tries", "Retry"),
        ({}, {"sleep": 3.0}, "job.sleep", "handed"),
        ({"options": ("-w", "x.Y")}, {}, "rq.options", "rq.worker_class"),
        ({"simple": True, "worker_class": "x.Y"}, {}, "rq.simple", "rq.worker_class"),
    ],
)
def test_what_rq_cannot_do_is_refused_with_the_reason(
    options: dict[str, Any], job: dict[str, Any], key: str, why: str
) -> None:
    with pytest.raises(Unsuited, match=why) as raised:
        Backend().plan(replace(asked(**options), job=JobOptions(**job)))
    assert raised.value.key == key


def asked(**options: Any) -> Asked:
    return Asked(pool="a", queues=("high", "low"), options=RqTable(**options), python="py")


def test_the_address_of_redis_is_not_among_the_arguments() -> None:
    plan = Backend().plan(asked(url="redis://:secret@here/0", scheduler=True, options=("--quiet",)))
    assert " ".join(plan.command) == (
        "py -m rq.cli worker --name {worker_id} --worker-class chaperone_async.agent.rq.Worker --worker-ttl 17"
        " --job-monitoring-interval 2 --with-scheduler --quiet high low"
    )
    assert dict(plan.env)["RQ_REDIS_URL"] == "redis://:secret@here/0"


def test_its_password_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "chaperone.toml"
    file.write_text('[pools.a]\nbackend = "rq"\nrq.url = "redis://:hunter2@here/0"\n')
    _, settings = explain(file, {})
    assert ("pools", "a", "env", "RQ_REDIS_URL") in {setting.keys for setting in settings}
    assert not [setting for setting in settings if "hunter2" in str(setting.value)]
