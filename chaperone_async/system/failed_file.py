"""Failed jobs in an SQLite file, of each pool the latest so many. Blocks: `failed_jobs` uses it in a thread."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_APPLICATION_ID = 0x43686661
_VERSION = 1
_BUSY = 5.0  # seconds that another supervisor may write
_SCHEMA = f"""
    create table failed (
        number integer primary key autoincrement,
        pool text not null,
        id text not null,
        queue text not null,
        name text,
        arguments text,
        error text,
        at real not null,
        attempts integer not null,
        unique (pool, id)
    );
    pragma application_id = {_APPLICATION_ID};
    pragma user_version = {_VERSION};
"""


class NotOurs(sqlite3.Error):
    """The file holds something else."""


@dataclass(frozen=True, slots=True)
class Failure:
    """`at`: seconds since the epoch. `arguments`: JSON; None: they were too long, or are none."""

    id: str
    queue: str
    name: str | None
    arguments: str | None
    error: str | None
    at: float
    attempts: int = 1


class FailedFile:
    """Methods raise sqlite3.Error. `path`: None for one in memory."""

    def __init__(self, path: Path | None, keep: int) -> None:
        """Raises OSError, too."""
        self._keep = keep
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # with arguments in it, which are nobody else's business
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path or ":memory:", timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._is_new()  # before anything is changed in what may be somebody else's
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        with self._writing():
            if self._is_new():
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)

    def _is_new(self) -> bool:
        """Raises NotOurs."""
        written_by, version = self._pragma("application_id"), self._pragma("user_version")
        if (written_by, version) == (0, 0) and self._db.execute("select 1 from sqlite_master").fetchone() is None:
            return True
        if written_by != _APPLICATION_ID:
            raise NotOurs("it holds something else")
        if version != _VERSION:
            raise NotOurs("it was written by another version of this program")
        return False

    def close(self) -> None:
        self._db.close()

    def add(self, jobs: Iterable[tuple[str, Failure]]) -> None:
        """Each with its pool. One that is known has failed again: it is the latest now."""
        with self._writing():
            for pool, job in jobs:
                before = self._db.execute("select attempts from failed where pool = ? and id = ?", (pool, job.id))
                attempts = job.attempts + sum(number for (number,) in before.fetchall())
                self._db.execute(
                    "replace into failed (pool, id, queue, name, arguments, error, at, attempts)"
                    " values (?, ?, ?, ?, ?, ?, ?, ?)",
                    (pool, job.id, job.queue, job.name, job.arguments, job.error, job.at, attempts),
                )
            for pool, many in self.counts().items():
                if many > self._keep:
                    self._forget_oldest(pool, many - self._keep)

    def _forget_oldest(self, pool: str, many: int) -> None:
        self._db.execute(
            "delete from failed where number in (select number from failed where pool = ? order by number limit ?)",
            (pool, many),
        )

    def page(self, pool: str, queue: str, limit: int, after: str | None) -> list[Failure] | None:
        """The newest first. None: there is no job `after`."""
        before = 1 << 62
        if after is not None:
            found = self._db.execute("select number from failed where pool = ? and id = ?", (pool, after)).fetchone()
            if found is None:
                return None
            (before,) = found
        rows = self._db.execute(
            "select id, queue, name, arguments, error, at, attempts from failed"
            " where pool = ? and queue = ? and number < ? order by number desc limit ?",
            (pool, queue, before, limit),
        )
        return [Failure(*row) for row in rows]

    def find(self, pool: str, queue: str, ids: Sequence[str] | None) -> list[Failure]:
        """The oldest first; None: all."""
        rows = self._db.execute(
            "select id, queue, name, arguments, error, at, attempts from failed"
            " where pool = ? and queue = ? order by number",
            (pool, queue),
        )
        wanted = None if ids is None else set(ids)
        return [job for job in (Failure(*row) for row in rows) if wanted is None or job.id in wanted]

    def remove(self, pool: str, queue: str, ids: Sequence[str] | None) -> int:
        """How many there were."""
        with self._writing():
            if ids is None:
                return self._db.execute("delete from failed where pool = ? and queue = ?", (pool, queue)).rowcount
            delete = "delete from failed where pool = ? and queue = ? and id = ?"
            return sum(self._db.execute(delete, (pool, queue, one)).rowcount for one in ids)

    def counts(self) -> dict[str, int]:
        return dict(self._db.execute("select pool, count(*) from failed group by pool").fetchall())

    def everything(self) -> list[tuple[str, Failure]]:
        """The oldest first."""
        rows = self._db.execute(
            "select pool, id, queue, name, arguments, error, at, attempts from failed order by number"
        )
        return [(pool, Failure(*row)) for pool, *row in rows]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def _pragma(self, name: str) -> int:
        (value,) = self._db.execute(f"pragma {name}").fetchone()
        return int(value)
