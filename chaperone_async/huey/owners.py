"""Which processes have jobs of a queue file, and whether they still live.

Each process that takes jobs holds a lock on one byte of a file beside the queue's: the kernel lets go of it at the very
moment the process ends, however it ends. Unlike a pid and a start time, that holds between containers that share the
file as well, where a pid means something else to each, and needs nothing to be readable in /proc.
"""

import fcntl
import os
import sqlite3
from pathlib import Path

_files: dict[tuple[int, str], int] = {}  # by pid. Never closed: closing any descriptor of a file ends all locks on it
_claims: dict[tuple[int, str], int] = {}


def claim(db: sqlite3.Connection, path: str) -> int:
    """This process as an owner. Within a transaction: nobody sees an owner whose lock is not held yet."""
    here = (os.getpid(), path)
    mine = _claims.get(here)
    if mine is not None and db.execute("select 1 from owner where id = ? and pid = ?", (mine, here[0])).fetchone():
        return mine
    worker = os.environ.get("CHAPERONE_WORKER_ID", "")
    while True:
        db.execute("insert into owner (worker, pid) values (?, ?)", (worker, here[0]))
        number: int = db.execute("select last_insert_rowid()").fetchone()[0]
        if _lock(path, number):
            _claims[here] = number
            return number
        db.execute("delete from owner where id = ?", (number,))  # held since before the queue file was made anew


def dead(db: sqlite3.Connection, path: str) -> list[int]:
    """The owners that have ended."""
    mine = _claims.get((os.getpid(), path))
    others = [number for (number,) in db.execute("select id from owner") if number != mine]
    return [number for number in others if _lock(path, number) and _unlock(path, number)]


def _lock(path: str, number: int) -> bool:
    file = _file(path)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except (BlockingIOError, PermissionError):  # POSIX allows either answer
        return False
    return True


def _unlock(path: str, number: int) -> bool:
    fcntl.lockf(_file(path), fcntl.LOCK_UN, 1, number)
    return True


def _file(path: str) -> int:
    here = (os.getpid(), path)
    if here not in _files:
        mode = Path(path).stat().st_mode & 0o666
        file = _files[here] = os.open(f"{path}-owners", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        if os.fstat(file).st_uid == os.geteuid():
            os.fchmod(file, mode)  # whatever the umask: for whoever may write to the queue
    return _files[here]
