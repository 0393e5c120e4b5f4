"""`crashes`: how workers died, and the last they said."""

import argparse
import json

from chaperone_async.service.cli.options import Subparsers, add_command, add_connection, add_format, connect, count
from chaperone_async.service.cli.outcome import DONE

_DEFAULT_COUNT = 20


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "crashes",
        run,
        "list the deaths of workers with their causes, the newest first",
        "chaperone crashes email-workers -n 1    # the last one, with its last output",
    )
    parser.add_argument("pool", nargs="?", metavar="POOL")
    what = f"at most so many (default: {_DEFAULT_COUNT})"
    parser.add_argument("-n", type=count, default=_DEFAULT_COUNT, metavar="N", dest="limit", help=what)
    parser.add_argument("-v", "--verbose", action="store_true", help="with the last lines that each wrote")
    add_format(parser)
    add_connection(parser)


def run(args: argparse.Namespace) -> int:
    document = connect(args).crashes(args.pool, args.limit)
    if args.format == "json":
        print(json.dumps(document, indent=2))
        return DONE
    records = document["crashes"]
    if not records:
        print("no worker has died")
        return DONE
    from datetime import datetime

    from chaperone_async.service.cli.rows import crashes_table, output_lines
    from chaperone_async.service.cli.table import print_line, print_table

    now = datetime.now().astimezone()
    print_table(crashes_table(document, now))
    if args.verbose or len(records) == 1:
        for record in records:
            for line in output_lines(record, now):
                print_line(line)
    return DONE
