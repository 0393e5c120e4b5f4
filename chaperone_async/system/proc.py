"""Looking at processes through Linux's /proc, cheaply enough to do it for a thousand workers every second."""

import errno
import os
import resource
from collections.abc import Iterator
from enum import Enum

_PAGE = os.sysconf("SC_PAGE_SIZE")
_BUFFER = 4096
_NEARLY_FULL = _BUFFER - 64  # the kernel hands out whole records: one that no longer fitted comes with the next read
_NO_DESCRIPTOR_LEFT = (errno.EMFILE, errno.ENFILE)
_SHARE_KEPT = 4  # at most one in so many of the descriptors this process may have: spawning must never go short


class Descriptors:
    """How many files may be kept open. Beyond that they are opened for each read, which takes twice the time."""

    __slots__ = ("highest", "kept", "limit")

    def __init__(self) -> None:
        self.kept = self.limit = 0
        self.highest = 0  # numbers from here on are not kept: the system gives the lowest, so few others are free
        self.look_up_limit()

    def look_up_limit(self) -> None:
        """The limit may be raised while the program runs."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = 1 << 20 if soft == resource.RLIM_INFINITY else soft
        self.limit, self.highest = most // _SHARE_KEPT, most // 2


class ProcFile:
    """One file of /proc. A kept descriptor goes on meaning the same process: its pid can be given to no other."""

    __slots__ = ("_descriptors", "_fd", "_path")

    def __init__(self, path: str, descriptors: Descriptors) -> None:
        self._path = path
        self._descriptors = descriptors
        self._fd = -1

    @property
    def cheap(self) -> bool:
        """Whether reading needs no opening, at least from the second time on."""
        return self._fd >= 0 or self._descriptors.kept < self._descriptors.limit

    def read(self) -> bytes | None:
        """The contents; empty when the process is gone; None when one cannot look now, which says nothing."""
        fd = self._fd
        try:
            if fd < 0:
                fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                if self._descriptors.kept >= self._descriptors.limit or fd >= self._descriptors.highest:
                    return _read_and_close(fd)
                self._descriptors.kept += 1
                self._fd = fd
            data = os.pread(fd, _BUFFER, 0)
            return data if len(data) < _NEARLY_FULL else data + _rest(fd, len(data))
        except (FileNotFoundError, ProcessLookupError):
            return b""
        except OSError:
            return None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._descriptors.kept -= 1


class Look(Enum):
    """What another look at a process has shown. SAME: it has not run; or one cannot look now."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"  # also when its pid means another process by now


class Process:
    """One process as last seen: `ticks` of CPU with those of its waited-for children, `memory` in bytes."""

    __slots__ = (
        "_children",
        "_raw",
        "_stat",
        "memory",
        "parent",
        "pid",
        "session",
        "started",
        "state",
        "threads",
        "ticks",
    )

    def __init__(self, pid: int, descriptors: Descriptors) -> None:
        self.pid = pid
        self.parent = self.session = 0  # as first seen
        self.started = b""  # empty: never seen
        self.state = ""
        self.threads = 1
        self.ticks = self.memory = 0
        self._raw = b""
        self._stat = ProcFile(f"/proc/{pid}/stat", descriptors)
        self._children = ProcFile(f"/proc/{pid}/task/{pid}/children", descriptors)

    def refresh(self) -> Look:
        raw = self._stat.read()
        if raw is None or raw == self._raw:
            return Look.SAME
        if not raw:
            return Look.GONE
        # "pid (name) state ppid …" as in proc_pid_stat(5); the name may hold spaces and brackets
        fields = raw[raw.rindex(b")") + 2 :].split(None, 22)
        if not self.started:
            self.started, self.parent, self.session = fields[19], int(fields[1]), int(fields[3])
        elif fields[19] != self.started:
            return Look.GONE
        self._raw = raw
        self.state = fields[0].decode()
        self.ticks = int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
        self.threads = int(fields[17])
        self.memory = int(fields[21]) * _PAGE
        return Look.CHANGED

    @property
    def costly_lists(self) -> int:
        """How many files must be opened to learn this process's children; 0 when a kept one tells."""
        return 0 if self.threads == 1 and self._children.cheap else self.threads

    def children(self) -> list[int]:
        """Pids of its children: the kernel keeps a list for each thread."""
        if self.threads == 1:
            return [int(word) for word in (self._children.read() or b"").split()]
        task = f"/proc/{self.pid}/task"
        try:
            threads = os.listdir(task)  # noqa: PTH208  Path.iterdir costs three times as much
        except OSError:
            return []
        return [int(word) for thread in threads for word in _read_once(f"{task}/{thread}/children").split()]

    def close(self) -> None:
        self._stat.close()
        self._children.close()


def sessions() -> Iterator[tuple[int, int]]:
    """(pid, session) of every process; nothing when one cannot look now. Asking by getsid costs a fortieth of reading
    each one's stat file."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208  as above
    except OSError:
        return
    for name in names:
        if name.isdigit():
            try:
                yield int(name), os.getsid(int(name))
            except OSError:  # gone, or (under some security modules) none of our business
                continue


def _read_once(path: str) -> bytes:
    try:
        return _read_and_close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return b""


def _read_and_close(fd: int) -> bytes:
    try:
        return _rest(fd, 0)
    finally:
        os.close(fd)


def _rest(fd: int, offset: int) -> bytes:
    chunks: list[bytes] = []
    while chunk := os.pread(fd, _BUFFER, offset):
        chunks.append(chunk)
        offset += len(chunk)
        if len(chunk) < _NEARLY_FULL:
            break
    return b"".join(chunks)
