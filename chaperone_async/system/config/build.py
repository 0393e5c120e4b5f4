"""From a pool's table to its `PoolSpec`. Keys that were not written get the defaults of `core.spec`."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar, get_args

from chaperone_async.core.demand import AutoscalePolicy
from chaperone_async.core.spec import (
    BackendUse,
    BacklogPolicy,
    Backoff,
    Callbacks,
    CrashLoop,
    HealthPolicy,
    JobOptions,
    Launch,
    LogPolicy,
    PoolSpec,
    RecyclePolicy,
    RestartPolicy,
    SourceSpec,
    StopPolicy,
)
from chaperone_async.system.backends.protocol import Plan
from chaperone_async.system.config import units
from chaperone_async.system.config.keys import Table, keys_of
from chaperone_async.system.config.model import PoolTable, RestartTable, StopTable
from chaperone_async.system.config.sources import OPTIONS, SourceKind, SourceTable
from chaperone_async.system.config.watch import digest_of

PolicyT = TypeVar("PolicyT", HealthPolicy, Backoff, CrashLoop, RecyclePolicy, StopPolicy, LogPolicy, JobOptions)


def build_pool(name: str, table: PoolTable, grace: float, plan: Plan | None = None) -> PoolSpec:
    """`plan`: the backend's. Without it, and without a command in the table, the spec has none: that is for the caller
    to refuse."""
    given = _given(table, "workers", "min_ready", "max_surge", "essential", "on_fatal", "crash_records")
    if table.workers is not None:
        given["workers"], given["max_workers"] = int(table.workers), table.workers.max
    if table.queue is not None:
        given["queues"] = tuple(table.queue)
    if table.pause is not None and table.pause.mode is not None:
        given["pause"] = table.pause.mode
    return PoolSpec(
        name=name,
        command=tuple(table.command or ()) if plan is None else plan.command,
        launch=_build_launch(table, () if plan is None else plan.env),
        health=_build_health(table, plan),
        restart=_build_restart(table.restart),
        recycle=build_policy(RecyclePolicy, table.recycle),
        stop=_build_stop(table.stop, grace, plan),
        autoscale=_build_autoscale(table),
        backlog=_build_backlog(table),
        backend=None if plan is None or table.backend is None else use_of(str(table.backend), table, plan),
        job=build_policy(JobOptions, table.job),
        logs=build_policy(LogPolicy, table.logs),
        callbacks=Callbacks() if table.callback_timeout is None else Callbacks(timeout=float(table.callback_timeout)),
        **given,
    )


def use_of(name: str, table: PoolTable, plan: Plan) -> BackendUse:
    written = (table.backends or {}).get(name)
    return BackendUse(
        name=name,
        attendant=plan.attendant,
        settings=json.dumps(plan.settings, sort_keys=True),
        python=str(table.python) if table.python else None,
        options=() if written is None else tuple(_written(written)),
        can=frozenset(plan.can),
        honours=plan.honours,
        reports=plan.reports,
        beats=plan.beats,
        at_once=plan.at_once,
        keeps_failed=plan.keeps_failed,
        pause_signal=plan.pause_signal,
        warning=plan.warning,
    )


def _written(table: Table) -> Iterator[tuple[str, Any]]:
    for key in keys_of(type(table)).values():
        value = _plain(getattr(table, key.name))
        if value is not None:
            yield key.key, value


def _build_health(table: PoolTable, plan: Plan | None) -> HealthPolicy:
    """Who says that it is ready is ready then, if nothing else is wanted."""
    policy = build_policy(HealthPolicy, table.health)
    stated = table.health is not None and table.health.ready is not None
    return replace(policy, ready="notify") if plan is not None and plan.reports and not stated else policy


def _build_autoscale(table: PoolTable) -> AutoscalePolicy | None:
    if table.autoscale is None:
        return None
    workers = units.Workers(1) if table.workers is None else table.workers
    given = _given(table.autoscale, *({field.name for field in fields(AutoscalePolicy)} - {"min", "max"}))
    if "python" in given:
        given.setdefault("strategy", "python")
    return AutoscalePolicy(min=int(workers), max=workers.max or max(1, int(workers)), **given)


def _build_backlog(table: PoolTable) -> BacklogPolicy:
    backlog, scaled = table.backlog, table.autoscale
    tables = (backlog.source if backlog else None) or (scaled.source if scaled else None) or ()
    sources = tuple(source for source in map(_build_source, tables) if source is not None)
    return BacklogPolicy(sources=sources, **_given(backlog, "combine", "interval", "timeout"))


def _build_source(table: SourceTable) -> SourceSpec | None:
    """None where no kind is given: that is for the caller to refuse."""
    for kind in get_args(SourceKind):
        value = _plain(getattr(table, kind))
        if value:
            options = _given(table, *OPTIONS.get(kind, ()))
            address = value if isinstance(value, str) else ""
            return SourceSpec(kind, address, tuple((options if address else {"argv": value}).items()))
    return None


def _build_launch(table: PoolTable, planned: tuple[tuple[str, str], ...] = ()) -> Launch:
    own = {str(name): str(value) for name, value in (table.env or {}).items()}
    return Launch(
        env=tuple({**dict(planned), **own}.items()),
        rlimits=tuple((str(name), int(limit)) for name, limit in (table.rlimits or {}).items()),
        env_file_digest=digest_of(table.env_file) if table.env_file else None,
        **_given(table, "env_file", "directory", "user", "group", "umask", "nice"),
    )


def _build_restart(table: RestartTable | None) -> RestartPolicy:
    if table is None:
        return RestartPolicy()
    return RestartPolicy(
        backoff=build_policy(Backoff, table.backoff),
        crash_loop=build_policy(CrashLoop, table.crash_loop),
        **_given(table, "mode", "success_codes", "start_seconds"),
    )


def _build_stop(table: StopTable | None, grace: float, plan: Plan | None) -> StopPolicy:
    """The backend's own ladder, unless another signal is wanted."""
    policy = build_policy(StopPolicy, table)
    if plan is not None and (table is None or table.signal is None):
        policy = replace(policy, signal=plan.stop_signal, then=plan.then)
    if table is not None and table.timeout is not None:
        return policy
    return replace(policy, timeout=max(0.0, min(policy.timeout, grace - sum(rung.seconds for rung in policy.then))))


def build_policy(policy: type[PolicyT], table: Table | None) -> PolicyT:
    """The table's keys that are fields of the policy, of the same name."""
    return policy(**_given(table, *(field.name for field in fields(policy))))


def _given(table: Table | None, *names: str) -> dict[str, Any]:
    """What was written, as plain values; empty text counts as not written, as from `${NAME:-}`."""
    values = ((name, _plain(getattr(table, name, None))) for name in names)
    return {name: value for name, value in values if value is not None and value != ""}


def _plain(value: Any) -> Any:
    """The built-in that a type of `units` or `words` stands on."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    return value
