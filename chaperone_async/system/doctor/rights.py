"""What this process may do, and where it may write."""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import expand, placeholders
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.doctor.finding import Finding
from chaperone_async.system.doctor.places import is_writable, nearest
from chaperone_async.system.environment import find_identity
from chaperone_async.system.notify import SUPPORTED, NotifySockets
from chaperone_async.system.ports import SpawnError

_SETGID, _SETUID, _SYS_PTRACE = 6, 7, 19


def examine_rights(pools: Sequence[PoolSpec], root: Path = Path("/")) -> Iterator[Finding]:
    yield _users(pools, root)
    yield _file_system()
    yield _notify_sockets()
    yield from _log_files(pools)


def _users(pools: Sequence[PoolSpec], root: Path) -> Finding:
    may = _may(root, _SETUID, _SETGID)
    what = f"{'any' if may else 'only its own'} (runs as uid {os.geteuid()})"
    wrong: list[str] = []
    switched = False
    for pool in pools:
        try:
            if not find_identity(pool.launch).switch:
                continue
            switched = True
            if not may:
                wrong.append(f"pool {pool.name} wants {pool.launch.user or pool.launch.group!r}")
        except SpawnError as error:
            wrong.append(f"pool {pool.name} {error}")
    if wrong:
        return Finding(
            "users", "fail", what, f"{'; '.join(wrong)}; run as root, grant SETUID and SETGID, or leave it out"
        )
    if switched and not _may(root, _SYS_PTRACE):
        advice = "what left such a worker's session may outlive it; grant SYS_PTRACE"
        return Finding("users", "warn", f"{what}, but the environment of their workers cannot be read", advice)
    return Finding("users", "ok", what)


def _may(root: Path, *capabilities: int) -> bool:
    try:
        lines = (root / "proc/self/status").read_text().splitlines()
    except OSError:
        return os.geteuid() == 0
    rights = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return all(rights >> capability & 1 for capability in capabilities)


def _file_system() -> Finding:
    if os.statvfs("/").f_flag & os.ST_RDONLY:
        return Finding("root directory", "ok", f"read-only, as it should be; {_writable()}")
    return Finding("root directory", "ok", "writable; chaperone needs only /run or /tmp, so it may be read-only")


def _writable() -> str:
    try:
        return f"writable is {tempfile.gettempdir()}"
    except OSError:
        return "nor can anything be written to /tmp"


def _notify_sockets() -> Finding:
    if not SUPPORTED:
        advice = "workers cannot say that they are ready or busy: this system does not tell who sent a datagram"
        return Finding("notify sockets", "warn", "not on this system", advice)
    try:
        return Finding("notify sockets", "ok", f"in {asyncio.run(_try_notify_socket())}")
    except OSError as error:
        return Finding("notify sockets", "fail", str(error), "no worker can be started; mount a writable /tmp or /run")


async def _try_notify_socket() -> Path:
    sockets = NotifySockets()
    try:
        return Path(sockets.open(WorkerRef("doctor", 0, 1), None, None)).parents[2]
    finally:
        sockets.close()


def _log_files(pools: Sequence[PoolSpec]) -> Iterator[Finding]:
    folders: dict[Path, str] = {}
    for pool in pools:
        if pool.logs.mode == "file" and pool.logs.path:
            words = placeholders(pool, WorkerRef(pool.name, 0, 1), f"{pool.name}-000000")
            folders.setdefault(Path(expand(pool.logs.path, words)).absolute().parent, pool.name)
    for folder, name in folders.items():
        there = nearest(folder)
        if is_writable(there):
            found = f"{folder} is writable" if there == folder else f"{folder} can be made"
            yield Finding("log files", "ok", found)
        else:
            what = f"make {there} writable for uid {os.geteuid()}" if there.is_dir() else f"{there} is not a directory"
            advice = f"the lines of pool {name} would be lost; {what}"
            yield Finding("log files", "fail", f"{folder} cannot be written to", advice)
