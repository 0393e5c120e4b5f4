"""Applications with a job that does nothing but note the time, and the supervisors that run four workers of each."""

import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from benchmarks import machine
from benchmarks.contender import MeasureError
from benchmarks.contenders import ROOT, supervisord_executable

STAMP = struct.Struct("qq")  # what each job writes: monotonic ns, and whose worker did it
_COMMON = """
import os, struct, time, zlib

URL, SLICE = os.environ["URL"], float(os.environ["SLICE"])
WHO = zlib.crc32((os.environ.get("CHAPERONE_WORKER_ID") or os.environ.get("SUPERVISOR_PROCESS_NAME", "")).encode())
RECORD = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def do():
    if SLICE:
        time.sleep(SLICE)
    os.write(RECORD, struct.pack("qq", time.monotonic_ns(), WHO))
"""


@dataclass(frozen=True)
class Library:
    """`code` of its application, where `send(n)` sends n jobs to the queue q; `command`: of a worker, without agent;
    `options` for a pool of ours; `jobs`: of one round."""

    code: str
    command: tuple[str, ...]
    options: str
    jobs: int

    @property
    def source(self) -> str:
        return _COMMON + dedent(self.code)


LIBRARIES = {
    "RQ": Library(
        """
        from redis import Redis
        from rq import Queue

        def send(many):
            with Redis.from_url(URL) as connection:
                jobs = [Queue.prepare_data("app.do", result_ttl=0) for _ in range(many)]
                Queue("q", connection=connection).enqueue_many(jobs)
        """,
        ("-m", "rq.cli", "worker", "--name", "w%(process_num)d", "--worker-ttl", "25",
         "--job-monitoring-interval", "10", "q"),
        'backend = "rq"\nrq.url = "{url}"',
        800,
    ),
    "Dramatiq": Library(
        """
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker

        dramatiq.set_broker(RedisBroker(url=URL))
        work = dramatiq.actor(queue_name="q", actor_name="work")(do)

        def send(many):
            for _ in range(many):
                work.send()
        """,
        ("-m", "dramatiq", "app", "--queues", "q", "--processes", "1", "--threads", "1"),
        'backend = "dramatiq"\ndramatiq.app = "app"',
        8_000,
    ),
    "Huey": Library(
        """
        from huey import RedisHuey

        huey = RedisHuey("q", url=URL)
        work = huey.task(name="work")(do)

        def send(many):
            for _ in range(many):
                work()
        """,
        ("-m", "huey.bin.huey_consumer", "app.huey", "-w", "1", "-k", "thread", "-g", "TERM"),
        'backend = "huey"\nhuey.app = "app.huey"',
        40_000,
    ),
}  # fmt: skip


class Mark(NamedTuple):
    """`cpu_ms`: of the supervisor and all workers, so far."""

    done: int
    cpu_ms: float


class Workers:
    """Of one library, under one supervisor, from start to end. `directory`: their own."""

    name: ClassVar[str]

    def __init__(self, directory: Path, system: Library, url: str, *, seconds: float = 0.0) -> None:
        directory.mkdir()
        (directory / "app.py").write_text(system.source)
        self.directory, self.system, self.url = directory, system, url
        self.record, self.output = directory / "record", directory / "output"
        self.variables = {"URL": url, "RQ_REDIS_URL": url, "RECORD": str(self.record), "SLICE": str(seconds)}
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, workers: str) -> list[str]:
        """`workers`: how many, as TOML."""
        raise NotImplementedError

    def send(self, many: int) -> None:
        self.run_here(f"import app; app.send({many})")

    def run_here(self, code: str) -> None:
        environment = {**os.environ, **self.variables, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code], cwd=self.directory, env=environment, check=True)

    def start(self, workers: str) -> None:
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(workers), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
                env={**os.environ, **self.variables, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(self.directory)},
            )  # fmt: skip

    def done(self) -> Sequence[tuple[int, int]]:
        """When, and by whom."""
        self.look()
        read = self.record.read_bytes() if self.record.exists() else b""
        return list(STAMP.iter_unpack(read[: len(read) // STAMP.size * STAMP.size]))

    def all_work(self, many: int) -> bool:
        return len({who for _, who in self.done()}) == many

    def many_done(self) -> int:
        self.look()
        return self.record.stat().st_size // STAMP.size if self.record.exists() else 0

    def await_done(self, many: int, seconds: float) -> None:
        self.await_fact(seconds, lambda: self.many_done() >= many, f"{many} jobs are not done")

    def await_fact(self, seconds: float, fact: Callable[[], object], otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not fact():
            if time.monotonic() > deadline:
                raise MeasureError(f"cannot go on: {otherwise} under {self.name} in {seconds:g} s")
            time.sleep(0.02)

    def mark(self) -> Mark:
        """Of now, with the time of processes that have come and gone."""
        while True:
            pids = machine.descendants(self.pid)
            with suppress(IndexError, OSError):  # one has ended while it was looked at
                return Mark(self.many_done(), machine.cpu_ms(pids) + sum(map(machine.reaped_cpu_ms, pids)))

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def look(self) -> None:
        if self._process is None or self._process.poll() is not None:
            last = self.output.read_text(errors="replace").strip().splitlines()[-1:]
            raise MeasureError(f"cannot go on: {self.name} has ended: {' '.join(last)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        below = machine.descendants(self._process.pid)
        self._process.send_signal(signal.SIGTERM)
        machine.wait_exit(self._process.pid, 40)
        self._process.kill()
        self._process.wait()
        for pid in below:
            if machine.is_alive(pid):
                os.kill(pid, signal.SIGKILL)


class UnderSupervisord(Workers):
    name = "supervisord"

    def command(self, workers: str) -> list[str]:
        configuration = self.directory / "supervisord.conf"
        configuration.write_text(
            f"""
[supervisord]
nodaemon=true
logfile={self.directory}/log
pidfile={self.directory}/pid
childlogdir={self.directory}
[program:bench]
command={shlex.join([sys.executable, *self.system.command])}
process_name=%(process_num)d
numprocs={workers}
directory={self.directory}
stopwaitsecs=30
"""
        )
        return [str(supervisord_executable()), "-c", str(configuration)]


class UnderOurs(Workers):
    """Started by its backend's name: with the agent that tells of each job, the backlog read each second."""

    name = "ours"
    more = ""

    def command(self, workers: str) -> list[str]:
        configuration = self.directory / "chaperone.toml"
        variables = ", ".join(f"{name} = {json.dumps(value)}" for name, value in self.variables.items())
        configuration.write_text(
            f"""
http.listen = ["unix:{self.directory}/socket"]
logs.level = "debug"
[pools.bench]
queue = "q"
workers = {workers}
directory = {json.dumps(str(self.directory))}
env = {{ {variables} }}
{self.system.options.replace("{url}", self.url)}
{self.more}
"""
        )
        return [sys.executable, "-m", "chaperone_async", "up", "-c", str(configuration)]
