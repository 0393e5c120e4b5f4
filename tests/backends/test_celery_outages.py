"""Celery workers whose Redis cannot be heard."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from tests.backends.celery_shop import LATE, Shop, backlog
from tests.backends.outages import Line, OwnRedis
from tests.e2e.service import Launch, until

OUTAGE = 10.0
Open = Callable[[str], Shop]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    (tmp_path / "redis").mkdir()
    server = OwnRedis(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


def test_a_worker_that_lives_on_a_dead_line_and_hears_nothing_is_recycled(
    own_redis: OwnRedis, open_celery: Open, launch: Launch
) -> None:
    shop, place = open_celery(own_redis.url), urlsplit(own_redis.url)
    with Line(place.port or 0) as line:
        pool = shop.pool('health.stall = "2s"\nstop.timeout = 1', broker=f"redis://127.0.0.1:{line.port}{place.path}")
        service = launch(pool)
        shop.send("note", 1)
        service.until(lambda: shop.done == [1])
        (before,) = service.pids("jobs")
        line.cut()
        with Redis.from_url(own_redis.url) as client:
            # what it hands to somebody who has asked before is lost on the way
            until(lambda: client.info("clients")["blocked_clients"] == 0)
        shop.send("note", 2)
        service.until(lambda: shop.done == [1, 2], seconds=50)
        death = service.until(lambda: service.crashes("jobs"))[-1]
        assert (death["pid"], death["reason"]) == (before, "stalled")
        service.stop()


@pytest.mark.timeout(120)
def test_while_redis_is_away_the_pool_stays_and_afterwards_the_work_goes_on(
    own_redis: OwnRedis, open_celery: Open, launch: Launch
) -> None:
    """With all that had been given out: Celery alone would leave it lying for an hour."""
    shop = open_celery(own_redis.url)
    service = launch(shop.pool('workers = 2\nhealth.stall = "3s"', **LATE))
    for number in range(20):
        shop.send("hold", number)
    service.until(lambda: len(shop.lines("begun")) == 2)
    service.until(lambda: backlog(service).get("reserved") == 8)
    before = service.pids("jobs")
    own_redis.stop()
    back_at = time.monotonic() + OUTAGE
    shop.say("go")
    service.until(lambda: service.pool("jobs")["degraded"])
    while time.monotonic() < back_at:
        assert service.get("/livez").status == 200
        time.sleep(0.2)
    assert service.pids("jobs") == before
    assert service.pool("jobs")["degraded"]
    assert "refused" in backlog(service)["problem"]
    own_redis.start()
    for number in range(20, 30):
        shop.send("note", number)
    service.until(lambda: set(shop.done) == set(range(30)), seconds=40)
    service.until(lambda: not service.pool("jobs")["degraded"])


def test_paused_or_resumed_a_worker_is_so_on_its_next_connection_too(
    own_redis: OwnRedis, open_celery: Open, launch: Launch
) -> None:
    shop = open_celery(own_redis.url)
    service = launch(shop.pool('celery.options = ["-lINFO"]'))
    before = service.pids("jobs")
    with Redis.from_url(own_redis.url) as client:

        def lose_connections() -> None:
            so_far = len(service.lines("Connected to"))
            client.client_kill_filter(_type="normal", skipme=True)
            service.until(lambda: len(service.lines("Connected to")) > so_far)

        assert service.cli("pause", "jobs").code == 0
        service.until(lambda: service.lines("Canceling queue jobs"))
        lose_connections()
        shop.send("note", 1)
        service.until(lambda: backlog(service).get("ready") == 1)
        assert service.cli("resume", "jobs").code == 0
        service.until(lambda: shop.done == [1])
        lose_connections()
        shop.send("note", 2)
        service.until(lambda: shop.done == [1, 2])
    assert service.pids("jobs") == before
