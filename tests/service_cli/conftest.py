"""A server with canned answers, and the command line as a child process."""

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

Answer = tuple[int, dict[str, Any] | str]
PROJECT = Path(__file__).parents[2]


@dataclass
class Canned:
    """Answers by path, and the requests it has got: path and headers."""

    answers: Mapping[str, Answer]
    address: str
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    canned: Canned


class _UnixServer(_Server):
    address_family = socket.AF_UNIX


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.canned.requests.append((self.path, dict(self.headers)))
        status, body = self.server.canned.answers.get(
            self.path, (404, {"title": "Not Found", "detail": "nothing here"})
        )
        encoded = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None: ...


@contextmanager
def _serving(answers: Mapping[str, Answer], unix: Path | None) -> Iterator[Canned]:
    with _Server(("127.0.0.1", 0), _Handler) if unix is None else _UnixServer(str(unix), _Handler) as server:  # type: ignore[arg-type]  # the handler serves both
        address = f"http://127.0.0.1:{server.server_address[1]}" if unix is None else f"unix:{unix}"
        server.canned = Canned(answers, address)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.canned
        finally:
            server.shutdown()
            thread.join()


Serve = Callable[..., Canned]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Over TCP, or on the unix socket of this path."""
    with ExitStack() as open_servers:
        yield lambda answers, unix=None: open_servers.enter_context(_serving(answers, unix))


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Chaperone:
    """Each in a directory of its own, out of reach of whatever supervisor this machine may run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "TZ": "UTC"}
        self.env |= {"XDG_RUNTIME_DIR": str(directory)}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "chaperone_async", *words]

    def __call__(self, *words: str, **env: str) -> Ended:
        ended = subprocess.run(
            self.argv(*words),
            cwd=self.directory,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def unread(self, *words: str, **env: str) -> Ended:
        """As behind it `| head` that has read enough already."""
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "w") as stdout:
            ended = subprocess.run(
                self.argv(*words), cwd=self.directory, env=self.env | env, stdout=stdout, stderr=subprocess.PIPE,
                text=True, timeout=30, check=False,
            )  # fmt: skip
        return Ended(ended.returncode, "", ended.stderr)

    def write(self, text: str, name: str = "chaperone.toml") -> Path:
        path = self.directory / name
        path.write_text(text)
        return path


@pytest.fixture
def chaperone(tmp_path: Path) -> Chaperone:
    return Chaperone(tmp_path)


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
