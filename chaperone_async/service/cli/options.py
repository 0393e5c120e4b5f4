"""What several commands share: their options, and how their help is laid out."""

import argparse
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from chaperone_async.service.cli.address import find_addresses
from chaperone_async.service.cli.probe import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from chaperone_async.service.cli.client import Client

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  has no public name
Run: TypeAlias = Callable[[argparse.Namespace], int]
_LONGEST_WAIT = 86_400.0
_FOR_AN_ANSWER = f"how long to wait for an answer (default: {DEFAULT_TIMEOUT:g})"
MOST = 10_000
"""Of whatever can be counted, the API gives no more."""


def add_command(subparsers: Subparsers, name: str, run: Run, does: str, example: str) -> argparse.ArgumentParser:
    """`does` is the one-line description; `example` is command lines, as they are typed."""
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    parser = subparsers.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=f"example:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    what = "the configuration (default: $CHAPERONE_CONFIG, ./chaperone.toml, ./pyproject.toml, /etc/chaperone/…)"
    parser.add_argument("-c", "--config", metavar="FILE", help=what)


def add_connection(
    parser: argparse.ArgumentParser, timeout_is: str = _FOR_AN_ANSWER, default: float | None = DEFAULT_TIMEOUT
) -> None:
    """A command that may wait for more than an answer says what its --timeout is for."""
    group = parser.add_argument_group(
        "finding the supervisor",
        "By --url; or else -c; or else $CHAPERONE_URL; or else the unix socket of the configuration\n"
        "found here, then http://127.0.0.1:9001. Over TCP, $CHAPERONE_TOKEN is sent.",
    )
    group.add_argument("--url", help="http://HOST:PORT, https://HOST:PORT or unix:/PATH")
    group.add_argument("-c", "--config", metavar="FILE", help="the supervisor's configuration")
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=default,
        metavar="SECONDS",
        help=timeout_is,
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    what = "table (default), or the document of the API as JSON"
    parser.add_argument("--format", choices=("table", "json"), default="table", help=what)


def connect(args: argparse.Namespace, patience: float | None = None) -> "Client":
    """`patience`: seconds for an answer, where --timeout means something else."""
    from chaperone_async.service.cli.client import Client

    addresses = find_addresses(args.url, args.config, os.environ)
    return Client(addresses, os.environ.get("CHAPERONE_TOKEN", ""), args.timeout if patience is None else patience)


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; write a whole number from 1 to {MOST}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time to wait; write seconds such as 5 or 0.5")
    return seconds
