"""`simulate`: a recorded load through the real scaler, in virtual time. Nothing is started, and nobody is asked."""

import argparse
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chaperone_async.service.cli.options import Subparsers, add_command
from chaperone_async.service.cli.outcome import DONE, UsageError

if TYPE_CHECKING:
    from chaperone_async.core.demand import AutoscalePolicy
    from chaperone_async.core.scaling import Decision
    from chaperone_async.core.simulation import Outcome

_MOST_WORKERS = 10_000
_MOST_LOOKS = 5_000_000
_LONGEST = 86_400.0
_POOL = "pool"
_KEYS = (
    "strategy", "target", "min", "max", "max_step", "cooldown", "stabilization", "tolerance", "scale_to_zero_after",
)  # fmt: skip
Parse = Callable[[str], Any]


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "simulate",
        run,
        "replay a recorded load through the scaler and print what it would have done",
        "chaperone simulate --trace load.csv --strategy latency --target 2s --max 20\n"
        "chaperone simulate --trace load.csv --spread --format json",
    )
    needed = parser.add_argument_group("the load")
    what = "columns at,arrivals[,service_time], in seconds, rows in order of time"
    needed.add_argument("--trace", required=True, metavar="FILE.csv", help=what)
    what = "a row's jobs come evenly until the next row, not all at its moment"
    needed.add_argument("--spread", action="store_true", help=what)
    _add(needed, "--service-time", _some_time, "TIME", "of a job, where the trace says none", 1.0)
    _add(needed, "--start-up", _time, "TIME", "from a worker's start until it takes jobs", 1.0)
    _add(needed, "--interval", _some_time, "TIME", "between two looks at the queue", 1.0)
    about = "As the keys of [pools.X.autoscale], and of workers; what is not given is as in the pool, or the default."
    scaler = parser.add_argument_group("the scaler", about)
    scaler.add_argument("--pool", metavar="NAME", help="as this pool of the configuration is scaled")
    scaler.add_argument("-c", "--config", metavar="FILE", help="the configuration (default: as chaperone up finds it)")
    what = "target jobs per worker (backlog, the default), or target seconds until a job is taken (latency)"
    scaler.add_argument("--strategy", choices=("backlog", "latency"), help=what)
    for option, parse, unit, what in (
        ("--target", _target, "N", "jobs per worker, or a time (default: 10)"),
        ("--min", _workers, "N", "workers at least (default: 1)"),
        ("--max", _workers, "N", "workers at most (default: 10)"),
        ("--max-step", _workers, "N", "workers more or fewer per cooldown (default: 1)"),
        ("--cooldown", _time, "TIME", "between two changes (default: 3)"),
        ("--stabilization", _time, "TIME", "fewer only than all that was called for within it (default: 30)"),
        ("--tolerance", _share, "SHARE", "of the present workers, by which a need may differ (default: 0.1)"),
        ("--scale-to-zero-after", _time, "TIME", "of being empty, with --min 0 (default: 300)"),
    ):
        scaler.add_argument(option, type=parse, metavar=unit, help=what)
    parser.add_argument("-v", "--verbose", action="store_true", help="also the decisions that changed nothing")
    what = "table (default), or json"
    parser.add_argument("--format", choices=("table", "json"), default="table", help=what)


def _add(group: "argparse._ArgumentGroup", option: str, parse: Parse, unit: str, what: str, default: float) -> None:
    group.add_argument(option, type=parse, default=default, metavar=unit, help=f"{what} (default: {default:g})")


def run(args: argparse.Namespace) -> int:
    from dataclasses import replace
    from pathlib import Path

    from chaperone_async.core.demand import AutoscalePolicy
    from chaperone_async.core.simulation import Scaler, simulate
    from chaperone_async.service.cli.trace import read_trace

    if args.config and not args.pool:
        raise UsageError(f"cannot simulate {args.config}: it may have several pools; name one with --pool")
    given = {name: value for name in _KEYS if (value := getattr(args, name)) is not None}
    policy, total, at_once = _configured(args.pool, args.config) if args.pool else (AutoscalePolicy(), None, 1)
    policy = replace(policy, **given)
    _refuse_contradictions(policy)
    jobs, end = read_trace(Path(args.trace), args.service_time, spread=args.spread)
    _refuse_what_takes_for_ever(end + sum(job.service_time for job in jobs), args.interval)
    decisions: list[Decision] = []

    def hear(_: str, made: "Decision") -> None:
        if args.verbose or made.wanted != made.from_:
            decisions.append(made)

    scaler = Scaler({_POOL: policy}, None if total is None else max(total, policy.min), hear)
    start = {_POOL: policy.min}
    outcomes = simulate(
        {_POOL: jobs}, scaler, start, interval=args.interval, start_up=args.start_up, until=end, at_once=at_once
    )
    outcome = outcomes[_POOL]
    if args.format == "json":
        print(json.dumps(_document(decisions, outcome), indent=2))
    else:
        _draw(decisions, outcome)
    return DONE


