"""What a worker leaves behind is killed and reaped with it, also what has left its session.

This process is a child subreaper: when a worker's main process dies, the roots of all it leaves become our own direct
children. So one read of our children, less those we know, finds them; deaths of the same moment share the read.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from chaperone_async.core.events import WorkerRef
from chaperone_async.system.janitor import kill, read_settled_environ, read_stat, read_table
from chaperone_async.system.kin import children_are_listed, descendants, own_children, process_gone, reap

log = logging.getLogger(__name__)

LOOK_SHARE = 0.1  # of the time: in a mass crash our children are read no more often than costs this much,
LOOK_GAP = 0.01  # but after these many seconds in any case
EXEC_LIMIT = 0.5  # seconds; a stray that shows no environment for longer has none
SWEEP_LIMIT = 2.0  # seconds; what survives SIGKILL for longer (a dead disk) must not hold up the replacement

_ID_MARK = b"\0CHAPERONE_WORKER_ID="
_PROBE_MARK = b"\0CHAPERONE_WORKER_PID="  # an exec probe: its prober ends it


class Family:
    """The processes this one has started itself, and whose statuses are waited for: none of them is a stray."""

    def __init__(self) -> None:
        self.mark: dict[str, str] = {}
        self._pids: set[bytes] = set()  # as the kernel lists them
        self._in_flight = 0

    def __contains__(self, pid: int) -> bool:
        return b"%d" % pid in self._pids

    def add(self, pid: int) -> None:
        self._pids.add(b"%d" % pid)

    def discard(self, pid: int) -> None:
        self._pids.discard(b"%d" % pid)

    def strangers(self, listed: Iterable[bytes]) -> set[int]:
        return {int(pid) for pid in listed if pid not in self._pids}

    @contextmanager
    def spawning(self) -> Iterator[None]:
        """Around a spawn, until its pid has been added: meanwhile an unknown child may be the newborn."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    @property
    def in_flight(self) -> bool:
        return self._in_flight > 0


@dataclass(slots=True, eq=False)
class Life:
    """One worker process and what is known to come from it. Its own descendants are not listed while they have not
    left it; `strays` are those that are our own children by now."""

    ref: WorkerRef
    worker_id: str
    pid: int
    killed: bool = False  # SIGKILL was sent by us
    strays: set[int] = field(default_factory=set)
    recorded: set[int] = field(default_factory=set)


