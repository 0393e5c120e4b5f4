"""What `config show` stands on: each value as it takes effect, where it comes from, and no secret."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaperone_async.service.cli.configuration import toml_lines
from chaperone_async.system.config import units
from chaperone_async.system.config.effective import file_values, flat, pool_values
from chaperone_async.system.config.keys import Table, keys_of
from chaperone_async.system.config.load import load
from chaperone_async.system.config.model import FileTable, PoolTable
from chaperone_async.system.config.secrets import mask
from chaperone_async.system.config.show import explain
from chaperone_async.system.config.walk import is_later
from tests.system.config.conftest import Load, Write
from tests.system.config.test_config_values import DOCUMENTED


def shown(path: Path, **env: str) -> dict[str, tuple[Any, str]]:
    return {".".join(setting.keys): (setting.value, setting.origin) for setting in explain(path, env)[1]}


def known(table: type[Table]) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for key in keys_of(table).values():
        if key.table is not None and key.table is not PoolTable:
            found |= {(key.key, *rest) for rest in known(key.table)}
        elif not is_later(key.kind):
            found.add((key.key,))
    return found


SCALED = """
[pools.a]
command = "w"
workers = { min = 1, max = 3 }
autoscale.python = "app:workers"
backlog.source = { redis_list = "redis://localhost/0#a" }
"""


def test_every_key_of_the_model_is_told(loaded: Load) -> None:
    every = DOCUMENTED.replace("--queue={queue}", "{timeout} {tries} {backoff} {sleep} {max_exceptions}")
    every = every.replace("workers = 5", 'workers = 5\ngroup = "g"\nenv = {}\nrlimits = {}').replace('group = ""', "")
    every = every.replace('env = { A = "1", B = 2 }', "").replace("rlimits = { nofile = 4096, core", "#")
    config = loaded(every.replace("[pools.email-workers.health]", """
        [pools.email-workers.job]
        timeout = 1
        tries = 1
        backoff = 1
        sleep = 1
        max_exceptions = 1
        [pools.email-workers.health]"""), CHAPERONE_TOKEN="t")  # fmt: skip
    told = set(flat(pool_values(config.pools[0])))
    scaled = loaded(SCALED).pools[0]
    told |= set(flat(pool_values(scaled)))
    assert known(PoolTable) - told == {("env",), ("rlimits",), ("backend",), ("python",), ("autoscale", "source")}
    config = replace(config, budget=5)
    told = {keys if keys[:2] != ("http", "users") else keys[:2] for keys in flat(file_values(config))}
    assert known(FileTable) - told == {("include",), ("defaults",), ("pools",)}


def test_each_value_says_where_it_comes_from(write: Write) -> None:
    write('[pools.b]\ncommand = "b"\n[defaults]\nworkers = 2\nenv.A = "1"', "more.toml")
    path = write("""
        include = "more.toml"
        [shutdown]
        grace = "10s"
        [pools.a]
        command = "a"
        restart.policy = "never"
        env.B = "2"
    """)
    told = shown(path, CHAPERONE_NAME="me")
    assert told["name"] == ("me", "$CHAPERONE_NAME")
    assert told["watch"] == (False, "default")
    assert told["shutdown.grace"] == ("10s", "chaperone.toml")
    assert told["pools.a.command"] == (["a"], "chaperone.toml")
    assert told["pools.b.command"] == (["b"], "more.toml")
    assert told["pools.a.workers"] == (2, "more.toml [defaults]")
    assert told["pools.a.restart.policy"] == ("never", "chaperone.toml")
    assert told["pools.b.restart.policy"] == ("always", "default")
    assert (told["pools.a.env.A"], told["pools.a.env.B"]) == (("1", "more.toml [defaults]"), ("2", "chaperone.toml"))
    assert told["pools.a.stop.timeout"] == ("10s", "shutdown.grace")


def test_what_can_be_written_in_two_ways_has_its_origin_in_both(write: Write) -> None:
    told = shown(write(SCALED))
    assert (told["pools.a.workers.min"], told["pools.a.workers.max"]) == ((1, "chaperone.toml"), (3, "chaperone.toml"))
    assert told["pools.a.backlog.source"][1] == "chaperone.toml"
    told = shown(write(SCALED.replace("backlog.source", "autoscale.source")))
    assert told["pools.a.backlog.source"][1] == "chaperone.toml"


def test_the_socket_that_was_not_listed_is_said_to_be_added(write: Write) -> None:
    pool = '[pools.a]\ncommand = "a"\n'
    listen, origin = shown(write('http.listen = "127.0.0.1:1"\n' + pool))["http.listen"]
    assert (len(listen), origin) == (2, "chaperone.toml, and the unix socket that is always there")
    assert shown(write('http.listen = "unix:/x"\n' + pool))["http.listen"] == (["unix:/x"], "chaperone.toml")
    listen, origin = shown(write(pool), CHAPERONE_HTTP_LISTEN="unix:/y")["http.listen"]
    assert (listen, origin) == (["unix:/y"], "$CHAPERONE_HTTP_LISTEN")


def test_no_secret_is_told(write: Write) -> None:
    path = write("""
        http = { token = "t0kentext", users = { admin = '$scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA' } }
        [pools.a]
        command = "w --as ${API_TOKEN} --on redis://:pw0rd@host/1"
        env = { DATABASE_URL = "postgres://me:pw1rd@host/db", API_KEY = "k3ytext", PLAIN = "seen" }
        crash_records = "${PIN_SECRET}"
        health.exec = ["check", "${API_TOKEN}", "${OTHER_TOKEN:-f4llback}"]
    """)
    settings = shown(path, API_TOKEN="s3cret", PIN_SECRET="777")
    told = repr(settings)
    assert "seen" in told
    for secret in ("t0kentext", "hash", "pw0rd", "pw1rd", "k3ytext", "s3cret", "f4llback", "777"):
        assert secret not in told
    assert settings["pools.a.health.exec"][0] == ["check", "***", "***"]
    assert settings["pools.a.env.DATABASE_URL"][0] == "postgres://***@host/db"
    assert settings["pools.a.env.PLAIN"][0] == "seen"


def test_a_default_is_told_even_where_a_secret_happens_to_be_the_same(write: Write) -> None:
    path = write('[pools.a]\ncommand = "w"\nenv.X = "${MY_KEY}"')
    assert shown(path, MY_KEY="5")["pools.a.restart.crash_loop.count"] == (5, "default")
    assert shown(path, MY_KEY="5")["pools.a.env.X"][0] == "***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("abcd", "***"), ("xabcdx", "x***x"), ("abc", "***"), ("xabcx", "xabcx"),
        ("amqp://u:p@h", "amqp://***@h"), ("redis://:p@ss@h", "redis://***@h"),
        ("a://u:p@h,a://v:q@i", "a://***@h,a://***@i"), ("abcdefg", "***"), ("http://h/a:b@c", "http://h/a:b@c"),
    ],
)  # fmt: skip
def test_a_text_is_masked(text: str, masked: str) -> None:
    assert mask(text, {"abcd", "abc", "abcdefg"}) == masked


def test_what_is_shown_has_the_same_effect_when_it_is_read_again(write: Write, loaded: Load) -> None:
    odd = """
        [pools."b.c"]
        command = ["sh", "-c", 'echo $${HOME} $$$$ "{pool}" \\\\ é']
        queue = ["x", "y"]
        user = 1000
        umask = "077"
        rlimits = { nofile = "unlimited" }
        health = { interval = 1.5, memory_limit = "1.5GiB", exec = ["check", "a b"] }
        recycle = { max_memory = "1234567B", max_time = "36h" }
        restart.backoff.factor = 1.5
    """
    path = write(DOCUMENTED.replace("users = {", "#") + odd)
    config, settings = explain(path, {})
    again = loaded("\n".join(toml_lines(settings)))
    assert again.pools == tuple(replace(pool, min_ready=pool.least_ready) for pool in config.pools)
    assert (again.grace, again.listen, again.name, again.tls) == (config.grace, config.listen, config.name, config.tls)


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000) | st.floats(0, 1e9))
def test_a_duration_that_was_written_is_read_as_it_was(seconds: float) -> None:
    assert units.Duration.parse(units.Duration.write(seconds)) == seconds


@given(st.integers(0, 1 << 60))
def test_a_size_that_was_written_is_read_as_it_was(size: int) -> None:
    assert abs(units.Size.parse(units.Size.write(size)) - size) <= size >> 52


def test_durations_and_sizes_are_written_legibly() -> None:
    assert [units.Duration.write(seconds) for seconds in (0, 0.5, 30, 90, 5400, 172800, 0.0001)] == [
        0, "500ms", "30s", "1m30s", "1h30m", "2d", 0.0001,
    ]  # fmt: skip
    assert [units.Size.write(size) for size in (0, 512 * 10**6, 10 << 20, 3 << 29, 7)] == [
        0, "512MB", "10MiB", "1536MiB", "7B",
    ]  # fmt: skip


def test_all_files_that_were_read_are_known(write: Write) -> None:
    write('[pools.b]\ncommand = "b"', "conf.d/b.toml")
    path = write('include = ["conf.d/*.toml"]\n[pools.a]\ncommand = "a"')
    assert load(path, {}).files == (str(path.absolute()), str(path.absolute().parent / "conf.d/b.toml"))


@pytest.mark.parametrize("key", ["backlog", "autoscale"])
def test_passwords_of_sources_and_in_queries_are_not_told(write: Write, key: str) -> None:
    text = """
        [pools.a]
        command = "w"
        workers = { min = 1, max = 2 }
        autoscale.target = 5
        backlog.source = [
            { sql = "postgresql://u:hidden1@h/db", query = "select 1" },
            { http = "http://h/x?token=hidden2&a=1" },
            { command = ["./d", "--dsn=postgres://u:hidden3@h", "${MY_TOKEN}"] },
        ]
    """
    path = write(text.replace("backlog.", f"{key}."))
    told = str(shown(path, MY_TOKEN="hidden4"))
    assert "hidden" not in told
    assert "postgresql://***@h/db" in told
