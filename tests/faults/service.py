"""A whole supervisor as a child process, and the eyes on it: its probes, its API, its log, its processes."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from chaperone_async.system.janitor import read_stat, read_table

T = TypeVar("T")
Document = dict[str, Any]

STARTED = 60.0
ENDED = 60.0
QUICK_PYTHON = f"{sys.executable} -I -S"
"""Starts in a third of the time: workers that need the standard library alone."""
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")


def until(fact: Callable[[], T], seconds: float = 60.0, what: str = "it did not come true") -> T:
    """Poll for a fact; what is returned is true."""
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return found


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Service:
    """`pools`: the tables of chaperone.toml that are not about listening. `prefix`: words in front of the command."""

    def __init__(
        self,
        directory: Path,
        pools: str,
        *,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] | None = None,
        listen: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.socket = directory / "s"
        self.log = directory / "log"
        self.file = directory / "chaperone.toml"
        places = json.dumps([*listen, f"unix:{self.socket}"])
        self.file.write_text(f"name = 'faults'\nhttp.listen = {places}\nshutdown.grace = 6\n{pools}")
        own = {name: value for name, value in os.environ.items() if not name.startswith("CHAPERONE_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "chaperone_async", "up", "-c", str(self.file)],
                stdin=subprocess.DEVNULL, stdout=log if stdout is None else stdout, stderr=log,
                env=own | dict(env or {}),
            )  # fmt: skip

    # What it says

    def get(self, path: str, timeout: float = 60.0) -> tuple[int, str]:
        connection = _Connection(self.socket, timeout)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def answers(self, path: str) -> int | None:
        """The status; None while nobody listens yet."""
        try:
            return self.get(path)[0]
        except (FileNotFoundError, ConnectionRefusedError):
            assert self.process.poll() is None, f"it has ended: {self.text}"
            return None

    def started(self) -> "Service":
        """Every pool has once been at its minimum."""
        until(lambda: self.answers("/startupz") == 200, STARTED, f"not started: {self.text}")
        return self

    def serving(self) -> "Service":
        """It answers, whatever its pools do."""
        until(lambda: self.answers("/livez") == 200, STARTED, f"it does not answer: {self.text}")
        return self

    def document(self, path: str) -> Document:
        status, text = self.get(f"/api/v1/{path}")
        assert status == 200, text
        found: Document = json.loads(text)
        return found

    def pool(self, name: str) -> Document:
        return self.document(f"pools/{name}")

    def pids(self, pool: str) -> list[int]:
        """Of the workers that have a process, by slot."""
        return [row["pid"] for row in self.pool(pool)["workers"] if row["pid"] is not None]

    def crashes(self, pool: str) -> list[Document]:
        """The newest first."""
        found: list[Document] = self.document(f"pools/{pool}/crashes")["crashes"]
        return found

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "chaperone_async", *words, "--url", f"unix:{self.socket}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    # What it is

    @property
    def pid(self) -> int:
        return self.process.pid

    def janitor(self) -> int:
        """Its pid, as soon as there is one."""
        return until(lambda: next((pid for pid in children(self.pid) if b"janitor.py" in command_line(pid)), 0))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = ENDED) -> int:
        """Its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended: {self.text}") from None

    def stop(self) -> int:
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        return self.ended()


class Poller:
    """Asks a probe again and again, as a kubelet does, only more often."""

    def __init__(self, service: Service, path: str, every: float = 0.01) -> None:
        self.statuses: list[int] = []
        self.failures: list[str] = []
        self._service, self._path, self._every = service, path, every
        self._enough = threading.Event()

    def run(self) -> None:
        while not (self._enough.is_set() and (self.statuses or self.failures)):
            try:
                self.statuses.append(self._service.get(self._path)[0])
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            self._enough.wait(self._every)

    def finish(self) -> None:
        self._enough.set()


@contextmanager
def polled(service: Service, path: str, every: float = 0.01) -> Iterator[Poller]:
    """At the end, every answer must have been 200. How long they took, up to a minute, decides nothing here: machines
    stand still, too."""
    poller = Poller(service, path, every)
    thread = threading.Thread(target=poller.run)
    thread.start()
    try:
        yield poller
    finally:
        poller.finish()
        thread.join()
    assert not poller.failures, poller.failures
    assert set(poller.statuses) == {200}, poller.statuses


# Processes


def children(pid: int) -> list[int]:
    """Zombies too."""
    return [child for child, (parent, _, _) in read_table().items() if parent == pid]


def alive(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and stat[2] not in "ZX"


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def resident(pid: int) -> int:
    """Bytes of memory in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
