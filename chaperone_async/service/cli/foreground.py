"""`up` and `supervise`: the supervisor itself, in the foreground until a signal ends it."""

import os
import re
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaperone_async.errors import ConfigError
from chaperone_async.service.cli.options import Subparsers, add_command, add_config
from chaperone_async.service.cli.outcome import UsageError

if TYPE_CHECKING:
    from chaperone_async.system.config.load import Config

_FILE_KEYS = {"grace": "shutdown.grace", "log_format": "logs.format", "listen": "http.listen"}
_POOL_KEYS = {
    "backend": "backend",
    "workers": "workers",
    "min_ready": "min_ready",
    "directory": "directory",
    "memory_limit": "health.memory_limit",
    "max_jobs": "recycle.max_jobs",
    "max_time": "recycle.max_time",
    "stop_timeout": "stop.timeout",
}
"""Options are keys of a configuration file, so that there is one place that knows what they may be."""


def add(subparsers: Subparsers) -> None:
    up = add_command(
        subparsers,
        "up",
        run_up,
        "run the pools of the configuration",
        "chaperone up -c chaperone.toml\nchaperone up email-workers",
    )
    up.add_argument("pools", nargs="*", metavar="POOL", help="only these (default: all)")
    add_config(up)
    supervise = add_command(
        subparsers,
        "supervise",
        run_supervise,
        "run one pool of workers, without a configuration file",
        "chaperone supervise emails --workers 5 -- python worker.py --queue={queue}",
    )
    supervise.usage = "chaperone supervise QUEUE [options] (--backend BACKEND | -- COMMAND [ARGUMENT...])"
    supervise.add_argument("queue", metavar="QUEUE", help="one, or several in order of priority: high,default")
    for option, metavar, what in (
        ("--workers", "N", "how many (default: 1)"),
        ("--name", "NAME", "the pool's name (default: the queue's)"),
        ("--backend", "BACKEND", "the queue system whose worker to run, in place of a COMMAND"),
        ("--min-ready", "N", "workers that must be ready for the pool to be ready (default: 1)"),
        ("--directory", "PATH", "where workers run (default: here)"),
        ("--memory-limit", "SIZE", "of a worker's process tree, such as 512MB (the default); 0 for none"),
        ("--max-jobs", "N", "replace a worker after so many jobs"),
        ("--max-time", "TIME", "replace a worker after so long, such as 1h"),
        ("--stop-timeout", "TIME", "what a worker gets to finish before it is killed (default: 30s)"),
        ("--grace", "TIME", "the whole shutdown's budget (default: 30s)"),
        ("--log-format", "FORMAT", "text (default) or json"),
    ):
        supervise.add_argument(option, metavar=metavar, help=what)
    option = "of the backend, such as app=proj.tasks; may be repeated"
    supervise.add_argument("--option", action="append", metavar="KEY=VALUE", default=[], help=option)
    supervise.add_argument("--env", action="append", metavar="NAME=VALUE", default=[], help="may be repeated")
    listen = "HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:9001 and a unix socket)"
    supervise.add_argument("--listen", action="append", metavar="ADDRESS", help=listen)


def run_up(args: Namespace) -> int:
    from chaperone_async.system.config.load import load
    from chaperone_async.system.config.watch import fingerprint

    def read(path: Path | None) -> "Config":
        config = load(path, os.environ)
        return choose(config, args.pools) if args.pools else config

    config, seen = read(Path(args.config) if args.config else None), ""
    # It was found somewhere: from now on it is there, whatever else may appear nearer.
    found = Path(config.source)
    if config.watch:  # what changes from here on will be noticed
        seen, config = fingerprint(found, os.environ), read(found)
    from chaperone_async.service.reload import Origin
    from chaperone_async.service.run import run_service

    warn(config)
    return run_service(config, Origin(config, lambda: read(found), lambda: fingerprint(found, os.environ), seen))


def run_supervise(args: Namespace) -> int:
    config = one_pool(args, os.environ)
    from chaperone_async.service.run import run_service

    warn(config)
    return run_service(config)


def warn(config: "Config") -> None:
    """Of what backends want to be known, once."""
    for pool in config.pools:
        if pool.backend is not None and pool.backend.warning is not None:
            print(f"chaperone: pools.{pool.name}.backend: {pool.backend.warning}", file=sys.stderr)


def choose(config: "Config", names: list[str]) -> "Config":
    """Of the configuration's pools only these. Raises ConfigError."""
    from chaperone_async.system.config.problems import advise

    known = [pool.name for pool in config.pools]
    unknown = [f"cannot run pool {name!r}: there is none; {advise(name, known)}" for name in names if name not in known]
    if unknown:
        raise ConfigError(unknown)
    return replace(config, pools=tuple(pool for pool in config.pools if pool.name in names))


def one_pool(args: Namespace, env: Mapping[str, str]) -> "Config":
    """The command line as a configuration document, checked as a file would be. Raises UsageError and ConfigError."""
    from chaperone_async.system.config.find import Document
    from chaperone_async.system.config.load import interpret
    from chaperone_async.system.config.problems import Place, Problems, advise

    if args.backend is None and not args.worker_command:
        example = f"chaperone supervise {args.queue} --workers 2 -- python worker.py --queue={{queue}}"
        raise UsageError(f"cannot supervise {args.queue!r}: there is no command; write it after --, as in: {example}")
    name = args.name or re.sub(r"[^A-Za-z0-9_.-]", "-", args.queue.partition(",")[0])[:64]
    pool = {"queue": args.queue.split(","), **_nested(args, _POOL_KEYS)}
    if args.worker_command:
        pool["command"] = args.worker_command
    if args.option:
        if args.backend is None:
            raise UsageError("cannot take --option: it is for a backend, and there is none; add --backend NAME")
        from chaperone_async.system.backends.registry import names, options_of

        if options_of(args.backend) is None:
            known = advise(args.backend, names())
            raise UsageError(f"cannot take --option: {args.backend!r} is not a backend with options; {known}")
        given = _assignments(args.option, "option", "--option KEY=VALUE")
        pool[args.backend] = {key: values if values[1:] else values[0] for key, values in given.items()}
    if args.env:
        given = _assignments(args.env, "variable", "--env NAME=VALUE")
        pool["env"] = {name: values[-1] for name, values in given.items()}
    if args.listen:  # what was typed wins over the environment
        env = {key: value for key, value in env.items() if key != "CHAPERONE_HTTP_LISTEN"}
    table = {"pools": {name: pool}, **_nested(args, _FILE_KEYS)}
    problems = Problems()
    config = interpret([Document(Path("chaperone supervise"), Place("supervise"), table)], env, problems)
    problems.raise_if_any()
    return config


def _nested(args: Namespace, keys: Mapping[str, str]) -> dict[str, Any]:
    """The options that were given, as tables in a table."""
    table: dict[str, Any] = {}
    for option, path in keys.items():
        value = getattr(args, option)
        if value is not None:
            *parents, key = path.split(".")
            inner = table
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[key] = value
    return table


def _assignments(assignments: list[str], what: str, form: str) -> dict[str, list[str]]:
    wrong = [text for text in assignments if "=" not in text[1:]]
    if wrong:
        raise UsageError(f"cannot set the {what} {wrong[0]!r}: it has no value; write {form}")
    values: dict[str, list[str]] = {}
    for name, value in (text.split("=", 1) for text in assignments):
        values.setdefault(name, []).append(value)
    return values
