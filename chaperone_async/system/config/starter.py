"""A `chaperone.toml` to begin with: it runs as it is, and its comments teach every key."""

from collections.abc import Iterator, Mapping
from typing import Any

from chaperone_async.system.config.effective import Values, file_defaults, pool_defaults
from chaperone_async.system.config.failed_jobs import FailedJobsTable
from chaperone_async.system.config.keys import Key, Table, keys_of
from chaperone_async.system.config.listeners import DEFAULT_TCP
from chaperone_async.system.config.model import FileTable, HttpTable, LogsTable, PoolTable, ShutdownTable
from chaperone_async.system.config.toml import key_path, literal
from chaperone_async.system.config.walk import is_later

_HEAD = """\
#:schema ./chaperone.schema.json
# Pools of queue workers, for chaperone to keep running. This file runs as it is, with workers that only count:
#   chaperone config check && chaperone up
# What is commented out shows a default, or an example. Times are seconds or "1h30m", sizes MB or "1.5GiB";
# ${NAME} and ${NAME:-default} are taken from the environment, $$ is a dollar.
# For completion in editors, by the first line: chaperone config schema > chaperone.schema.json

"""
_DEFAULTS = """\
# [defaults]
# Any key of a pool, for all pools: a pool's own come first, tables are merged key by key.
"""
_WORKER = 'n=0; while sleep 5; do n=$((n+1)); echo "{queue}: job $n done in slot {slot}"; done'
_POOL: Mapping[tuple[str, ...], Any] = {
    ("command",): ["sh", "-c", _WORKER],
    ("queue",): "emails",
    ("workers",): 2,
    ("health", "memory_limit"): "128MB",
}
_COLUMN, _WIDTH = 50, 120


def starter() -> str:
    defaults = file_defaults()
    sections = (
        _HEAD + _lines(FileTable, {}, defaults),
        "[http]\n" + _lines(HttpTable, {("listen",): [DEFAULT_TCP]}, defaults["http"]),
        "[shutdown]\n" + _lines(ShutdownTable, {("grace",): "25s"}, defaults["shutdown"]),
        "[logs]\n" + _lines(LogsTable, {}, defaults["logs"]),
        "[failed_jobs]\n" + _lines(FailedJobsTable, {}, defaults["failed_jobs"]),
        _DEFAULTS,
        "[pools.emails]\n" + _lines(PoolTable, _POOL, pool_defaults()),
    )
    return "\n".join(sections)


def _lines(table: type[Table], active: Mapping[tuple[str, ...], Any], defaults: Values) -> str:
    return "".join(f"{line}\n" for line in _tell(table, active, defaults, ()))


def _tell(
    table: type[Table], active: Mapping[tuple[str, ...], Any], defaults: Values, above: tuple[str, ...]
) -> Iterator[str]:
    """Of each key what is active, or else its default, or else an example; keys without any of these are left out."""
    for key in keys_of(table).values():
        path = (*above, key.key)
        if table is FileTable and (key.table is not None or key.key == "pools"):
            continue  # a section of its own
        if key.table is not None:
            yield ""
            yield f"# {'.'.join(path)}: {key.about.text}"
            yield from _tell(key.table, active, defaults.get(key.key, {}), path)
        elif path in active:
            yield from _line("", path, active[path], key.about.text)
        elif key.key in defaults:
            yield from _line("# ", path, defaults[key.key], key.about.text)
        elif _has_example(key):
            yield from _line("# ", path, key.about.example, f"{key.about.text} (example)")


def _has_example(key: Key) -> bool:
    return key.about.example is not None and not is_later(key.kind)


def _line(mark: str, path: tuple[str, ...], value: Any, about: str) -> Iterator[str]:
    assignment = f"{mark}{key_path(path)} = {literal(value)}"
    line = f"{assignment:<{_COLUMN}} # {about}"
    if len(assignment) <= _COLUMN and len(line) <= _WIDTH:
        yield line
    else:
        yield f"# {about}:"
        yield assignment
