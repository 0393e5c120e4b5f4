"""Whose process is this: the family of a pid, read from /proc without a pass over the process table."""

import os
from collections.abc import Iterator

_FAR_ENOUGH = 64  # generations of processes; no worker nests deeper


def lineage(pid: int) -> Iterator[int]:
    """The pid, its session's leader, then its ancestors, nearest first, up to but without this process itself.

    Lazy, because the session mostly settles it: each worker leads one. A process that is gone has only its own pid.
    """
    yield pid
    stop = os.getpid()
    for distance in range(_FAR_ENOUGH):
        try:
            state = _read(f"/proc/{pid}/stat")
        except OSError:  # gone, or hidden from us
            return
        # After the name in parentheses, which may hold anything: state, parent, process group, session.
        _, parent, _, session, _ = state[state.rindex(b")") + 2 :].split(b" ", 4)
        if not distance:
            yield int(session)
        pid = int(parent)
        if pid in {0, 1, stop}:
            return
        yield pid


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1024)
    finally:
        os.close(descriptor)
