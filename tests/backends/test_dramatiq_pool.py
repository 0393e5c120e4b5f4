"""Pools of Dramatiq workers, by `backend = "dramatiq"` alone, on a real Redis and a real RabbitMQ."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
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
from tests.backends.adapters import ADAPTERS
from tests.backends.apps.dramatiq_app import make_broker
from tests.backends.apps.work import done
from tests.backends.hearing import hearing
from tests.backends.lossless import prepared, url_of
from tests.backends.servers import Run
from tests.e2e.service import Document, Launch, Service, until

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

    def let_die(self, many: int) -> None:
        """As a worker does with messages that have failed for good."""
        consumer, left = self.broker.consume(QUEUE, prefetch=many), many
        while left:
            message = next(consumer)
            if message is not None:
                consumer.nack(message)
                left -= 1
        consumer.close()
        until(lambda: self.attendant.backlog([QUEUE])["failed"] == many)

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


def hurry(service: Service) -> None:
    """How it ends is no part of the test."""
    service.send(signal.SIGTERM)
    service.send(signal.SIGTERM)
    service.wait()


def worker_of(service: Service) -> Document:
    return service.workers("jobs")[0]


def test_a_pool_by_its_backend_alone_does_jobs_and_tells_of_them(launch: Launch, app: Application) -> None:
    service = launch(app.pool(), probe="/readyz")
    for n in range(5):  # one after the other: what a worker tells at a time has to fit into the supervisor's socket
        app.send("work", n)
        service.until(lambda n=n: worker_of(service)["jobs_processed"] == n + 1)  # type: ignore[misc]  # a value of the loop
    app.send("fail", "peace")
    service.until(lambda: worker_of(service)["jobs_failed"] == 1)
    app.send("hold", "gate")
    app.until_done(service, "gate-began")
    held = service.until(lambda: (w := worker_of(service))["activity"] == "busy" and w)
    assert held["jobs_processed"] == 5
    app.allow("gate")
    service.until(lambda: (w := worker_of(service))["activity"] == "idle" and w["jobs_processed"] == 6)
    service.until(lambda: app.attendant.backlog([QUEUE])["failed"] == 1)
    app.allow("peace")
    assert app.attendant.retry(QUEUE, None) == 1
    app.until_done(service, "peace")
    hurry(service)


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


def test_a_job_that_outlasts_the_stop_goes_back(launch: Launch, app: Application) -> None:
    service = launch(app.pool('stop.timeout = "2s"\ndramatiq.processes = 2'), probe="/readyz")
    app.send("hold", "gate")
    app.until_done(service, "gate-began")
    service.send(signal.SIGTERM)
    assert service.wait() == 0
    assert not service.lines("is killed")
    service.until(lambda: app.attendant.backlog([QUEUE])["ready"] == 1)


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
    assert not service.lines("cannot put back")
    hurry(service)


def test_no_job_is_lost_while_workers_are_killed_scaled_rolled_and_drained(run: Run, tmp_path: Path) -> None:
    adapter = ADAPTERS["dramatiq-redis"]
    trial = prepared(adapter, tmp_path, url_of(adapter, run), workers=2)
    with trial.service.start().until_up():
        outcome = trial.run(JOBS, kills=2)
        hurry(trial.service)
    assert (outcome.ran, outcome.never, outcome.kills) == (JOBS, (), 2)
    assert outcome.twice <= 2
    assert not trial.service.lines("cannot put back")


def test_dead_letters_are_listed_and_sent_again_or_removed(app: Application) -> None:
    attendant = app.attendant
    for n in range(3):
        app.send("fail", f"peace-{n}")
    app.let_die(3)
    assert {name: attendant.backlog([QUEUE])[name] for name in ("ready", "failed")} == {"ready": 0, "failed": 3}
    page = attendant.failed(QUEUE, 2, None)
    rest = attendant.failed(QUEUE, 2, page["next"])
    ids = {job["args"].split(", ")[1]: job["id"] for job in page["jobs"] + rest["jobs"]}
    assert set(ids) == {"'peace-0'", "'peace-1'", "'peace-2'"}
    assert rest["next"] is None
    assert {(job["name"], job["queue"], job["attempts"]) for job in page["jobs"]} == {("fail", QUEUE, 1)}
    assert attendant.retry(QUEUE, [ids["'peace-0'"], "no such job"]) == 1
    assert attendant.flush(QUEUE, [ids["'peace-1'"]]) == 1
    assert attendant.retry(QUEUE, None) == 1
    assert {name: attendant.backlog([QUEUE])[name] for name in ("ready", "failed")} == {"ready": 2, "failed": 0}
    app.let_die(2)
    assert attendant.flush(QUEUE, None) == 2
    assert attendant.failed(QUEUE, 10, None) == {"jobs": [], "next": None}
    assert attendant.flush(QUEUE, None) == attendant.retry("no such queue", None) == 0


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


RETRIED = """if True:
    import dramatiq
    from dramatiq.brokers.stub import StubBroker
    from dramatiq.middleware import Retries, SkipMessage

    class Skipping(dramatiq.Middleware):
        def before_process_message(self, broker, message):
            raise SkipMessage("not today")

    broker = StubBroker({})
    dramatiq.set_broker(broker)
    from chaperone_async.agent import dramatiq as agent

    @dramatiq.actor({})
    def broken():
        raise ValueError("broken")

    worker = dramatiq.Worker(broker, worker_timeout=10)
    worker.start()
    broken.send()
    broker.join("default", fail_fast=False)
    worker.stop()
