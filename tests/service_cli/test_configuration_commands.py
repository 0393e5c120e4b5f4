"""`init`, `config show` and `config schema`, as they are typed."""

import json
import os
import tomllib

import pytest

from chaperone_async.system.config.schema import make_schema
from tests.service_cli.conftest import Chaperone

POOL = '[defaults]\nworkers = 3\n[pools."a.b"]\ncommand = "sleep 1"\nenv.API_KEY = "hunter2"\n'


def test_init_writes_a_file_that_check_accepts_without_a_warning(chaperone: Chaperone) -> None:
    ended = chaperone("init")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "wrote chaperone.toml; next: chaperone config check && chaperone up\n"
    assert "1 pool, 0 warnings" in chaperone("config", "check").out
    assert os.listdir(chaperone.directory) == ["chaperone.toml"]


def test_init_replaces_a_file_only_by_force(chaperone: Chaperone) -> None:
    path = chaperone.write("mine")
    ended = chaperone("init")
    assert ended.code == 1
    assert ended.err == "chaperone: cannot write chaperone.toml: it is there already; name another, or give --force\n"
    assert path.read_text() == "mine"
    assert chaperone("init", "--force").code == 0
    assert "[pools.emails]" in path.read_text()
    assert os.listdir(chaperone.directory) == ["chaperone.toml"]


def test_init_prints_what_it_would_write(chaperone: Chaperone) -> None:
    printed = chaperone("init", "--print")
    assert not os.listdir(chaperone.directory)
    chaperone("init", "other.toml")
    assert (chaperone.directory / "other.toml").read_text() == printed.out


@pytest.mark.parametrize(
    ("where", "why"),
    [("nowhere/x.toml", "no such file or directory; name a file in"), (".", "it is a directory; name a")],
)
def test_init_says_where_it_cannot_write(chaperone: Chaperone, where: str, why: str) -> None:
    ended = chaperone("init", where)
    assert ended.code == 1
    assert ended.err.startswith(f"chaperone: cannot write {where}: {why}")
    assert ended.err.count("\n") == 1


def test_config_show_is_toml_with_the_origin_of_each_value(chaperone: Chaperone) -> None:
    chaperone.write(POOL)
    ended = chaperone("config", "show", CHAPERONE_NAME="me")
    assert (ended.code, ended.err) == (0, "")
    lines = {line.partition(" = ")[0]: line.partition("# ")[2] for line in ended.out.splitlines() if " = " in line}
    assert (lines["name"], lines["workers"]) == ("$CHAPERONE_NAME", "chaperone.toml [defaults]")
    assert (lines["command"], lines["health.interval"]) == ("chaperone.toml", "default")
    table = tomllib.loads(ended.out)["pools"]["a.b"]
    assert (table["workers"], table["env"], table["restart"]["policy"]) == (3, {"API_KEY": "***"}, "always")


def test_config_show_as_json_has_value_and_origin_by_key(chaperone: Chaperone) -> None:
    path = chaperone.write(POOL)
    ended = chaperone("config", "show", "--format", "json")
    assert "hunter2" not in ended.out
    document = json.loads(ended.out)
    assert document["source"] == str(path)
    assert document["settings"]['pools."a.b".command'] == {"value": ["sleep", "1"], "from": "chaperone.toml"}
    assert document["settings"]["shutdown.grace"] == {"value": "30s", "from": "default"}


def test_config_show_refuses_what_check_refuses(chaperone: Chaperone) -> None:
    chaperone.write("workers = 5")
    ended = chaperone("config", "show")
    assert (ended.code, ended.out) == (2, "")
    assert "workers: unknown key" in ended.err


def test_config_schema_prints_the_schema(chaperone: Chaperone) -> None:
    ended = chaperone("config", "schema")
    assert (ended.code, json.loads(ended.out)) == (0, make_schema())


@pytest.mark.parametrize("words", ["init", "config show", "config schema"])
def test_each_command_has_help_with_an_example(chaperone: Chaperone, words: str) -> None:
    assert f"example:\n  chaperone {words}" in chaperone(*words.split(), "--help").out
