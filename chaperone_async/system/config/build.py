"""From a pool's table to its `PoolSpec`. Keys that were not written get the defaults of `core.spec`."""

from dataclasses import fields, replace
from typing import Any, TypeVar

from chaperone_async.core.spec import (
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
    StopPolicy,
)
from chaperone_async.system.config.keys import Table
from chaperone_async.system.config.model import PoolTable, RestartTable, StopTable
from chaperone_async.system.config.watch import digest_of

PolicyT = TypeVar("PolicyT", HealthPolicy, Backoff, CrashLoop, RecyclePolicy, StopPolicy, LogPolicy, JobOptions)


def build_pool(name: str, table: PoolTable, grace: float) -> PoolSpec:
    """Without a command in the table, the spec has none: that is for the caller to refuse."""
    given = _given(table, "workers", "min_ready", "max_surge", "essential", "on_fatal", "crash_records")
    if table.queue is not None:
        given["queues"] = tuple(table.queue)
    if table.pause is not None and table.pause.mode is not None:
        given["pause"] = table.pause.mode
    return PoolSpec(
        name=name,
        command=tuple(table.command or ()),
        launch=_build_launch(table),
        health=_build(HealthPolicy, table.health),
        restart=_build_restart(table.restart),
        recycle=_build(RecyclePolicy, table.recycle),
        stop=_build_stop(table.stop, grace),
        job=_build(JobOptions, table.job),
        logs=_build(LogPolicy, table.logs),
        callbacks=Callbacks() if table.callback_timeout is None else Callbacks(timeout=float(table.callback_timeout)),
        **given,
    )


def _build_launch(table: PoolTable) -> Launch:
    return Launch(
        env=tuple((str(name), str(value)) for name, value in (table.env or {}).items()),
        rlimits=tuple((str(name), int(limit)) for name, limit in (table.rlimits or {}).items()),
        env_file_digest=digest_of(table.env_file) if table.env_file else None,
        **_given(table, "env_file", "directory", "user", "group", "umask", "nice"),
    )


def _build_restart(table: RestartTable | None) -> RestartPolicy:
    if table is None:
        return RestartPolicy()
    return RestartPolicy(
        backoff=_build(Backoff, table.backoff),
        crash_loop=_build(CrashLoop, table.crash_loop),
        **_given(table, "mode", "success_codes", "start_seconds"),
    )


def _build_stop(table: StopTable | None, grace: float) -> StopPolicy:
    policy = _build(StopPolicy, table)
    if table is not None and table.timeout is not None:
        return policy
    return replace(policy, timeout=min(policy.timeout, grace))


def _build(policy: type[PolicyT], table: Table | None) -> PolicyT:
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
