"""Of Procrastinate's queues in PostgreSQL: what waits, failed jobs, and what a dead worker had, which goes back.

In the database a worker has a number, which our agent tells the supervisor as its mark.
"""

import json
import logging
import time

import procrastinate
from procrastinate.exceptions import ConnectorException, ProcrastinateException, UniqueViolation
from procrastinate.jobs import Status

from chaperone_async.attendant import Refused, Unavailable
from chaperone_async.attendant.deaths import Deaths
from chaperone_async.attendant.loop import QUICK, Loop, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    T = TypeVar("T")

_RECLAIM = 9.0
_ACTION = 55.0
_RECENT = 5.0
_SHARE = 0.01  # of the time, at most, goes into counting failed jobs, which no index helps with
_MINE = "queue_name = ANY(%(queues)s::varchar[])"
_WAITS = "status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())"
_BACKLOG = f"""
    SELECT count(*) FILTER (WHERE {_WAITS}) AS ready,
           count(*) FILTER (WHERE status = 'todo' AND scheduled_at > now()) AS delayed,
           count(*) FILTER (WHERE status = 'doing') AS reserved,
           extract(epoch FROM min(scheduled_at) FILTER (WHERE status = 'todo' AND scheduled_at > now()) - now())::float
               AS next_due,
           (SELECT extract(epoch FROM now() - min(greatest(event.at, job.scheduled_at)))::float
              FROM (SELECT id, scheduled_at FROM procrastinate_jobs
                     WHERE {_WAITS} AND {_MINE} ORDER BY id LIMIT 100) job
              JOIN procrastinate_events event ON event.job_id = job.id AND event.type = 'deferred') AS oldest_age
      FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND {_MINE}
"""  # noqa: S608  put together of constants
_COUNT_FAILED = f"SELECT count(*) AS failed FROM procrastinate_jobs WHERE status = 'failed' AND {_MINE}"  # noqa: S608  constants
_FAILED = f"""
    SELECT job.id, job.queue_name, job.task_name, job.args, job.attempts,
           (SELECT extract(epoch FROM max(event.at))::float FROM procrastinate_events event
             WHERE event.job_id = job.id AND event.type = 'failed') AS failed_at
      FROM procrastinate_jobs job
     WHERE status = 'failed' AND {_MINE} AND (%(before)s::bigint IS NULL OR id < %(before)s)
     ORDER BY id DESC LIMIT %(limit)s
"""  # noqa: S608  constants
_CHOSEN = f"status = 'failed' AND {_MINE} AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s::bigint[]))"
_CHOOSE = f"SELECT id FROM procrastinate_jobs WHERE {_CHOSEN} ORDER BY id"  # noqa: S608  constants
_FLUSH = f"WITH gone AS (DELETE FROM procrastinate_jobs WHERE {_CHOSEN} RETURNING 1) SELECT count(*) FROM gone"  # noqa: S608  constants
# A worker that drains gives no sign of life: the next to start strikes it off, and its jobs are nobody's then.
_TAKEN = """
    SELECT id FROM procrastinate_jobs
     WHERE status = 'doing' AND (worker_id = %(number)s::bigint
                                 OR (%(number)s::bigint IS NULL OR worker_id IS NULL) AND id = ANY(%(ids)s::bigint[]))
     ORDER BY id
"""
# Between the choice and this, somebody else may have put it back, and a worker taken it.
_PUT_BACK = """
    SELECT procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL)
      FROM (SELECT id FROM procrastinate_jobs
             WHERE id = %(id)s AND status = %(status)s::procrastinate_job_status FOR UPDATE) job
"""
_WAKE = """
    SELECT pg_notify(channel, json_build_object('type', 'job_inserted', 'job_id', id)::text)
      FROM procrastinate_jobs,
           unnest(ARRAY['procrastinate_queue_v1#' || queue_name, 'procrastinate_any_queue_v1']) channel
     WHERE id = %(id)s AND status = 'todo'
"""


def attend(settings: "dict[str, Any]") -> "Attendant":
    app = load(settings["app"])
    if not isinstance(app, procrastinate.App):
        raise Refused(f"{settings['app']} is a {type(app).__name__}, not an App of Procrastinate")
    return Attendant(app, Deaths(settings.get("max_deaths", 0)))


