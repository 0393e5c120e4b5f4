"""`init`, `config show`, `config schema` and `doctor`, as they are typed."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import pytest

from chaperone_async.system.config.schema import make_schema
from tests.service_cli.conftest import Chaperone, Serve

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


def test_config_check_shows_commands_without_their_secrets(chaperone: Chaperone) -> None:
    chaperone.write('[pools.a]\ncommand = "w redis://:hunter2@db/0 ${API_TOKEN}"\n')
    ended = chaperone("config", "check", API_TOKEN="s3cret")
    assert ended.code == 0
    assert ": w 'redis://***@db/0' '***'\n" in ended.out


def test_config_show_refuses_what_check_refuses(chaperone: Chaperone) -> None:
    chaperone.write("workers = 5")
    ended = chaperone("config", "show")
    assert (ended.code, ended.out) == (2, "")
    assert "workers: unknown key" in ended.err


def test_config_schema_prints_the_schema(chaperone: Chaperone) -> None:
    ended = chaperone("config", "schema")
    assert (ended.code, json.loads(ended.out)) == (0, make_schema())


@pytest.mark.parametrize("word", ["check", "schema"])  # short and long: at the end, and in the middle
def test_an_output_that_takes_no_more_is_told_in_one_line(chaperone: Chaperone, word: str) -> None:
    directory = chaperone.write(POOL).parent
    argv, env = chaperone.argv("config", word), chaperone.env
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            argv, cwd=directory, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    told = "chaperone: cannot write the output: no space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, told)


@pytest.mark.parametrize("words", ["init", "config show", "config schema", "doctor"])
def test_each_command_has_help_with_an_example(chaperone: Chaperone, words: str) -> None:
    assert f"example:\n  chaperone {words}" in chaperone(*words.split(), "--help").out


def test_doctor_tells_all_and_is_0_where_pools_can_run(chaperone: Chaperone) -> None:
    chaperone.write(f'http.listen = "unix:{chaperone.directory}/s"\n{POOL}')
    ended = chaperone("doctor")
    assert (ended.code, ended.err) == (0, "")
    checks = [line.split()[1] for line in ended.out.splitlines() if line.startswith(("ok", "warn"))]
    assert {"configuration", "pidfd", "orphans", "janitor", "oom", "memory", "descriptors", "users"} <= set(checks)
    assert f"{chaperone.directory}/chaperone.toml: 1 pool, 3 workers" in ended.out


def test_doctor_names_the_supervisor_that_listens_already(chaperone: Chaperone, serve: Serve) -> None:
    canned = serve({"/api/v1/status": (200, {"name": "orders", "pid": 7})})
    socket = serve({"/api/v1/status": (200, {"name": "orders", "pid": 7})}, unix=chaperone.directory / "s")
    address = canned.address.removeprefix("http://")
    chaperone.write(f'http.listen = ["{address}", "{socket.address}"]\n{POOL}')
    ended = chaperone("doctor", "--format", "json")
    document = json.loads(ended.out)
    found = {check["name"]: check for check in document["checks"]}
    for name in (address, socket.address):
        assert found[name] == {
            "name": name, "result": "ok", "found": "the supervisor 'orders' (pid 7) listens there", "advice": "",
        }  # fmt: skip
    assert (ended.code, document["result"] in {"ok", "warn"}) == (0, True)


def test_doctor_is_1_where_an_address_is_taken_by_something_else(chaperone: Chaperone, serve: Serve) -> None:
    address = serve({}).address.removeprefix("http://")
    chaperone.write(f'http.listen = "{address}"\n{POOL}')
    ended = chaperone("doctor")
    assert ended.code == 1
    assert f"taken by process {os.getpid()}" in ended.out
    assert "-> stop that, or choose another address in http.listen" in ended.out


def test_doctor_tells_of_the_machine_where_the_configuration_is_wrong(chaperone: Chaperone) -> None:
    ended = chaperone("doctor", "-c", "nowhere.toml")
    assert (ended.code, ended.err) == (1, "")
    assert "nowhere.toml: cannot read the configuration: no such file" in ended.out
    assert "descriptors" in ended.out


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Everyone may read what is here, unlike what is in pytest's own directories."""
    with TemporaryDirectory(prefix="chaperone-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody() -> list[str]:
    """What to put before a command so that it runs as a user without rights. Where this Python is out of such a user's
    reach, the right to read it is left."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    may_read = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    for prefix in (nobody, [*nobody, *may_read]):
        tried = subprocess.run([*prefix, sys.executable, "-c", "import msgspec"], capture_output=True, check=False)
        if tried.returncode == 0:
            return prefix
    pytest.skip("this Python cannot be run by another user")


@pytest.mark.skipif(os.geteuid() != 0 or not which("setpriv"), reason="needs root, to become somebody else")
def test_doctor_tells_nobody_what_only_root_could_do(chaperone: Chaperone, open_directory: Path) -> None:
    logs = f'mode = "file", path = "{open_directory}/x.log"'
    pool = f'[pools.a]\ncommand = "true"\nuser = "root"\nlogs = {{ {logs} }}\n'
    path = open_directory / "chaperone.toml"
    path.write_text(f'http.listen = "unix:{open_directory}/s"\n{pool}')
    ended = subprocess.run(
        [*as_nobody(), *chaperone.argv("doctor", "-c", str(path), "--format", "json")],
        env=chaperone.env, cwd="/", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, "")
    found = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    failed = {name for name, check in found.items() if check["result"] == "fail"}
    assert failed == {"users", "log files", f"unix:{open_directory}/s"}
    assert found["users"]["found"] == "only its own (runs as uid 65534)"
    assert "pool a wants 'root'" in found["users"]["advice"]
    assert found["notify sockets"]["result"] == "ok"
