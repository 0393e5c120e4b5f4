"""Pools of Dramatiq workers, by `backend = "dramatiq"` alone, on a real Redis and a real RabbitMQ."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.dramatiq_rabbitmq import OnRabbitmq
from chaperone_async.attendant.dramatiq_redis import OnRedis
from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.dramatiq import Dramatiq as Backend
from chaperone_async.system.backends.dramatiq import DramatiqTable
from chaperone_async.system.backends.protocol import Asked, Unsuited
from tests.backends.apps.dramatiq_app import make_broker
from tests.backends.apps.work import done
from tests.e2e.service import Document, Launch, Service

APP = "tests.backends.apps.dramatiq_app"
JOBS = int(os.environ.get("NO_JOB_LOST", "100"))
QUEUE = "mails"


class Application:
    """Puts messages into the queue, as the application does it elsewhere."""

    def __init__(self, url: str, place: Path) -> None:
        self.url, self.place = url, place
        self.broker: Any = make_broker(url)
        self.attendant: Any = OnRedis(self.broker, 2) if url.startswith("redis") else OnRabbitmq(self.broker)

    def send(self, actor: str, what: object, *arguments: Any, delay: int | None = None) -> str:
        self.broker.declare_queue(QUEUE)
        message: Message[None] = Message(QUEUE, actor, (str(self.place), what, *arguments), {}, {})
        return str(self.broker.enqueue(message, delay=delay).message_id)

    def close(self) -> None:
        kept = getattr(self.attendant, "_kept", None)
        if kept is not None and kept._client is not None:
            kept._client.close()
        self.broker.close()

    def pool(self, more: str = "") -> str:
        table = {"backend": "dramatiq", "queue": QUEUE, "dramatiq.app": APP, "env.TEST_BROKER": self.url}
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        return "\n".join(["[pools.jobs]", *lines, "health.memory_limit = 0", more])

    def until_done(self, service: Service, *what: str) -> None:
        service.until(lambda: set(what) <= set(done(self.place)))

    def has_done(self, many: float) -> bool:
        return len(done(self.place)) >= many

    def allow(self, what: str) -> None:
        (self.place / what).touch()


@pytest.fixture
def on_redis(redis_url: str, tmp_path: Path) -> Iterator[Application]:
    with closing(Application(redis_url, tmp_path)) as app:
        yield app


@pytest.fixture(params=["redis_url", "rabbitmq_url"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    with closing(Application(request.getfixturevalue(request.param), tmp_path)) as app:
        yield app


def worker_of(service: Service) -> Document:
    return service.workers("jobs")[0]


def test_a_pool_by_its_backend_alone_does_jobs_and_tells_of_them(launch: Launch, app: Application) -> None:
    service = launch(app.pool(), probe="/readyz")
    for n in range(5):
        app.send("work", n)
    app.send("fail", "peace")
    app.send("hold", "gate")
    app.until_done(service, "gate-began")
    held = service.until(lambda: (w := worker_of(service))["activity"] == "busy" and w)
    assert held["jobs_processed"] == 5
    app.allow("gate")
    service.until(lambda: (w := worker_of(service))["activity"] == "idle" and w["jobs_processed"] == 6)
    service.until(lambda: app.attendant.backlog([QUEUE])["failed"] == 1)
    assert app.attendant.backlog([QUEUE])["ready"] == 0


def test_a_worker_that_is_stopped_finishes_its_job(launch: Launch, on_redis: Application) -> None:
    app = on_redis
    service = launch(app.pool(), probe="/readyz")
    app.send("hold", "gate")
    app.until_done(service, "gate-began")
    service.send(signal.SIGTERM)
    service.until(lambda: service.lines("is stopping"))
    app.allow("gate")
    assert service.wait() == 0
    assert done(app.place) == ["gate-began", "gate-ended"]
    assert app.attendant.backlog([QUEUE])["reserved"] == 0


def test_the_job_of_a_killed_worker_is_done_by_the_next(launch: Launch, app: Application) -> None:
    service = launch(app.pool(), probe="/readyz")
    app.send("hold", "gate")
    app.send("work", "waiting")
    app.until_done(service, "gate-began")
    os.kill(worker_of(service)["pid"], signal.SIGKILL)
    service.until(lambda: done(app.place).count("gate-began") == 2)
    app.allow("gate")
    app.until_done(service, "gate-ended", "waiting")
    assert len(service.crashes("jobs")) == 1


def test_no_job_is_lost_while_workers_are_killed_scaled_and_rolled(launch: Launch, on_redis: Application) -> None:
    app = on_redis
    service = launch(app.pool("workers = 3\nrestart.backoff.initial = 0.1"), probe="/readyz")
    for n in range(JOBS):
        app.send("work", n, 0.05)
    killed = 0
    for share in (0.1, 0.3):
        service.until(partial(app.has_done, share * JOBS))
        os.kill(service.pids("jobs")[0], signal.SIGKILL)
        killed += 1
    assert service.cli("scale", "jobs", "5").code == 0
    service.until(partial(app.has_done, 0.5 * JOBS))
    assert service.cli("restart", "jobs").code == 0
    assert service.cli("scale", "jobs", "2").code == 0
    service.until(lambda: set(done(app.place)) == set(map(str, range(JOBS))), 60)
    twice = [what for what, times in Counter(done(app.place)).items() if times > 1]
    assert len(twice) <= killed
    service.until(lambda: app.attendant.backlog([QUEUE])["reserved"] == 0)


def test_failed_jobs_are_listed_and_done_again_or_forgotten(launch: Launch, app: Application) -> None:
    service, attendant = launch(app.pool(), probe="/readyz"), app.attendant
    for n in range(3):
        app.send("fail", f"peace-{n}")
    service.until(lambda: attendant.backlog([QUEUE])["failed"] == 3)
    page = attendant.failed(QUEUE, 2, None)
    rest = attendant.failed(QUEUE, 2, page["next"])
    listed = {json.loads(f'"{job["args"].split(", ")[1][1:-1]}"'): job for job in page["jobs"] + rest["jobs"]}
    assert set(listed) == {"peace-0", "peace-1", "peace-2"}
    assert rest["next"] is None
    assert {(job["name"], job["attempts"]) for job in listed.values()} == {("fail", 1)}
    app.allow("peace-0")
    assert attendant.retry(QUEUE, [listed["peace-0"]["id"], "no such job"]) == 1
    app.until_done(service, "peace-0")
    assert attendant.flush(QUEUE, [listed["peace-1"]["id"]]) == 1
    assert attendant.retry(QUEUE, None) == 1
    service.until(lambda: attendant.failed(QUEUE, 10, None)["jobs"])
    assert attendant.flush(QUEUE, None) == 1
    assert attendant.failed(QUEUE, 10, None) == {"jobs": [], "next": None}
    assert attendant.flush(QUEUE, None) == 0


def test_its_figures_are_those_of_dramatiq_itself(app: Application) -> None:
    nothing = app.attendant.backlog([QUEUE])
    assert nothing["ready"] == nothing["failed"] == 0
    for n in range(3):
        app.send("work", n)
    app.send("work", "later", delay=3_600_000)
    backlog = app.attendant.backlog([QUEUE, "other"])
    assert (backlog["ready"], backlog["failed"]) == (3, 0)
    if isinstance(app.broker, RabbitmqBroker):
        assert app.broker.get_queue_message_counts(QUEUE) == (3, 1, 0)
        assert backlog["reserved"] is backlog["delayed"] is backlog["oldest_age"] is None
    else:
        assert app.broker.do_qsize(QUEUE) == backlog["ready"] + backlog["delayed"] == 4
        assert backlog["reserved"] == 0
        assert 0 <= backlog["oldest_age"] < 20
        assert 3500 < backlog["next_due"] <= 3600


def test_a_job_that_has_cost_too_many_workers_is_a_dead_letter(redis_url: str, on_redis: Application) -> None:
    app = on_redis
    job = app.send("work", 1)
    for life in ("jobs-1", "jobs-2"):
        worker = make_broker(redis_url)
        worker.broker_id = f"{life}.0000001"
        assert len(worker.do_fetch(QUEUE, 1)) == 1
        assert app.attendant.backlog([QUEUE])["reserved"] == 1
        app.attendant.reclaim({"id": life, "queues": [QUEUE], "jobs": [job]})
    backlog = app.attendant.backlog([QUEUE])
    assert (backlog["ready"], backlog["reserved"], backlog["failed"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("url", "why"), [("redis://127.0.0.1:1/0", "refused"), ("amqp://guest:secret@127.0.0.1:1/", "refused|answer")]
)
def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(Unavailable, match=why) as raised:
        Application(url, tmp_path).attendant.backlog([QUEUE])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "job", "key", "why"),
    [
        ({}, {}, "dramatiq.app", "is missing"),
        ({"app": ("a b",)}, {}, "dramatiq.app", "does not name a module"),
        ({"app": ("a",)}, {"tries": 3}, "job.tries", "max_retries"),
        ({"app": ("a",), "options": ("-t8",)}, {}, "dramatiq.options", "dramatiq.threads"),
    ],
)
def test_what_dramatiq_cannot_do_is_refused_with_the_reason(
    options: dict[str, Any], job: dict[str, Any], key: str, why: str
) -> None:
    asked = Asked(pool="a", queues=(QUEUE,), options=DramatiqTable(**options), python="python", job=JobOptions(**job))
    with pytest.raises(Unsuited, match=why) as raised:
        Backend().plan(asked)
    assert raised.value.key == key
