"""Pools of Celery workers, at a real Redis and a real RabbitMQ."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from kombu import Connection
from redis import Redis

from chaperone_async.agent.celery_redis import HOLDER, RedisConsumer
from tests.backends.celery_shop import LATE, QUEUE, Shop, backlog, failed
from tests.backends.promises import JOBS, lossless
from tests.backends.servers import Run
from tests.e2e.service import Launch

Open = Callable[[str], Shop]


def test_a_pool_tells_of_the_jobs_of_all_children_and_failed_ones_are_sent_again(
    redis_url: str, open_celery: Open, launch: Launch
) -> None:
    shop = open_celery(redis_url)
    service = launch(shop.pool("celery.concurrency = 2"))
    for number in range(2):
        shop.send("hold", number)
    service.until(lambda: len(shop.lines("begun")) == 2)
    (worker,) = service.workers("jobs")
    assert (worker["activity"], bool(worker["current_job"])) == ("busy", True)
    shop.say("go")
    for number in range(2, 10):
        shop.send("note", number)
    shop.send("mend", 10, what="paper")
    service.until(lambda: service.pool("jobs")["jobs_processed"] == 10 and failed(service))
    (job,) = failed(service)
    assert (job["name"], job["error"]) == ("mend", "ValueError: paper is not there")
    assert service.workers("jobs")[0]["activity"] == "idle"
    shop.say("paper")
    done = service.cli("retry", "all")
    assert done.code == 0, done
    service.until(lambda: shop.done == list(range(11)))
    service.until(lambda: service.pool("jobs")["jobs_processed"] == 11)
    assert failed(service) == []
    service.until(lambda: backlog(service).get("ready") == 0)


def test_a_job_that_takes_too_long_fails_and_its_worker_lives(
    redis_url: str, open_celery: Open, launch: Launch
) -> None:
    shop = open_celery(redis_url)
    service = launch(shop.pool('job.timeout = "1s"').replace(f'"{QUEUE}"', f'["others", "{QUEUE}"]'))
    before = service.pids("jobs")
    shop.send("hold", 1)
    shop.send("note", 2)
    service.until(lambda: shop.done == [2])
    service.until(lambda: failed(service))
    assert "TimeLimitExceeded" in failed(service)[0]["error"]
    assert service.pids("jobs") == before


@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_what_fails_within_a_job_that_has_called_it_in_place_is_no_job_of_its_own(
    redis_url: str, open_celery: Open, launch: Launch, kind: str
) -> None:
    shop = open_celery(redis_url)
    service = launch(shop.pool(f'celery.pool = "{kind}"'))
    shop.send("mend_in_place", 1)
    shop.send("note", 2)
    service.until(lambda: shop.done == [1, 2] and service.pool("jobs")["jobs_processed"] >= 2)
    assert service.pool("jobs")["jobs_processed"] == 2
    assert failed(service) == []


def test_a_worker_that_may_take_no_more_messages_and_has_no_job_to_do_is_healthy(
    redis_url: str, open_celery: Open, launch: Launch
) -> None:
    shop = open_celery(redis_url)
    often = {"note": {"rate_limit": "15/m"}}
    service = launch(shop.pool('health = { heartbeat = "2s", interval = "0.5s" }', task_annotations=often))
    for number in range(8):
        shop.send("note", number)
    service.until(lambda: len(shop.done) == 2)
    assert service.crashes("jobs") == []


@pytest.mark.parametrize(
    ("server", "kind"), [("redis_url", "prefork"), ("redis_url", "threads"), ("rabbitmq_url", "prefork")]
)
def test_a_paused_worker_lives_on_and_takes_no_job(
    request: pytest.FixtureRequest, open_celery: Open, launch: Launch, server: str, kind: str
) -> None:
    shop = open_celery(request.getfixturevalue(server))
    service = launch(shop.pool(f'celery.pool = "{kind}"\ncelery.options = ["-lINFO"]'))
    before = service.pids("jobs")
    assert service.cli("pause", "jobs").code == 0
    service.until(lambda: service.lines("Canceling queue jobs"))
    for number in range(3):
        shop.send("note", number)
    service.until(lambda: backlog(service).get("ready") == 3)
    assert service.workers("jobs")[0]["status"] == "paused"
    assert service.cli("resume", "jobs").code == 0
    service.until(lambda: shop.done == [0, 1, 2])
    assert service.pids("jobs") == before
    assert not service.lines("Error in timer")


def test_a_stopped_worker_finishes_its_job_if_it_can(rabbitmq_url: str, open_celery: Open, launch: Launch) -> None:
    shop = open_celery(rabbitmq_url)
    service = launch(shop.pool("celery.concurrency = 2", **LATE))
    shop.send("hold", 1)
    service.until(lambda: len(shop.lines("begun")) == 1)
    assert service.cli("stop", "jobs").code == 0
    service.until(lambda: service.workers("jobs")[0]["status"] == "stopping")
    shop.say("go")
    service.until(lambda: not service.pids("jobs"))
    assert shop.done == [1]


def test_what_a_worker_cannot_finish_when_it_is_stopped_is_not_lost(
    rabbitmq_url: str, open_celery: Open, launch: Launch
) -> None:
    """Given back, if it was acknowledged late; else recorded, with all it takes to send it again."""
    shop = open_celery(rabbitmq_url)
    service = launch(shop.pool("celery.concurrency = 2\nstop.timeout = 2", **LATE))
    shop.send("hold", 2)
    shop.send("hold_early", 3)
    service.until(lambda: len(shop.lines("begun")) == 2)
    assert service.cli("stop", "jobs").code == 0
    service.until(lambda: not service.pids("jobs") and backlog(service).get("ready") == 1 and failed(service))
    assert [job["name"] for job in failed(service)] == ["hold_early"]


def test_when_a_worker_is_killed_its_jobs_in_redis_go_back_at_once(
    redis_url: str, open_celery: Open, launch: Launch
) -> None:
    """Celery alone would do that after an hour."""
    shop = open_celery(redis_url)
    service = launch(shop.pool(**LATE))
    for number in range(4):
        shop.send("hold", number)
    service.until(lambda: backlog(service).get("reserved") == 4 and shop.lines("begun"))
    (pid,) = service.pids("jobs")
    os.kill(pid, signal.SIGKILL)
    service.until(lambda: service.lines("4 jobs of jobs-"))
    shop.say("go")
    service.until(lambda: shop.done == [0, 1, 2, 3])
    service.until(lambda: backlog(service).get("reserved") == 0)


@pytest.mark.parametrize("by", ["the worker", "its channel", "the visibility timeout"])
def test_a_message_that_goes_back_bears_the_name_of_its_worker_no_more(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Or the next, without our agent, would have it in the other's name."""
    monkeypatch.setattr("chaperone_async.agent.celery_redis._WORKER", "jobs-1")
    with Redis.from_url(redis_url) as redis, Connection(redis_url) as connection:
        queue = connection.SimpleQueue("jobs")
        RedisConsumer(queue.channel, beats=False)
        queue.put(1)
        message = queue.get(timeout=10)
        (entry,) = redis.hvals("unacked")
        assert json.loads(entry)[0][HOLDER] == "jobs-1"
        if by == "the worker":
            message.requeue()
        elif by == "its channel":
            queue.channel.qos.restore_unacked_once()
        else:
            queue.channel.qos.restore_by_tag(message.delivery_tag)
        (waiting,) = redis.lrange("jobs", 0, -1)
        assert HOLDER not in json.loads(waiting)


def test_no_job_is_lost_while_workers_are_killed_scaled_rolled_and_drained(run: Run, tmp_path: Path) -> None:
    """On RabbitMQ; on Redis a kill in the very millisecond of a job's arrival may lose it."""
    outcome = lossless("celery-rabbitmq", run, tmp_path)
    assert (outcome.ran, outcome.never, outcome.kills) == (JOBS, (), 2)
