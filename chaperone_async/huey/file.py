"""A queue file seen from outside: its backlog, its failed jobs, what the dead have left. Standard library only, and the
application is not imported: jobs are what their columns say."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
_CHOSEN = "where ifnull(queue = ?, 1) and ifnull(id = ?, 1)"


@dataclass(frozen=True, slots=True)
class Backlog:
    ready: int
    delayed: int
    reserved: int
    failed: int
    oldest_age: float | None  # seconds that the longest waiting of the ready ones has waited
    next_due: float | None = None  # seconds until the first of the delayed ones is due; 0 when it is


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
    data: bytes = field(repr=False)  # as the application's serializer made it


def backlog(filename: str | os.PathLike[str], queue: str | None = None, *, timeout: float = _PATIENCE) -> Backlog:
    """Of one queue, or of all that are in the file. `timeout`, here as below: seconds to wait while others write."""
    with _opened(filename, "ro", timeout) as db:
        db.execute("begin")  # or a job on its way from one count to the other would be in neither
        ready, since = db.execute(
            "select count(*), min(enqueued_at) from job where state = 'ready' and ifnull(queue = ?, 1)", (queue,)
        ).fetchone()
        delayed, reserved, failed_jobs = (db.execute(count, (queue,)).fetchone()[0] for count in _COUNTS)
        (due,) = db.execute(
            "select min(eta) from job where state = 'delayed' and ifnull(queue = ?, 1)", (queue,)
        ).fetchone()
    now = time.time()
    age = None if since is None else max(0.0, now - since)
    return Backlog(ready, delayed, reserved, failed_jobs, age, None if due is None else max(0.0, due - now))


def failed(
    filename: str | os.PathLike[str],
    limit: int = 100,
    queue: str | None = None,
    *,
    after: int | None = None,
    timeout: float = _PATIENCE,
) -> list[FailedJob]:
    """The latest first. `after`: the id of a failed job, to go on behind it."""
    with _opened(filename, "ro", timeout) as db:
        behind: tuple[float | None, int | None] | None = (None, None)
        if after is not None:
            behind = db.execute("select failed_at, id from failed where id = ?", (after,)).fetchone()
        if behind is None:
            why = "it is not among them any more; begin with the latest"
            raise QueueFileError(f"cannot list the failed jobs behind {after}: {why}")
        rows = db.execute(
            """select id, queue, name, task_id, error, traceback, attempts, deaths, enqueued_at, failed_at, data
               from failed where ifnull(queue = ?, 1) and ifnull((failed_at, id) < (?, ?), 1)
               order by failed_at desc, id desc limit ?""",
            (queue, *behind, limit),
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
            f"""insert into job (queue, state, priority, enqueued_at, data) select queue, 'ready', priority, ?, data
               from failed {_CHOSEN} order by failed_at, id""",  # noqa: S608  a constant of ours
            (time.time(), *chosen),
        )
        return db.execute(f"delete from failed {_CHOSEN}", chosen).rowcount  # noqa: S608  as above


def flush_failed(
    filename: str | os.PathLike[str],
    queue: str | None = None,
    *,
    which: int | Literal["all"] = "all",
    timeout: float = _PATIENCE,
) -> int:
    """Forget the failed jobs, or the one of this id; how many those were."""
    with _opened(filename, "rw", timeout) as db, transaction(db):
        chosen = (queue, None if which == "all" else which)
        return db.execute(f"delete from failed {_CHOSEN}", chosen).rowcount  # noqa: S608  a constant of ours


def recover(
    filename: str | os.PathLike[str], worker_id: str, *, blamed: bool = True, timeout: float = _PATIENCE
) -> int:
    """Put back at once the jobs of a worker known to be dead, by its CHAPERONE_WORKER_ID; how many those were.
    `blamed`: its end counts as a death of theirs."""
    if not worker_id:
        raise QueueFileError("cannot recover the jobs of a worker without a name; give its CHAPERONE_WORKER_ID")
    with _opened(filename, "rw", timeout) as db, transaction(db):
        owners = [number for (number,) in db.execute("select id from owner where worker = ?", (worker_id,))]
        return sum(jobs.recover(db, owner, deaths=int(blamed)) for owner in owners)


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
