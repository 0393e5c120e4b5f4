"""A Dramatiq application; its broker is named by $TEST_BROKER."""

import os
from functools import partial
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from tests.backends.apps import work as jobs


def make_broker(url: str) -> Any:
    confirmed = partial(RabbitmqBroker, confirm_delivery=True)  # what was sent can be counted at once
    make: Any = RedisBroker if url.startswith("redis") else confirmed
    return make(url=url)


dramatiq.set_broker(make_broker(os.environ.get("TEST_BROKER", "redis://")))


@dramatiq.actor(queue_name="mails")
def work(place: str, what: str, seconds: float = 0.0) -> None:
    jobs.work(place, what, seconds)


@dramatiq.actor(queue_name="mails")
def hold(place: str, what: str) -> None:
    jobs.hold(place, what)


@dramatiq.actor(queue_name="mails", max_retries=0)
def fail(place: str, what: str) -> None:
    jobs.fail(place, what)