class Sweeper:
    """Knows which stray belongs to which worker, and ends it with its worker."""

    def __init__(self, family: Family, *, subreaper: bool) -> None:
        self._family = family
        self._quick = subreaper and children_are_listed()
        self._by_pid: dict[int, Life] = {}
        self._by_id: dict[bytes, Life] = {}
        self._by_record: dict[int, Life] = {}
        self._owned: dict[int, Life] = {}
        self._unowned: set[int] = set()  # children that are no worker's: not looked at again
        self._undecided: dict[int, float] = {}  # children in the middle of an exec, and when they were first seen so
        self._look: asyncio.Event | None = None
        self._look_from = 0.0

    def born(self, life: Life) -> None:
        self._by_pid[life.pid] = life
        self._by_id[life.worker_id.encode()] = life

    def gone(self, life: Life) -> None:
        if self._by_pid.get(life.pid) is life:
            del self._by_pid[life.pid]
        if self._by_id.get(life.worker_id.encode()) is life:
            del self._by_id[life.worker_id.encode()]
        for pid in life.recorded:
            self._by_record.pop(pid, None)

    def members(self, life: Life) -> list[int]:
        """The main process, its descendants, and the strays known of with theirs."""
        roots = [life.pid, *life.strays]
        return roots + [pid for root in roots for pid in descendants(root)]

    def session(self, life: Life) -> list[int]:
        """Those of the worker that are in its session: all that is in it descends from the main process."""
        self._find()
        return [pid for pid in self.members(life) if (stat := read_stat(pid)) and stat[1] == life.pid]

    def kill(self, life: Life) -> None:
        """SIGKILL to all members; those that are forked meanwhile fall to `clear`."""
        if life.strays:
            self._find()
        for pid in self.members(life):
            self._record(life, pid)
            kill(pid)

    async def clear(self, life: Life) -> None:
        """After the main process was reaped: kill and reap what it left, until nothing is left."""
        await self._find_soon()
        looked = asyncio.get_running_loop().time()
        if not self._may_have_left(life, looked):
            return
        try:
            async with asyncio.timeout(SWEEP_LIMIT):
                while self._may_have_left(life, looked):
                    if life.strays:
                        await self._end(life, life.strays.copy())
                        looked = asyncio.get_running_loop().time()
                    await self._find_soon()
        except TimeoutError:
            log.warning("worker %s left processes that survive SIGKILL: %s", life.worker_id, sorted(life.strays))
            self._unowned |= life.strays
            for pid in life.strays:
                self._owned.pop(pid, None)

    def _may_have_left(self, life: Life, looked: float) -> bool:
        """What showed its first exec only after the look was not there then, and is another's."""
        return bool(life.strays) or any(since <= looked for since in self._undecided.values())

    async def _end(self, life: Life, strays: set[int]) -> None:
        for root in strays:
            for pid in (root, *descendants(root)):
                self._record(life, pid)
                kill(pid)
        for pid in strays:
            await process_gone(pid)
            reap(pid)

    def _record(self, life: Life, pid: int) -> None:
        if pid != life.pid:
            life.recorded.add(pid)
            self._by_record[pid] = life

    async def _find_soon(self) -> None:
        """One `_find` for all that ask in the same moment."""
        if self._look is None:
            self._look = asyncio.Event()
            loop = asyncio.get_running_loop()
            if loop.time() < self._look_from:
                loop.call_at(self._look_from, self._find_and_tell)
            else:
                loop.call_soon(self._find_and_tell)
        await self._look.wait()

    def _find_and_tell(self) -> None:
        look, self._look = self._look, None
        clock = asyncio.get_running_loop().time
        began = clock()
        self._find()
        ended = clock()
        self._look_from = ended + min((ended - began) / LOOK_SHARE, LOOK_GAP)
        if look is not None:
            look.set()

    def _find(self) -> None:
        """Give every stray to its worker. A stray of a living worker is a helper it has detached: left alone."""
        strangers = self._family.strangers(own_children() if self._quick else self._outside_table())
        self._unowned &= strangers
        for pid in self._owned.keys() - strangers:  # reaped since: the number may be another's any moment
            self._owned.pop(pid).strays.discard(pid)
        now = asyncio.get_running_loop().time()
        undecided, self._undecided = self._undecided, {}
        for pid in strangers - self._unowned - self._owned.keys():
            life = self._owner(pid)
            if isinstance(life, Life):
                life.strays.add(pid)
                self._owned[pid] = life
            elif life == "undecided" and (since := undecided.get(pid, now)) + EXEC_LIMIT > now:
                self._undecided[pid] = since
            elif not self._family.in_flight:  # else it may come from a newborn that nobody knows yet
                self._unowned.add(pid)

    def _outside_table(self) -> list[bytes]:
        """Without a subreaper's children: all living processes of the machine that are in a worker's session and have
        lost their parent's line to it are its strays; one pass over the process table."""
        table = read_table()
        return [
            b"%d" % pid
            for pid, (parent, session, state) in table.items()
            if state not in "ZX" and session in self._by_pid and (parent not in table or table[parent][1] != session)
        ]

    def _owner(self, pid: int) -> Life | Literal["undecided"] | None:
        stat = read_stat(pid)
        if stat is None:
            return None
        owner = self._by_pid.get(stat[1]) or self._by_record.get(pid)
        if owner is not None or stat[2] in "ZX":
            return owner
        environ = read_settled_environ(pid)
        if environ is None:
            return "undecided"
        _, mark, rest = environ.partition(_ID_MARK)
        return self._by_id.get(rest.partition(b"\0")[0]) if mark and _PROBE_MARK not in environ else None