class Attendant:
    def __init__(self, app: "Any", deaths: Deaths) -> None:
        self._app = app
        self._deaths = deaths
        self._loop = Loop(ProcrastinateException, *_database_errors())
        self._complaints = Complaints()
        self._counts: dict[tuple[str, ...], tuple[int, float]] = {}  # of failed jobs, and when to count again

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        return self._run(self._backlog(queues), QUICK)

    def failed(self, queue: str, limit: int, after: str | None) -> "dict[str, Any]":
        before = None if after is None else _number(after)
        rows = self._run(self._rows(_FAILED, queues=[queue], before=before, limit=limit + 1), _ACTION)
        jobs = [_told(row) for row in rows[:limit]]
        return {"jobs": jobs, "next": jobs[-1]["id"] if len(rows) > limit else None}

    def retry(self, queue: str, ids: "list[str] | None") -> int:
        many = self._run(self._retry(queue, ids), _ACTION)
        self._counts.clear()
        return many

    def flush(self, queue: str, ids: "list[str] | None") -> int:
        (row,) = self._run(self._rows(_FLUSH, queues=[queue], ids=_numbers(ids)), _ACTION)
        self._counts.clear()
        return int(row["count"])

    def reclaim(self, worker: "dict[str, Any]") -> int:
        number = _number(worker["mark"]) if worker["mark"] else None
        ids, blamed = _numbers(worker["jobs"]) or [], worker.get("blamed", True)
        return self._run(self._reclaim(number, ids, blamed=blamed), _RECLAIM)

    def _run(self, coroutine: "Coroutine[Any, Any, T]", seconds: float) -> "T":
        try:
            return self._loop.run(coroutine, seconds)
        except Unavailable as error:
            raise Unavailable(self._complaints.recent() or str(error)) from error

    async def _rows(self, query: str, **values: "Any") -> "list[dict[str, Any]]":
        await self._app.connector.open_async()  # once
        try:
            rows: list[dict[str, Any]] = await self._app.connector.execute_query_all_async(query, **values)
        except UniqueViolation:
            raise
        except ConnectorException as error:
            raise error.__cause__ or error from None  # it says nothing itself
        return rows

    async def _backlog(self, queues: "list[str]") -> "dict[str, Any]":
        (found,) = await self._rows(_BACKLOG, queues=queues)
        return {**found, "failed": await self._count_failed(queues)}

    async def _count_failed(self, queues: "list[str]") -> int:
        names, begun = tuple(queues), time.monotonic()
        many, until = self._counts.get(names, (0, begun))
        if begun >= until:
            (row,) = await self._rows(_COUNT_FAILED, queues=queues)
            many = int(row["failed"])
            self._counts[names] = many, begun + (time.monotonic() - begun) / _SHARE
        return many

    async def _retry(self, queue: str, ids: "list[str] | None") -> int:
        chosen = await self._rows(_CHOOSE, queues=[queue], ids=_numbers(ids))
        return [await self._put_back(row["id"], Status.FAILED) for row in chosen].count(True)

    async def _reclaim(self, number: int | None, ids: "list[int]", *, blamed: bool) -> int:
        taken = await self._rows(_TAKEN, number=number, ids=ids)
        many = 0
        for row in taken:
            is_last = self._deaths.is_last(str(row["id"]), blamed=blamed)
            is_back = False if is_last else await self._put_back(row["id"], Status.DOING)
            if is_back is False:  # to be seen in the list of failed jobs, and retried by hand
                await self._app.job_manager.finish_job_by_id_async(row["id"], Status.FAILED, delete_job=False)
            many += is_back is True
        if number is not None:
            await self._app.job_manager.unregister_worker(number)
        return many

    async def _put_back(self, job: int, status: Status) -> bool | None:
        """False: another with its queueing lock waits already. None: it is in that state no more, by somebody else."""
        try:
            is_back = bool(await self._rows(_PUT_BACK, id=job, status=status.value))
        except UniqueViolation:
            return False
        await self._rows(_WAKE, id=job)  # idle workers are only told of new jobs: they would not look for seconds
        return is_back or None


class Complaints(logging.Handler):
    """What psycopg's pool logs of its vain tries to connect, and does not tell those who wait for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._latest = ""
        self._at = float("-inf")
        logging.getLogger("psycopg.pool").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._latest, self._at = " ".join(record.getMessage().split()), time.monotonic()

    def recent(self) -> str:
        return self._latest if time.monotonic() - self._at < _RECENT else ""


def _database_errors() -> tuple[type[BaseException], ...]:
    try:
        from psycopg import Error
    except ImportError:  # with another of Procrastinate's connectors
        return ()
    return (Error,)


def _told(row: "dict[str, Any]") -> "dict[str, Any]":
    args = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in row["args"].items())
    return {
        "id": str(row["id"]),
        "queue": row["queue_name"],
        "name": row["task_name"],
        "args": args,
        "error": None,  # only the worker's log has it
        "failed_at": row["failed_at"],
        "attempts": row["attempts"],
    }


def _numbers(ids: "list[str] | None") -> "list[int] | None":
    return None if ids is None else [_number(text) for text in ids]


def _number(text: str) -> int:
    """0 is nobody's, and stands for what is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
