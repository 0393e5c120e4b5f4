"""What a return code means, and whether it was the kernel that killed for want of memory."""

import os
from collections import deque
from pathlib import Path

from chaperone_async.system.control_group import locate, read_own
from chaperone_async.system.ports import ExitStatus

CREDIT_LIFE = 3.0  # seconds; an OOM kill seen longer ago than this was not this worker's


def exit_status(returncode: int, *, oom: bool = False) -> ExitStatus:
    """From subprocess's convention: a negative code is a signal."""
    return ExitStatus(signal=-returncode, oom=oom) if returncode < 0 else ExitStatus(code=returncode)


def parse_oom_kills(text: str) -> int | None:
    """The counter in cgroup v2's `memory.events` or v1's `memory.oom_control`; None where a kernel has none."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return None


def locate_oom_counters(cgroups: str, mountinfo: str) -> list[Path]:
    """Where the counter may be, likeliest first, from the texts of /proc/self/cgroup and /proc/self/mountinfo."""
    found: list[Path] = []
    for group in locate(cgroups, mountinfo):
        if "memory" in group.controllers:
            found.insert(0, group.folder / "memory.oom_control")
        elif group.version == 2:
            found += [group.folder / "memory.events.local", group.folder / "memory.events"]
    return found


def find_oom_counter() -> Path | None:
    """This process's own cgroup's counter: workers are in the same cgroup. None where it cannot be read."""
    try:
        places = locate_oom_counters(read_own("cgroup"), read_own("mountinfo"))
    except OSError:
        return None
    return next((place for place in places if _has_counter(place)), None)


def _has_counter(place: Path) -> bool:
    try:
        return parse_oom_kills(place.read_text()) is not None
    except OSError:
        return False


class OomLedger:
    """Attributes the kernel's OOM kills to deaths by SIGKILL: each at most once, and only while it is fresh."""

    def __init__(self, counter: Path | None) -> None:
        self._file = None if counter is None else os.open(counter, os.O_RDONLY | os.O_CLOEXEC)
        self._count = self._read() or 0
        self._unclaimed: deque[float] = deque()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None

    def look(self, now: float) -> None:
        """Note when the counter grew. Call it now and then, so that a kill of long ago is known as such."""
        count = self._read()
        if count is not None:
            self._unclaimed.extend([now] * (count - self._count))
            self._count = count
        while self._unclaimed and self._unclaimed[0] < now - CREDIT_LIFE:
            self._unclaimed.popleft()

    def _read(self) -> int | None:
        """Asked at each death by SIGKILL, hence the kept descriptor."""
        if self._file is None:
            return None
        try:
            return parse_oom_kills(os.pread(self._file, 4096, 0).decode())
        except OSError:  # the control group has been removed
            return None

    def claim(self, now: float) -> bool:
        """Whether a process that has just died of SIGKILL, sent by none of us, was killed for want of memory."""
        self.look(now)
        if not self._unclaimed:
            return False
        self._unclaimed.popleft()
        return True
