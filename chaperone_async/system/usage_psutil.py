"""Memory and CPU of workers where there is no /proc: portable, and several times dearer."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import psutil

from chaperone_async.core.events import WorkerRef
from chaperone_async.system.ports import Usage

_TABLE_EVERY = 5.0
_LETTERS = {
    psutil.STATUS_RUNNING: "R",
    psutil.STATUS_DISK_SLEEP: "D",
    psutil.STATUS_STOPPED: "T",
    psutil.STATUS_TRACING_STOP: "t",
    psutil.STATUS_ZOMBIE: "Z",
    psutil.STATUS_DEAD: "X",
    psutil.STATUS_IDLE: "I",
}


class PsutilSampler:
    """Any system psutil knows. Descendants are looked for in one pass over the process table for all workers, at most
    every five seconds; short-lived ones may be missed, and their CPU time with them. Memory as with ProcSampler."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._trees: dict[WorkerRef, _Tree] = {}
        self._table_due = clock()
        self._known: frozenset[WorkerRef] = frozenset()

    def sample(self, workers: Iterable[tuple[WorkerRef, int]]) -> Mapping[WorkerRef, Usage]:
        now = self._clock()
        found: dict[WorkerRef, Usage] = {}
        asked = list(workers)
        for ref, pid in asked:
            if ref not in self._trees and psutil.pid_exists(pid):
                self._trees[ref] = _Tree(pid)
        if now >= self._table_due:
            self._table_due = now + _TABLE_EVERY
            self._discover()
        for ref, _ in asked:
            tree = self._trees.get(ref)
            if tree and (usage := tree.sample(now)):
                found[ref] = usage
            else:
                self._trees.pop(ref, None)
        return found

    def close(self) -> None:
        self._trees.clear()

    def _discover(self) -> None:
        children: defaultdict[int, list[psutil.Process]] = defaultdict(list)
        for process in psutil.process_iter(["ppid"]):
            children[process.info["ppid"]].append(process)
        for ref, tree in list(self._trees.items()):
            if tree.main.is_running():
                tree.adopt(children)
            else:
                del self._trees[ref]


class _Tree:
    def __init__(self, pid: int) -> None:
        self.main = psutil.Process(pid)
        self._cpu: dict[psutil.Process, float] = {self.main: 0.0}  # seconds used by each member, as last seen
        self._ended = 0.0  # seconds used by members that are gone
        self._usage: Usage | None = None
        self._at = 0.0

    def adopt(self, children: Mapping[int, list[psutil.Process]]) -> None:
        pending = list(self._cpu)
        for process in pending:
            for child in children.get(process.pid, ()):
                if child not in self._cpu:
                    self._cpu[child] = 0.0
                    pending.append(child)

    def sample(self, now: float) -> Usage | None:
        """None: the worker is gone."""
        memory = 0
        used = 0.0
        for process in list(self._cpu):
            try:
                with process.oneshot():
                    times, resident = process.cpu_times(), process.memory_info().rss
            except (psutil.ZombieProcess, psutil.AccessDenied):  # ended, or a set-user-id program: not ours to look at
                continue
            except psutil.NoSuchProcess:
                self._ended += self._cpu.pop(process)
                continue
            before = self._cpu[process]
            self._cpu[process] = max(before, times.user + times.system)
            used += self._cpu[process] - before if before else 0.0  # a new member's past is not this sample's
            memory += resident
        if self.main not in self._cpu:
            return None
        last = self._usage
        elapsed = now - self._at
        self._at = now
        self._usage = Usage(
            memory=memory,
            peak_memory=max(memory, last.peak_memory if last else 0),
            cpu_seconds=self._ended + sum(self._cpu.values()),
            cpu_percent=used / elapsed * 100 if last and elapsed > 0 else 0.0,
            state=self._state(),
            processes=len(self._cpu),
        )
        return self._usage

    def _state(self) -> str:
        try:
            return _LETTERS.get(self.main.status(), "S")
        except psutil.NoSuchProcess:
            return "X"
