"""Huey's own consumer as a child process, and an application for it."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from chaperone_async.huey import Backlog, backlog

APPLICATION = """
    import os, signal, sys, time
    from pathlib import Path

    from huey import crontab

    from chaperone_async.huey import DurableHuey

    here = Path(__file__).parent
    huey = DurableHuey("jobs", here / "jobs.db"{options})

    def note(what):
        with open(here / "done", "a") as file:
            file.write(f"{{what}}\\n")

    def wait_for(name):
        while not (here / name).exists():
            time.sleep(0.002)
"""


def until(fact: Callable[[], object], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.005)


class Application:
    """Its tasks note in a file what they have done."""

    def __init__(self, directory: Path, tasks: str, *, options: str = "") -> None:
        from textwrap import dedent

        self.directory = directory
        self.file = directory / "jobs.db"
        (directory / "app.py").write_text(dedent(APPLICATION).format(options=options) + dedent(tasks))
        self.module = _load(directory / "app.py")
        self.huey: Any = self.module.huey

    def __getattr__(self, task: str) -> Any:
        return getattr(self.module, task)

    def done(self) -> list[str]:
        try:
            return (self.directory / "done").read_text().split()
        except FileNotFoundError:
            return []

    def times_done(self) -> Counter[str]:
        return Counter(self.done())

    def backlog(self) -> Backlog:
        return backlog(self.file)

    def has_done(self, jobs: int) -> bool:
        return len(self.done()) >= jobs

    def until_done(self, *what: str) -> None:
        until(lambda: set(what) <= set(self.done()), f"all of {what[:3]} done")

    def until_empty(self) -> None:
        until(lambda: (b := self.backlog()).ready + b.delayed + b.reserved == 0, f"nothing left; {self.backlog()}")

    def allow(self, name: str) -> None:
        (self.directory / name).touch()

    def consumer(self, *options: str, worker: str = "") -> "Consumer":
        return Consumer(self.directory, options, worker)


class Consumer:
    """Started, and with all its processes gone at the end."""

    def __init__(self, directory: Path, options: tuple[str, ...], worker: str) -> None:
        command = [sys.executable, "-m", "huey.bin.huey_consumer", "app.huey", "-d", "0.005", "-m", "0.02", *options]
        environment = os.environ | {"CHAPERONE_WORKER_ID": worker, "PYTHONDONTWRITEBYTECODE": "1"}
        self.log = (directory / "log").open("ab")
        self.process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """All of it, as the kernel does."""
        with suppress(ProcessLookupError):  # it is gone, with all its children
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """By SIGINT it finishes what it has; its exit code."""
        until(self._listens, "it listens to signals, which it does last")
        self.process.send_signal(number)
        return self.process.wait()

    def _listens(self) -> bool:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)  # the last of those that it takes


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
