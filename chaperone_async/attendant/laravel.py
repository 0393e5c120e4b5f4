"""What is known of Laravel's queues: their depth from Redis or the table of jobs, or from artisan; what has failed from
artisan alone, which knows where the application keeps it.

artisan starts the whole application each time. Where it is all there is, a depth is kept for so long that asking takes
a tenth of the time at most.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import Figures, Settings
from chaperone_async.attendant.several import together
from chaperone_async.attendant.sources import limit_of
from chaperone_async.attendant.sources_command import Failed, run

ACTION_TIME = 50.0  # seconds
_LONGEST = 16 << 20  # bytes: of a list of failed jobs
_AT_ONCE = 200  # ids in one command line
_LEISURE = 9.0  # times as long as it has taken: until artisan is asked for a depth again
_NAME = re.compile(r"[\w.:{}-]+")
_LINE = re.compile(
    r"\s*(?P<failed_at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?P<id>\S+) \.* ?"
    r"(?P<connection>[^@\s]+)@(?P<queue>\S+) (?P<class>.+?)\s*"
)


def attend(settings: Settings) -> "Laravel":
    return Laravel(settings)


class Artisan:
    def __init__(self, settings: Settings) -> None:
        self._words = [str(settings["php"]), str(settings["artisan"])]
        self.connection = str(settings["connection"])

    def call(self, *words: str, limit: float = ACTION_TIME) -> str:
        return run([*self._words, *words, "--no-ansi"], limit, _LONGEST).decode(errors="replace")

    def told(self, *words: str, limit: float = ACTION_TIME) -> list[dict[str, Any]]:
        """The JSON that it prints, after what else PHP has to say."""
        for line in reversed(self.call(*words, "--json", limit=limit).splitlines()):
            if line.startswith("["):
                told: list[dict[str, Any]] = json.loads(line)
                return told
        raise Unavailable(f"artisan {words[0]} has told nothing")


class Laravel:
    def __init__(self, settings: Settings) -> None:
        self._artisan = Artisan(settings)
        self._depth = _depth_of(settings, self._artisan)

    def backlog(self, queues: Sequence[str]) -> Figures:
        return self._depth(queues)

    def failed(self, queue: str, limit: int, after: str | None) -> dict[str, Any]:
        jobs = [_failed_job(job) for job in self._failed(queue)]
        ids = [job["id"] for job in jobs]
        first = ids.index(after) + 1 if after in ids else 0
        page = jobs[first : first + limit]
        return {"jobs": page, "next": page[-1]["id"] if page and len(jobs) > first + limit else None}

    def retry(self, queue: str, ids: list[str] | None) -> int:
        chosen = self._chosen(queue, ids)
        for first in range(0, len(chosen), _AT_ONCE):
            self._artisan.call("queue:retry", *chosen[first : first + _AT_ONCE])
        return len(chosen)

    def flush(self, queue: str, ids: list[str] | None) -> int:
        """One by one, for `queue:flush` knows no queues: it would take what has failed in others meanwhile."""
        chosen = self._chosen(queue, ids)
        deadline = time.monotonic() + ACTION_TIME
        for done, job in enumerate(chosen):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(f"{done} of {len(chosen)} are gone, and the time is up; ask again for the others")
            self._artisan.call("queue:forget", job, limit=left)
        return len(chosen)

    def _chosen(self, queue: str, ids: list[str] | None) -> list[str]:
        there = [str(job["id"]) for job in self._failed(queue)]
        return there if ids is None else [job for job in there if job in set(ids)]

    def _failed(self, queue: str) -> list[dict[str, Any]]:
        here = (self._artisan.connection, queue)
        return [job for job in self._list() if (job["connection"], job["queue"]) == here]

    def _list(self) -> list[dict[str, Any]]:
        """`--json` has come with Laravel 13; since 9 there is a line for each."""
        try:
            return self._artisan.told("queue:failed")
        except Failed:
            lines = self._artisan.call("queue:failed").splitlines()
        return [found.groupdict() for line in lines if (found := _LINE.fullmatch(line))]


def _failed_job(job: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(job["id"]), "queue": job["queue"], "name": job["class"], "failed_at": _seconds(job["failed_at"])}


def _seconds(text: object) -> float | None:
    """Laravel's clock runs in UTC, unless the application says otherwise."""
    try:
        return datetime.fromisoformat(str(text)).replace(tzinfo=timezone.utc).timestamp()  # noqa: UP017  older Pythons
    except ValueError:
        return None


def _depth_of(settings: Settings, artisan: Artisan) -> Callable[[Sequence[str]], Figures]:
    limit = limit_of(settings)
    if "redis" in settings:
        return _in_redis(settings, limit)
    if "database" in settings:
        return _in_database(settings, limit)
    return Monitor(artisan, limit).read


# Redis


def _in_redis(settings: Settings, limit: float) -> Callable[[Sequence[str]], Figures]:
    from chaperone_async.attendant.sources_redis import Client

    client = Client(str(settings["redis"]), limit)
    prefix = str(settings["prefix"])

    def read(queues: Sequence[str]) -> Figures:
        keys = [f"{prefix}queues:{queue}" for queue in queues]
        return together([client.ask(partial(_redis_queue, key=key), key) for key in keys])

    return read


