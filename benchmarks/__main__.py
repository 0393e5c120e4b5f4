"""Measure ours, supervisord and a bare asyncio loop in one run: `python -m benchmarks --help`.

Rounds are interleaved, every contender once and then again, so that a drift of the machine hits all alike. A worker
stamps CLOCK_MONOTONIC as its first act, so a latency is the difference of two stamps of one clock. CPU is the kernel's
clock of each process of the supervisor, memory its proportional share; the workers are never counted.
Read ratios rather than times, and run it on a machine that does nothing else.
"""

import argparse
import dataclasses
import http.client
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType

from benchmarks.contender import Contender, MeasureError
from benchmarks.contenders import CONTENDERS, Supervisord, supervisord_executable
from benchmarks.rows import FULL, QUICK, ROWS, Effort, Row
from benchmarks.table import Results, markdown


def some_of(choices: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := sorted(set(chosen) - set(choices)):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(choices)}")
        return chosen

    return parse


def build_worker(scratch: Path) -> list[str]:
    """The command line of a worker, the log excepted: C where there is a compiler, Python where there is none."""
    source = Path(__file__).parent
    compiler = shutil.which("cc")
    if compiler is None:
        print(
            "there is no C compiler: the workers are Python scripts, and every start is slower by theirs",
            file=sys.stderr,
        )
        return [sys.executable, "-S", "-E", str(source / "worker.py")]
    executable = scratch / "worker"
    subprocess.run([compiler, "-O2", "-o", executable, source / "worker.c"], check=True)
    return [str(executable)]


def schedule(
    rows: list[str], kinds: list[type[Contender]], effort: Effort
) -> Iterator[tuple[Row, int, type[Contender]]]:
    for row in (ROWS[name] for name in rows):
        able = [kind for kind in kinds if row.able(kind)]
        for size in dict.fromkeys(max(1, size // effort.scale) for size in row.sizes):
            for turn in range(effort.rounds):
                first = turn % len(able) if able else 0  # whoever goes first finds colder caches
                for kind in able[first:] + able[:first]:
                    yield row, size, kind


def describe_machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": platform.release(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=some_of(ROWS), default=list(ROWS), help=f"of {','.join(ROWS)}")
    parser.add_argument(
        "--contenders", type=some_of(CONTENDERS), default=list(CONTENDERS), help=f"of {','.join(CONTENDERS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round with a tenth of the workers: does it run at all?"
    )
    parser.add_argument("--rounds", type=int, help="instead of 3, or 1 with --quick")
    parser.add_argument("--timeout", type=float, default=60, help="seconds until a contender is given up, default 60")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single value here")
    return parser.parse_args()


def unwind(number: int, _: FrameType | None) -> None:
    """Leave by an exception, so that whatever is running is ended on the way out."""
    sys.exit(128 + number)


def main() -> int:
    arguments = parse_arguments()
    effort = QUICK if arguments.quick else FULL
    effort = dataclasses.replace(effort, rounds=arguments.rounds or effort.rounds)
    signal.signal(signal.SIGTERM, unwind)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited by all: 1,000 workers need thousands
    kinds = [CONTENDERS[name] for name in arguments.contenders]
    if Supervisord in kinds:
        supervisord_executable()  # installed before anything is timed
    machine, results, failures = describe_machine(), Results(), 0
    print(", ".join(f"{key} {value}" for key, value in machine.items()), "\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaperone-bench-") as directory:
        scratch = Path(directory)
        worker = build_worker(scratch)
        for row, size, kind in schedule(arguments.rows, kinds, effort):
            print(f"{row.measure.__name__}, {size} workers: {kind.name}", file=sys.stderr, flush=True)
            try:
                with kind(scratch, worker, timeout=arguments.timeout) as contender:
                    for label, values in row.measure(contender, effort, size):
                        results.setdefault(label, {}).setdefault(kind.name, []).extend(values)
            except (MeasureError, OSError, http.client.HTTPException) as error:  # the others go on
                failures += 1
                print(f"  failed: {error!r}", file=sys.stderr, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1))
    print(markdown(results, arguments.contenders))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
