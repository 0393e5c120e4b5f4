"""What tests of real processes share: an output that remembers, waiting for facts, looking at processes."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import LogPolicy, PoolSpec
from chaperone_async.system.janitor import read_environ, read_stat, read_table
from chaperone_async.system.ports import OutputSink

REF = WorkerRef("pool", 0, 1)


class Written:
    """Outputs kept until asked for: one pipe per worker."""

    def __init__(self) -> None:
        self.readers: dict[WorkerRef, int] = {}
        self.text: dict[WorkerRef, str] = {}

    def open(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self.readers[ref] = reader
        return writer

    def finish(self, ref: WorkerRef) -> None:
        reader = self.readers.pop(ref, None)
        if reader is None:
            return
        self.text[ref] = ""
        with suppress(BlockingIOError):
            while chunk := os.read(reader, 1 << 16):
                self.text[ref] += chunk.decode()
        os.close(reader)

    def tail(self, ref: WorkerRef, lines: int) -> Sequence[str]:
        return self.text.get(ref, "").splitlines()[-lines:]

    def follow(self, pool: str | None, sink: OutputSink) -> Callable[[], None]:
        raise NotImplementedError

    def adopt(self, pool: str, logs: LogPolicy) -> None: ...

    def forget(self, ref: WorkerRef) -> None:
        self.text.pop(ref, None)


@contextmanager
def no_thread_to_be_had() -> Iterator[None]:
    """As where there are too many: no machine has room for such a stack."""
    before = threading.stack_size(1 << 50)
    try:
        yield
    finally:
        threading.stack_size(before)


async def until(fact: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true"
        await anyio.sleep(0.002)


def alive(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and stat[2] not in "ZX"


def carriers(mark: str) -> list[int]:
    """Living processes that have this in their environment."""
    return [pid for pid in read_table() if mark.encode() in read_environ(pid) and alive(pid)]


async def pid_in(path: Path) -> int:
    """What a process has written into the file, as soon as it has."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def without_libc(mask: str) -> int:
    """Signals as /proc tells them, but glibc's own two: what it starts by posix_spawn may ignore these."""
    return int(mask, 16) & ~(0b11 << 31)
