"""Of an arq queue, a sorted set in Redis: what waits, and what a dead worker had, which goes back.

Jobs in work are in the set, too, in front of the others; each has a key besides that says so until it expires, minutes
after. Our agent writes the worker's id into it, and so the keys of a dead worker can be taken away.
"""

import time

from arq.connections import ArqRedis, create_pool
from arq.constants import default_queue_name, in_progress_key_prefix
from arq.worker import get_kwargs
from redis.exceptions import RedisError

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.loop import Loop, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PAGE = 1000
_RECLAIM = 9.0
_SEND = 30.0
_RELEASE = """
    local released = 0
    for _, key in ipairs(KEYS) do
        if redis.call('GET', key) == ARGV[1] then
            released = released + redis.call('DEL', key)
        end
    end
    return released
"""


def attend(settings: "dict[str, Any]") -> "Attendant":
    return Attendant(get_kwargs(load(settings["app"])))


class Attendant:
    """`own`: the application's settings, as arq reads them."""

    def __init__(self, own: "dict[str, Any]") -> None:
        self._own = own
        self._loop = Loop(RedisError)
        self._client: ArqRedis | None = own.get("redis_pool")

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        return self._loop.run(self._backlog(self._key(queues[0])))

    def reclaim(self, worker: "dict[str, Any]") -> int:
        return self._loop.run(self._reclaim(self._key(worker["queues"][0]), worker["id"]), _RECLAIM)

    def send(self, name: str, args: "list[Any]", kwargs: "dict[str, Any]", queue: str) -> str:
        return self._loop.run(self._send(name, args, kwargs, self._key(queue)), _SEND)

    def _key(self, queue: str) -> str:
        """A pool that calls its queue nothing has "default"."""
        return str(self._own.get("queue_name") or default_queue_name) if queue == "default" else queue

    async def _redis(self) -> ArqRedis:
        if self._client is None:
            wanted = self._own.get("redis_settings")
            self._client = await create_pool(
                wanted,
                retry=1_000_000,  # more than it would try: the supervisor asks again
                job_serializer=self._own.get("job_serializer"),
                job_deserializer=self._own.get("job_deserializer"),
            )
        return self._client

    async def _backlog(self, key: str) -> "dict[str, Any]":
        redis, now = await self._redis(), time.time()
        pipe = redis.pipeline(transaction=False)
        pipe.zcount(key, "-inf", now * 1000)
        pipe.zcount(key, f"({now * 1000}", "+inf")
        pipe.zrangebyscore(key, f"({now * 1000}", "+inf", start=0, num=1, withscores=True)
        pipe.zrangebyscore(key, "-inf", now * 1000, start=0, num=_PAGE, withscores=True)
        due, delayed, first, front = await pipe.execute()
        working = await redis.mget([_claim(job) for job, _ in front]) if front else []
        waiting = [score for (_, score), claim in zip(front, working, strict=True) if claim is None]
        reserved = len(front) - len(waiting)
        return {
            "ready": due - reserved,
            "delayed": delayed,
            "reserved": reserved,
            "oldest_age": now - waiting[0] / 1000 if waiting else None,
            "next_due": first[0][1] / 1000 - now if first else None,
        }

    async def _reclaim(self, key: str, worker_id: str) -> int:
        redis: Any = await self._redis()
        many = start = 0
        while jobs := await redis.zrange(key, start, start + _PAGE - 1):
            start += _PAGE
            released = await redis.eval(_RELEASE, len(jobs), *map(_claim, jobs), worker_id)
            many += int(released)
        return many

    async def _send(self, name: str, args: "list[Any]", kwargs: "dict[str, Any]", key: str) -> str:
        redis = await self._redis()
        job = await redis.enqueue_job(name, *args, _queue_name=key, **kwargs)
        if job is None:
            raise Unavailable(f"cannot send {name!r}: arq has not taken it")
        return job.job_id


def _claim(job: bytes) -> str:
    return in_progress_key_prefix + job.decode()
