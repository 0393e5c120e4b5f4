"""`logs`: what workers wrote, and write."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote
from zlib import crc32

from chaperone_async.service.cli.options import Subparsers, add_command, add_connection, add_format, connect, count
from chaperone_async.service.cli.outcome import DONE, NotFoundError

if TYPE_CHECKING:
    from chaperone_async.service.cli.client import Client

_DEFAULT_COUNT = 100
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Target(NamedTuple):
    """Where in the API, and whether several workers may write there."""

    path: str
    several: bool


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "logs",
        run,
        "show what workers wrote, and with -f what they write",
        "chaperone logs email-workers -f\nchaperone logs email-workers:0 -n 20\nchaperone logs all",
    )
    what = "a pool, one of its slots (POOL:SLOT), a worker's id, dead or alive, or `all`"
    parser.add_argument("target", metavar="TARGET", help=what)
    lines = f"at most so many lines of each worker, the last (default: {_DEFAULT_COUNT})"
    parser.add_argument("-n", type=count, default=_DEFAULT_COUNT, metavar="N", dest="lines", help=lines)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written, until Ctrl-C")
    add_format(parser)
    add_connection(parser)


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    target = find_target(client, args.target)
    query = f"lines={args.lines}"
    if args.follow:
        return _follow(client, target, query, args.format)
    document = client.logs(target.path, query)
    if args.format == "json":
        print(json.dumps(document, indent=2))
        return DONE
    show = Lines(named=target.several)
    for line in document["lines"]:
        show.write(line if isinstance(line, dict) else {"worker": None, "line": line})
    return DONE


def _follow(client: "Client", target: Target, query: str, form: str) -> int:
    from chaperone_async.service.cli.following import follow

    show = Lines(named=target.several)
    try:
        for message in follow(client, f"{target.path}?{query}"):
            for line in message.data["lines"]:
                if form == "json":
                    print(json.dumps(line))
                else:
                    show.write(line)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return DONE
    return DONE


def find_target(client: "Client", text: str) -> Target:
    """Raises NotFoundError for what can be none. A worker that there is not is noticed when its lines are asked for."""
    desired = {pool["name"]: pool["desired"] for pool in client.status()["pools"]}
    if text in desired:
        return Target(f"/pools/{quote(text, safe='')}/logs", several=desired[text] > 1)
    if text == "all":
        return Target("/logs", several=True)
    pool, _, slot = text.rpartition(":")
    if pool not in desired:
        pool, slot = text.rpartition("-")[0], text
    if pool in desired and slot:
        return Target(f"/pools/{quote(pool, safe='')}/workers/{quote(slot, safe='')}/logs", several=False)
    known = ", ".join(desired)
    raise NotFoundError(
        f"there is no pool or worker named {text!r}; "
        + (f"there are the pools: {known}" if known else "there are none")
    )


def _as_written(line: str) -> str:
    return line


class Lines:
    """With the worker's id in front where there are several: in a colour of its own, on a terminal."""

    def __init__(self, *, named: bool) -> None:
        from chaperone_async.service.cli.table import is_coloured, printable

        self._named = named
        self._coloured = is_coloured(sys.stdout, os.environ)
        self._clean: Callable[[str], str] = _as_written
        if sys.stdout.isatty():  # which workers must not steer
            self._clean = lambda line: printable(line.expandtabs())

    def write(self, line: dict[str, Any]) -> None:
        worker, text = line["worker"], self._clean(line["line"])
        print(f"{self._front(worker)} | {text}" if self._named and worker else text)

    def _front(self, worker: str) -> str:
        if not self._coloured:
            return worker
        return f"\x1b[{_COLOURS[crc32(worker.encode()) % len(_COLOURS)]}m{worker}\x1b[0m"
