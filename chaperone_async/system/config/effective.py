"""The value of every key, defaults included, as one would write it into the file."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_origin

from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.config.failed_jobs import KEEP
from chaperone_async.system.config.keys import Table, is_table, keys_of
from chaperone_async.system.config.listeners import DEFAULT_TCP
from chaperone_async.system.config.load import (
    DEFAULT_GRACE,
    DEFAULT_LOG_FORMAT,
    DEFAULT_LOG_LEVEL,
    DEFAULT_SOCKET_MODE,
    Config,
)
from chaperone_async.system.config.model import FileTable, PoolTable
from chaperone_async.system.config.units import Duration, SocketMode, Workers

Values = dict[str, Any]
"""By key, tables within tables. What has no value has no key."""


def pool_values(spec: PoolSpec) -> Values:
    workers: int = spec.workers
    if spec.max_workers is not None:
        workers = Workers(spec.workers)
        workers.max = spec.max_workers
    otherwise = SimpleNamespace(
        workers=workers,
        backend=None if spec.backend is None else spec.backend.name,
        python=None if spec.backend is None else spec.backend.python,
        command=spec.command if spec.backend is None else None,  # which is the backend's
        backlog=_backlog(spec),
        autoscale=spec.autoscale,
        queue=spec.queues,
        min_ready=spec.least_ready,
        env=dict(spec.launch.env),
        rlimits=dict(spec.launch.rlimits),
        callback_timeout=spec.callbacks.timeout,
        pause=SimpleNamespace(mode=spec.pause),
    )
    values = _values(PoolTable, otherwise, spec, spec.launch)
    if spec.backend is not None and spec.backend.options:
        values[spec.backend.name] = {
            key: list(value) if isinstance(value, tuple) else value for key, value in spec.backend.options
        }
    return values


def _backlog(spec: PoolSpec) -> SimpleNamespace:
    """Sources as tables: what is told of them is named by their kind."""
    sources = [
        {source.kind: dict(source.options)["argv"]}
        if not source.address
        else {source.kind: source.address, **dict(source.options)}
        for source in spec.backlog.sources
    ]
    policy = spec.backlog
    return SimpleNamespace(source=sources, combine=policy.combine, interval=policy.interval, timeout=policy.timeout)


def pool_defaults() -> Values:
    """Of the keys whose default does not follow from others."""
    values = pool_values(PoolSpec(name="", command=()))
    del values["min_ready"]
    return values


def file_values(config: Config) -> Values:
    """Without the pools."""
    source = SimpleNamespace(
        name=config.name,
        watch=config.watch,
        http=SimpleNamespace(
            listen=config.listen,
            socket_mode=config.socket_mode,
            token=config.token,
            users=dict(config.users),
            tls=config.tls,
        ),
        shutdown=SimpleNamespace(grace=config.grace),
        logs=SimpleNamespace(format=config.log_format, level=config.log_level),
        budget=SimpleNamespace(max_workers=config.budget),
        failed_jobs=SimpleNamespace(path=_text(config.failed_jobs.path), keep=config.failed_jobs.keep),
    )
    return _values(FileTable, source)


def file_defaults() -> Values:
    """Of the keys whose default is the same everywhere, without the pools."""
    return {
        "watch": False,
        "http": {"listen": [DEFAULT_TCP], "socket_mode": SocketMode.write(DEFAULT_SOCKET_MODE)},
        "shutdown": {"grace": Duration.write(DEFAULT_GRACE)},
        "logs": {"format": DEFAULT_LOG_FORMAT, "level": DEFAULT_LOG_LEVEL},
        "failed_jobs": {"keep": KEEP},
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _values(table: type[Table], *sources: object) -> Values:
    """Each key's from the first source that has it."""
    found: Values = {}
    for key in keys_of(table).values():
        value = next((getattr(source, key.name) for source in sources if hasattr(source, key.name)), None)
        if value is None or value in ((), {}, []):
            continue
        if (written := _values(key.table, value) if key.table else in_file(key.kind, value)) != {}:
            found[key.key] = written
    return found


def in_file(kind: Any, value: Any) -> Any:
    """One value of this type of the model."""
    if get_origin(kind) is tuple:
        if is_table(get_args(kind)[0]):
            return list(value)
        return [in_file(get_args(kind)[0], item) for item in value]
    if get_origin(kind) is dict:
        return {name: in_file(get_args(kind)[1], item) for name, item in value.items()}
    if hasattr(kind, "write"):
        return kind.write(value)
    return list(value) if isinstance(value, tuple) else value


def flat(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """By path: `("stop", "timeout")`."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in values.items():
        found |= flat(value, (*above, key)) if isinstance(value, dict) else {(*above, key): value}
    return found
