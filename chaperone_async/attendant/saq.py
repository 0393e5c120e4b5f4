"""Of SAQ's queues, in Redis or PostgreSQL: what waits, and what a dead worker had, which goes back.

A job is a worker's once the worker has written its id into it, a moment after it has taken the job. What a worker took
and did not live to mark is nobody's: it is recognized by being so for longer than that moment, since a living
worker whose loop is held up by one job marks the next one late.
"""

import asyncio
import time

from saq.job import Job, Status
from saq.worker import import_settings

from chaperone_async.attendant import Refused, Unavailable
from chaperone_async.attendant.deaths import Deaths
from chaperone_async.attendant.loop import Loop, check_queue, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOOKS, _PAUSE = 7, 0.5  # seconds between looks; in all less than the supervisor waits in its end
_RECLAIM = 9.0
_NAMED = 3  # jobs
_SEND = 30.0


def attend(settings: "dict[str, Any]") -> "Attendant":
    load(settings["app"])  # what is not there is told plainly
    from saq.queue import Queue

    queue = import_settings(settings["app"]).get("queue") or Queue.from_url("redis://localhost")
    stored: InRedis | InPostgres
    if hasattr(queue, "redis"):
        stored = InRedis(queue)
    elif hasattr(queue, "jobs_table"):
        stored = InPostgres(queue)
    else:
        raise Refused(f"a {type(queue).__name__} does not tell of its jobs; name the queue behind it")
    return Attendant(stored, Deaths(settings.get("max_deaths", 0)))


class Attendant:
    def __init__(self, stored: "InRedis | InPostgres", deaths: Deaths) -> None:
        self._stored = stored
        self._deaths = deaths
        self._loop = Loop(*stored.errors)

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        check_queue(queues[0], self._stored.queue.name)
        return self._loop.run(self._stored.backlog())

    def reclaim(self, worker: "dict[str, Any]") -> int:
        return self._loop.run(self._reclaim(worker["id"], blamed=worker.get("blamed", True)), _RECLAIM)

    async def _reclaim(self, worker_id: str, *, blamed: bool) -> int:
        taken = await self._stored.taken()
        aborted: list[Job] = []
        many = 0
        for job in (job for job, owner in taken if owner == worker_id):
            if self._deaths.is_last(job.key, blamed=blamed):
                await self._stored.queue.finish(job, Status.ABORTED, error="it has cost its worker's life too often")
                aborted.append(job)
            else:
                await self._put_back(job)
                many += 1
        for job in await self._nobodys({job.key for job, owner in taken if owner is None}):
            await self._put_back(job)  # it has not begun: nothing is its fault
            many += 1
        if aborted:
            raise Refused(_given_up(aborted, many))
        return many

    async def _nobodys(self, keys: "set[str]") -> "list[Job]":
        """Those that nobody marks while we look."""
        jobs: list[Job] = []
        for _ in range(_LOOKS if keys else 0):
            await asyncio.sleep(_PAUSE)
            jobs = [job for job, owner in await self._stored.taken() if owner is None and job.key in keys]
            keys = {job.key for job in jobs}
            if not keys:
                break
        return jobs

    async def _put_back(self, job: Job) -> None:
        """Just as SAQ does it with jobs of a worker that ends: however often they may be tried."""
        job.scheduled = 0  # else SAQ would hand it out a second time
        job.worker_id = None
        await self._stored.queue.retry(job, "its worker died")

    def send(self, name: str, args: "list[Any]", kwargs: "dict[str, Any]", queue: str) -> str:
        if args:
            raise Unavailable(f"cannot send {name!r}: jobs of SAQ have no positional arguments")
        check_queue(queue, self._stored.queue.name)
        return self._loop.run(self._send(name, kwargs), _SEND)

    async def _send(self, name: str, kwargs: "dict[str, Any]") -> str:
        await self._stored.queue.connect()
        job = await self._stored.queue.enqueue(name, **kwargs)
        if job is None:
            raise Unavailable(f"cannot send {name!r}: a job of its key {kwargs.get('key')!r} waits already")
        return str(job.key)


