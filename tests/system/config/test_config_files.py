"""Which files are read, and what they may include."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaperone_async.errors import ConfigError
from chaperone_async.system.config.find import find_document
from chaperone_async.system.config.listeners import default_sockets
from chaperone_async.system.config.load import load
from chaperone_async.system.config.locate import locate_socket
from tests.system.config.conftest import Load, Refuse, Write

POOL = '[pools.a]\ncommand = "true"\n'
OTHER_POOL = '[pools.b]\ncommand = "true"\n'


def test_the_first_file_there_is_in_the_documented_order_is_the_configuration(write: Write, tmp_path: Path) -> None:
    system = write(POOL, "system.toml")
    found = []
    for name in ("pyproject.toml", "chaperone.toml", "variable.toml", "given.toml"):
        document = find_document(None, {}, system)
        assert document is not None
        found.append(document.path.name)
        write(f'[tool.chaperone]\nname = "x"\n{POOL}', name)
    document = find_document(None, {"CHAPERONE_CONFIG": "variable.toml"}, system)
    assert document is not None
    found.append(document.path.name)
    document = find_document(Path("given.toml"), {"CHAPERONE_CONFIG": "variable.toml"}, system)
    assert document is not None
    found.append(document.path.name)
    assert found == ["system.toml", "pyproject.toml", "chaperone.toml", "chaperone.toml", "variable.toml", "given.toml"]


def test_a_pyproject_that_does_not_speak_of_us_is_passed_over(write: Write, tmp_path: Path) -> None:
    write("[tool.other]\nx = 1", "pyproject.toml")
    assert find_document(None, {}, tmp_path / "none.toml") is None


def test_keys_of_a_pyproject_are_named_with_their_table(write: Write) -> None:
    write('[tool.chaperone.pools.a]\ncommand = "true"\nworkers = "x"', "pyproject.toml")
    with pytest.raises(ConfigError, match=r"^pyproject\.toml: tool\.chaperone\.pools\.a\.workers: 'x' is not"):
        load(Path("pyproject.toml"), {})


def test_a_named_file_that_is_missing_is_an_error(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"^nowhere\.toml: cannot read the configuration: no such file"):
        load(Path("nowhere.toml"), {})


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "chaperone.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="TOML files are UTF-8 text"):
        load(path, {})


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb =\n", 2), ("a = [1,\n", 2), ("a = " + "[" * 5000, None)])
def test_a_syntax_error_is_told_with_file_and_line(refused: Refuse, text: str, line: int | None) -> None:
    (problem,) = refused(text)
    where = "chaperone.toml" if line is None else f"chaperone.toml:{line}"
    assert problem.startswith(f"{where}: cannot read the configuration: ")


def test_the_mark_that_some_editors_begin_a_file_with_is_no_syntax_error(loaded: Load) -> None:
    assert loaded("\ufeff" + POOL).pools[0].name == "a"


def test_included_files_are_found_beside_the_including_one(write: Write, tmp_path: Path) -> None:
    write('include = ["more/*.toml", "nothing/*.toml"]\n' + POOL, "etc/chaperone.toml")
    write('include = ["../deep.toml"]\n' + OTHER_POOL, "etc/more/b.toml")
    write('[pools.c]\ncommand = "true"\n[defaults]\nworkers = 4', "etc/deep.toml")
    config = load(Path("etc/chaperone.toml"), {})
    assert [(pool.name, pool.workers) for pool in config.pools] == [("a", 4), ("b", 4), ("c", 4)]


def test_a_file_included_by_name_must_be_there(refused: Refuse) -> None:
    (problem,) = refused('include = "more.toml"')
    assert problem.startswith(
        "chaperone.toml: include: cannot include more.toml: cannot read the configuration: no such"
    )


def test_a_pool_defined_twice_names_both_files(write: Write, refused: Refuse) -> None:
    write(POOL, "conf.d/a.toml")
    assert refused('include = ["conf.d/*.toml"]\n' + POOL) == [
        "conf.d/a.toml: pools.a: is defined in chaperone.toml already; keep it in one file only"
    ]


def test_defaults_of_a_backend_may_be_in_several_files_but_each_key_in_one(
    write: Write, loaded: Load, refused: Refuse
) -> None:
    write("defaults.celery.concurrency = 3", "more.toml")
    text = 'include = "more.toml"\ndefaults.celery.app = "shop"\n[pools.a]\nbackend = "celery"\n'
    backend = loaded(text).pools[0].backend
    assert backend is not None
    assert {("app", "shop"), ("concurrency", 3)} <= set(backend.options)
    assert refused(text.replace("[", "defaults.celery.concurrency = 4\n[", 1)) == [
        "more.toml: defaults.celery.concurrency: is defined in chaperone.toml already; keep it in one file only"
    ]


def test_a_mistake_in_an_included_file_names_that_file(write: Write, refused: Refuse) -> None:
    write('[defaults]\nworkers = "x"', "conf.d/a.toml")
    (problem,) = refused('include = ["conf.d/*.toml"]\n' + POOL)
    assert problem.startswith("conf.d/a.toml: defaults.workers: 'x'")


@pytest.mark.parametrize("line", ["[budget]\nmax_workers = 5", 'http.tls = { cert = "x" }'])
def test_a_contradiction_in_an_included_file_names_that_file(line: str, write: Write, refused: Refuse) -> None:
    write(line, "conf.d/a.toml")
    (problem,) = refused('include = ["conf.d/*.toml"]\n' + POOL)
    assert problem.startswith("conf.d/a.toml: ")


def test_files_that_include_each_other_are_refused(write: Write, refused: Refuse) -> None:
    write('include = ["../chaperone.toml"]\n' + OTHER_POOL, "conf.d/a.toml")
    (problem,) = refused('include = ["conf.d/a.toml"]\n' + POOL)
    assert problem.startswith(
        "conf.d/a.toml: include[0]: cannot include conf.d/../chaperone.toml: it includes this file"
    )


def test_a_loop_of_links_is_a_file_that_cannot_be_read(write: Write, refused: Refuse, tmp_path: Path) -> None:
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (problem,) = refused('include = "loop.toml"\n' + POOL)
    assert "cannot include loop.toml: cannot read the configuration: too many levels of symbolic links" in problem


def test_a_file_matched_twice_is_read_once(write: Write, loaded: Load) -> None:
    write(OTHER_POOL, "conf.d/b.toml")
    assert len(loaded('include = ["conf.d/b.toml", "conf.d/*.toml"]\n' + POOL).pools) == 2


def test_a_unix_socket_is_added_where_none_is_configured(loaded: Load, tmp_path: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert loaded(POOL, **env).listen == ("127.0.0.1:9001", default_sockets(env)[0])
    assert loaded("http.listen = []\n" + POOL, **env).listen == (default_sockets(env)[0],)
    assert loaded('http.listen = "unix:/x"\n' + POOL, **env).listen == ("unix:/x",)


def test_the_default_socket_is_the_systems_own_the_users_or_a_private_one(tmp_path: Path) -> None:
    system, runtime = tmp_path / "run", tmp_path / "user"
    system.mkdir()
    private = f"unix:/tmp/chaperone-{os.getuid()}/chaperone.sock"
    assert default_sockets({}, system) == [f"unix:{system}/chaperone.sock", private]
    nowhere = tmp_path / "none" / "none"
    assert default_sockets({}, nowhere)[0] == private
    assert default_sockets({"XDG_RUNTIME_DIR": str(runtime)}, nowhere)[0] == private
    runtime.mkdir()
    assert default_sockets({"XDG_RUNTIME_DIR": str(runtime)}, nowhere)[0] == f"unix:{runtime}/chaperone.sock"


def test_a_probe_finds_the_socket_in_spite_of_mistakes_elsewhere(write: Write) -> None:
    write('http.listen = ["127.0.0.1:1", "unix:${DIR}/s"]\nnonsense = "${UNSET}"', "conf.d/http.toml")
    path = write('include = ["conf.d/*.toml", "missing.toml"]\n[pools.a]\nworkers = "x"')
    assert locate_socket(path, {"DIR": "/d"}) == ["unix:/d/s", "127.0.0.1:1"]
    assert locate_socket(path, {"CHAPERONE_HTTP_LISTEN": "unix:/e"}) == ["unix:/e"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_probe_passes_over_a_file_it_may_not_read(write: Write) -> None:
    path = write(POOL)
    path.chmod(0)
    assert locate_socket(path, {}) == [*default_sockets({}), "127.0.0.1:9001"]


@pytest.mark.parametrize("env", [{}, {"CHAPERONE_CONFIG": "chaperone.toml"}])
def test_a_probe_passes_over_a_file_that_is_being_written(write: Write, env: dict[str, str]) -> None:
    path = write("[http\nlist")
    assert locate_socket(None, env) == [*default_sockets({}), "127.0.0.1:9001"]
    with pytest.raises(ConfigError):
        locate_socket(path, env)


def test_a_probe_without_a_configuration_tries_the_default_places(write: Write, tmp_path: Path) -> None:
    path = write(POOL)
    assert locate_socket(path, {}) == [*default_sockets({}), "127.0.0.1:9001"]


@pytest.mark.parametrize(
    ("module", "absent"),
    [("locate", ("msgspec", "dataclasses", "inspect", "asyncio")), ("load", ("asyncio", "anyio", "aiohttp", "psutil"))],
)
def test_importing_loads_nothing_that_is_not_needed(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, chaperone_async.system.config.{module}; print(*sorted(set({absent!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
