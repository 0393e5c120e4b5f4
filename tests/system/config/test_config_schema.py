"""The JSON Schema of chaperone.toml says what the loader does."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.config.schema import make_schema
from tests.system.config.test_config_jobs import ALL
from tests.system.config.test_config_problems import POOL, WRONG, WRONG_OUTSIDE
from tests.system.config.test_config_values import DOCUMENTED

PROJECT = Path(__file__).parents[3]
SCHEMA = make_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
NOT_BY_TYPE = ('command = "echo \'x"', "health.interval = inf", 'http.tls = { cert = "x" }', 'user = "99999999999"')
"""A quote that is not closed, numbers that JSON and the system do not have, and a key that another one needs."""


def complaints(text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def properties(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema and schema["$ref"].endswith("Table"):
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return dict(schema.get("properties", {}))


def every_key(schema: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, inner in properties(schema).items():
        yield above + key, inner
        if not (above == "" and key == "defaults"):
            yield from every_key(inner, f"{above}{key}.")


def pool_keys() -> dict[str, dict[str, Any]]:
    return dict(every_key({"$ref": "#/$defs/PoolTable"}))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_key_is_described() -> None:
    keys = {**dict(every_key(SCHEMA)), **pool_keys()}
    assert [key for key, inner in keys.items() if "description" not in inner] == []


def documented_keys() -> Iterator[tuple[str, bool]]:
    """Of the README's tables: the first column, where `.path` goes on from the key before it. True: of a pool."""
    text = (PROJECT / "README.md").read_text()
    section = text[text.index("### Configuration") : text.index("### Commands")]
    of_file, of_pool = section.split("Of a pool, in", 1)
    for part, is_pool in ((of_file, False), (of_pool, True)):
        for row in re.findall(r"^\| (`[^|]*) \|", part, re.MULTILINE):
            table = ""
            for key in re.findall(r"`([^`]+)`", row):
                table = key.rpartition(".")[0] if not key.startswith(".") else table
                yield (table + key if key.startswith(".") else key), is_pool


def test_every_key_of_the_readme_is_in_it() -> None:
    of_file, of_pool = dict(every_key(SCHEMA)), pool_keys()
    documented = list(documented_keys())
    assert len(documented) > 50
    assert [key for key, is_pool in documented if key not in (of_pool if is_pool else of_file)] == []


def test_defaults_are_those_of_the_specification() -> None:
    keys, spec = pool_keys(), PoolSpec(name="", command=())
    assert keys["health.memory_limit"]["default"] == "512MB"
    assert keys["workers"]["default"] == spec.workers
    assert keys["restart.crash_loop.window"]["default"] == "5m"
    assert keys["restart.policy"]["default"] == spec.restart.mode
    assert "default" not in keys["min_ready"]
    assert dict(every_key(SCHEMA))["shutdown.grace"]["default"] == "30s"


@pytest.mark.parametrize("path", [*PROJECT.glob("docker/*.toml"), *PROJECT.glob("examples/**/*.toml")])
def test_examples_are_valid(path: Path) -> None:
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize("text", [DOCUMENTED, ALL, ""])
def test_what_the_loader_takes_is_valid(text: str) -> None:
    assert complaints(text) == []


@pytest.mark.parametrize(
    "line",
    [
        'workers = "${N:-5}"', 'essential = "${ESSENTIAL}"', 'health.interval = "${N}s"', 'queue = "${QUEUES}"',
        'health.ready = "${READY}"', 'env = { A = "$$5", B = 1.5 }', 'stop.signal = "TERM"', "user = 1000",
        'stop.signal = "sigterm"', 'workers = { min = "${MIN:-1}", max = "${MAX:-9}" }',
        'command = ["${PROGRAM}", "x"]', "job.backoff = 5", 'health.tcp = "[::1]:80{slot}"', 'health.interval = "0.1s"',
        'recycle.max_memory = "800kb"', 'rlimits = { nofile = "4096" }', 'env_file = ""', 'health.heartbeat = "0"',
    ],
)  # fmt: skip
def test_other_ways_to_write_a_value_are_valid(line: str) -> None:
    assert complaints(f"[pools.a]\n{line}") == []


@pytest.mark.parametrize("line", [line for line, _ in WRONG if line not in NOT_BY_TYPE])
def test_what_the_loader_refuses_by_type_is_not_valid(line: str) -> None:
    assert complaints(f"[pools.a]\n{line}" if line.startswith("command") else f"{POOL}{line}") != []


@pytest.mark.parametrize("line", [line for line, _ in WRONG_OUTSIDE if line not in NOT_BY_TYPE])
def test_what_the_loader_refuses_outside_the_pools_is_not_valid(line: str) -> None:
    assert complaints(f"{line}\n{POOL}") != []


@pytest.mark.parametrize(
    "text",
    ["pool.a = 1", "[pools.a]\nworkrs = 1", '[pools.all]\ncommand = "x"', '[pools."a b"]', "[pools.a.health]\nx = 1"],
)
def test_unknown_keys_and_names_are_not_valid(text: str) -> None:
    assert complaints(text) != []
