"""What the kernel says of processes: who lives, who descends from whom, and what they cost. Linux only."""

import os
import select
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
STATE, PARENT, CHILDREN_USER, CHILDREN_SYSTEM, THREADS = 0, 1, 13, 14, 17  # positions in stat_fields()


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    fields = stat_fields(pid)
    return bool(fields) and fields[STATE] not in "ZX"


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def descendants(root: int) -> set[int]:
    """`root` and every process below it."""
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        if fields := stat_fields(pid):
            children.setdefault(int(fields[PARENT]), []).append(pid)
    found, unseen = {root}, [root]
    while unseen:
        below = children.get(unseen.pop(), [])
        found.update(below)
        unseen += below
    return found


def naming(path: Path) -> list[int]:
    """Living processes whose command line names something under `path`."""

    def names_it(pid: int) -> bool:
        try:
            return os.fsencode(path) in (PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return False

    return [pid for pid in _all_pids() if pid != os.getpid() and names_it(pid)]


def cpu_ms(pids: Iterable[int]) -> float:
    """CPU time the processes have used so far, from each one's own clock (the encoding of clock_getcpuclockid(3))."""
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids if is_alive(pid)) / 1e6


def reaped_cpu_ms(pid: int) -> float:
    """CPU time of the children that the process has waited for: short-lived ones show nowhere else."""
    fields = stat_fields(pid)
    return (int(fields[CHILDREN_USER]) + int(fields[CHILDREN_SYSTEM])) * 1000 / os.sysconf("SC_CLK_TCK")


def threads(pids: Iterable[int]) -> int:
    return sum(int(fields[THREADS]) for pid in pids if (fields := stat_fields(pid)))


def pss_mib(pids: Iterable[int]) -> float:
    """Proportional set size: pages shared by several processes are counted once, divided among them."""
    total = 0
    for pid in pids:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def wait_exit(pid: int, timeout: float) -> bool:
    """Wait until the process, a child of ours not yet waited for, has ended; False when it has not by then."""
    descriptor = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(timeout * 1000))
    finally:
        os.close(descriptor)


def wait_gone(pids: Iterable[int], deadline: float) -> bool:
    """Wait until none of the processes is alive; False when some still are at the deadline (monotonic seconds)."""
    left = list(pids)
    while left:
        if not is_alive(left[-1]):
            left.pop()
        elif time.monotonic() > deadline:
            return False
        else:
            time.sleep(0.001)
    return True