def _redis_queue(redis: Any, key: str) -> Figures:
    """Whose delay is over, or whose worker has kept it for longer than retry_after, the next worker puts back before it
    takes one: those are ready."""
    now = time.time()
    pipe = redis.pipeline()
    pipe.llen(key)
    pipe.zcount(f"{key}:delayed", "-inf", now)
    pipe.zcount(f"{key}:delayed", f"({now}", "+inf")
    pipe.zcount(f"{key}:reserved", "-inf", now)
    pipe.zcount(f"{key}:reserved", f"({now}", "+inf")
    pipe.lindex(key, 0)
    pipe.zrangebyscore(f"{key}:delayed", f"({now}", "+inf", start=0, num=1, withscores=True)
    ready, due, delayed, expired, reserved, first, later = pipe.execute()
    return {
        "ready": ready + due + expired,
        "delayed": delayed,
        "reserved": reserved,
        "oldest_age": _age(first, now),
        "next_due": later[0][1] - now if later else None,
    }


def _age(payload: bytes | None, now: float) -> float | None:
    """Since a job was made, and its delay was over. Older versions of Laravel do not say when; of a job that is tried
    again none does."""
    try:
        job = json.loads(payload) if payload else {}
        made, delay = job.get("createdAt"), job.get("delay") or 0
        return None if made is None or job.get("attempts") else max(0.0, now - made - delay)
    except (ValueError, AttributeError, TypeError):  # it is no job of Laravel's
        return None


# The table of jobs


def _in_database(settings: Settings, limit: float) -> Callable[[Sequence[str]], Figures]:
    from chaperone_async.attendant.sources_sql import query_reader

    address, table = str(settings["database"]), str(settings["table"])
    readers: dict[tuple[str, ...], Callable[[], Figures]] = {}
    scheme = address.partition(":")[0]

    def read(queues: Sequence[str]) -> Figures:
        names = tuple(queues)
        if names not in readers:
            readers[names] = query_reader(address, _query(table, names, scheme), limit)
        figures = readers[names]()
        return {name: value or 0 if name in _SUMS else value for name, value in figures.items()}

    return read


_SUMS = frozenset({"ready", "delayed", "reserved"})
_CLOCKS = {
    "mysql": "unix_timestamp()",
    "mariadb": "unix_timestamp()",
    "sqlite": "cast(strftime('%s', 'now') as integer)",
}


def _query(table: str, queues: tuple[str, ...], scheme: str) -> str:
    strange = [name for name in (table, *queues) if not _NAME.fullmatch(name)]
    if strange:
        raise Unavailable(f"{strange[0]!r} cannot stand in a query; use letters, digits and _ . : -")
    clock = _CLOCKS.get(scheme, "extract(epoch from now())")
    waiting, due = "reserved_at is null", f"available_at <= {clock}"
    delayed = "`delayed`" if scheme in {"mysql", "mariadb"} else "delayed"  # a word of theirs
    return f"""
        select sum(case when {waiting} and {due} then 1 else 0 end) as ready,
            sum(case when {waiting} and not {due} then 1 else 0 end) as {delayed},
            sum(case when {waiting} then 0 else 1 end) as reserved,
            {clock} - min(case when {waiting} and {due} then available_at end) as oldest_age,
            min(case when {waiting} and not {due} then available_at end) - {clock} as next_due
        from {table} where queue in ({", ".join(f"'{queue}'" for queue in queues)})
    """  # noqa: S608  names of letters and digits


# artisan


class Monitor:
    """`queue:monitor --json`, or why there is none, kept for a while."""

    def __init__(self, artisan: Artisan, limit: float) -> None:
        self._artisan, self._limit = artisan, limit
        self._turn = threading.Lock()
        self._kept: dict[tuple[str, ...], tuple[float, float, Figures | Unavailable]] = {}

    def read(self, queues: Sequence[str]) -> Figures:
        with self._turn:
            names = tuple(queues)
            began = time.monotonic()
            told_at, until, told = self._kept.get(names, (0.0, 0.0, {}))
            if began >= until:
                told = self._ask(names)
                told_at = time.monotonic()
                self._kept[names] = (told_at, told_at + _LEISURE * (told_at - began), told)
            if isinstance(told, Unavailable):
                raise Unavailable(str(told))
            age = told["oldest_age"]
            return told if age is None else {**told, "oldest_age": age + time.monotonic() - told_at}

    def _ask(self, queues: tuple[str, ...]) -> Figures | Unavailable:
        named = ",".join(f"{self._artisan.connection}:{queue}" for queue in queues)
        try:
            told = self._artisan.told("queue:monitor", named, limit=self._limit)
            return together([_monitored(queue) for queue in told])
        except Unavailable as error:
            return error


def _monitored(queue: dict[str, Any]) -> Figures:
    if queue.get("pending") is None:
        why = "tells no pending jobs; name laravel.redis or laravel.database, where the jobs are"
        raise Unavailable(f"queue:monitor of this version of Laravel {why}")
    oldest = queue.get("oldest_pending")
    return {
        "ready": queue["pending"],
        "delayed": queue.get("delayed"),
        "reserved": queue.get("reserved"),
        "oldest_age": max(0.0, time.time() - oldest) if oldest else None,
    }
