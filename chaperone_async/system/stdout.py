"""The supervisor's standard output, written by a thread: whoever reads it, or does not, the event loop never waits.

    write() ──▶ queue of at most `capacity` bytes ──▶ thread ──▶ fd

A full queue drops whole chunks until half of it is free again, then says how many lines are missing.
"""

import os
import select
import threading
from collections import deque
from collections.abc import Callable

CAPACITY = 4 << 20
_BATCH = 256 << 10

Notice = Callable[[str], bytes]


def text_notice(sentence: str) -> bytes:
    return f"chaperone: {sentence}\n".encode()


class StdoutWriter:
    """`notice` makes a line of a sentence, in the format of the lines around it. Safe to use from any thread."""

    def __init__(self, fd: int = 1, *, capacity: int = CAPACITY, notice: Notice = text_notice) -> None:
        self.dropped = 0  # lines, since the start
        self._fd = fd
        self._capacity = capacity
        self._notice = notice
        self._queue: deque[tuple[bytes, int]] = deque()  # a chunk, and how many missing lines it owns up to
        self._pending = 0  # bytes queued or being written
        self._missing = 0  # lines dropped and not yet owned up to
        self._why = ""
        self._cut = False  # the last write ended inside a line
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="stdout", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Queue whole lines. Never blocks and never raises; what does not fit is dropped and counted."""
        with self._changed:
            room = self._capacity // 2 if self._missing else self._capacity
            if self._closing or self._pending + len(data) > room:
                self._drop(data, "stdout is not being read fast enough")
                return
            if self._missing:
                self._own_up()
            self._append(data, 0)

    def close(self, timeout: float) -> bool:
        """Write what is queued, for at most `timeout` seconds. True: all that was queued is written or has failed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _append(self, data: bytes, confessed: int) -> None:
        self._queue.append((data, confessed))
        self._pending += len(data)
        self._changed.notify()

    def _drop(self, data: bytes, why: str) -> None:
        lines = data.count(b"\n")
        self.dropped += lines
        self._missing += lines
        self._why = why

    def _own_up(self) -> None:
        """What was dropped came after all that is queued now: the end of the queue is its place."""
        self._append(self._notice(f"{self._missing} lines dropped, {self._why}"), self._missing)
        self._missing = 0

    def _run(self) -> None:
        while True:
            data, confessed = self._take()
            if not data:
                return
            left, error = self._put(data)
            with self._changed:
                self._pending -= len(data)
                if error and confessed:
                    self._missing += confessed
                elif error:
                    self._drop(left, f"stdout could not be written: {error}")
                elif self._missing and not self._queue:
                    self._own_up()

    def _take(self) -> tuple[bytes, int]:
        """The next chunks joined, or one notice; empty when closed and all is written."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            size = 0
            chunks: list[bytes] = []
            while self._queue and size < _BATCH:
                data, confessed = self._queue[0]
                if confessed and chunks:
                    break
                self._queue.popleft()
                if confessed:
                    return data, confessed
                chunks.append(data)
                size += len(data)
            return b"".join(chunks), 0

    def _put(self, data: bytes) -> tuple[bytes, str]:
        """What could not be written, and why."""
        left = memoryview(b"\n" + data if self._cut else data)
        while left:
            try:
                written = os.write(self._fd, left)
            except BlockingIOError:  # the descriptor is shared, and somebody else made it non-blocking
                writable = select.poll()
                writable.register(self._fd, select.POLLOUT)
                writable.poll()
                continue
            except OSError as error:
                return bytes(left), error.strerror or str(error)
            self._cut = left[written - 1] != ord("\n")
            left = left[written:]
        return b"", ""
