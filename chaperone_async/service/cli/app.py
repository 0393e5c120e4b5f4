"""The command line: every family of commands in one parser, and the way from words to a command's exit code."""

import argparse
from collections.abc import Sequence

from chaperone_async import __version__
from chaperone_async.service.cli import (
    actions,
    configuration,
    crashes,
    demo,
    doctor,
    events,
    failed,
    foreground,
    init,
    logs,
    operations,
    pools,
    probes,
    queues,
    reload,
    simulate,
)
from chaperone_async.service.cli.outcome import BAD_USAGE, DONE

_EPILOG = """exit codes:
  0 done   1 the answer is no   2 bad usage or configuration   3 no supervisor reachable   4 refused

example:
  chaperone supervise emails --workers 5 -- python worker.py --queue={queue}"""


def run(argv: Sequence[str]) -> int:
    """Raises the errors of `outcome`."""
    try:
        args = parse(argv)
    except SystemExit as end:  # argparse has said all there is to say: the help, the version, or what is wrong
        return DONE if end.code == 0 else BAD_USAGE
    code: int = args.run(args)
    return code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """`worker_command` is what follows the first `--` of `supervise`: argparse would look for options of ours in it."""
    words, command = list(argv), []
    if words[:1] == ["supervise"] and "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    return make_parser().parse_args(words, argparse.Namespace(worker_command=command))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chaperone",
        description="Supervise pools of queue workers, and ask a supervisor how they are.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"chaperone {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    looking = (pools, queues, probes, logs, events, crashes, operations)
    for family in (foreground, demo, *looking, actions, failed, reload, configuration, init, doctor, simulate):
        family.add(subparsers)
    return parser
