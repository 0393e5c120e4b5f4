"""`python -m tests.backends.keeper KIND PID RECORD`: a server that lives as long as the process PID does, however that
one ends. Once it answers, its address is in the file RECORD; or, in a line that begins with `cannot`, why it does not.
"""

import ctypes
import os
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

START = 150.0
"""Seconds that a server may take until it answers."""
FAILED = "cannot"
_PR_SET_CHILD_SUBREAPER = 36


class Trouble(Exception):
    """There will be no server; in one line."""


def free_port() -> int:
    """Out of the way of those that the system gives to clients."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def program(name: str, package: str, *elsewhere: str) -> str:
    """The newest, where there are several."""
    found = sorted(str(path) for pattern in elsewhere for path in Path("/").glob(pattern))
    path = found[-1] if found else shutil.which(name)
    if path is None:
        raise Trouble(f"{FAILED} find {name}; as root: apt-get install {package}, or run tests/run, which does that")
    return path


class Server(ABC):
    """`says`: what its output has when it is ready."""

    says: ClassVar[str]
    account: ClassVar[str | None] = None  # whom it insists on running as, instead of root

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def prepare(self) -> list[str]:
        """Its command line, with all that it needs in its home."""

    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self.home, env=self.environment(), user=self.account, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Trouble(f"{FAILED} run {command[0]}: {' '.join(done.stderr.split())}")


class Redis(Server):
    says = "Ready to accept connections"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def prepare(self) -> list[str]:
        executable = program("redis-server", "redis-server")
        return [executable, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--databases", "256"]


class Postgresql(Server):
    says = "database system is ready to accept connections"
    account = "postgres" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}"

    def prepare(self) -> list[str]:
        executable = program("postgres", "postgresql", "usr/lib/postgresql/*/bin/postgres")
        data = str(self.home / "data")
        if self.account is not None:
            shutil.chown(self.home, self.account)
        create = [str(Path(executable).with_name("initdb")), "-D", data, "-U", "postgres", "-A", "trust"]
        self.run(*create, "--no-sync", "--no-instructions", "--encoding=UTF8", "--no-locale")
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 200,
            "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "jit": "off",
        }  # fmt: skip
        return [executable, "-D", data, *(word for key, value in settings.items() for word in ("-c", f"{key}={value}"))]


class Rabbitmq(Server):
    """With its own cookie, plugins and epmd. The management plugin makes virtual hosts, far quicker than rabbitmqctl;
    its address follows behind a space."""

    says = "Server startup complete"

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        ports = {self.port}
        while len(ports) < 4:
            ports.add(free_port())
        self.management, self.distribution, self.names = ports - {self.port}

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port} 127.0.0.1:{self.management}"

    def prepare(self) -> list[str]:
        # Debian's wrapper in /usr/sbin refuses whoever is neither root nor rabbitmq
        executable = program("rabbitmq-server", "rabbitmq-server", "usr/lib/rabbitmq/bin/rabbitmq-server")
        (self.home / "plugins").write_text("[rabbitmq_management].\n")
        (self.home / "env").touch()
        (self.home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management}\n"
            "management_agent.disable_metrics_collector = true\n"
            "disk_free_limit.absolute = 1MB\n"
        )
        return [executable]

    def environment(self) -> dict[str, str]:
        own = {
            "NODENAME": "chaperone@localhost",
            "DIST_PORT": str(self.distribution),
            "MNESIA_BASE": str(self.home / "mnesia"),
            "LOG_BASE": str(self.home),
            "LOGS": "-",
            "ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            "CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "CONF_ENV_FILE": str(self.home / "env"),
            "SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}",
        }
        names = {"ERL_EPMD_PORT": str(self.names), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        return super().environment() | names | {f"RABBITMQ_{key}": value for key, value in own.items()}


KINDS: dict[str, type[Server]] = {"redis": Redis, "postgresql": Postgresql, "rabbitmq": Rabbitmq}


def keep(server: Server, over: select.poll, record: Path) -> None:
    log = server.home / "output"
    with log.open("wb") as output:
        command = server.prepare()
        process = subprocess.Popen(
            command, cwd=server.home, env=server.environment(), user=server.account, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    deadline = time.monotonic() + START
    while server.says.encode() not in log.read_bytes():
        if over.poll(10):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            last = " ".join(log.read_text(errors="replace").split()[-60:])
            raise Trouble(f"{FAILED} start {command[0]}: {last}")
    tell(record, server.url)
    over.poll()


def tell(record: Path, what: str) -> None:
    """All of it, or nothing, can be read."""
    part = record.with_suffix(".part")
    part.write_text(what)
    part.rename(record)


def end_all_below() -> None:
    """What they leave behind becomes ours, since we are their reaper."""
    while below := psutil.Process().children(recursive=True):
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(below, timeout=1)


def main(kind: str, run: int, record: Path) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    over = select.poll()
    over.register(os.pidfd_open(run), select.POLLIN)
    home = Path(tempfile.mkdtemp(prefix=f"chaperone-{kind}-"))
    try:
        keep(KINDS[kind](home), over, record)
    except Trouble as trouble:
        tell(record, str(trouble))
    finally:
        end_all_below()
        shutil.rmtree(home)


if __name__ == "__main__":
    if os.fork() == 0:  # nobody's child: tests look whether they leave any
        main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
