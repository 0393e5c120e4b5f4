"""Which table a value comes from: a pool's own, `[defaults]`, or another file's."""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import msgspec

from chaperone_async.system.backends.registry import NO_BACKEND
from chaperone_async.system.config.keys import Table
from chaperone_async.system.config.model import FileTable, PoolTable
from chaperone_async.system.config.problems import Place, Problems

TableT = TypeVar("TableT", bound=Table)


class Layer(NamedTuple):
    at: Place
    table: PoolTable


def merge(over: TableT, base: TableT) -> TableT:
    """`over` where it says something, `base` elsewhere; tables key by key."""
    merged: dict[str, Any] = {}
    for field in msgspec.structs.fields(over):
        own, inherited = getattr(over, field.name), getattr(base, field.name)
        if isinstance(own, Table) and isinstance(inherited, Table):
            merged[field.name] = merge(own, inherited)
        elif isinstance(own, dict) and isinstance(inherited, dict):
            both = {key: _merged(own[key], inherited[key]) for key in own.keys() & inherited.keys()}
            merged[field.name] = {**inherited, **own, **both}
        else:
            merged[field.name] = inherited if own is None else own
    return type(over)(**merged)


def combined(layers: tuple[Layer, ...]) -> PoolTable:
    """All of them in one. Of `command` and `backend`, which exclude each other, the pool's own stands alone."""
    table, own = reduce(merge, (layer.table for layer in layers), PoolTable()), layers[0].table
    if own.command and own.backend is None:
        table.backend = None
    if own.command is None and own.backend and str(own.backend) != NO_BACKEND:
        table.command = None
    return table


def _merged(over: Any, base: Any) -> Any:
    return merge(over, base) if isinstance(over, Table) else over


def stated(layers: tuple[Layer, ...], key: str) -> Place | None:
    """Where this key of a pool (such as `stop.timeout`) was written; None if it has its default."""
    at = nearest(layers, path_of(key.split(".")))
    return None if at is None else at.below(key)


def path_of(names: Sequence[str]) -> Sequence[str]:
    """Of a pool's key in our code: the backends' tables are one level deeper."""
    known = {field.name for field in msgspec.structs.fields(PoolTable)}
    return names if names[0] in known else ("backends", *names)


def nearest(layers: Iterable[tuple[Place, Table]], names: Sequence[str]) -> Place | None:
    """Of the table that says something here: the first; None if none does. An entry of a dictionary is a name, too."""
    for at, table in layers:
        value: Any = table
        for name in names:
            value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        if value is not None:
            return at
    return None


def refuse_repetition(files: list[tuple[Place, FileTable]], problems: Problems) -> None:
    """Each key, and each pool, belongs to one file: which of two would win is nothing to guess about."""
    owners: dict[tuple[str, ...], str] = {}
    for at, table in files:
        for keys in _written(table):
            if keys in owners:
                here = Place(at.file, (*at.keys, *keys))
                problems.add(here, f"is defined in {owners[keys]} already; keep it in one file only")
            owners.setdefault(keys, at.file)


def _written(table: Table) -> Iterator[tuple[str, ...]]:
    for field in msgspec.structs.fields(table):
        value = getattr(table, field.name)
        if isinstance(value, Table):
            yield from ((field.encode_name, *keys) for keys in _written(value))
        elif isinstance(value, dict) and field.name == table.others:
            yield from ((name, *keys) for name, other in value.items() for keys in _written(other))
        elif isinstance(value, dict):
            yield from ((field.encode_name, key) for key in value)
        elif value is not None:
            yield (field.encode_name,)
