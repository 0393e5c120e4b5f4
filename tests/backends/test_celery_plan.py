"""What the backend for Celery plans and refuses, and what its attendant tells of real brokers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis

from chaperone_async.agent.celery_redis import RedisConsumer
from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.celery import Attendant
from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.celery import Celery, CeleryTable
from chaperone_async.system.backends.protocol import Asked, Unsuited
from tests.backends.celery_shop import QUEUE, Shop
from tests.e2e.service import until

Open = Callable[[str], Shop]


def asked(job: JobOptions = JobOptions(), **options: Any) -> Asked:  # noqa: B008  frozen
    table = CeleryTable(**{"app": "proj.app", **options})
    return Asked(pool="jobs", queues=("high", "low"), options=table, python="python", job=job)


def test_only_prefork_is_told_of_a_jobs_time_and_may_be_asked_to_give_jobs_back() -> None:
    plan = Celery().plan(asked(JobOptions(timeout=60.0)))
    assert plan.command[:6] == ("python", "-m", "celery", "--quiet", "-A", "proj.app")
    assert "--time-limit={timeout}" in plan.command
    assert plan.honours == {"timeout"}
    assert [rung.signal for rung in plan.then] == ["SIGQUIT"]
    for kind in ("threads", "solo", "gevent"):
        plan = Celery().plan(asked(JobOptions(timeout=60.0), pool=kind))
        assert (plan.honours, plan.then) == (frozenset(), ())
        assert "--time-limit={timeout}" not in plan.command


@pytest.mark.parametrize(
    ("key", "why", "wanted"),
    [
        ("celery.app", "is missing", asked(app=None)),
        ("celery.concurrency", "write 1, or pool", asked(pool="solo", concurrency=2)),
        ("celery.options", "each worker that starts would empty the queue", asked(options=("--purge",))),
        ("celery.options", "app.conf.include", asked(options=("-Iproj.more",))),
        ("job.tries", "max_retries=3", asked(JobOptions(tries=3))),
        ("job.backoff", "retry_backoff", asked(JobOptions(backoff=(1.0,)))),
        ("job.sleep", "it is handed them", asked(JobOptions(sleep=3.0))),
        ("job.max_exceptions", "does not count them", asked(JobOptions(max_exceptions=3))),
    ],
)
def test_what_celery_cannot_do_is_refused_with_the_reason(key: str, why: str, wanted: Asked) -> None:
    with pytest.raises(Unsuited) as refusal:
        Celery().plan(wanted)
    assert refusal.value.key == key
    assert why in refusal.value.why


@contextmanager
def attending(shop: Shop, max_deaths: int = 0) -> Iterator[Attendant]:
    attendant = Attendant(shop.app, max_deaths)
    yield attendant
    for connection in attendant._idle:
        connection.release()


def test_redis_tells_what_is_ready_and_what_is_only_due_later(redis_url: str, open_celery: Open) -> None:
    shop = open_celery(redis_url)
    with attending(shop) as attendant:
        assert attendant.backlog([QUEUE])["ready"] == 0
        shop.send("note", 1)
        shop.app.send_task("note", [2], queue=QUEUE, priority=9)
        shop.app.send_task("note", [3], queue=QUEUE, countdown=600)
        shop.app.send_task("note", [4], queue="others")
        told = attendant.backlog([QUEUE])
        assert {key: told[key] for key in ("ready", "delayed", "reserved")} == {"ready": 2, "delayed": 1, "reserved": 0}
        assert 0 < told["next_due"] <= 600
        for number in range(100):
            shop.send("note", number)
        assert attendant.backlog([QUEUE, "others"]) == {"ready": 104}
        with Redis.from_url(redis_url) as client:
            client.set("no-list", "text")
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            attendant.backlog(["no-list"])


def take(client: Any, holder: str, at: float) -> str:
    """As a worker does it that has our agent; the job's id."""
    message = json.loads(client.rpop(QUEUE) or b"")
    tag = message["properties"]["delivery_tag"]
    client.hset("unacked", tag, json.dumps([{**message, "chaperone": holder}, "", QUEUE]))
    client.zadd("unacked_index", {tag: at})
    return str(message["headers"]["id"])


