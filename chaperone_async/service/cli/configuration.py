"""`config check`, `config show` and `config schema`: what the files say, what follows, and what they may say."""

import json
import os
import shlex
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from chaperone_async.service.cli.options import Subparsers, add_command, add_config
from chaperone_async.service.cli.outcome import DONE

if TYPE_CHECKING:
    from chaperone_async.system.config.show import Setting


def add(subparsers: Subparsers) -> None:
    does, example = "look at the configuration, without starting anything", "chaperone config check"
    family = add_command(subparsers, "config", run_check, does, example)
    commands = family.add_subparsers(metavar="COMMAND", dest="config_command", required=True)
    check = add_command(
        commands,
        "check",
        run_check,
        "read the configuration, refuse what is wrong and warn of what is probably not meant",
        "chaperone config check -c deploy/chaperone.toml",
    )
    show = add_command(
        commands,
        "show",
        run_show,
        "show every value as it takes effect, and where it comes from; secrets are masked",
        "chaperone config show | grep -v '# default'\nchaperone config show --format json",
    )
    what = "table (default): TOML, each line with its origin; or json"
    show.add_argument("--format", choices=("table", "json"), default="table", help=what)
    for parser in (check, show):
        add_config(parser)
    add_command(
        commands,
        "schema",
        run_schema,
        "print the JSON Schema of chaperone.toml, for editors",
        "chaperone config schema > chaperone.schema.json    # and `#:schema ./chaperone.schema.json` on the first line",
    )


def run_check(args: Namespace) -> int:
    from chaperone_async.system.config.lint import lint
    from chaperone_async.system.config.load import load
    from chaperone_async.system.config.secrets import mask

    config = load(_path(args), os.environ)
    warnings = lint(config)
    print(f"{config.source}: {counted(len(config.pools), 'pool')}, {counted(len(warnings), 'warning')}")
    print(f"  listening on {', '.join(config.listen)}")
    for pool in config.pools:
        what = f"{counted(pool.workers, 'worker')} for {', '.join(pool.queues)}"
        command = [mask(word, config.hidden) for word in pool.command]
        print(f"  pool {pool.name}: {what}: {shlex.join(command)}")
    for warning in warnings:
        print(f"warning: {mask(warning, config.hidden)}")
    return DONE


def run_show(args: Namespace) -> int:
    from chaperone_async.system.config.show import explain

    config, settings = explain(_path(args), os.environ)
    if args.format == "json":
        from chaperone_async.system.config.problems import Place

        told = {Place("", keys).key: {"value": value, "from": origin} for keys, value, origin in settings}
        print(json.dumps({"source": config.source, "settings": told}, indent=2))
    else:
        print("\n".join(toml_lines(settings)))
    return DONE


def run_schema(_: Namespace) -> int:
    from chaperone_async.system.config.schema import make_schema

    print(json.dumps(make_schema(), indent=2))
    return DONE


def toml_lines(settings: "list[Setting]") -> Iterator[str]:
    """A file that would have the same effect, but for what is masked. A pool is one table, with dotted keys."""
    from chaperone_async.system.config.toml import key_path, literal, unexpanded

    shown: tuple[str, ...] = ()
    for keys, value, origin in settings:
        depth = 2 if keys[0] == "pools" else len(keys) - 1
        if keys[:depth] != shown:
            shown = keys[:depth]
            yield f"\n[{key_path(shown)}]"
        yield f"{f'{key_path(keys[depth:])} = {literal(unexpanded(value))}':<50} # {origin}"


def _path(args: Namespace) -> Path | None:
    return Path(args.config) if args.config else None


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
