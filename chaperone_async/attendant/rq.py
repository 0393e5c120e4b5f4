"""RQ's queues, in Redis. The server is found as RQ's own tools find it: $RQ_REDIS_URL, $RQ_CONFIG, $REDIS_URL.

What becomes of the dead's jobs is in `rq_reclaim`.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import Figures, Settings, library, redacted
from chaperone_async.attendant.rq_reclaim import DEATHS, Reclaiming
from chaperone_async.attendant.several import together

if TYPE_CHECKING:
    from rq.job import Job

_PATIENCE = 5.0  # seconds that Redis may take for one answer


def attend(settings: Settings) -> "Rq":
    library("rq", "rq")
    from rq.cli.helpers import CliConfig

    url, config = os.environ.get("RQ_REDIS_URL"), os.environ.get("RQ_CONFIG")
    try:
        connection = CliConfig(url=url, config=config).connection
    except (ValueError, ImportError) as error:
        raise Unavailable(redacted(f"the address of Redis is none: {error}", url or "")) from error
    connection.connection_pool.connection_kwargs.update(socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE)
    return Rq(connection, int(settings["max_deaths"]))


class Rq:
    def __init__(self, connection: Any, max_deaths: int) -> None:
        """`connection`: a Redis; its own types take each answer for one that may be awaited."""
        self._connection = connection
        self._reclaiming = Reclaiming(connection, max_deaths)

    def backlog(self, queues: Sequence[str]) -> Figures:
        with _answered():
            return together([self._backlog(queue) for queue in queues])

    def failed(self, queue: str, limit: int, after: str | None) -> dict[str, Any]:
        """The next page begins behind a job; is that no longer there, at the beginning: nothing is left out."""
        from rq.job import Job

        with _answered():
            key = self._failed_key(queue)
            rank = None if after is None else self._connection.zrevrank(key, after)
            first = 0 if rank is None else int(rank) + 1
            found = [name.decode() for name in self._connection.zrevrange(key, first, first + limit)]
            jobs = Job.fetch_many(found[:limit], connection=self._connection)
            told = [_told(job, queue) for job in jobs if job is not None]
            return {"jobs": told, "next": found[limit - 1] if len(found) > limit else None}

    def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        from rq.exceptions import InvalidJobOperation, NoSuchJobError
        from rq.registry import FailedJobRegistry

        registry, many = FailedJobRegistry(queue, self._connection), 0
        with _answered():
            for name in self._all_failed(queue) if ids is None else ids:
                if self._connection.zscore(registry.key, name) is None:
                    continue  # of another queue, or of another pool
                with suppress(NoSuchJobError, InvalidJobOperation):  # gone meanwhile
                    job = registry.requeue(name)
                    self._connection.hdel(job.key, DEATHS)
                    many += 1
        return many

    def flush(self, queue: str, ids: Sequence[str] | None) -> int:
        from rq.exceptions import NoSuchJobError
        from rq.job import Job

        many = 0
        with _answered():
            for name in self._all_failed(queue) if ids is None else ids:
                if self._connection.zrem(self._failed_key(queue), name):
                    many += 1
                    with suppress(NoSuchJobError):
                        Job.fetch(name, connection=self._connection).delete(remove_from_queue=False)
        return many

    def reclaim(self, worker: dict[str, Any]) -> int:
        with _answered():
            return self._reclaiming.reclaim(worker)

    def _all_failed(self, queue: str) -> list[str]:
        return [name.decode() for name in self._connection.zrange(self._failed_key(queue), 0, -1)]

    def _failed_key(self, queue: str) -> str:
        from rq.registry import FailedJobRegistry

        return FailedJobRegistry(queue, self._connection).key

    def _backlog(self, queue: str) -> Figures:
        """As `rq info` counts. What waits for other jobs is delayed too; what waits for room under a rate limit RQ
        keeps by the limit, not by queue."""
        from rq import registry
        from rq.job import Job
        from rq.queue import Queue
        from rq.registry import DeferredJobRegistry, StartedJobRegistry

        scheduled_jobs: Any = registry.ScheduledJobRegistry  # it has no types
        now, failed = time.time(), self._failed_key(queue)
        waiting, later = (
            Queue(queue, self._connection).key,
            scheduled_jobs(queue, self._connection).key,
        )
        pipe = self._connection.pipeline(transaction=False)
        pipe.llen(waiting)
        pipe.lindex(waiting, 0)
        pipe.zcard(StartedJobRegistry(queue, self._connection).key)
        pipe.zcard(later)
        pipe.zrange(later, 0, 0, withscores=True)
        pipe.zcard(DeferredJobRegistry(queue, self._connection).key)
        pipe.zcard(failed)
        pipe.zcount(failed, 0, now)  # forgotten, and not yet removed
        ready, first, started, scheduled, next_one, deferred, kept, forgotten = pipe.execute()
        since = None if first is None else self._connection.hget(Job.key_for(first.decode()), "enqueued_at")
        return {
            "ready": ready,
            "delayed": scheduled + deferred,
            "reserved": started,
            "failed": kept - forgotten,
            "oldest_age": None if since is None else max(0.0, now - _seconds(since.decode())),
            "next_due": max(0.0, next_one[0][1] - now) if next_one else None,
        }


@contextmanager
def _answered() -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise Unavailable(" ".join(str(error).split()) or type(error).__name__) from error


def _told(job: "Job", queue: str) -> dict[str, Any]:
    """RQ does not count a job's tries. Its arguments are in its description, as far as they are short."""
    result = job.latest_result()
    name, _, arguments = (job.description or "").partition("(")
    trace = (result.exc_string or "") if result is not None else ""
    ended = job.ended_at or (result.created_at if result is not None else None)
    return {
        "id": job.id,
        "queue": queue,
        "name": name,
        "args": arguments.removesuffix(")"),
        "error": next((line for line in reversed(trace.splitlines()) if line.strip()), None),
        "failed_at": None if ended is None else _aware(ended).timestamp(),
        "attempts": None,
    }


def _seconds(text: str) -> float:
    return _aware(datetime.fromisoformat(text)).timestamp()


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
