"""Huey's storage on a queue file: what it asks of any, and the steps of jobs that stay until they have ended.

What would be lost with the power is on the disk before a call returns: a job put in, a job's end. Taking a job need not
be: after a power cut it was simply not taken.
"""

import datetime as dt
import sqlite3

from chaperone_async.huey import jobs, owners
from chaperone_async.huey.jobs import Failure, Held
from chaperone_async.huey.values import Values


class Returned(bytes):
    """A job's new contents, with the job they belong to: storing them puts that job back, instead of adding one."""

    held: Held


class DurableStorage(Values):
    blocking = False

    def __init__(self, name: str, filename: str = "jobs.db", timeout: float = 10.0, *, naive_utc: bool = False) -> None:
        """`timeout`: seconds to wait while others write to the file. `naive_utc`: times without a zone are in UTC, not
        local."""
        super().__init__(name, filename, timeout)
        self._naive_utc = naive_utc

    def reserve(self) -> Held | None:
        """The next job, which stays until it is acknowledged, released or buried, or its worker has died."""
        with self.database.read() as db:
            if not jobs.ready(db, self.name):
                return None
        with self.database.write("normal") as db:
            return jobs.reserve(db, self.name, owners.claim(db, self.database.path))

    def acknowledge(self, held: Held) -> None:
        """It has ended."""
        if not held.settled:
            with self.database.write("full") as db:
                jobs.remove(db, held)
            held.settled = True

    def release(self, held: Held, *, deaths: int = 0) -> None:
        """It was interrupted, after it had cost this many workers."""
        with self.database.write("normal") as db:
            jobs.release(db, held, deaths=deaths)
        held.settled = True

    def bury(self, held: Held, failure: Failure) -> None:
        with self.database.write("full") as db:
            jobs.bury(db, held, failure)
        held.settled = True

    def recover(self) -> int:
        """Put back what the dead had; how many jobs that were."""
        with self.database.read() as db:
            dead = owners.dead(db, self.database.path)
        if not dead:
            return 0
        with self.database.write("normal") as db:
            recovered = sum(jobs.recover(db, owner) for owner in dead)
            db.executemany("delete from owner where id = ?", [(number,) for number in dead])
        return recovered

    def due(self, ts: dt.datetime) -> list[Held]:
        """The delayed jobs to be put into the queue by now, where each stays until it is."""
        with self.database.read() as db:
            return jobs.due(db, self.name, self._unix(ts))

    # What Huey asks of any storage.

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        with self.database.write("full") as db:
            history = _taken_back(db, data)
            if history is not None:
                jobs.put(db, self.name, bytes(data), priority or 0, *history)

    def add_to_schedule(self, data: bytes, ts: dt.datetime) -> None:
        with self.database.write("full") as db:
            history = _taken_back(db, data)
            if history is not None:
                jobs.delay(db, self.name, bytes(data), self._unix(ts), *history)

    def dequeue(self) -> bytes | None:
        """Taken for good: `DurableHuey` reserves instead."""
        held = self.reserve()
        if held is None:
            return None
        self.acknowledge(held)
        return held.data

    def read_schedule(self, ts: dt.datetime) -> list[bytes]:
        """Taken for good: `DurableHuey` asks for what is due instead."""
        with self.database.write("full") as db:
            due = jobs.due(db, self.name, self._unix(ts))
            return [held.data for held in due if jobs.remove(db, held)]

    def queue_size(self) -> int:
        return self._count("select count(*) from job where queue = ? and state = 'ready'")

    def schedule_size(self) -> int:
        return self._count("select count(*) from job where queue = ? and state = 'delayed'")

    def enqueued_items(self, limit: int | None = None) -> list[bytes]:
        query = "select data from job where queue = ? and state = 'ready' order by priority desc, id limit ?"
        return self._list(query, limit)

    def scheduled_items(self, limit: int | None = None) -> list[bytes]:
        query = "select data from job where queue = ? and state = 'delayed' order by eta, id limit ?"
        return self._list(query, limit)

    def flush_queue(self) -> None:
        """What a worker has in hand goes on."""
        self._flush("delete from job where queue = ? and state = 'ready'")

    def flush_schedule(self) -> None:
        self._flush("delete from job where queue = ? and state = 'delayed'")

    def _unix(self, ts: dt.datetime) -> float:
        return (ts.replace(tzinfo=dt.UTC) if self._naive_utc and ts.tzinfo is None else ts).timestamp()

    def _count(self, query: str) -> int:
        with self.database.read() as db:
            count: int = db.execute(query, (self.name,)).fetchone()[0]
            return count

    def _list(self, query: str, limit: int | None) -> list[bytes]:
        with self.database.read() as db:
            return [data for (data,) in db.execute(query, (self.name, -1 if limit is None else limit))]

    def _flush(self, statement: str) -> None:
        with self.database.write("full") as db:
            db.execute(statement, (self.name,))


def _taken_back(db: sqlite3.Connection, data: bytes) -> tuple[int, int] | None:
    """Attempts and deaths so far of the job that this one takes the place of. None: one that was due, and that another
    scheduler has put in already. One that was reserved is put in again in any case: better twice than never."""
    if not isinstance(data, Returned):
        return 0, 0
    held = data.held
    there = jobs.remove(db, held)
    held.settled = True
    return (held.tries, held.deaths) if there or held.lease else None