class InRedis:
    def __init__(self, queue: "Any") -> None:
        from redis.exceptions import RedisError

        self.queue = queue
        self.errors: tuple[type[BaseException], ...] = (RedisError,)

    async def backlog(self) -> "dict[str, Any]":
        queue, now = self.queue, time.time()
        queued, active, incomplete = map(queue.namespace, ("queued", "active", "incomplete"))
        pipe = queue.redis.pipeline(transaction=False)
        pipe.llen(queued).llen(active).lindex(queued, 0)
        pipe.zcount(incomplete, 1, now)  # due, and moved into the queue within a second
        pipe.zcount(incomplete, f"({now}", "+inf")
        pipe.zrangebyscore(incomplete, f"({now}", "+inf", start=0, num=1, withscores=True)
        waiting, reserved, oldest, due, delayed, first = await pipe.execute()
        since = None if oldest is None else _since(queue.deserialize(await queue.redis.get(oldest)))
        return {
            "ready": waiting + due,
            "delayed": delayed,
            "reserved": reserved,
            "oldest_age": None if since is None else now - since,
            "next_due": first[0][1] - now if first else None,
        }

    async def taken(self) -> "list[tuple[Job, str | None]]":
        """And by which worker. None: it has not said so yet."""
        ids = await self.queue.redis.lrange(self.queue.namespace("active"), 0, -1)
        found = await self.queue.redis.mget(ids) if ids else []
        jobs = [job for job in map(self.queue.deserialize, found) if job is not None]
        return [(job, job.worker_id if job.status is Status.ACTIVE else None) for job in jobs]


class InPostgres:
    def __init__(self, queue: "Any") -> None:
        from psycopg import Error

        self.queue = queue
        self.errors: tuple[type[BaseException], ...] = (Error,)

    async def backlog(self) -> "dict[str, Any]":
        now = time.time()
        waits, later = "status = 'queued' and scheduled <= %(now)s", "status = 'queued' and scheduled > %(now)s"
        figures = (
            f"count(*) filter (where {waits}), count(*) filter (where {later}),"
            " count(*) filter (where status = 'active'),"
            f" min(scheduled) filter (where {waits}), min(scheduled) filter (where {later})"
        )
        (row,) = await self._rows(f"{figures} from {{}} where status in ('queued', 'active')", now=now)
        ready, delayed, reserved, oldest, due = row
        return {
            "ready": ready,
            "delayed": delayed,
            "reserved": reserved,
            "oldest_age": None if oldest is None else now - oldest,
            "next_due": None if due is None else due - now,
        }

    async def taken(self) -> "list[tuple[Job, str | None]]":
        rows = await self._rows("job, status from {} where status = 'active'")
        jobs = [self.queue.deserialize(*row) for row in rows]
        return [(job, job.worker_id) for job in jobs]

    async def _rows(self, what: str, **values: float) -> "list[Any]":
        from psycopg.sql import SQL

        await self.queue.connect()
        async with self.queue.pool.connection() as connection:
            query = SQL(f"select {what} and queue = %(queue)s").format(self.queue.jobs_table)
            cursor = await connection.execute(query, {"queue": self.queue.name, **values})
            found: list[Any] = await cursor.fetchall()
            return found


def _given_up(aborted: "list[Job]", put_back: int) -> str:
    """SAQ keeps no list of such jobs that anybody would see."""
    which = ", ".join(f"{job.function} {job.key}" for job in aborted[:_NAMED])
    more = f" and {len(aborted) - _NAMED} more" if len(aborted) > _NAMED else ""
    others = f"; {put_back} other{'' if put_back == 1 else 's'} put back" if put_back else ""
    return f"aborted, since too many workers have died with it: {which}{more}{others}"


def _since(job: Job | None) -> float | None:
    """When it came into the queue, or back into it, or when it was due."""
    return None if job is None else max(job.queued / 1000, job.touched / 1000, job.scheduled)
