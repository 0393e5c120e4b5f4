"""`operations`: what was asked for, and what has become of it."""

import argparse
import json

from chaperone_async.service.cli.options import Subparsers, add_command, add_connection, add_format, connect
from chaperone_async.service.cli.outcome import DONE


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "operations",
        run,
        "list what was asked for and what has become of it, the newest first",
        "chaperone operations\nchaperone operations 3f9c01ab",
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="one operation, pool by pool")
    add_format(parser)
    add_connection(parser)


def run(args: argparse.Namespace) -> int:
    client = connect(args)
    document = client.operations() if args.id is None else client.operation(args.id, wait=0)
    if args.format == "json":
        print(json.dumps(document, indent=2))
        return DONE
    from datetime import datetime

    from chaperone_async.service.cli.rows import operations_table, parts_table
    from chaperone_async.service.cli.table import print_table

    operations = document["operations"] if args.id is None else [document]
    if not operations:
        print("nothing was asked for")
        return DONE
    print_table(operations_table(operations, datetime.now().astimezone()))
    if args.id is not None:
        print()
        print_table(parts_table(document))
    return DONE
