"""A SAQ application; its queue is where $TEST_SERVER says."""

import os
from typing import Any

from saq import Queue

from tests.backends.apps.async_work import failing, holding, working

queue = Queue.from_url(os.environ.get("TEST_SERVER", "redis://localhost"), name="mails")


async def work(_context: Any, *, place: str, what: str) -> None:
    await working(place, what)


async def hold(_context: Any, *, place: str, what: str) -> None:
    await holding(place, what)


async def fail(_context: Any, *, place: str, what: str) -> None:
    await failing(place, what)


settings = {"queue": queue, "functions": [work, hold, fail]}
