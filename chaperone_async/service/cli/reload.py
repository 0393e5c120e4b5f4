"""`reload`: what the changed configuration would do, in words; then the doing of it, followed to its end."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from chaperone_async.service.cli.options import Subparsers, add_command, add_connection, add_format, connect
from chaperone_async.service.cli.outcome import DONE, NO

Document = dict[str, Any]
PATIENCE = 30.0
"""Seconds for an answer: the files are read, and their checks loaded, before there is one."""


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "reload",
        run_reload,
        "read the configuration anew, and apply what has changed",
        "chaperone reload --dry-run\nchaperone reload --timeout 120",
    )
    force = "also where pools are still being changed by an earlier reload"
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    parser.add_argument("--force", action="store_true", help=force)
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    add_format(parser)
    add_connection(parser, "how long to wait for the end (default: without limit)", None)


def run_reload(args: Namespace) -> int:
    from chaperone_async.service.cli.waiting import Progress, wait_for_all

    client, as_table = connect(args, PATIENCE), args.format == "table"
    if args.dry_run:
        plan = client.change("POST", "/reload?dry_run=true")
        print("\n".join(plan_lines(plan)) if as_table else json.dumps(plan, indent=2))
        return DONE
    begun = client.change("POST", f"/reload?force={str(args.force).lower()}")
    if as_table:
        print("\n".join(plan_lines(begun["plan"])), flush=True)
    if args.no_wait:
        print(f"begun, operation {begun['id']}" if as_table else json.dumps(begun, indent=2))
        return DONE
    progress = Progress(sys.stdout if as_table else sys.stderr)
    (ended,) = wait_for_all(client, [begun], args.timeout, progress)
    if not as_table:
        print(json.dumps({**begun, **ended}, indent=2))
    return _tell_end(ended, as_table=as_table)


def _tell_end(operation: Document, *, as_table: bool) -> int:
    told = [part for part in operation["pools"] if part["detail"]]
    if as_table:
        print({"done": "reloaded", "failed": "not all of it is in force"}.get(operation["state"], "not through yet"))
        for part in told:
            if part["state"] == "done":
                print(f"  {part['pool']}: {part['detail']}")
    if operation["state"] == "done":
        return DONE
    for part in told:
        if part["state"] != "done":
            print(f"chaperone: {part['pool']}: {part['detail']}", file=sys.stderr)
    if operation["state"] == "running":
        print(f"chaperone: it goes on, see `chaperone operations {operation['id']}`", file=sys.stderr)
    return NO


def plan_lines(plan: Document) -> Iterator[str]:
    """`emails: change, rolling`, and below it one line for each key; then the supervisor's own settings."""
    for pool in plan["pools"]:
        yield f"{pool['pool']}: {pool['kind']}{', rolling' if pool['rolling'] else ''}"
        for difference in pool["differences"]:
            yield f"  {_change(difference)}"
    for setting in plan["settings"]:
        yield f"{_change(setting)}{'' if setting['live'] else ' (at the next start)'}"
    unchanged = f"{len(plan['unchanged'])} pool{'' if len(plan['unchanged']) == 1 else 's'} unchanged"
    if plan["empty"]:
        yield f"nothing would change: {unchanged}"
    elif plan["unchanged"]:
        yield unchanged
    for warning in plan["warnings"]:
        yield f"warning: {warning}"


def _change(difference: Document) -> str:
    return f"{difference['key']}: {_value(difference['old'])} -> {_value(difference['new'])}"


def _value(value: Any) -> str:
    from chaperone_async.system.config.toml import literal

    return "not set" if value is None else literal(value)