def test_of_a_dead_worker_in_redis_its_own_jobs_go_back_and_no_others(redis_url: str, open_celery: Open) -> None:
    """That which it had in work comes last, for it may be what it died of; the others keep their order."""
    shop = open_celery(redis_url)
    ids = [shop.send("note", number) for number in range(5)]
    with Redis.from_url(redis_url) as client, attending(shop) as attendant:
        for at, holder in enumerate(("w-1", "w-1", "w-2", "w-1")):
            take(client, holder, at)
        assert attendant.backlog([QUEUE])["reserved"] == 4
        assert attendant.reclaim({"id": "w-1", "jobs": [ids[0]]}) == 3
        assert attendant.reclaim({"id": "w-1", "jobs": []}) == 0
        waiting = [json.loads(message) for message in reversed(client.lrange(QUEUE, 0, -1))]
        assert [message["headers"]["id"] for message in waiting] == [ids[1], ids[3], ids[4], ids[0]]
        assert client.hlen("unacked") == client.zcard("unacked_index") == 1


def test_what_a_worker_takes_from_redis_is_noted_before_it_has_heard_of_it(
    redis_url: str, open_celery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is not lost with it."""
    monkeypatch.setattr("chaperone_async.agent.celery_redis._WORKER", "w-1")
    shop, got = open_celery(redis_url), list[Any]()
    shop.send("note", 1)
    with Redis.from_url(redis_url) as client, attending(shop) as attendant:
        for heard in (False, True):
            with shop.app.connection_for_read() as connection:
                channel = connection.default_channel
                RedisConsumer(channel, beats=False)
                channel.basic_consume(QUEUE, no_ack=False, callback=got.append, consumer_tag="1")
                channel.client.connection = channel.client.connection_pool.get_connection()
                channel._brpop_start()
                until(lambda: client.hlen("unacked") == 1)
                if heard:
                    channel.handlers["BRPOP"]()
                    assert got[0].headers["task"] == "note"
                assert attendant.reclaim({"id": "w-1", "jobs": []}) == 1
                assert (client.llen(QUEUE), client.hlen("unacked"), client.zcard("unacked_index")) == (1, 0, 0)
                channel._in_poll = None  # it has died


def test_where_redis_is_not_to_keep_what_was_taken_it_does_not(redis_url: str, open_celery: Open) -> None:
    shop, got = open_celery(redis_url), list[Any]()
    shop.send("note", 1)
    with (
        Redis.from_url(redis_url) as client,
        shop.app.connection_for_read(transport_options={"ack_emulation": False}) as connection,
    ):
        channel = connection.default_channel
        RedisConsumer(channel, beats=False)
        channel.basic_consume(QUEUE, no_ack=False, callback=got.append, consumer_tag="1")
        channel.client.connection = channel.client.connection_pool.get_connection()
        channel._brpop_start()
        channel.handlers["BRPOP"]()
        assert got[0].headers["task"] == "note"
        assert client.hlen("unacked") == 0


def test_a_job_that_has_cost_too_many_workers_does_not_go_back_at_once(redis_url: str, open_celery: Open) -> None:
    shop = open_celery(redis_url)
    shop.send("note", 1)
    with Redis.from_url(redis_url) as client, attending(shop, max_deaths=3) as attendant:
        found = []
        for worker, blamed in (("w-1", True), ("w-2", True), ("w-3", False), ("w-4", True)):
            job = take(client, worker, 0)
            found.append(attendant.reclaim({"id": worker, "jobs": [job], "blamed": blamed}))
        assert found == [1, 1, 1, 0]
        assert (client.llen(QUEUE), client.hlen("unacked"), client.zcard("unacked_index")) == (0, 1, 1)


def test_rabbitmq_tells_what_is_ready_and_a_queue_that_is_not_there_holds_nothing(
    rabbitmq_url: str, open_celery: Open
) -> None:
    shop = open_celery(rabbitmq_url)
    with attending(shop) as attendant:
        assert attendant.backlog([QUEUE]) == {"ready": 0}
        assert attendant.send("note", [1, {"__type__": "decimal", "__value__": "0.1"}], {}, QUEUE)
        shop.send("note", 2)
        until(lambda: attendant.backlog([QUEUE, "others"]) == {"ready": 2})
        assert attendant.reclaim({"id": "w-1", "jobs": []}) == 0


def test_a_broker_that_does_not_answer_is_named_without_its_password(open_celery: Open) -> None:
    with attending(open_celery("redis://:secret@127.0.0.1:1/0")) as attendant:
        with pytest.raises(Unavailable, match=r"cannot ask redis://.*refused") as error:
            attendant.backlog([QUEUE])
        assert "secret" not in str(error.value)
