"""What it costs to sample the backlogs of 50 pools each second: `python -m benchmarks.backlogs [SECONDS]`.

One supervisor without workers, first without sources and then with them, on a Redis of its own. Processor time is
what the kernel has counted, of the supervisor and of the attendant that reads for it.
"""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import cpu_ms
from tests.e2e.service import Service, until

POOLS, SECONDS, SETTLING = 50, 30.0, 3.0


class Cost(NamedTuple):
    """Milliseconds of processor time."""

    supervisor: float
    attendant: float


def sources(redis: str, sqlite: Path) -> dict[str, str]:
    return {
        "no source": "",
        "Redis list": f'backlog.source = {{ redis_list = "{redis}#list-{{pool}}" }}',
        "Redis stream": f'backlog.source = {{ redis_stream = "{redis}#stream", group = "workers" }}',
        "SQLite": f'backlog.source = {{ sql = "sqlite:///{sqlite}", query = "select count(*) from job" }}',
    }


def measure(place: Path, source: str, seconds: float) -> Cost:
    pools = "".join(f'[pools.p{number}]\ncommand = "true"\nworkers = 0\n{source}\n' for number in range(POOLS))
    place.mkdir()
    with Service(place, pools) as service:
        service.start().until_up("/livez")
        if source:
            service.until(lambda: all(known(service, f"p{number}") for number in range(POOLS)))
        time.sleep(SETTLING)
        ours, theirs = [service.pid], attendants(service)
        began, before = time.monotonic(), Cost(cpu_ms(ours), cpu_ms(theirs))
        time.sleep(seconds)
        spent = time.monotonic() - began
        return Cost((cpu_ms(ours) - before.supervisor) / spent, (cpu_ms(theirs) - before.attendant) / spent)


def known(service: Service, pool: str) -> bool:
    backlog = service.pool(pool)["backlog"]
    return backlog is not None and backlog["ready"] is not None


def attendants(service: Service) -> list[int]:
    return [pid for pid, command in service.left().items() if "chaperone_async.attendant" in command]


@contextmanager
def redis_server(place: Path) -> Iterator[str]:
    path = place / "redis"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(place)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            until(path.exists)
            for words in (
                ["xgroup", "create", "stream", "workers", "$", "mkstream"],
                ["xadd", "stream", "*", "a", "b"],
            ):
                subprocess.run(["redis-cli", "-s", str(path), *words], check=True, stdout=subprocess.DEVNULL)
            yield f"unix://{path}?db=0"
        finally:
            process.terminate()


def main() -> int:
    if shutil.which("redis-server") is None:
        print("redis-server is missing: install the package redis-server", file=sys.stderr)
        return 2
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as redis:
        place = Path(directory)
        with closing(sqlite3.connect(place / "jobs.db")) as database:
            database.execute("create table job (id integer)")
        print(f"| {POOLS} pools, each second | supervisor, ms/s | attendant, ms/s | together, ms a sample |")
        print(f"|{' --- |' * 4}")
        base: float | None = None
        for number, (name, source) in enumerate(sources(redis, place / "jobs.db").items()):
            cost = measure(place / str(number), source, seconds)
            base = cost.supervisor if base is None else base
            each = f"{(cost.supervisor - base + cost.attendant) / POOLS:.2f}" if source else ""
            print(f"| {name} | {cost.supervisor:.1f} | {cost.attendant:.1f} | {each} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
