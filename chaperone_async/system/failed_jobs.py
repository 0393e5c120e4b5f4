"""The failed jobs of pools whose queue system keeps no list of them (Celery, SAQ, taskiq, arq), as their workers tell:
in a file of ours, written in a thread of its own. A file that cannot be used is told of, and memory serves.
"""

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from chaperone_async.errors import QueueUnavailable
from chaperone_async.system.config.failed_jobs import FailedJobsPlace
from chaperone_async.system.failed_file import FailedFile, Failure
from chaperone_async.system.ports import JobNotice
from chaperone_async.system.threads import DaemonThreads, NoThreadError

_LOCKED = 1.0  # seconds before another try to write what another program keeps from being written
_LAST_WRITE = 2.0  # seconds that the end waits for a slow disk

T = TypeVar("T")


class FailedJobs:
    """Of all pools. `tell` takes a line for people, in the event loop."""

    def __init__(self, place: FailedJobsPlace, tell: Callable[[str], None]) -> None:
        self._path, self._keep, self._tell = place.path, place.keep, tell
        self._threads = DaemonThreads(1, "chaperone-failed-jobs")  # one: the file is used by one at a time
        self._noted: deque[tuple[str, Failure]] = deque(maxlen=place.keep)
        self._something_noted = anyio.Event()
        self._file: FailedFile | None = None
        self._counts: Mapping[str, int] | None = None
        self._told: list[str] = []
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._write_what_is_noted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
        if self._file is not None or self._noted:
            with anyio.move_on_after(_LAST_WRITE, shield=True), suppress(NoThreadError):
                with suppress(QueueUnavailable):
                    await self._do(lambda _: None)
                await self._threads.run(self._close)

    def note(self, pool: str, queue: str, notice: JobNotice) -> None:
        """Never waits: it is written in its time."""
        job = Failure(notice.job, queue, notice.name, notice.arguments, notice.error, time.time())
        self._noted.append((pool, job))
        self._something_noted.set()

    async def count(self, pool: str) -> int:
        if self._counts is None:
            await self._do(FailedFile.counts)
        return (self._counts or {}).get(pool, 0)

    async def page(self, pool: str, queue: str, limit: int, after: str | None) -> list[Failure] | None:
        """The newest first. None: there is no job `after`."""
        return await self._do(lambda file: file.page(pool, queue, limit, after))

    async def find(self, pool: str, queue: str, ids: Sequence[str] | None) -> list[Failure]:
        """The oldest first; None: all."""
        return await self._do(lambda file: file.find(pool, queue, ids))

    async def remove(self, pool: str, queue: str, ids: Sequence[str] | None) -> int:
        return await self._do(lambda file: file.remove(pool, queue, ids))

    async def _write_what_is_noted(self) -> None:
        while True:
            await self._something_noted.wait()
            self._something_noted = anyio.Event()
            try:
                await self._do(lambda _: None)
            except QueueUnavailable:  # for now, and somebody will be told who wants to read it
                await anyio.sleep(_LOCKED)
                self._something_noted.set()

    async def _do(self, what: Callable[[FailedFile], T]) -> T:
        """With all that has been noted in the file."""
        try:
            return await self._threads.run(self._in_thread, what)
        except NoThreadError as error:
            raise QueueUnavailable(f"the list of failed jobs cannot be read: {error}") from error
        finally:
            while self._told:
                self._tell(self._told.pop(0))

    # In the thread

    def _in_thread(self, what: Callable[[FailedFile], T]) -> T:
        if self._file is None:
            self._file = self._open()
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        try:
            return self._use(self._file, noted, what)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                self._noted.extendleft(reversed(noted))
                raise QueueUnavailable("the list of failed jobs is locked by another program; try again") from error
            self._file = self._in_place_of(self._file, error)
        return self._use(self._file, noted, what)

    def _use(self, file: FailedFile, noted: list[tuple[str, Failure]], what: Callable[[FailedFile], T]) -> T:
        if noted:
            file.add(noted)
            noted.clear()  # what follows may fail, and be done again elsewhere
        value = what(file)
        self._counts = file.counts()
        return value

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> FailedFile:
        if self._path is None:
            self._told.append(_in_memory("there is no place for them"))
            return FailedFile(None, self._keep)
        try:
            return FailedFile(self._path, self._keep)
        except (sqlite3.Error, OSError) as error:
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            self._told.append(_in_memory(f"{self._path} cannot be used: {why}"))
            return FailedFile(None, self._keep)

    def _in_place_of(self, file: FailedFile, error: sqlite3.Error) -> FailedFile:
        """With what can still be read in that one."""
        self._told.append(_in_memory(f"{self._path} cannot be used any more: {error}"))
        memory = FailedFile(None, self._keep)
        with suppress(sqlite3.Error):  # nothing, then; it was said
            memory.add(file.everything())
        with suppress(sqlite3.Error):
            file.close()
        return memory


def _in_memory(why: str) -> str:
    advice = 'write another [failed_jobs] path, such as "/var/lib/chaperone/failed-jobs.db"'
    return f"cannot keep the list of failed jobs: {why}; it is kept in memory until the supervisor ends; {advice}"
