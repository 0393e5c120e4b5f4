"""No job lost: numbered jobs under a real supervisor, whose workers are killed, scaled, rolled and drained meanwhile.

    python -m tests.backends.lossless celery-rabbitmq --jobs 1000

Each job, when it is done, adds its number to a file. What happens meanwhile follows from the seed, and happens when so
many jobs are done: on a slow machine the same as on a fast one.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from chaperone_async.system.proc import sessions
from tests.backends.adapters import ADAPTERS, Adapter
from tests.backends.servers import Run, empty_postgresql, empty_rabbitmq, empty_redis
from tests.e2e.service import Connection, Service

POOL = "work"
SLICE = 0.02  # seconds that a job takes
Act = Literal["kill", "kill the session", "more workers", "fewer workers", "restart rolling", "drain and start again"]
GENTLE: tuple[Act, ...] = ("more workers", "restart rolling", "fewer workers", "drain and start again")
KILLS: tuple[Act, ...] = ("kill", "kill the session")


@dataclass(frozen=True)
class Outcome:
    """`never`: the numbers of jobs that were not done. `kills`: of workers, with SIGKILL."""

    jobs: int
    ran: int
    twice: int
    never: tuple[int, ...]
    kills: int
    acts: int
    seconds: float

    def __str__(self) -> str:
        what = f"{self.jobs} jobs, {self.kills} kills, {self.acts - self.kills} other acts, {self.seconds:.0f} s"
        which = (
            f" ({', '.join(map(str, self.never[:10]))}{', …' if len(self.never) > 10 else ''})" if self.never else ""
        )
        return f"{what}: {self.ran} done, {self.twice} of them more than once, {len(self.never)} never{which}"


@dataclass
class Trial:
    """`send` sends the jobs 0 to n - 1, each of which adds its number to `record`. `patience`: seconds without any
    progress after which what is missing is lost; as long as the queue system may keep a job from others."""

    service: Service
    record: Path
    send: Callable[[int], None]
    patience: float = 30.0
    workers: int = 4
    seed: int = 1
    chance: random.Random = field(init=False)
    kills: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def run(self, jobs: int, kills: int) -> Outcome:
        begun = time.monotonic()
        self.send(jobs)
        acts: list[Act] = [self.chance.choice(KILLS) for _ in range(kills)] + list(GENTLE)
        self.chance.shuffle(acts)
        for number, act in enumerate(acts, 1):
            self.await_done(jobs * number // (len(acts) + 1))
            self.act(act)
        self.await_done(jobs)
        times = self.times_done()
        never = tuple(number for number in range(jobs) if number not in times)
        twice = sum(many > 1 for many in times.values())
        return Outcome(jobs, len(times), twice, never, self.kills, len(acts), time.monotonic() - begun)

    def times_done(self) -> Counter[int]:
        with suppress(FileNotFoundError):
            return Counter(int(line) for line in self.record.read_text().splitlines(keepends=True) if line[-1] == "\n")
        return Counter()

    def await_done(self, many: int) -> None:
        """Or until there has been no progress for long enough."""
        done, since = -1, time.monotonic()
        while (now_done := len(self.times_done())) < many:
            assert self.service.running(), f"the supervisor has ended\n{self.service.log()}"
            if now_done != done:
                done, since = now_done, time.monotonic()
            elif time.monotonic() - since > self.patience:
                return
            time.sleep(0.02)

    def act(self, act: Act) -> None:
        match act:
            case "kill" | "kill the session":
                self.kill(session=act != "kill")
            case "more workers":
                self.ask("PATCH", "", workers=self.workers + 2)
            case "fewer workers":
                self.ask("PATCH", "", workers=max(1, self.workers - 2))
            case "restart rolling":
                self.ask("POST", "/restart")
            case "drain and start again":
                code = self.service.stop()
                assert code == 0, f"it ended with {code}\n{self.service.log()}"
                self.service.start().until_up()

    def kill(self, *, session: bool) -> None:
        """A worker that has come as far as to take jobs."""
        pids = self.service.until(lambda: list(self.running()))
        pid = self.chance.choice(pids)
        whole = [one for one, of in sessions() if of == pid] if session else []
        for one in (pid, *whole):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.kills += 1

    def running(self) -> Iterator[int]:
        for worker in self.service.workers(POOL):
            if worker["status"] == "running" and worker["pid"] is not None:
                yield worker["pid"]

    def ask(self, method: str, path: str, **body: object) -> None:
        connection = Connection(self.service.socket)
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, f"/api/v1/pools/{POOL}{path}", json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            answer = response.read()
            assert response.status in {200, 202}, answer
        finally:
            connection.close()


def url_of(adapter: Adapter, run: Run) -> str:
    empty = {"redis": empty_redis, "rabbitmq": empty_rabbitmq, "postgresql": empty_postgresql}
    return empty[adapter.server](run) if adapter.server is not None else ""


def prepared(adapter: Adapter, directory: Path, url: str, *, workers: int = 4, seed: int = 1) -> Trial:
    """Its application and its supervisor in this directory; not started."""
    (directory / "app.py").write_text(adapter.source)
    env = {"RECORD": str(directory / "record"), "SLICE": str(SLICE), "URL": url, "HOME": str(directory)}
    table = f"""
        [pools.{POOL}]
        backend = "{adapter.backend}"
        queue = "q"
        workers = {workers}
        directory = {json.dumps(str(directory))}
        restart = {{ start_seconds = 0, backoff.initial = 0.1, crash_loop.count = 1000 }}
        health.memory_limit = 0
        env = {{ {", ".join(f"{name} = {json.dumps(value)}" for name, value in env.items())} }}
        {adapter.options.replace("{url}", url)}
    """

    def call(what: str) -> None:
        command = [sys.executable, "-c", f"import app; app.{what}"]
        subprocess.run(command, cwd=directory, env=os.environ | env, check=True, stdin=subprocess.DEVNULL)

    def send(jobs: int) -> None:
        call(f"send({jobs})")

    if "def prepare()" in adapter.code:
        call("prepare()")
    head = "logs.level = 'debug'\nshutdown.grace = 60"
    service = Service(directory, table, head=head)
    return Trial(service, directory / "record", send, adapter.patience, workers, seed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.backends.lossless", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("adapter", choices=sorted(ADAPTERS))
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=12, help="with 0 every job has to be done exactly once")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", action="store_true", help="print the supervisor's log, too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and leave nothing behind
    adapter = ADAPTERS[arguments.adapter]
    with tempfile.TemporaryDirectory(prefix="chaperone-lossless-") as place:
        try:
            url = url_of(adapter, Run(Path(place), os.getpid(), 0))
        except pytest.fail.Exception as failure:
            sys.exit(str(failure))
        trial = prepared(adapter, Path(place), url, workers=arguments.workers, seed=arguments.seed)
        with trial.service.start().until_up():
            outcome = trial.run(arguments.jobs, arguments.kills)
            left = trial.service.pool(POOL).get("backlog")
        if arguments.log:
            print(trial.service.log())
    print(f"{arguments.adapter}: {outcome}")
    if outcome.never:
        print(f"what the queue system says of those: {left}")
    return 1 if outcome.never or (outcome.twice and not outcome.kills) else 0


if __name__ == "__main__":
    sys.exit(main())
