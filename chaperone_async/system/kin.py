"""Processes as relatives: who descends from whom, adopting orphans, waiting for an end and reaping."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

from chaperone_async.system.janitor import find_kin, read_stat, read_table

log = logging.getLogger(__name__)

POLL = 0.01  # seconds, where the kernel has no pidfds

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37


class _Subreaping:
    holders = 0


def become_subreaper() -> Callable[[], None]:
    """Orphaned descendants become our children. Returns what gives that up again. Raises OSError where it cannot be."""
    if not sys.platform.startswith("linux"):
        raise OSError("this system has no child subreaper")
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    before = ctypes.c_int()
    if prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0) or prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    given_before = bool(before.value) and _Subreaping.holders == 0
    _Subreaping.holders += 1

    def give_up() -> None:
        _Subreaping.holders -= 1
        if _Subreaping.holders == 0 and not given_before:
            prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    return give_up


def children_are_listed() -> bool:
    """Some kernels are built without these files."""
    return os.path.exists(_own_list())  # noqa: PTH110  asked at every kill


def _own_list() -> str:
    return f"/proc/{os.getpid()}/task/{os.getpid()}/children"


def own_children() -> list[bytes]:
    """Ours and those reparented to us, as the kernel writes them: numbers of 1,000 at each exit would double its cost.

    The kernel hands orphans to the first living thread, which is the main one; what other threads have started is
    theirs to wait for.
    """
    return _read_list(_own_list())


def descendants(pid: int) -> list[int]:
    """All living processes under `pid`, nearest first."""
    if not children_are_listed():
        return sorted(find_kin(read_table(), {pid}) - {pid})
    found: list[int] = []
    pending = [pid]
    while pending:
        folder = f"/proc/{pending.pop()}/task"
        try:
            threads = os.listdir(folder)  # noqa: PTH208  this runs once per kill of 500 workers
        except OSError:
            continue
        for thread in threads:
            born = [int(child) for child in _read_list(f"{folder}/{thread}/children")]
            found += born
            pending += born
    return found


def _read_list(path: str) -> list[bytes]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        text = b""
        while chunk := os.read(file, 4096):  # the kernel gives no more at once
            text += chunk
    except ProcessLookupError:  # it ended between the two calls
        return []
    finally:
        os.close(file)
    return text.split()


async def process_gone(pid: int) -> None:
    """Until the process has ended; it may still wait to be reaped."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        while (stat := read_stat(pid)) and stat[2] not in "ZX":  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(POLL)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def reap(pid: int) -> bool:
    """Collect a zombie that nobody else waits for. True when it is no child of ours any more."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def unreaped(pid: int) -> bool:
    """Whether the number is still that child's: a turn of the loop passes between the reaping and its being known."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def send(pid: int, number: signal.Signals) -> None:
    """To a process known to be alive and ours; one that has just gone needs no signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        log.warning(
            "cannot send %s to process %d: it has changed its user; run the supervisor as root", number.name, pid
        )
