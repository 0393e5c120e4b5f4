"""The console script as a child process: started from a file, asked over its sockets, and seen off without a trace."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, socket
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds until a fact that has not come true is taken for a failure: a busy machine is no failure."""

Document = dict[str, Any]
T = TypeVar("T")


class Answer(NamedTuple):
    status: int
    body: str

    @property
    def json(self) -> Document:
        document: Document = json.loads(self.body)
        return document


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def until(fact: Callable[[], T | None], seconds: float = PATIENCE, otherwise: Callable[[], str] = str) -> T:
    """The first true answer of `fact`, asked again and again."""
    deadline = time.monotonic() + seconds
    while not (answer := fact()):
        assert time.monotonic() < deadline, f"it did not come true within {seconds:g} s\n{otherwise()}"
        time.sleep(0.005)
    return answer


def command(script: Path, *arguments: str) -> str:
    """How a worker is run, as TOML. Without site-packages, and deaf to PYTHON variables: it starts sooner."""
    return json.dumps([sys.executable, "-S", "-E", str(script), *arguments])


def carriers(mark: str) -> dict[int, str]:
    """Living processes with this in their environment, and their command lines."""
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                if mark.encode() in (place / "environ").read_bytes():
                    found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def hears(pid: int, number: signal.Signals) -> bool:
    """Whether the process has come so far that it catches or ignores this signal."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt:", "SigIgn:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


class Connection(HTTPConnection):
    """Over a unix socket."""

    def __init__(self, path: Path, timeout: float = PATIENCE) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Service:
    """One supervisor with its own directory, sockets and mark: all it starts carries the mark in its environment."""

    def __init__(
        self, directory: Path, pools: str, *, head: str = "", unix: str = "s", tcp: str = "127.0.0.1:0"
    ) -> None:
        """`head`: what stands before the pools, besides the listeners. `tcp` may be empty."""
        self.directory = directory
        self.mark = f"E2E_MARK={uuid.uuid4().hex}"
        self.config = directory / "chaperone.toml"
        self.socket = directory / unix
        self.output = directory / f"{self.mark[-8:]}.log"
        listen = json.dumps([*([tcp] if tcp else []), f"unix:{self.socket}"])
        self.config.write_text(f'name = "e2e"\nhttp.listen = {listen}\n{head}\n{pools}')
        self._process: subprocess.Popen[bytes] | None = None

    # Its life

    @property
    def words(self) -> list[str]:
        return [sys.executable, "-m", "chaperone_async", "up", "-c", str(self.config)]

    def start(self) -> Self:
        return self.run(self.words, subprocess.DEVNULL)

    def run(self, words: list[str], stdin: int, stdout: int | None = None) -> Self:
        """Another way to start it, in a session of its own; with `stdout`, the log is what is read there."""
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                words, cwd=self.directory, env=self.environment(), start_new_session=True,
                stdin=stdin, stdout=output if stdout is None else stdout, stderr=output,
            )  # fmt: skip
        return self

    def environment(self, **more: str) -> dict[str, str]:
        """Ours, without what another supervisor or the tester's own settings might have left in it."""
        foreign = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "XDG_RUNTIME_DIR"}
        env = {k: v for k, v in os.environ.items() if not k.startswith("CHAPERONE_") and k not in foreign}
        name, _, value = self.mark.partition("=")
        return {**env, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(self.directory), name: value, **more}

    @property
    def pid(self) -> int:
        assert self._process is not None, "it has not been started"
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code."""
        assert self._process is not None, "it has not been started"
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {seconds:g} s\n{self.log()}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    def left(self) -> dict[int, str]:
        return carriers(self.mark)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ended gracefully, it leaves no process behind."""
        try:
            if self.running():
                self.stop()
            left = self.left()
            assert not left, f"{left}\n{self.log()}"
        finally:
            self._sweep()

    def _sweep(self) -> None:
        """After a failed test."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # What it says

    def log(self) -> str:
        return self.output.read_text(errors="replace")

    def lines(self, *words: str) -> list[str]:
        """Of its output, those with all the words."""
        return [line for line in self.log().splitlines() if all(word in line for word in words)]

    @property
    def port(self) -> int:
        """Of the first TCP listener, as the first line of the log tells."""
        line = self.until(lambda: self.lines("listening on "))[0]
        return int(line.partition("listening on ")[2].partition(",")[0].rpartition(":")[2])

    def until(self, fact: Callable[[], T | None], seconds: float = PATIENCE) -> T:
        def look() -> T | None:
            answer = fact()
            assert answer or self.running(), f"it has ended\n{self.log()}"
            return answer

        return until(look, seconds, self.log)

    def until_path(self, path: Path) -> str:
        """The content of a file, once it is there and its last line ended."""
        self.until(lambda: path.exists() and path.read_text().endswith("\n"))
        return path.read_text()

    def get(self, path: str, *, timeout: float = PATIENCE, tcp: bool = False, **headers: str) -> Answer:
        """Raises OSError or HTTPException where nobody answers."""
        connection = (
            HTTPConnection("127.0.0.1", self.port, timeout=timeout) if tcp else Connection(self.socket, timeout)
        )
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())
        finally:
            connection.close()

    def is_up(self, path: str = "/startupz") -> bool:
        try:
            return self.get(path).status == 200
        except (OSError, HTTPException):
            return False

    def until_up(self, path: str = "/startupz") -> Self:
        self.until(lambda: self.is_up(path))
        return self

    def status(self) -> Document:
        return self.get("/api/v1/status").json

    def pool(self, name: str) -> Document:
        return self.get(f"/api/v1/pools/{name}").json

    def workers(self, pool: str) -> list[Document]:
        workers: list[Document] = self.pool(pool)["workers"]
        return workers

    def pids(self, pool: str) -> list[int]:
        """Of the workers that have a process now."""
        return [worker["pid"] for worker in self.workers(pool) if worker["pid"] is not None]

    def crashes(self, pool: str) -> list[Document]:
        """The newest first."""
        crashes: list[Document] = self.get(f"/api/v1/pools/{pool}/crashes").json["crashes"]
        return crashes

    def cli(self, *words: str, env: dict[str, str] | None = None, here: bool = True) -> Outcome:
        """Another process of the same program; told where the configuration is, unless not `here`."""
        environment = self.environment(**(env or {}))
        del environment["E2E_MARK"]
        told = [*words, "-c", str(self.config)] if here else list(words)
        done = subprocess.run(
            [sys.executable, "-m", "chaperone_async", *told], cwd="/", env=environment, capture_output=True,
            text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)


Launch = Callable[..., Service]
Script = Callable[[str, str], Path]
