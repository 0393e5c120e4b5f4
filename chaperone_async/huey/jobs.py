"""What becomes of the jobs in a queue file, each step in SQL. All but `ready` belong in a transaction."""

import sqlite3
import time
from dataclasses import dataclass
from secrets import randbits

_NEXT = """select id, data, attempts, deaths, enqueued_at from job where queue = ? and state = 'ready' {}
    order by priority desc, id limit 1"""
_NEXT_OF_ALL = _NEXT.format("")
_NEXT_UNSUSPECTED = _NEXT.format("and deaths = 0")
_HOLDS_A_SUSPECT = "select 1 from job where state = 'reserved' and owner = ? and deaths > 0 limit 1"


@dataclass(slots=True)
class Held:
    """A job in a worker's hands: a reserved one, or, with lease 0, one that is due."""

    id: int
    lease: int
    data: bytes
    attempts: int = 0
    deaths: int = 0
    begun: bool = False  # more than looked at
    settled: bool = False  # put back, or ended
    failure: "Failure | None" = None
    enqueued_at: float = 0.0  # of a reserved one: when it came into the queue

    @property
    def tries(self) -> int:
        """How often it was begun."""
        return self.attempts - 1 if self.lease and not self.begun else self.attempts


@dataclass(frozen=True, slots=True)
class Failure:
    error: str
    traceback: str = ""
    task_id: str = ""
    name: str = ""


def put(db: sqlite3.Connection, queue: str, data: bytes, priority: float, attempts: int = 0, deaths: int = 0) -> None:
    db.execute(
        """insert into job (queue, state, priority, enqueued_at, attempts, deaths, data)
           values (?, 'ready', ?, ?, ?, ?, ?)""",
        (queue, priority, time.time(), attempts, deaths, data),
    )


def delay(db: sqlite3.Connection, queue: str, data: bytes, eta: float, attempts: int = 0, deaths: int = 0) -> None:
    db.execute(
        "insert into job (queue, state, enqueued_at, eta, attempts, deaths, data) values (?, 'delayed', ?, ?, ?, ?, ?)",
        (queue, eta, eta, attempts, deaths, data),
    )


def ready(db: sqlite3.Connection, queue: str) -> bool:
    found = db.execute("select 1 from job where queue = ? and state = 'ready' limit 1", (queue,)).fetchone()
    return found is not None


def reserve(db: sqlite3.Connection, queue: str, owner: int) -> Held | None:
    """The first by priority, then by age. Of those whose worker has died an owner has one at a time: so it shows which
    of them it was, and those that only ran beside it are not taken for what kills workers."""
    row = db.execute(_NEXT_OF_ALL, (queue,)).fetchone()
    if row is not None and row[3] and db.execute(_HOLDS_A_SUSPECT, (owner,)).fetchone():
        row = db.execute(_NEXT_UNSUSPECTED, (queue,)).fetchone()
    if row is None:
        return None
    held = Held(row[0], 1 + randbits(62), row[1], row[2] + 1, row[3], enqueued_at=row[4])
    db.execute(
        "update job set state = 'reserved', owner = ?, lease = ?, attempts = ? where id = ?",
        (owner, held.lease, held.attempts, held.id),
    )
    return held


def due(db: sqlite3.Connection, queue: str, now: float) -> list[Held]:
    """They stay where they are until they are put into the queue."""
    rows = db.execute(
        """select id, data, attempts, deaths from job where queue = ? and state = 'delayed' and eta <= ?
           order by eta, id""",
        (queue, now),
    )
    return [Held(number, 0, data, attempts, deaths) for number, data, attempts, deaths in rows]


def remove(db: sqlite3.Connection, held: Held) -> bool:
    """False: it is another's by now."""
    return db.execute("delete from job where id = ? and lease = ?", (held.id, held.lease)).rowcount == 1


def release(db: sqlite3.Connection, held: Held, *, deaths: int = 0) -> None:
    """Back to its place in the queue, and with it the locks it took. `deaths`: how many workers it has cost."""
    back = "update job set state = 'ready', owner = null, lease = 0, deaths = deaths + ? where id = ? and lease = ?"
    if db.execute(back, (deaths, held.id, held.lease)).rowcount:
        db.execute("delete from value where lease = ?", (held.lease,))


def recover(db: sqlite3.Connection, owner: int, *, deaths: int = 1) -> int:
    """As `release`, for all that this owner had when it died; how many those were. `deaths`: 0 where no job is to blame
    for its end."""
    db.execute(
        "delete from value where lease in (select lease from job where state = 'reserved' and owner = ?)", (owner,)
    )
    return db.execute(
        """update job set state = 'ready', owner = null, lease = 0, deaths = deaths + ?
           where state = 'reserved' and owner = ?""",
        (deaths, owner),
    ).rowcount


def bury(db: sqlite3.Connection, held: Held, failure: Failure) -> None:
    """To the failed jobs, unless it is another's by now."""
    error, traceback = _storable(failure.error), _storable(failure.traceback)
    db.execute(
        """insert into failed select id, queue, ?, ?, priority, enqueued_at, ?, attempts, deaths, ?, ?, data from job
           where id = ? and lease = ?""",
        (failure.task_id, failure.name, time.time(), error, traceback, held.id, held.lease),
    )
    remove(db, held)


def _storable(text: str) -> str:
    """A lone surrogate, as in the name of a file that is not UTF-8, is none for SQLite."""
    return text.encode(errors="backslashreplace").decode()
