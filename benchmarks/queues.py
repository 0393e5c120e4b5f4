"""What supervision costs in jobs a second, and how soon a backlog is met: `python -m benchmarks.queues --help`.

Four workers of each library on Redis do jobs that do nothing: under supervisord as the library comes, under ours with
its agent telling of each job and the backlog read each second. Jobs are in the queue before the workers start; the rate
is that between the first tenth and the last twentieth. Rounds are interleaved. Read ratios rather than rates, and run
it on a machine that does nothing else.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.__main__ import describe_machine, some_of
from benchmarks.contender import MeasureError
from benchmarks.contenders import supervisord_executable
from benchmarks.queue_workers import LIBRARIES, Library, UnderOurs, UnderSupervisord, Workers
from benchmarks.table import number, percentile
from tests.backends.servers import Run, empty_redis

WORKERS = 4
LOST = 120.0
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


def await_fact(workers: Workers, fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LOST
    while not fact():
        if time.monotonic() > deadline:
            raise MeasureError(f"cannot go on: {what} under {workers.name} in {LOST:g} s")
        time.sleep(0.05)


def rate(workers: Workers, jobs: int) -> float:
    """Jobs a second."""
    workers.send(jobs)
    workers.start(str(WORKERS))
    await_fact(workers, lambda: workers.many_done() >= jobs, f"not all of {jobs} jobs are done")
    stamps = sorted(workers.stamps())
    first, last = jobs // 10, jobs - jobs // 20
    return (last - first) / (stamps[last] - stamps[first]) * 1e9


def rates(scratch: Path, run: Run, libraries: Sequence[str], rounds: int, share: float) -> Iterator[str]:
    yield f"| jobs/s of {WORKERS} workers | supervisord | ours, with telemetry | ratio of each round | median |"
    yield f"|{' --- |' * 5}"
    for name in libraries:
        library = LIBRARIES[name]
        found: dict[type[Workers], list[float]] = {UnderSupervisord: [], UnderOurs: []}
        for turn in range(rounds):
            kinds = list(found)[:: 1 if turn % 2 else -1]  # nobody is always the first
            for kind in kinds:
                print(f"{name}, round {turn + 1} of {rounds}: {kind.name}", file=sys.stderr, flush=True)
                home = scratch / f"{name}-{turn}-{kind.name}"
                with kind(home, library, empty_redis(run)) as workers:
                    found[kind].append(rate(workers, max(200, round(library.jobs * share))))
        theirs, ours = found[UnderSupervisord], found[UnderOurs]
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        yield f"| {name} | {number(median(theirs))} | {number(median(ours))} | {each} | {median(ratios):.3f} |"


def reaction(scratch: Path, run: Run, library: Library, times: int) -> Iterator[str]:
    """The backlog is read each second, at no time in particular when it appears."""
    started, ready = [], []
    url = empty_redis(run)
    with Scaled(scratch / "reaction", library, url, seconds=0.2) as workers:
        workers.start("{ min = 1, max = 10 }")
        await_fact(workers, lambda: workers.ready(0), "no worker is ready")
        for turn in range(times):
            print(f"reaction, {turn + 1} of {times}", file=sys.stderr, flush=True)
            time.sleep(random.uniform(3, 4))  # it is idle, and in any phase of its second
            workers.send(BACKLOG)
            since = datetime.now(UTC).timestamp()
            await_fact(workers, partial(workers.ready, since), "no further worker is ready")
            started.append(workers.started(since)[0])
            ready.append(workers.ready(since)[0])
            workers.run_here("import app; app.Redis.from_url(app.URL).delete('rq:queue:q')")
            many = len(workers.started(since))
            await_fact(workers, partial(workers.has_shrunk, since, many), "it does not shrink")
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
