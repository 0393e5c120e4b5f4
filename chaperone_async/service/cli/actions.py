"""`start`, `stop`, `restart`, `pause`, `resume`, `signal`, `drain` and `scale`: what is asked of running pools."""

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from chaperone_async.errors import ChaperoneError
from chaperone_async.service.cli.options import Run, Subparsers, add_command, add_connection, add_format, connect
from chaperone_async.service.cli.outcome import DONE
from chaperone_async.service.cli.probe import DEFAULT_TIMEOUT
from chaperone_async.service.cli.target import TARGET, find_paths

if TYPE_CHECKING:
    from chaperone_async.service.cli.client import Client

Document = dict[str, Any]

_PATIENCE = (
    f"how long to wait for an answer (default: {DEFAULT_TIMEOUT:g}); with --wait, for the end (default: without limit)"
)


def add(subparsers: Subparsers) -> None:
    _add(subparsers, "start", "start what is stopped or has given up, and end pauses", "chaperone start emails --wait")
    _add(
        subparsers, "stop", "stop gracefully, until somebody starts it again", "chaperone stop emails:0 reports --wait"
    )
    restart = _add(
        subparsers, "restart", "replace workers by new ones, each only when its successor is ready",
        "chaperone restart all --wait --timeout 120",
    )  # fmt: skip
    how = restart.add_mutually_exclusive_group()
    how.add_argument("--rolling", action="store_true", help="each only when its successor is ready (the default)")
    how.add_argument("--now", action="store_true", help="stop the old ones at once, and then start new ones")
    pause = _add(
        subparsers, "pause", "let no work be done until somebody resumes it", "chaperone pause emails --for 10m"
    )
    pause.add_argument("--for", metavar="TIME", dest="seconds", help="it ends by itself after so long: 30s, 10m, 1h30m")
    _add(subparsers, "resume", "end a pause; what is stopped stays stopped", "chaperone resume all")
    _add(
        subparsers, "drain", "stop taking work and wait for running jobs; a worker that must be killed is a failure",
        "chaperone drain --wait && reboot", default=["all"],
    )  # fmt: skip
    signal = _add(subparsers, "signal", "send a signal to workers", "chaperone signal emails:0 SIGHUP", run=run_signal)
    signal.add_argument("signal", metavar="SIGNAL", help="SIGHUP, or HUP for short; SIGKILL kills the whole session")
    scale = add_command(
        subparsers, "scale", run_scale, "have so many workers in a pool, or so many more or fewer",
        "chaperone scale emails 8\nchaperone scale emails -1 --wait",
    )  # fmt: skip
    scale.add_argument("pool", metavar="POOL")
    scale.add_argument("workers", type=_workers, metavar="N", help="a number, or a difference such as +1 or -1")
    _add_common(scale)


def _add(
    subparsers: Subparsers, name: str, does: str, example: str, run: Run | None = None, default: list[str] | None = None
) -> argparse.ArgumentParser:
    parser = add_command(subparsers, name, run or run_action, does, example)
    if default is None:
        parser.add_argument("targets", nargs="+", metavar="TARGET", help=TARGET)
    else:
        what = f"{TARGET} (default: {' '.join(default)})"
        parser.add_argument("targets", nargs="*", metavar="TARGET", default=default, help=what)
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="to the end; exit 1 when it fails or has no end in time")
    add_format(parser)
    add_connection(parser, _PATIENCE, None)


def run_action(args: argparse.Namespace) -> int:
    query = {}
    if getattr(args, "now", False):
        query["now"] = "true"
    if getattr(args, "seconds", None) is not None:
        query["for"] = args.seconds
    suffix = f"{args.command}?{urlencode(query)}" if query else args.command
    return _ask(args, suffix, None)


def run_signal(args: argparse.Namespace) -> int:
    return _ask(args, "signal", {"signal": args.signal})


def _ask(args: argparse.Namespace, action: str, body: dict[str, object] | None) -> int:
    client = _connect(args)
    begun: list[Document] = []
    try:
        for path in find_paths(client, args.targets):
            begun += [client.change("POST", f"{path}/{action}", body)]
    except ChaperoneError:
        from chaperone_async.service.cli.waiting import tell_begun

        tell_begun(begun, sys.stderr)
        raise
    return _finish(args, client, begun)


def run_scale(args: argparse.Namespace) -> int:
    client = _connect(args)
    return _finish(args, client, [client.scale(args.pool, args.workers)])


def _connect(args: argparse.Namespace) -> "Client":
    """With --wait, --timeout is about the end, and not about the answers on the way."""
    return connect(args, DEFAULT_TIMEOUT if args.wait else args.timeout or DEFAULT_TIMEOUT)


def _finish(args: argparse.Namespace, client: "Client", operations: list[Document]) -> int:
    from chaperone_async.service.cli.waiting import Progress, tell_begun, tell_ends, wait_for_all

    as_json = args.format == "json"
    if args.wait:
        progress = Progress(sys.stderr if as_json else sys.stdout)
        operations = wait_for_all(client, operations, args.timeout, progress)
    if as_json:
        print(json.dumps(operations[0] if len(operations) == 1 else {"operations": operations}, indent=2))
    if args.wait:
        tell_ends(operations, quiet=as_json)
    elif not as_json:
        tell_begun(operations)
    return DONE


def _workers(text: str) -> int | str:
    if not re.fullmatch("[+-]?[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers; write one such as 8, +1 or -1")
    return text if text[0] in "+-" else int(text)
