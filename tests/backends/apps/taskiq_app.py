"""A taskiq application; its broker is of $TEST_BROKER's class, and where $TEST_SERVER says."""

import os

import taskiq_redis

from tests.backends.apps.async_work import failing, holding, working

kind = getattr(taskiq_redis, os.environ.get("TEST_BROKER", "ListQueueBroker"))
broker = kind(os.environ.get("TEST_SERVER", "redis://localhost"), queue_name="mails")


@broker.task("work")
async def work(place: str, what: str) -> None:
    await working(place, what)


@broker.task("hold")
async def hold(place: str, what: str) -> None:
    await holding(place, what)


@broker.task("fail")
async def fail(place: str, what: str) -> None:
    await failing(place, what)
