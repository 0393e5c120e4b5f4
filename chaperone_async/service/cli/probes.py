"""`health` and `ready` as argparse knows them: their help, and the command lines too fancy for the fast path."""

from argparse import Namespace

from chaperone_async.service.cli.options import Subparsers, add_command, add_connection
from chaperone_async.service.cli.probe import Question, answer


def add(subparsers: Subparsers) -> None:
    for name, does in (
        ("health", "ask whether the supervisor, or a pool, is alive: for exec probes"),
        ("ready", "ask whether all pools, or one, have enough healthy workers: for exec probes"),
    ):
        parser = add_command(subparsers, name, run, does, f"chaperone {name}\nchaperone {name} email-workers")
        parser.add_argument("pool", nargs="?", metavar="POOL")
        add_connection(parser)


def run(args: Namespace) -> int:
    return answer(Question(args.command, args.pool, args.config, args.url, args.timeout))
