"""`config check`: what the files say, and what in them is probably not meant."""

import os
import shlex
from argparse import Namespace
from pathlib import Path

from chaperone_async.service.cli.options import Subparsers, add_command, add_config
from chaperone_async.service.cli.outcome import DONE


def add(subparsers: Subparsers) -> None:
    does, example = "look at the configuration, without starting anything", "chaperone config check"
    family = add_command(subparsers, "config", run_check, does, example)
    commands = family.add_subparsers(metavar="COMMAND", dest="config_command", required=True)
    parser = add_command(
        commands,
        "check",
        run_check,
        "read the configuration, refuse what is wrong and warn of what is probably not meant",
        "chaperone config check -c deploy/chaperone.toml",
    )
    add_config(parser)


def run_check(args: Namespace) -> int:
    from chaperone_async.system.config.lint import lint
    from chaperone_async.system.config.load import load

    config = load(Path(args.config) if args.config else None, os.environ)
    warnings = lint(config)
    print(f"{config.source}: {counted(len(config.pools), 'pool')}, {counted(len(warnings), 'warning')}")
    print(f"  listening on {', '.join(config.listen)}")
    for pool in config.pools:
        what = f"{counted(pool.workers, 'worker')} for {', '.join(pool.queues)}"
        print(f"  pool {pool.name}: {what}: {shlex.join(pool.command)}")
    for warning in warnings:
        print(f"warning: {warning}")
    return DONE


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
