"""`queues`: how full they are, and how fast they fill and empty."""

import argparse
import json

from chaperone_async.service.cli.options import Subparsers, add_command, add_connection, add_format, connect
from chaperone_async.service.cli.outcome import DONE


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "queues",
        run,
        "show for each queue what waits, how old the oldest is, arrivals, completions, and when it will be empty",
        "chaperone queues\nchaperone queues --format json",
    )
    add_format(parser)
    add_connection(parser)


def run(args: argparse.Namespace) -> int:
    document = connect(args).queues()
    if args.format == "json":
        print(json.dumps(document, indent=2))
        return DONE
    from chaperone_async.service.cli.queue_rows import queues_table
    from chaperone_async.service.cli.table import print_table

    if not document["queues"]:
        print("there are no pools, and so no queues")
        return DONE
    print_table(queues_table(document["queues"]))
    return DONE
