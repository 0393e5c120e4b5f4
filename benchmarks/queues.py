"""What supervision costs in jobs a second, and how soon a backlog is met: `python -m benchmarks.queues --help`.

Four workers of each library on Redis do jobs that do nothing: under supervisord as the library comes, under ours with
its agent telling of each job and the backlog read each second. Jobs are in the queue before the workers start; what is
measured begins when all four are at work and a tenth is done, and ends with the last twentieth. Processor time is that
of the supervisor and the workers, without Redis. Rounds are interleaved: read ratios, on a machine without other work.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.__main__ import describe_machine, some_of, unwind
from benchmarks.contenders import supervisord_executable
from benchmarks.queue_workers import LIBRARIES, Library, UnderOurs, UnderSupervisord, Workers
from benchmarks.table import number, percentile
from tests.backends.servers import Run, empty_redis

WORKERS = 4
LOST = 300.0
"""Seconds after which a round that does not come to its end is given up."""
BACKLOG = 1_000
SCALED = """
autoscale = { target = 10, stabilization = "1s", cooldown = "1s", max_step = 9 }
min_ready = 1
"""


class Scaled(UnderOurs):
    more = SCALED

    def started(self, since: float) -> list[float]:
        """When workers were started, in seconds after `since`, as the supervisor's log says."""
        return self._told(" started (pid", since)

    def ready(self, since: float) -> list[float]:
        return self._told(" is ready", since)

    def ended(self, since: float) -> list[float]:
        return self._told(" ended (", since)

    def has_shrunk(self, since: float, many: int) -> bool:
        """Whether as many have ended as were started."""
        return len(self.ended(since)) >= many

    def _told(self, words: str, since: float) -> list[float]:
        self.look()
        lines = [
            line.split() for line in self.output.read_text().splitlines() if words in line and line[:9] == "chaperone"
        ]
        return [at for at in (datetime.fromisoformat(line[2]).timestamp() - since for line in lines) if at >= 0]


class Round(NamedTuple):
    """`rate`: jobs a second; `cost`: processor time of workers and supervisor, in ms for a thousand jobs."""

    rate: float
    cost: float


def measure(workers: Workers, jobs: int) -> Round:
    workers.send(jobs)
    workers.start(str(WORKERS))
    workers.await_fact(LOST, lambda: workers.all_work(WORKERS), "not all workers do something")
    workers.await_done(jobs // 10, LOST)
    first = workers.mark()
    workers.await_done(jobs - jobs // 20, LOST)
    last = workers.mark()
    workers.await_done(jobs, LOST)
    stamps = sorted(at for at, _ in workers.done())
    done = last.done - first.done
    seconds = (stamps[last.done - 1] - stamps[first.done - 1]) / 1e9
    return Round(done / seconds, (last.cpu_ms - first.cpu_ms) / done * 1000)


def rates(scratch: Path, run: Run, libraries: Sequence[str], rounds: int, share: float) -> Iterator[str]:
    yield f"| {WORKERS} workers | supervisord | ours | ratio of each round | median |"
    yield f"|{' --- |' * 5}"
    for name in libraries:
        library = LIBRARIES[name]
        found: dict[type[Workers], list[Round]] = {UnderSupervisord: [], UnderOurs: []}
        for turn in range(rounds):
            kinds = list(found)[:: 1 if turn % 2 else -1]  # nobody is always the first
            for kind in kinds:
                print(f"{name}, round {turn + 1} of {rounds}: {kind.name}", file=sys.stderr, flush=True)
                place = scratch / f"{name}-{turn}-{kind.name}"
                with kind(place, library, empty_redis(run)) as workers:
                    found[kind].append(measure(workers, max(200, round(library.jobs * share))))
        theirs, ours = found[UnderSupervisord], found[UnderOurs]
        yield row(f"{name}, jobs/s", [each.rate for each in theirs], [each.rate for each in ours])
        yield row(f"{name}, CPU ms for 1,000 jobs", [each.cost for each in theirs], [each.cost for each in ours])


def row(label: str, theirs: Sequence[float], ours: Sequence[float]) -> str:
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    return f"| {label} | {number(median(theirs))} | {number(median(ours))} | {each} | {median(ratios):.3f} |"


def reaction(scratch: Path, run: Run, library: Library, times: int) -> Iterator[str]:
    """The backlog is read each second, at no time in particular when it appears."""
    started, ready = [], []
    url = empty_redis(run)
    with Scaled(scratch / "reaction", library, url, seconds=0.2) as workers:
        workers.start("{ min = 1, max = 10 }")
        workers.await_fact(LOST, lambda: workers.ready(0), "no worker is ready")
        for turn in range(times):
            print(f"reaction, {turn + 1} of {times}", file=sys.stderr, flush=True)
            time.sleep(random.uniform(3, 4))  # it is idle, and in any phase of its second
            workers.send(BACKLOG)
            since = datetime.now(UTC).timestamp()
            workers.await_fact(LOST, partial(workers.ready, since), "no further worker is ready")
            started.append(workers.started(since)[0])
            ready.append(workers.ready(since)[0])
            workers.run_here("import app; app.Redis.from_url(app.URL).delete('rq:queue:q')")
            many = len(workers.started(since))
            workers.await_fact(LOST, partial(workers.has_shrunk, since, many), "it does not shrink")
    yield f"| a backlog of {BACKLOG} appears → the first additional worker, s | p50 | p95 | most |"
    yield f"|{' --- |' * 4}"
    for what, values in (("its process runs", started), ("it is ready to take jobs", ready)):
        figures = " | ".join(f"{value:.2f}" for value in (median(values), percentile(values, 0.95), max(values)))
        yield f"| … {what} | {figures} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.queues", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--libraries", type=some_of(LIBRARIES), default=list(LIBRARIES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reactions", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs, once: does it run at all?")
    arguments = parser.parse_args()
    rounds, share, reactions = (1, 0.1, 2) if arguments.quick else (arguments.rounds, 1.0, arguments.reactions)
    signal.signal(signal.SIGTERM, unwind)
    supervisord_executable()  # installed before anything is timed
    print(", ".join(f"{key} {value}" for key, value in describe_machine().items()), "\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaperone-bench-") as directory:
        scratch, run = Path(directory), Run(Path(directory), os.getpid(), 0)
        for line in rates(scratch, run, arguments.libraries, rounds, share):
            print(line, flush=True)
        print()
        for line in reaction(scratch, run, LIBRARIES["RQ"], reactions):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
