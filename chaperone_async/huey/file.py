"""A queue file seen from outside: its backlog, its failed jobs, what the dead have left. Standard library only, and the
application is not imported: jobs are what their columns say."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chaperone_async.huey import jobs, schema
from chaperone_async.huey.database import QueueFileError, checked_version, connect, explained, transaction

_PATIENCE = 2.0  # seconds, while others write
_COUNTS = (
    "select count(*) from job where state = 'delayed' and ifnull(queue = ?, 1)",
    "select count(*) from job where state = 'reserved' and ifnull(queue = ?, 1)",
    "select count(*) from failed where ifnull(queue = ?, 1)",
)


@dataclass(frozen=True, slots=True)
class Backlog:
    ready: int
    delayed: int
    reserved: int
    failed: int
    oldest_age: float | None  # seconds that the longest waiting of the ready ones has waited


@dataclass(frozen=True, slots=True)
class FailedJob:
    id: int
    queue: str
    name: str
    task_id: str
    error: str
    traceback: str
    attempts: int
    deaths: int  # workers that have died while they had it
    enqueued_at: float
    failed_at: float


def backlog(filename: str | os.PathLike[str], queue: str | None = None, *, timeout: float = _PATIENCE) -> Backlog:
    """Of one queue, or of all that are in the file. `timeout`, here as below: seconds to wait while others write."""
    with _opened(filename, "ro", timeout) as db:
        ready, since = db.execute(
            "select count(*), min(enqueued_at) from job where state = 'ready' and ifnull(queue = ?, 1)", (queue,)
        ).fetchone()
        delayed, reserved, failed_jobs = (db.execute(count, (queue,)).fetchone()[0] for count in _COUNTS)
    age = None if since is None else max(0.0, time.time() - since)
    return Backlog(ready, delayed, reserved, failed_jobs, age)


def failed(
    filename: str | os.PathLike[str], limit: int = 100, queue: str | None = None, *, timeout: float = _PATIENCE
) -> list[FailedJob]:
    """The latest first."""
    with _opened(filename, "ro", timeout) as db:
        rows = db.execute(
            """select id, queue, name, task_id, error, traceback, attempts, deaths, enqueued_at, failed_at from failed
               where ifnull(queue = ?, 1) order by failed_at desc, id desc limit ?""",
            (queue, limit),
        )
        return [FailedJob(*row) for row in rows]


def retry(
    filename: str | os.PathLike[str],
    which: int | Literal["all"],
    queue: str | None = None,
    *,
    timeout: float = _PATIENCE,
) -> int:
    """Put failed jobs, or the one of this id, back into their queues, as new ones; how many those were."""
    with _opened(filename, "rw", timeout) as db, transaction(db):
        chosen = (queue, None if which == "all" else which)
        db.execute(
            """insert into job (queue, state, priority, enqueued_at, data) select queue, 'ready', priority, ?, data
               from failed where ifnull(queue = ?, 1) and ifnull(id = ?, 1) order by failed_at, id""",
            (time.time(), *chosen),
        )
        return db.execute("delete from failed where ifnull(queue = ?, 1) and ifnull(id = ?, 1)", chosen).rowcount


def flush_failed(filename: str | os.PathLike[str], queue: str | None = None, *, timeout: float = _PATIENCE) -> int:
    """Forget the failed jobs; how many those were."""
    with _opened(filename, "rw", timeout) as db, transaction(db):
        return db.execute("delete from failed where ifnull(queue = ?, 1)", (queue,)).rowcount


def recover(filename: str | os.PathLike[str], worker_id: str, *, timeout: float = _PATIENCE) -> int:
    """Put back at once the jobs of a worker known to be dead, by its CHAPERONE_WORKER_ID; how many those were."""
    if not worker_id:
        raise QueueFileError("cannot recover the jobs of a worker without a name; give its CHAPERONE_WORKER_ID")
    with _opened(filename, "rw", timeout) as db, transaction(db):
        owners = [number for (number,) in db.execute("select id from owner where worker = ?", (worker_id,))]
        return sum(jobs.recover(db, owner) for owner in owners)


@contextmanager
def _opened(file: str | os.PathLike[str], mode: Literal["ro", "rw"], timeout: float) -> Iterator[sqlite3.Connection]:
    path = str(Path(file).resolve())
    if not Path(path).exists():
        raise QueueFileError(f"cannot open the queue file {path}: there is no such file; the application makes it")
    with explained("read" if mode == "ro" else "write to", path):
        db = connect(path, timeout, mode)
        try:
            if checked_version(db, path) < schema.VERSION:
                raise QueueFileError(
                    f"cannot use {path} as a queue file: no DurableHuey has used it yet; start a worker"
                )
            db.execute("pragma synchronous = full")
            yield db
        finally:
            db.close()