def _configured(name: str, path: str | None) -> "tuple[AutoscalePolicy, int | None, int]":
    """How a pool is scaled, what the budget leaves it while the others keep to their least, and how many jobs one
    worker does at a time. Raises ConfigError and UsageError."""
    import os
    from pathlib import Path

    from chaperone_async.system.config.load import load
    from chaperone_async.system.config.problems import advise

    config = load(Path(path) if path else None, os.environ)
    pools = {pool.name: pool for pool in config.pools}
    if name not in pools:
        raise UsageError(f"cannot simulate pool {name!r}: there is none; {advise(name, pools)}")
    policy = pools[name].autoscale
    if policy is None:
        raise UsageError(f"cannot simulate pool {name!r}: it does not scale itself; add [pools.{name}.autoscale]")
    if policy.python is not None:
        raise UsageError(f"cannot simulate pool {name!r}: what {policy.python} says of a queue is not known here")
    others = sum(pool.autoscale.min for pool in config.pools if pool.autoscale is not None and pool.name != name)
    backend = pools[name].backend
    left = None if config.budget is None else config.budget - others
    return policy, left, 1 if backend is None else backend.at_once


def _refuse_contradictions(policy: "AutoscalePolicy") -> None:
    for number, option in ((policy.max, "--max"), (policy.max_step, "--max-step")):
        if number == 0:
            raise UsageError(f"cannot simulate with {option} 0: nobody could ever be started; write 1 or more")
    if policy.min > policy.max:
        raise UsageError(f"cannot simulate with --min {policy.min} over --max {policy.max}; write a --max to match")


def _refuse_what_takes_for_ever(seconds: float, interval: float) -> None:
    """One worker might have to do all the work."""
    if seconds / interval > _MOST_LOOKS:
        what = f"{seconds:.0f} s of arrivals and work are more than {_MOST_LOOKS} looks, one per {interval:g} s"
        raise UsageError(f"cannot simulate this: {what}; cut the trace shorter, or give a longer --interval")


def _document(decisions: "list[Decision]", outcome: "Outcome") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "decisions": [
            {
                "at": made.at,
                "from": made.from_,
                "wanted": made.wanted,
                "raw": made.raw,
                "steps": [step._asdict() for step in made.steps],
                "reason": made.reason,
                "sample": {key: value for key, value in asdict(made.sample).items() if key not in {"at", "running"}},
            }
            for made in decisions
        ],
        "summary": _summary(outcome),
    }


def _summary(outcome: "Outcome") -> dict[str, Any]:
    from chaperone_async.core.simulation import percentile

    waits = outcome.waits
    return {
        "jobs": len(waits) + outcome.left,
        "left": outcome.left,
        "wait_mean": round(sum(waits) / len(waits), 3) if waits else 0.0,
        "wait_p95": round(percentile(waits, 0.95), 3),
        "wait_max": round(max(waits, default=0.0), 3),
        "worker_seconds": round(outcome.worker_seconds, 3),
        "busy_seconds": round(outcome.busy_seconds, 3),
        "workers_most": outcome.most,
        "workers_started": outcome.started,
        "ended": round(outcome.ended, 3),
    }


def _draw(decisions: "list[Decision]", outcome: "Outcome") -> None:
    from chaperone_async.service.cli.table import Cell, Column, Table, print_line, print_table

    columns = (Column("At (s)", right=True), Column("Workers", right=True), Column("Why", long=True))
    rows: list[tuple[Cell, ...]] = [
        (Cell(f"{made.at:g}"), Cell(f"{made.from_} -> {made.wanted}"), Cell(made.reason)) for made in decisions
    ]
    if rows:
        print_table(Table(columns, rows))
    else:
        print_line(Cell("nothing was changed"))
    told = _summary(outcome)
    print_line(Cell(""))
    waiting = f"mean {told['wait_mean']:g} s, 95 % within {told['wait_p95']:g} s, longest {told['wait_max']:g} s"
    used = f"{told['worker_seconds']:g} worker-seconds, {told['busy_seconds']:g} of them at work"
    most = f"at most {told['workers_most']} at a time, {told['workers_started']} started"
    print_line(Cell(f"{told['jobs']} jobs waited: {waiting}", "head"))
    print_line(Cell(f"{used}; {most}", "head"))
    if outcome.left:
        print_line(Cell(f"{outcome.left} jobs were never taken", "bad"))


def _time(text: str) -> float:
    from chaperone_async.system.config.units import to_seconds

    seconds = to_seconds(text)
    if not 0 <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f'{text!r} is not a time; write seconds such as 5, or "500ms", "30s", "5m"')
    return seconds


def _some_time(text: str) -> float:
    seconds = _time(text)
    if seconds < 0.001:
        raise argparse.ArgumentTypeError(f"{text!r} is too short; write a time of 1ms or more")
    return seconds


def _target(text: str) -> float:
    """Jobs or a time: a bare number reads the same for both."""
    from chaperone_async.system.config.units import to_seconds

    target = to_seconds(text)
    if not 0 < target <= _LONGEST:
        raise argparse.ArgumentTypeError(f'{text!r} is not a target; write jobs such as 10, or a time such as "2s"')
    return target


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > _MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; write a whole number up to {_MOST_WORKERS}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share; write a number from 0 to 0.99, such as 0.1")
    return share
