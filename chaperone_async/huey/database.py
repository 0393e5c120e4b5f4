"""One queue file: opened, brought up to date, read and written, in transactions."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from chaperone_async.errors import ChaperoneError
from chaperone_async.huey import schema

Sync = Literal["full", "normal"]  # full: on the disk when written. normal: a power cut may undo the latest, in order

_HINTS = {
    "readonly": "this user must be able to write to it and to its directory, where SQLite keeps its log",
    "full": "make room on the disk",
    "locked": "another program keeps it locked",
    "Permission denied": "this user must be able to write to it and to what lies beside it",
    "unable to open": "its directory must exist, and this user be able to write there",
    "not a database": "name another file",
    "malformed": "the file is damaged: restore it from a backup",
}


class QueueFileError(ChaperoneError):
    """The file of an embedded queue cannot be used."""


class Database:
    """One connection for each process that uses the file: a forked child opens its own."""

    def __init__(self, filename: str | os.PathLike[str], timeout: float) -> None:
        """`timeout`: seconds to wait while others write."""
        if os.fspath(filename) in {"", ":memory:"}:
            raise QueueFileError("cannot keep jobs in memory: they would end with the process; name a file")
        self.path = str(Path(filename).resolve())
        self._timeout = timeout
        self._handles: dict[int, _Handle] = {}
        self._here()
        self.close()  # checked; what forks before its first use of the queue inherits nothing

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        handle = self._here()
        with handle.lock, explained("read", self.path):
            yield handle.db

    @contextmanager
    def write(self, sync: Sync) -> Iterator[sqlite3.Connection]:
        handle = self._here()
        with handle.lock, explained("write to", self.path):
            if handle.sync != sync:
                handle.db.execute(f"pragma synchronous = {sync}")
                handle.sync = sync
            with transaction(handle.db):
                yield handle.db

    def close(self) -> bool:
        """Whether it was open. The next use opens it again."""
        handle = self._handles.pop(os.getpid(), None)
        if handle is None:
            return False
        with handle.lock:
            handle.db.close()
        return True

    def _here(self) -> "_Handle":
        """By pid: an inherited connection must be neither used nor closed, and its lock may be held by nobody."""
        pid = os.getpid()
        return self._handles.get(pid) or self._handles.setdefault(pid, _Handle(self.path, self._timeout))


class _Handle:
    """A connection, and whose turn it is."""

    def __init__(self, path: str, timeout: float) -> None:
        self.lock = threading.Lock()
        self.sync: Sync = "full"
        with explained("open", path):
            self.db = connect(path, timeout, "rwc")
            try:
                _use_log(self.db, timeout)
                self.db.execute("pragma synchronous = full")
                self.db.execute("pragma fullfsync = on")  # macOS: else a disk may keep what was written in its cache
                _bring_up_to_date(self.db, path)
            except BaseException:
                self.db.close()
                raise


def connect(path: str, timeout: float, mode: Literal["ro", "rw", "rwc"]) -> sqlite3.Connection:
    from urllib.parse import quote

    uri = f"file:{quote(path)}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        db.rollback()
        raise


@contextmanager
def explained(what: str, path: str) -> Iterator[None]:
    """SQLite's errors, and the system's, in our words."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # an answer, not a trouble with the file
    except (sqlite3.DatabaseError, OSError) as error:
        hint = next((hint for word, hint in _HINTS.items() if word in str(error)), "a disk or a file system has failed")
        raise QueueFileError(f"cannot {what} the queue file {path}: {error}; {hint}") from error


def checked_version(db: sqlite3.Connection, path: str) -> int:
    version = schema.version_of(db)
    if version is None:
        raise QueueFileError(f"cannot use {path} as a queue file: another program's data is in it; name another file")
    if version > schema.VERSION:
        why = f"its version is {version}, and this chaperone_async knows those up to {schema.VERSION}"
        raise QueueFileError(f"cannot use the queue file {path}: {why}; install the newer chaperone-async here, too")
    return version


def _bring_up_to_date(db: sqlite3.Connection, path: str) -> None:
    if checked_version(db, path) == schema.VERSION:
        return
    with transaction(db):
        schema.migrate(db, checked_version(db, path))  # looked at again: another process may have been faster


def _use_log(db: sqlite3.Connection, timeout: float) -> None:
    """Changing to a write-ahead log gives up at once, whatever the timeout, where two do it at a time."""
    deadline = time.monotonic() + timeout
    while db.execute("pragma journal_mode").fetchone()[0] != "wal":
        try:
            db.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
