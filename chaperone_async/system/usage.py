"""Memory and CPU of workers, each with all its descendants.

How descendants are found: processes that have run since the last sample are asked for their children, the others only
in turns. The answer comes from one kept descriptor; many-threaded processes have a list for each thread, which must be
opened, and are therefore asked in turns as well, such that a call opens about fifty and each has its turn within ten
calls. What left the tree by a double fork (or every descendant, on kernels that list no children) is found by its
session, at most ten seconds later. Once found, a process is counted until it ends, wherever it has moved to.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count

from chaperone_async.core.events import WorkerRef
from chaperone_async.system.ports import Usage, UsageSampler
from chaperone_async.system.proc import Descriptors, Look, Process, sessions

Clock = Callable[[], float]

_TICKS = os.sysconf("SC_CLK_TCK")
_LISTS_PER_CALL = 50
_MOST_TURNS = 10
_STRAYS_EVERY = 10.0
_SWEEP_EVERY = 5.0
_FORGET_AFTER = 300.0


class ProcSampler:
    """Linux, from /proc. `clock` counts seconds.

    Memory is the sum of the processes' resident sets: pages they share count once for each. (Telling them apart, by
    PSS, costs the kernel a walk over every page.) On machines with very many cores the kernel's own count of resident
    pages lags by some pages per core.

    CPU is what the living have used plus what their waited-for children had; of a descendant that goes without being
    waited for, the last value seen is kept. So `cpu_seconds` never falls.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._descriptors = Descriptors()
        self._trees: dict[WorkerRef, _Tree] = {}
        self._serial = count()
        self._strays_due = self._sweep_due = clock()

    def sample(self, workers: Iterable[tuple[WorkerRef, int]]) -> Mapping[WorkerRef, Usage]:
        now = self._clock()
        self._descriptors.look_up_limit()
        turns = self._turns()
        found: dict[WorkerRef, Usage] = {}
        for ref, pid in workers:
            tree = self._tree(ref, pid)
            if (usage := tree.sample(now, turns)) is not None:
                found[ref] = usage
            else:
                self._drop(ref)
        if now >= self._strays_due:
            self._strays_due = now + _STRAYS_EVERY
            self._adopt_strays()
        if now >= self._sweep_due:
            self._sweep_due = now + _SWEEP_EVERY
            self._sweep(now)
        return found

    def close(self) -> None:
        for ref in list(self._trees):
            self._drop(ref)

    def _turns(self) -> int:
        """Over how many calls a round of asking everyone for its children is spread."""
        lists = sum(1 + tree.costly_lists for tree in self._trees.values())
        return min(_MOST_TURNS, 1 + lists // _LISTS_PER_CALL)

    def _tree(self, ref: WorkerRef, pid: int) -> "_Tree":
        tree = self._trees.get(ref)
        if tree is None or tree.main.pid != pid:
            self._drop(ref)
            tree = self._trees[ref] = _Tree(pid, self._descriptors, next(self._serial))
        return tree

    def _drop(self, ref: WorkerRef) -> None:
        if tree := self._trees.pop(ref, None):
            tree.close()

    def _adopt_strays(self) -> None:
        """Processes of a worker's session whose parents are gone. They show from the next sample on."""
        leaders = {tree.main.pid: tree for tree in self._trees.values() if tree.main.session == tree.main.pid}
        if leaders:
            for pid, session in sessions():
                if (tree := leaders.get(session)) and not tree.has(pid):
                    tree.adopt(pid)

    def _sweep(self, now: float) -> None:
        """Nobody says when a worker needs no more sampling: close what is gone, forget what is long unasked for."""
        for ref, tree in list(self._trees.items()):
            idle = now - tree.sampled_at
            if idle >= _FORGET_AFTER or (idle >= _SWEEP_EVERY and tree.is_gone()):
                self._drop(ref)


class _Tree:
    """A worker and its known descendants."""

    __slots__ = (
        "_descendants",
        "_descriptors",
        "_lost",
        "_noticed",
        "_peak",
        "_ticks",
        "_turn",
        "_usage",
        "costly_lists",
        "main",
        "sampled_at",
    )

    def __init__(self, pid: int, descriptors: Descriptors, serial: int) -> None:
        self.main = Process(pid, descriptors)
        self.sampled_at = 0.0
        self.costly_lists = 0
        self._descriptors = descriptors
        self._descendants: dict[int, Process] = {}
        self._turn = serial  # a different start for each, so that turns spread
        self._usage: Usage | None = None
        self._peak = 0
        self._ticks = 0  # at the sample before
        self._lost = 0  # of descendants nobody waited for
        self._noticed = False  # something has changed that no sample has shown

    def has(self, pid: int) -> bool:
        return pid == self.main.pid or pid in self._descendants

    def adopt(self, pid: int) -> bool:
        """Count this process too, if it still is what it was taken for: a member's child, or one of the session."""
        process = Process(pid, self._descriptors)
        if process.refresh() is Look.CHANGED and process.state != "Z" and self._is_ours(process):
            self._descendants[pid] = process
            self._ticks += process.ticks  # what it used while unseen was not used since the last sample
            return True
        process.close()
        return False

    def sample(self, now: float, turns: int) -> Usage | None:
        """None: the worker is gone."""
        self._turn += 1
        its_turn = self._turn % turns == 0
        look, noticed, self._noticed = self.main.refresh(), self._noticed, False
        if look is Look.SAME and not noticed and not its_turn and not self._descendants and self._usage:
            if self._usage.cpu_percent:
                self._usage = replace(self._usage, cpu_percent=0.0)
        else:
            if look is Look.GONE or not self.main.started or not self._refresh_descendants():
                return None
            self._discover(costly=its_turn)
            self._usage = self._add_up(now - self.sampled_at)
        self.sampled_at = now
        return self._usage

    def is_gone(self) -> bool:
        """Asked between samples, which must not miss what this look has seen."""
        look = self.main.refresh()
        self._noticed |= look is Look.CHANGED
        return look is Look.GONE

    def close(self) -> None:
        for process in self._members():
            process.close()

    def _members(self) -> Iterator[Process]:
        yield self.main
        yield from self._descendants.values()

    def _is_ours(self, process: Process) -> bool:
        return self.has(process.parent) or process.session == self.main.pid

    def _refresh_descendants(self) -> bool:
        """False: meanwhile the worker is gone."""
        gone = [pid for pid, process in self._descendants.items() if process.refresh() is Look.GONE]
        for pid in gone:
            self._descendants.pop(pid).close()
        if not gone:
            return True
        # the time of a child that was waited for is its parent's by now, and was not a moment ago
        return self.main.refresh() is not Look.GONE and self._refresh_descendants()

    def _discover(self, *, costly: bool) -> None:
        self.costly_lists = 0
        pending = list(self._members()) if self._descendants else [self.main]
        for process in pending:
            lists = process.costly_lists
            self.costly_lists += lists
            if lists and not costly:
                continue
            for pid in process.children():
                if pid not in self._descendants and self.adopt(pid):
                    pending.append(self._descendants[pid])

    def _add_up(self, elapsed: float) -> Usage:
        main = self.main
        ticks, memory, processes = main.ticks, main.memory, 1
        for process in self._descendants.values():
            ticks += process.ticks
            memory += process.memory
            processes += process.state != "Z"
        used = ticks - self._ticks
        if used < 0:
            self._lost -= used
        self._ticks = ticks
        self._peak = max(self._peak, memory)
        if self._usage is None:
            percent = 0.0
        elif elapsed > 0:
            percent = max(0, used) / _TICKS / elapsed * 100
        else:
            percent = self._usage.cpu_percent
        return Usage(memory, self._peak, (ticks + self._lost) / _TICKS, percent, main.state, processes)


def make_sampler(clock: Clock = time.monotonic) -> UsageSampler:
    """The best one for this system."""
    if sys.platform == "linux" and os.access("/proc/self/stat", os.R_OK):
        return ProcSampler(clock)
    from chaperone_async.system.usage_psutil import PsutilSampler

    return PsutilSampler(clock)
