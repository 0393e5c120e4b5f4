"""`events`: what has happened, and what happens."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from chaperone_async.service.cli.options import (
    MOST,
    Subparsers,
    add_command,
    add_connection,
    add_format,
    connect,
    count,
)
from chaperone_async.service.cli.outcome import DONE, NotFoundError, no_such_pool

if TYPE_CHECKING:
    from chaperone_async.service.cli.client import Client
    from chaperone_async.service.cli.table import Paint, Tone

_DEFAULT_COUNT = 100
_TONES: dict[str, "Tone"] = {"debug": "dim", "info": "plain", "warning": "warn", "error": "bad"}
_WIDEST_LEVEL = len("warning")


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "events",
        run,
        "tell what has happened, the newest last, and with -f what happens",
        "chaperone events --since 10m\nchaperone events -f --pool email-workers",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C")
    since = "an age such as 10m, a time such as 2026-11-23T10:00:00Z, or the number of an event"
    parser.add_argument("--since", metavar="WHEN", help=since)
    parser.add_argument("--pool", metavar="POOL", help="only this pool's")
    parser.add_argument("--kind", metavar="KIND", help="only these, such as worker.crashed,pool.fatal")
    what = f"at most so many, the newest (default: {_DEFAULT_COUNT}; with --since all)"
    parser.add_argument("-n", type=count, metavar="N", dest="limit", help=what)
    add_format(parser)
    add_connection(parser)


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    try:
        if args.follow:
            return _follow(client, args)
        document = client.events(_query(args))
    except NotFoundError as error:
        raise NotFoundError(no_such_pool(args.pool, client.pool_names())) from error
    if args.format == "json":
        print(json.dumps(document, indent=2))
        return DONE
    show = Lines()
    for event in reversed(document["events"]):
        show.write(event)
    if not document["events"]:
        print("nothing has happened")
    return DONE


def _follow(client: "Client", args: argparse.Namespace) -> int:
    from chaperone_async.service.cli.following import follow

    show = Lines()
    try:
        for message in follow(client, f"/events?{_query(args)}"):
            if args.format == "json":
                print(json.dumps(message.data), flush=True)
            else:
                show.write(message.data)
    except KeyboardInterrupt:
        return DONE
    return DONE


def _query(args: argparse.Namespace) -> str:
    from urllib.parse import urlencode

    limit = args.limit or (_DEFAULT_COUNT if args.since is None else MOST)
    given = {"limit": limit, "since": args.since, "pool": args.pool, "kind": args.kind}
    return urlencode({name: value for name, value in given.items() if value is not None})


class Lines:
    """One event after the other, in columns as wide as it has needed so far."""

    def __init__(self) -> None:
        from chaperone_async.service.cli.table import painter

        self._paint: Paint = painter(sys.stdout, os.environ)
        self._width = 0

    def write(self, event: dict[str, Any]) -> None:
        for line in self._lines(event):
            print(line, flush=True)

    def _lines(self, event: dict[str, Any]) -> Iterator[str]:
        from datetime import datetime

        from chaperone_async.service.cli.rows import clock
        from chaperone_async.service.cli.table import printable

        pool, level = event["pool"] or "-", event["level"]
        self._width = max(self._width, len(pool))
        at = clock(event["at"], datetime.now().astimezone())
        first, *more = event["message"].rstrip().splitlines() or [""]
        tone = _TONES.get(level, "plain")
        told = f"{self._paint(level.ljust(_WIDEST_LEVEL), tone)}  {printable(pool).ljust(self._width)}"
        yield f"{self._paint(at, 'dim')}  {told}  {printable(first)}"
        for line in more:  # a traceback
            yield f"    {printable(line)}"
