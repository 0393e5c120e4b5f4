"""One supervisor under measurement: started over tiny workers, watched through the log they write, ended surely."""

import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from benchmarks import machine

RECORD = struct.Struct("qq")  # monotonic ns, pid: what a worker writes as its first act
SETTLE = 1.5  # a worker this old counts as started everywhere, so that its first crash is no fault of its own


class MeasureError(Exception):
    """A contender did not do what was asked of it in time."""


class Contender(ABC):
    name: ClassVar[str]
    environment: ClassVar[dict[str, str]] = {}  # beside what is inherited
    phase: ClassVar[float] = 0.1  # kills are spread over this many seconds, to hit every phase of a polling loop

    def __init__(self, scratch: Path, worker: Sequence[str], *, timeout: float) -> None:
        self.home = Path(tempfile.mkdtemp(dir=scratch, prefix=f"{self.name}-"))
        self.timeout = timeout
        log = self.home / "starts"
        log.touch()
        self.worker = [*worker, str(log)]
        self.born: dict[int, int] = {}  # pid -> stamp, of every worker that ever started
        self._log = os.open(log, os.O_RDONLY)
        self._read = 0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self, size: int) -> list[str]:
        """Write a configuration for `size` workers under `home`; return what runs the supervisor in the foreground."""

    def status_query(self) -> Callable[[], bytes] | None:
        """A function that asks for the state of all workers, over a connection kept open; None where there is none."""
        return None

    def probe(self) -> Callable[[], bytes] | None:
        """A function that asks whether the supervisor lives, over a connection of its own as the kubelet does."""
        return None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self, size: int) -> int:
        """Launch over `size` workers; returns the stamp of the launch."""
        command = self.command(size)
        with (self.home / "output").open("ab") as output:
            launched = time.monotonic_ns()
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        return launched

    def start_settled(self, size: int) -> set[int]:
        """Launch, wait until all workers run and a crash is fair; returns the pids of the supervisor itself."""
        self.start(size)
        self.wait_starts(size)
        time.sleep(SETTLE)
        return machine.descendants(self.pid) - self.born.keys()

    def wait_starts(self, count: int) -> list[int]:
        """The stamps of the next `count` starts, in order of time."""
        deadline = time.monotonic() + self.timeout
        stamps: list[int] = []
        while True:
            records = os.pread(self._log, RECORD.size * 4096, self._read)
            records = records[: len(records) // RECORD.size * RECORD.size]
            self._read += len(records)
            for stamp, pid in RECORD.iter_unpack(records):
                self.born[pid] = stamp
                stamps.append(stamp)
            if len(stamps) >= count:
                return sorted(stamps)[:count]
            if self._process is not None and self._process.poll() is not None:
                raise MeasureError(
                    f"cannot go on: {self.name} exited {self._process.returncode}: {self._last_output()}"
                )
            if time.monotonic() > deadline:
                raise MeasureError(f"cannot go on: {len(stamps)} of {count} workers started in {self.timeout} s")
            time.sleep(0.001 if count == 1 else 0.005)  # how often hardly matters: the stamps are the workers' own

    def crash(self, pids: Collection[int]) -> float:
        """Kill workers at once; returns the ms until as many replacements run."""
        killed = time.monotonic_ns()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return (self.wait_starts(len(pids))[-1] - killed) / 1e6

    def stop(self) -> float:
        """Ask for a graceful stop; returns the seconds until all workers and the supervisor are gone."""
        begun = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        if not machine.wait_exit(self.pid, self.timeout):
            raise MeasureError(f"cannot stop: {self.name} still runs after {self.timeout} s")
        if not machine.wait_gone(self.born, begun + self.timeout):
            raise MeasureError(f"cannot stop: {self.name} left workers behind")
        return time.monotonic() - begun

    def _last_output(self) -> str:
        lines = (self.home / "output").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(no output)"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End whatever is left, supervisor first, by what no process of a contender can shed: its command line."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        deadline = time.monotonic() + 20
        while remains := machine.naming(self.home):
            if time.monotonic() > deadline:
                raise MeasureError(f"cannot clean up after {self.name}: processes {remains} do not end")
            for pid in remains:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # it ended by itself meanwhile
            time.sleep(0.02)
        os.close(self._log)
        shutil.rmtree(self.home)