"""


@pytest.mark.parametrize(
    ("middleware", "options", "ends"),
    [
        ("", "max_retries=1, min_backoff=1", ["ok", "ValueError: broken"]),
        ("middleware=[]", "", ["ValueError: broken"]),
        ("middleware=[Retries(), Skipping()]", "", []),
    ],
)
def test_a_run_that_will_be_tried_again_has_not_failed_yet_and_one_that_was_skipped_has_not_begun(
    middleware: str, options: str, ends: list[str]
) -> None:
    with hearing() as heard:
        env = {**os.environ, "NOTIFY_SOCKET": str(heard.path)}
        subprocess.run([sys.executable, "-c", RETRIED.format(middleware, options)], env=env, check=True)
    assert heard.runs("broken") == ends


def test_a_message_of_others_is_in_nobodys_way(redis_url: str, on_redis: Application) -> None:
    app, worker = on_redis, make_broker(redis_url)
    app.send("work", 1)
    app.broker.client.rpush(f"dramatiq:{QUEUE}", "odd")
    app.broker.client.hset(f"dramatiq:{QUEUE}.msgs", "odd", "{}")
    worker.broker_id = "jobs-1.0000001"
    assert len(worker.do_fetch(QUEUE, 2)) == 2
    assert app.attendant.reclaim({"id": "jobs-1", "queues": [QUEUE], "jobs": ["odd"]}) == 2
    app.broker.client.lrem(f"dramatiq:{QUEUE}", 1, "odd")
    app.broker.client.lpush(f"dramatiq:{QUEUE}", "odd")
    backlog = app.attendant.backlog([QUEUE])
    assert (backlog["ready"], backlog["oldest_age"]) == (2, None)
    app.broker.client.hset(f"dramatiq:{QUEUE}.XQ.msgs", "odd", "{}")
    app.broker.client.zadd(f"dramatiq:{QUEUE}.XQ", {"odd": 1000})
    (job,) = app.attendant.failed(QUEUE, 1, None)["jobs"]
    assert (job["id"], job["error"]) == ("odd", "it is no message of Dramatiq's")


def test_a_job_that_has_cost_too_many_workers_is_a_dead_letter(redis_url: str, on_redis: Application) -> None:
    app = on_redis
    job = app.send("work", 1)
    for life, blamed in (("jobs-1", True), ("jobs-2", False), ("jobs-3", True)):
        worker = make_broker(redis_url)
        worker.broker_id = f"{life}.0000001"
        assert len(worker.do_fetch(QUEUE, 1)) == 1
        assert app.attendant.backlog([QUEUE])["reserved"] == 1
        app.attendant.reclaim({"id": life, "queues": [QUEUE], "jobs": [job], "blamed": blamed})
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
    with pytest.raises(Unsuited, match=why) as raised:
        Backend().plan(replace(asked(**options), job=JobOptions(**job)))
    assert raised.value.key == key


def asked(**options: Any) -> Asked:
    return Asked(pool="a", queues=("high", "low"), options=DramatiqTable(**options), python="py")


def test_a_worker_lets_go_of_its_jobs_only_when_the_supervisor_says_so() -> None:
    table = asked(app=("proj:broker", "proj.more"), threads=4, options=("--verbose",))
    plan = Backend().plan(replace(table, stop_timeout=20))
    assert " ".join(plan.command) == (
        "py -m dramatiq proj:broker proj.more chaperone_async.agent.dramatiq --queues high low"
        " --processes 1 --threads 4 --worker-shutdown-timeout 604800000 --verbose"
    )
    assert [rung.signal for rung in plan.then] == ["SIGTERM"]


@pytest.mark.parametrize(
    ("stop_timeout", "job_timeout", "patience"), [(20.0, None, "60000"), (90.0, None, "90000"), (20.0, 300.0, "360000")]
)
def test_a_worker_that_has_lost_a_process_does_not_wait_for_the_others_for_days(
    stop_timeout: float, job_timeout: float | None, patience: str
) -> None:
    table = asked(app=("proj",), processes=2)
    plan = Backend().plan(replace(table, stop_timeout=stop_timeout, job=JobOptions(timeout=job_timeout)))
    assert plan.command[plan.command.index("--worker-shutdown-timeout") + 1] == patience
