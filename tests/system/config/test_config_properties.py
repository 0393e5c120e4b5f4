"""Whatever is written where: a Config or a ConfigError, and no third thing."""

import json
import math
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chaperone_async.errors import ConfigError
from chaperone_async.service.cli.configuration import toml_lines
from chaperone_async.system.config.keys import Table, keys_of
from chaperone_async.system.config.lint import lint
from chaperone_async.system.config.load import Config, load
from chaperone_async.system.config.model import FileTable, PoolTable
from chaperone_async.system.config.show import explain
from tests.system.config.test_config_schema import VALIDATOR


def known_keys(table: type[Table], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key in keys_of(table).values():
        keys = (*prefix, key.key)
        yield keys
        if key.table is not None:
            yield from known_keys(key.table, keys)


PLACES = [*known_keys(FileTable), *known_keys(PoolTable, ("pools", "a")), ("pools", "a", "env", "X"), ("pools", "all")]
NEARLY_RIGHT = st.sampled_from(
    [
        "5",
        "5s",
        "-1",
        "1h30m",
        "512MB",
        "${X}",
        "${Y:-7}",
        "$$",
        "a 'b",
        "SIGTERM",
        "022",
        "unix:/s",
        "[::1]:1",
        "m:f",
        "",
    ]
)
TEXTS = NEARLY_RIGHT | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.booleans() | st.integers() | st.just(10**500) | st.floats() | st.dates() | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def to_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_toml(str(key))} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    return hex(value) if isinstance(value, int) and value >= 0 else str(value)


def place(table: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        table = table.setdefault(key, {}) if isinstance(table.get(key, {}), dict) else {}
    table[keys[-1]] = value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([(("pools", "a", "env", "X"), 10**5000)])
@example([(("pools", "a", "nice"), 10**400), (("pools", "a", "stop", "timeout"), 10**400)])
@given(st.lists(st.tuples(st.sampled_from(PLACES) | st.tuples(TEXTS, TEXTS), VALUES), max_size=4))
def test_any_values_in_any_places_give_a_configuration_or_a_configuration_error(
    tmp_path: Path, placed: list[tuple[tuple[str, ...], Any]]
) -> None:
    table: dict[str, Any] = {"pools": {"a": {"command": "true"}}}
    for keys, value in placed:
        place(table, keys, value)
    table.pop("include", None)
    path = tmp_path / "chaperone.toml"
    path.write_text("\n".join(f"{to_toml(key)} = {to_toml(value)}" for key, value in table.items()), "utf-8")
    with suppress(ConfigError):
        config = load(path, {"X": "1"})
        assert isinstance(config, Config)
        assert all(isinstance(warning, str) for warning in lint(config))
        shown = tomllib.loads("\n".join(toml_lines(explain(path, {"X": "1"})[1])))
        assert list(shown["pools"]) == [pool.name for pool in config.pools]
        assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(path.read_text("utf-8")))] == []
