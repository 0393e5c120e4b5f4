"""The supervisors that are compared: a floor, a peer and ours. To add one, subclass Contender and list it below."""

import http.client
import shlex
import socket
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar

from benchmarks.contender import Contender, MeasureError

ROOT = Path(__file__).resolve().parent.parent


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.HTTPStatus.OK:
        raise MeasureError(f"cannot ask {path}: {response.status} {answer[:200]!r}")
    return answer


class Floor(Contender):
    """asyncio.create_subprocess_exec on pidfds: no decisions, no records, no logs, no checks."""

    name = "asyncio"

    def command(self, size: int) -> list[str]:
        return [sys.executable, str(ROOT / "benchmarks/floor.py"), str(size), *self.worker]


@cache
def supervisord_executable() -> Path:
    """supervisord as the `bench` dependency group names it, in a virtual environment of its own, made on first use."""
    home = ROOT / f".venv-bench-{sysconfig.get_python_version()}"
    executable = home / "bin/supervisord"
    if not executable.exists():
        requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["bench"]
        print(f"installing {', '.join(requirements)} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        pip = [str(home / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, *requirements], check=True)
    return executable


class Supervisord(Contender):
    name = "supervisord"
    phase = 1.0  # it looks once a second
    query = "<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>"

    def command(self, size: int) -> list[str]:
        configuration = self.home / "supervisord.conf"
        configuration.write_text(
            f"""
[supervisord]
nodaemon=true
logfile={self.home}/log
pidfile={self.home}/pid
minfds={3 * size + 1000}
[unix_http_server]
file={self.home}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:bench]
command={shlex.join(self.worker)}
process_name=%(process_num)d
numprocs={size}
autorestart=true
startsecs=0
stdout_logfile=NONE
stderr_logfile=NONE
"""
        )
        return [str(supervisord_executable()), "-c", str(configuration)]

    def status_query(self) -> Callable[[], bytes]:
        connection = UnixConnection(self.home / "socket")
        return lambda: exchange(connection, "POST", "/RPC2", self.query, {"Content-Type": "text/xml"})


class Ours(Contender):
    """With its defaults: every worker sampled each second, exits recorded, output followed, HTTP served."""

    name = "ours"
    environment: ClassVar[dict[str, str]] = {"PYTHONPATH": str(ROOT)}  # this tree, not one that happens to be installed

    def command(self, size: int) -> list[str]:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            self.port: int = reserved.getsockname()[1]
        configuration = self.home / "chaperone.toml"
        command = ", ".join(f'"{word}"' for word in self.worker)
        configuration.write_text(
            f"""
[http]
listen = ["127.0.0.1:{self.port}", "unix:{self.home}/socket"]
[pools.bench]
command = [{command}]
workers = {size}
[pools.bench.health]
interval = "1s"
"""
        )
        return [sys.executable, "-m", "chaperone_async", "up", "-c", str(configuration)]

    def status_query(self) -> Callable[[], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        return lambda: exchange(connection, "GET", "/api/v1/pools/bench")

    def probe(self) -> Callable[[], bytes]:
        def ask() -> bytes:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                return exchange(connection, "GET", "/livez")
            finally:
                connection.close()

        return ask


CONTENDERS: dict[str, type[Contender]] = {kind.name: kind for kind in (Floor, Supervisord, Ours)}
