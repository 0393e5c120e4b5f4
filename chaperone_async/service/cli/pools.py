"""`workers` and `status`: what there is now."""

import json
from argparse import Namespace

from chaperone_async.service.cli.options import Subparsers, add_command, add_connection, add_format, connect
from chaperone_async.service.cli.outcome import DONE


def add(subparsers: Subparsers) -> None:
    workers = add_command(
        subparsers,
        "workers",
        run_workers,
        "list the workers of all pools, or of one",
        "chaperone workers\nchaperone workers email-workers --format json",
    )
    workers.add_argument("pool", nargs="?", metavar="POOL")
    status = add_command(
        subparsers, "status", run_status, "show one line per pool, and the supervisor's own state", "chaperone status"
    )
    for parser in (workers, status):
        add_format(parser)
        add_connection(parser)


def run_workers(args: Namespace) -> int:
    client = connect(args)
    document = client.pools() if args.pool is None else client.pool(args.pool)
    if args.format == "json":
        print(json.dumps(document, indent=2))
        return DONE
    from datetime import datetime

    from chaperone_async.service.cli.rows import pool_line, workers_table
    from chaperone_async.service.cli.table import print_line, print_table

    now = datetime.now().astimezone()
    pools = document["pools"] if args.pool is None else [document]
    if not pools:
        print("there are no pools")
    for index, pool in enumerate(pools):
        if len(pools) > 1:
            print("\n" * bool(index), end="")
            print_line(pool_line(pool))
        print_table(workers_table(pool, now))
    return DONE


def run_status(args: Namespace) -> int:
    status = connect(args).status()
    if args.format == "json":
        print(json.dumps(status, indent=2))
        return DONE
    from datetime import datetime

    from chaperone_async.service.cli.rows import status_table, supervisor_line
    from chaperone_async.service.cli.table import print_line, print_table

    print_line(supervisor_line(status))
    print_table(status_table(status, datetime.now().astimezone()))
    return DONE
