"""The configuration as it takes effect, with where each value comes from, and without its secrets."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.config.effective import file_values, flat, pool_defaults, pool_values
from chaperone_async.system.config.keys import Table, keys_of
from chaperone_async.system.config.layers import Layer, nearest
from chaperone_async.system.config.load import ENVIRONMENT, Config, Reading, load_reading
from chaperone_async.system.config.model import FileTable, HttpTable, PoolTable
from chaperone_async.system.config.secrets import MASKED, is_secret_key, mask

DEFAULT = "default"
_LISTEN = ("http", "listen")
_VARIABLES = {
    ("name",): "$CHAPERONE_NAME",
    _LISTEN: "$CHAPERONE_HTTP_LISTEN",
    ("http", "token"): "$CHAPERONE_TOKEN",
}
_WRITTEN_AS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("workers", "min"): ("workers",),
    ("backlog", "source"): ("autoscale", "source"),
}


class Setting(NamedTuple):
    """`value` is what one would write into a file. `origin`: a file, its `[defaults]`, a variable, `default`, or, of a
    default that is not always the same, what it follows from."""

    keys: tuple[str, ...]
    value: Any
    origin: str


def explain(path: Path | None, env: Mapping[str, str]) -> tuple[Config, list[Setting]]:
    """Raises ConfigError."""
    config, reading = load_reading(path, env)
    settings = [*_of_file(config, reading), *_of_pools(config, reading)]
    return config, [setting._replace(value=_masked(setting, config.hidden)) for setting in settings]


def _of_file(config: Config, reading: Reading) -> Iterator[Setting]:
    listed = (reading.whole.http or HttpTable()).listen
    for keys, value in flat(file_values(config)).items():
        at = nearest(reading.files, _names(FileTable, keys))
        origin = DEFAULT if at is None else _VARIABLES[keys] if at == ENVIRONMENT else at.file
        if keys == ("name",) and at is None:
            origin = "the host's name"
        if keys == ("failed_jobs", "path") and at is None:
            origin = "the state directory"
        if keys == _LISTEN and listed is not None and len(config.listen) > len(set(listed)):
            origin += ", and the unix socket that is always there"
        yield Setting(keys, value, origin)


def _of_pools(config: Config, reading: Reading) -> Iterator[Setting]:
    for spec, layers in zip(config.pools, reading.stacks, strict=True):
        for keys, value in flat(pool_values(spec)).items():
            yield Setting(("pools", spec.name, *keys), value, _origin(spec, keys, layers))


def _origin(spec: PoolSpec, keys: tuple[str, ...], layers: tuple[Layer, ...]) -> str:
    ways = [keys, _WRITTEN_AS.get(keys, keys)]
    at = next((at for way in ways if (at := nearest(layers, _names(PoolTable, way)))), None)
    if at is not None:
        return at.file if at == layers[0].at else f"{at.file} [defaults]"
    if keys == ("stop", "timeout") and flat(pool_defaults())[keys] != flat(pool_values(spec))[keys]:
        return "shutdown.grace"
    return "the backend" if keys[0] == "env" else DEFAULT


def _names(table: type[Table], keys: tuple[str, ...]) -> list[str]:
    """The names in our code of a path in the file; entries of a dictionary are their own."""
    first, *rest = keys
    known = keys_of(table).get(first)
    if known is None:
        return [str(table.others), *keys]
    return [known.name, *(_names(known.table, tuple(rest)) if known.table and rest else rest)]


def _masked(setting: Setting, hidden: frozenset[str]) -> Any:
    if setting.origin == DEFAULT:  # the same for everyone, even where somebody's secret happens to be 5
        return setting.value
    return MASKED if is_secret_key(setting.keys) else _without(setting.value, hidden)


def _without(value: Any, hidden: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without(item, hidden) for item in value]
    return mask(str(value), hidden) if isinstance(value, str) or str(value) in hidden else value
