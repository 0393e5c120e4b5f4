"""An arq application; its Redis is where $TEST_SERVER says."""

import os
from typing import Any, ClassVar

from arq.connections import RedisSettings

from tests.backends.apps.async_work import failing, holding, working


async def work(_context: Any, place: str, what: str) -> None:
    await working(place, what)


async def hold(_context: Any, place: str, what: str) -> None:
    await holding(place, what)


async def fail(_context: Any, place: str, what: str) -> None:
    await failing(place, what)


class WorkerSettings:
    functions: ClassVar = [work, hold, fail]
    redis_settings = RedisSettings.from_dsn(os.environ.get("TEST_SERVER", "redis://localhost"))
