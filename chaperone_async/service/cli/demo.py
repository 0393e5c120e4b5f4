"""`demo`: see it work, with no server and no application at hand."""

import argparse
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from chaperone_async.errors import ListenError
from chaperone_async.service.cli.options import Subparsers, add_command
from chaperone_async.service.cli.outcome import DONE, NO, UsageError

_MOST_JOBS = 100_000
_LONGEST = 86_400.0
_INTRODUCTION = """\
Three pools of workers, on an embedded queue in {here}:
  emails    fast jobs: a worker for each five that wait
  reports   slow jobs: so many workers that none waits for longer than two seconds
  risky     jobs that fail, leak memory, and kill their workers
A program sends them jobs, as your application would: {until}.

Look at them from another terminal:
  export CHAPERONE_URL={url}
  chaperone status            the pools, and how many workers each has
  chaperone workers           who is busy with what
  chaperone queues            how many jobs wait, and for how long
  chaperone failed            which jobs were declined: chaperone retry all does them after all
  chaperone events -f         what happens, and why
  chaperone crashes risky     how workers died
  chaperone logs risky        what they have to say

What happens now (Ctrl-C ends it{removal}):
"""


def add(subparsers: Subparsers) -> None:
    demo = add_command(
        subparsers,
        "demo",
        run,
        "see it work: an embedded queue, workers, and jobs that succeed, fail, leak and crash",
        "chaperone demo\nchaperone demo --jobs 200",
    )
    what = "send so many jobs, wait until all have ended, and say what became of them (default: go on until Ctrl-C)"
    demo.add_argument("--jobs", type=_jobs, metavar="N", help=what)
    demo.add_argument("--seconds", type=_seconds, metavar="TIME", help="send jobs for so long, then as with --jobs")
    what = "an empty or new directory for the queue, the workers' output and the configuration; it is kept"
    demo.add_argument("--dir", type=Path, metavar="DIR", help=f"{what} (default: a temporary one, removed at the end)")
    what = "HOST:PORT or unix:/PATH for the API (default: 127.0.0.1:9001, or another port if that is taken)"
    demo.add_argument("--listen", metavar="ADDRESS", help=what)


def run(args: Namespace) -> int:
    if find_spec("huey") is None:
        why = "the package huey is not installed"
        raise UsageError(f'cannot run the demonstration: {why}; pip install "chaperone-async[demo]"')
    address = _address(args.listen)
    with _directory(args.dir) as here, _temporary() as sockets:
        from chaperone_async.service.demonstration import configure, demonstrate

        listen = [address, *([] if address.startswith("unix:") else [f"unix:{sockets}/demo.sock"])]
        config = configure(here, listen, args.jobs, args.seconds)
        print(_introduce(here, address, args), flush=True)
        return demonstrate(config) or _sum_up(here, args.jobs)


@contextmanager
def _directory(wanted: Path | None) -> Iterator[Path]:
    if wanted is None:
        with _temporary() as made:
            yield made
        return
    here = wanted.absolute()
    try:
        here.mkdir(parents=True, exist_ok=True)
        empty = not any(here.iterdir())
    except OSError as error:
        raise UsageError(f"cannot use {here} for the demonstration: {error.strerror}; name another --dir") from error
    if not empty:
        raise UsageError(f"cannot use {here} for the demonstration: it is not empty; name an empty or a new --dir")
    if not os.access(here, os.W_OK | os.X_OK):
        raise UsageError(f"cannot use {here} for the demonstration: it cannot be written to; name another --dir")
    yield here


@contextmanager
def _temporary() -> Iterator[Path]:
    try:
        made = TemporaryDirectory(prefix="chaperone-demo-")
    except OSError as error:
        raise UsageError(f"cannot make a directory for the demonstration: {error.strerror}; set TMPDIR") from error
    with made as path:
        yield Path(path)


def _address(wanted: str | None) -> str:
    """One that is free now. Raises ListenError where the one that was asked for is not."""
    from chaperone_async.system.config.listeners import DEFAULT_TCP

    if wanted is not None:
        return _try_to_listen(wanted)
    try:
        return _try_to_listen(DEFAULT_TCP)
    except ListenError as error:
        another = _try_to_listen("127.0.0.1:0")
        print(f"{str(error).partition(';')[0]}; listening on {another} instead\n")
        return another


def _try_to_listen(address: str) -> str:
    from chaperone_async.service.http.listen import bind

    listeners = bind([address])
    for listener in listeners:
        listener.close()
    return listeners[0].address


def _introduce(here: Path, address: str, args: Namespace) -> str:
    limits = [] if args.jobs is None else [f"{args.jobs} of them"]
    limits += [] if args.seconds is None else [f"for {args.seconds:g} s"]
    return _INTRODUCTION.format(
        here=here,
        until=", ".join(limits) or "until you have seen enough",
        url=address if address.startswith("unix:") else f"http://{address}",
        removal="" if args.dir else ", and removes everything",
    )


def _sum_up(here: Path, wanted: int | None) -> int:
    """1 where jobs are lost, have failed that were not to fail, or, of a given number, not all have ended."""
    from chaperone_async.demo.journal import QUEUES, accounts, total
    from chaperone_async.demo.kinds import KINDS
    from chaperone_async.huey import backlog
    from chaperone_async.service.cli.table import Cell, Column, Table, print_line, print_table

    found = accounts(here)
    numbers = [Column(title, right=True) for title in ("Sent", "Done", "Failed", "Run again")]
    table = Table((Column("Job"), *numbers, Column("What it does", long=True)), [])
    astray = 0
    for kind in KINDS:
        figures = total([found[kind.name]] if kind.name in found else [])
        astray += 0 if kind.fails else figures.failed
        table.rows.append((Cell(kind.name), *(Cell(str(figure)) for figure in figures), Cell(kind.what)))
    print()
    print_table(table)
    print()
    all_ = total(found.values())
    left = backlog(here / QUEUES) if all_.open else None
    waiting = 0 if left is None else min(all_.open, left.ready + left.delayed + left.reserved)
    lost = all_.open - waiting
    words = [f"{all_.sent} jobs sent: {all_.done} done", f"{all_.failed} failed as they should"]
    words += [f"{all_.again} run again", *([f"{waiting} still in the queue"] if waiting else []), f"{lost} lost"]
    if astray:
        words[1] = f"{all_.failed} failed, {astray} of them unexpectedly"
    good = not lost and not astray and (wanted is None or (all_.sent == wanted and not waiting))
    print_line(Cell(", ".join(words), "good" if good else "bad"))
    return DONE if good else NO


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9) or not 1 <= int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; write a whole number from 1 to {_MOST_JOBS}")
    return int(text)


def _seconds(text: str) -> float:
    from chaperone_async.system.config.units import to_seconds

    seconds = to_seconds(text)
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f'{text!r} is not a time; write seconds such as 30, or "30s", "5m"')
    return seconds
