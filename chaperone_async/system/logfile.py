"""Log files of workers: appended to, rotated by size, reopened when logrotate moved them, and never a reason to stop.

Writing happens on the event loop: a local file's page cache takes a chunk in microseconds. Files are opened
non-blocking, which matters for a path that is a pipe or a terminal: what those cannot take at once is lost and counted.
"""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

Trouble = Callable[[str], None]
Clock = Callable[[], float]

RETRY = 1.0  # seconds between attempts to open, to rotate, and to notice that the file has been moved


class LogFile:
    """One open path. `write` takes whole lines and never raises; `lost` counts the lines that could not be written."""

    def __init__(self, path: str, max_size: int, backups: int, trouble: Trouble, clock: Clock = time.monotonic) -> None:
        self.lost = 0
        self._path = Path(path)
        self._max_size = max_size
        self._backups = backups
        self._trouble = trouble
        self._clock = clock
        self._fd = -1
        self._size = 0
        self._rotates = False
        self._cut = False  # the last write ended inside a line
        self._failed = self._stuck = False  # cannot write, cannot rotate: told once each
        self._look_at = self._rotate_at = float("-inf")

    def write(self, block: bytes) -> None:
        now = self._clock()
        try:
            if now >= self._look_at:
                self._look_at = now + RETRY
                self._follow()
            if self._fd < 0:
                self.lost += block.count(b"\n")
                return
            if now >= self._rotate_at and self._is_full(len(block)):
                self._follow()  # a file that somebody has moved away since is not ours to rotate any more
                if self._is_full(len(block)):
                    self._try_to_rotate(now)
            data = b"\n" + block if self._cut else block
            written = os.write(self._fd, data)
        except OSError as error:
            self._fail(block, error.strerror or str(error))
            return
        self._size += written
        self._cut = data[written - 1] != ord("\n")
        if written < len(data):
            self._fail(data[written:], "it took only a part")
        elif self._failed:
            self._failed = False
            self._trouble(f"log file {str(self._path)!r} is written again; {self.lost} lines were lost in all")

    def limit(self, max_size: int, backups: int) -> None:
        """From now on."""
        self._max_size = max_size
        self._backups = backups

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _follow(self) -> None:
        """Have the file open that the path names now."""
        if self._fd >= 0:
            try:
                there, ours = self._path.stat(), os.fstat(self._fd)
            except FileNotFoundError:
                self.close()
            else:
                self._size = there.st_size  # someone else may have truncated it
                if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                    self.close()
        if self._fd < 0:
            self._open()

    def _open(self) -> None:
        try:
            self._fd = _append_to(self._path)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = _append_to(self._path)
        about = os.fstat(self._fd)
        self._size = about.st_size
        self._rotates = stat.S_ISREG(about.st_mode)
        self._cut = self._cut and self._size > 0

    def _is_full(self, more: int) -> bool:
        return self._rotates and self._size > 0 and 0 < self._max_size < self._size + more

    def _try_to_rotate(self, now: float) -> None:
        try:
            self._rotate()
        except FileNotFoundError:  # it was moved away since the last look, a moment ago
            self._follow()
        except OSError as error:
            if self._fd < 0:  # moved away, but no new one can be opened
                raise
            self._rotate_at = now + RETRY
            if not self._stuck:
                self._stuck = True
                self._trouble(
                    f"cannot rotate log file {str(self._path)!r}: {error.strerror or error}; "
                    f"it grows beyond {self._max_size} bytes until its directory can be written"
                )
        else:
            self._stuck = False

    def _rotate(self) -> None:
        """path → path.1 → … → path.<backups>; without backups the file is emptied."""
        if self._backups <= 0:
            os.ftruncate(self._fd, 0)
            self._size = 0
            return
        for number in range(self._backups - 1, 0, -1):
            older = self._backup(number)
            if older.exists():
                older.replace(self._backup(number + 1))
        self._path.replace(self._backup(1))
        self.close()
        self._open()

    def _backup(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _fail(self, lines: bytes, why: str) -> None:
        self.lost += lines.count(b"\n")
        if self._fd >= 0:
            self.close()
            self._look_at = self._clock() + RETRY
        if not self._failed:
            self._failed = True
            self._trouble(
                f"cannot write log file {str(self._path)!r}: {why}; "
                f"lines are kept in memory only until it can be written again"
            )


def _append_to(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o644)


class LogFiles:
    """Open files by path: workers that name the same one share it, with the limits that were given last."""

    def __init__(self, trouble: Trouble, clock: Clock = time.monotonic) -> None:
        self._trouble = trouble
        self._clock = clock
        self._open: dict[str, tuple[LogFile, int]] = {}  # and how many use it

    def open(self, path: str, max_size: int, backups: int) -> LogFile:
        """Give it back with `release`, by the same path."""
        file, users = self._open.get(path) or (LogFile(path, max_size, backups, self._trouble, self._clock), 0)
        file.limit(max_size, backups)
        self._open[path] = (file, users + 1)
        return file

    def limit(self, path: str, max_size: int, backups: int) -> None:
        self._open[path][0].limit(max_size, backups)

    def release(self, path: str) -> None:
        file, users = self._open[path]
        if users > 1:
            self._open[path] = (file, users - 1)
            return
        del self._open[path]
        file.close()
