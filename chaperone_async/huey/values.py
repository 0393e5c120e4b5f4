"""What Huey keeps beside its jobs: results, revocations, locks, counters."""

import sqlite3
from collections.abc import Iterable
from contextvars import ContextVar

from huey.constants import EmptyData
from huey.storage import BaseStorage

from chaperone_async.huey.database import Database, Sync

_LATE = 5  # minutes
lease_at_work: ContextVar[int] = ContextVar("lease_at_work", default=0)  # of the job that this thread works on, if any


class Values(BaseStorage):
    """A lock that a job takes ends with the job's worker: else the job, given back, would wait for itself."""

    def __init__(self, name: str, filename: str, timeout: float) -> None:
        super().__init__(name)
        self.database = Database(filename, timeout)

    def close(self) -> bool:
        return self.database.close()

    def put_data(self, key: str | bytes, value: bytes, is_result: bool = False) -> None:  # noqa: FBT001, FBT002  Huey's
        sync: Sync = "normal" if is_result else "full"  # a result is as sure as the end of its job, written after it
        with self.database.write(sync) as db:
            db.execute("replace into value (queue, key, value) values (?, ?, ?)", (self.name, _text(key), value))

    def put_if_empty(self, key: str | bytes, value: bytes, ttl: float | None = None) -> bool:
        if ttl is not None:
            raise NotImplementedError("ttl is not supported by this storage: a lock ends with its job's worker.")
        row = (self.name, _text(key), value, lease_at_work.get())
        with self.database.write("normal") as db:
            return db.execute("insert or ignore into value values (?, ?, ?, ?)", row).rowcount == 1

    def peek_data(self, key: str | bytes) -> object:
        with self.database.read() as db:
            return _value(db, self.name, key)

    def peek_many(self, keys: Iterable[str | bytes]) -> dict[str | bytes, object]:
        with self.database.read() as db:
            found = {key: _value(db, self.name, key) for key in keys}
        return {key: value for key, value in found.items() if value is not EmptyData}

    def pop_data(self, key: str | bytes) -> object:
        if not self.has_data_for_key(key):  # most often: whether a job was revoked, asked after each
            return EmptyData
        with self.database.write("normal") as db:
            value = _value(db, self.name, key)
            db.execute("delete from value where queue = ? and key = ?", (self.name, _text(key)))
            return value

    def has_data_for_key(self, key: str | bytes) -> bool:
        return self.peek_data(key) is not EmptyData

    def incr(self, key: str, amount: int = 1) -> int:
        with self.database.write("normal") as db:
            return _count(db, self.name, key, amount)

    def advance(self, key: str, minute: int) -> bool:
        """Note the minute up to which something is done; False: somebody has come as far already. Where a scheduler is
        late it is a minute behind; further back, the clock was set."""
        with self.database.write("normal") as db:
            changed = db.execute(
                """insert into counter values (?, ?, ?) on conflict (queue, key) do update set value = excluded.value
                   where excluded.value > value or excluded.value < value - ?""",
                (self.name, key, minute, _LATE),
            )
            return changed.rowcount == 1

    def put_part(self, key: str, value: bytes, whole: str) -> int:
        """One of several values that make a whole; how many of them are there. One that is put again counts once."""
        with self.database.write("normal") as db:
            new = db.execute("insert or ignore into value values (?, ?, ?, 0)", (self.name, key, value)).rowcount
            return _count(db, self.name, whole, new)

    def delete_parts(self, keys: list[str], whole: str) -> None:
        """All at once: what is interrupted and begun again finds all of them, or none."""
        with self.database.write("normal") as db:
            db.executemany("delete from value where queue = ? and key = ?", [(self.name, key) for key in keys])
            db.execute("delete from counter where queue = ? and key = ?", (self.name, whole))

    def delete_counter(self, key: str) -> None:
        with self.database.write("normal") as db:
            db.execute("delete from counter where queue = ? and key = ?", (self.name, key))

    def result_store_size(self) -> int:
        return len(self.result_items())

    def result_items(self) -> dict[str, bytes]:
        with self.database.read() as db:
            return dict(db.execute("select key, value from value where queue = ?", (self.name,)).fetchall())

    def flush_results(self) -> None:
        with self.database.write("normal") as db:
            db.execute("delete from value where queue = ?", (self.name,))

    def flush_counters(self) -> None:
        with self.database.write("normal") as db:
            db.execute("delete from counter where queue = ?", (self.name,))


def _value(db: sqlite3.Connection, queue: str, key: str | bytes) -> object:
    row = db.execute("select value from value where queue = ? and key = ?", (queue, _text(key))).fetchone()
    return EmptyData if row is None else row[0]


def _count(db: sqlite3.Connection, queue: str, key: str, amount: int) -> int:
    db.execute(
        "insert into counter values (?, ?, ?) on conflict (queue, key) do update set value = value + excluded.value",
        (queue, key, amount),
    )
    count: int = db.execute("select value from counter where queue = ? and key = ?", (queue, key)).fetchone()[0]
    return count


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key
