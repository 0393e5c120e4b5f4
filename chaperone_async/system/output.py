"""What workers print: read from one pipe each, remembered, and passed on to stdout or a log file.

    worker's stdout and stderr ──▶ pipe ──▶ fold ──▶ Tail (memory)
                                               ├───▶ dressed ──▶ StdoutWriter, or raw ──▶ LogFile
                                               └───▶ whoever follows

One pipe for both streams keeps their order, and needs half the descriptors. A worker that floods is read a chunk per
turn of the loop, the smaller the more workers there are, and waits for its pipe like any writer; nothing here waits for
it.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import expand, placeholders
from chaperone_async.core.spec import LogPolicy, PoolSpec
from chaperone_async.system.lines import LogFormat, dress_json, dress_text, fold
from chaperone_async.system.logfile import Clock, LogFiles, Trouble
from chaperone_async.system.ports import OutputSink
from chaperone_async.system.stdout import StdoutWriter
from chaperone_async.system.tail import Tail

CHUNK = 64 << 10  # what a pipe holds
TURN = 8 * CHUNK  # read at most, in one turn of the loop, from all workers together
LEAST = 4 << 10  # but so much from each
LAST_WORDS = 1 << 20  # read at most from a dead worker's pipe

Sink = Callable[[bytes], None]


class Outputs:
    """All workers' output. `trouble` is told, in one line each, what goes wrong with log files."""

    def __init__(
        self,
        stdout: StdoutWriter,
        *,
        trouble: Trouble,
        log_format: LogFormat = "text",
        clock: Clock = time.monotonic,
    ) -> None:
        self._stdout = stdout
        self._format = log_format
        self._files = LogFiles(trouble, clock)
        self._open: dict[WorkerRef, _Stream] = {}
        self._tails: dict[WorkerRef, Tail] = {}
        self._followers: tuple[tuple[str | None, OutputSink], ...] = ()

    def open(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> int:
        """Start reading this worker. The answer is the pipe's other end, for its stdout and stderr: blocking, closed
        on exec unless passed on by dup2, and the caller's to close. Raises OSError when descriptors have run out, or a
        relative path is to start in a directory that is no more."""
        path: str | None = None
        if spec.logs.mode == "file" and spec.logs.path:
            path = str(Path(expand(spec.logs.path, placeholders(spec, ref, worker_id))).absolute())
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        tail = self._tails[ref] = Tail(spec.logs.keep)
        sink: Sink = self._to_stdout(ref, worker_id)
        if path is not None:
            sink = self._files.open(path, spec.logs.max_size, spec.logs.backups).write
        self._open[ref] = _Stream(readable, tail, sink, path, lambda block: self._tell_followers(ref, block))
        asyncio.get_running_loop().add_reader(readable, self._read, ref)
        return writable

    def finish(self, ref: WorkerRef) -> None:
        """The worker is dead: take what it left in the pipe, without waiting for an end that a descendant may hold up,
        and close. Idempotent."""
        stream = self._open.get(ref)
        if stream is None:
            return
        budget = LAST_WORDS
        while budget > 0 and (chunk := stream.read()):
            stream.take(chunk)
            budget -= len(chunk)
        self._close(ref)

    def tail(self, ref: WorkerRef, lines: int) -> list[str]:
        """The last whole lines, oldest first; of a dead worker also its unfinished one."""
        tail = self._tails.get(ref)
        return tail.last(lines) if tail else []

    def follow(self, pool: str | None, sink: OutputSink) -> Callable[[], None]:
        """See `Processes.follow`."""
        follower = (pool, sink)
        self._followers = (*self._followers, follower)
        return lambda: self._unfollow(follower)

    def _unfollow(self, follower: tuple[str | None, OutputSink]) -> None:
        self._followers = tuple(other for other in self._followers if other is not follower)

    def _tell_followers(self, ref: WorkerRef, block: bytes) -> None:
        for pool, sink in self._followers:
            if pool is None or pool == ref.pool:
                sink(ref, block)

    def adopt(self, pool: str, logs: LogPolicy) -> None:
        """See `Processes.adopt`."""
        for ref, tail in self._tails.items():
            if ref.pool == pool:
                tail.keep(logs.keep)
        for ref, stream in self._open.items():
            if ref.pool == pool and stream.path is not None:
                self._files.limit(stream.path, logs.max_size, logs.backups)

    def forget(self, ref: WorkerRef) -> None:
        self.finish(ref)
        self._tails.pop(ref, None)

    def close(self) -> None:
        """Finish all; the stdout writer stays open, for its owner's last words."""
        for ref in tuple(self._open):
            self.finish(ref)

    def _to_stdout(self, ref: WorkerRef, worker_id: str) -> Sink:
        dress = dress_text(worker_id) if self._format == "text" else dress_json(ref.pool, ref.slot, worker_id)
        write = self._stdout.write
        return lambda block: write(dress(block))

    def _read(self, ref: WorkerRef) -> None:
        stream = self._open[ref]
        chunk = stream.read(max(LEAST, min(CHUNK, TURN // len(self._open))))
        if chunk:
            stream.take(chunk)
        elif chunk is not None:  # every writer has closed its end: a reader left there would spin
            self._close(ref)

    def _close(self, ref: WorkerRef) -> None:
        stream = self._open.pop(ref)
        asyncio.get_running_loop().remove_reader(stream.fd)
        os.close(stream.fd)
        stream.flush()
        if stream.path is not None:
            self._files.release(stream.path)


class _Stream:
    """One worker's pipe, and what it has not yet ended with a newline."""

    __slots__ = ("_partial", "_sink", "_tail", "_tell", "fd", "path")

    def __init__(self, fd: int, tail: Tail, sink: Sink, path: str | None, tell: Sink) -> None:
        self.fd = fd
        self.path = path  # of its log file
        self._tail = tail
        self._sink = sink
        self._tell = tell  # those who follow
        self._partial = b""

    def read(self, most: int = CHUNK) -> bytes | None:
        """Empty at the end; None when there is nothing now."""
        try:
            return os.read(self.fd, most)
        except BlockingIOError:
            return None

    def take(self, chunk: bytes) -> None:
        block, newline, self._partial = fold(self._partial + chunk).rpartition(b"\n")
        if newline:
            self._pass_on(block + newline)

    def flush(self) -> None:
        if self._partial:
            self._pass_on(self._partial + b"\n")
            self._partial = b""

    def _pass_on(self, block: bytes) -> None:
        self._tail.add(block)
        self._sink(block)
        self._tell(block)
