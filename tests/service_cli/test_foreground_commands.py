"""`up`, `supervise` and `config check`: what they refuse, and the configuration that a command line stands for."""

import pytest

from chaperone_async.errors import ConfigError
from chaperone_async.service.cli.app import parse
from chaperone_async.service.cli.foreground import choose, one_pool
from chaperone_async.system.config.load import Config, load
from tests.service_cli.conftest import Chaperone

TWO_POOLS = """
[pools.emails]
command = "sleep 1"
workers = 2
[pools.reports]
command = "sleep 2"
"""


def config_of(*words: str, **env: str) -> Config:
    return one_pool(parse(["supervise", *words]), env)


def test_a_command_line_is_a_configuration_of_one_pool() -> None:
    config = config_of("emails", "--workers", "5", "--", "python", "worker.py", "--queue={queue}", "--", "-v")
    (spec,) = config.pools
    assert (spec.name, spec.queues, spec.workers) == ("emails", ("emails",), 5)
    assert spec.command == ("python", "worker.py", "--queue={queue}", "--", "-v")


def test_options_are_keys_of_the_configuration() -> None:
    config = config_of(
        "high,default", "--name=mail", "--env=A=1", "--env", "B=x=y", "--memory-limit", "100MB", "--stop-timeout=5s",
        "--grace", "20s", "--listen", "127.0.0.1:0", "--log-format=json", "--max-jobs", "9", "--directory=/", "--", "x",
        CHAPERONE_HTTP_LISTEN="0.0.0.0:80",
    )  # fmt: skip
    (spec,) = config.pools
    assert (spec.name, spec.queues) == ("mail", ("high", "default"))
    assert spec.launch.env == (("A", "1"), ("B", "x=y"))
    assert (spec.health.memory_limit, spec.stop.timeout, spec.recycle.max_jobs) == (100_000_000, 5, 9)
    assert (config.grace, config.listen[0], config.log_format) == (20, "127.0.0.1:0", "json")


def test_a_dollar_sign_in_the_command_has_been_seen_by_the_shell_already() -> None:
    assert config_of("emails", "--", "sh", "-c", "echo ${HOME}").pools[0].command[-1] == "echo ${HOME}"


def test_a_queue_whose_name_no_pool_may_have_gets_one_that_may() -> None:
    assert config_of("celery@host/1", "--", "x").pools[0].name == "celery-host-1"


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        config_of("emails", "--workers", "five", "--memory-limit", "much", "--listen", "nowhere", "--", "x")
    places = {problem.split(": ")[1] for problem in error.value.problems}
    assert places == {"http.listen[0]", "pools.emails.workers", "pools.emails.health.memory_limit"}


def test_a_pool_without_a_command_is_exit_2_with_an_example(chaperone: Chaperone) -> None:
    ended = chaperone("supervise", "emails", "--workers", "2")
    assert ended.code == 2
    assert "write it after --, as in: chaperone supervise emails" in ended.err


def test_a_backend_stands_for_a_command_and_has_options() -> None:
    (pool,) = config_of("emails", "--backend", "huey", "--option", "app=proj.huey", "--workers", "2").pools
    assert pool.backend is not None
    assert pool.backend.options == (("app", "proj.huey"),)
    assert "proj.huey" in pool.command


def test_an_option_that_is_repeated_is_a_list() -> None:
    options = ("--option=app=proj.huey", "--option=options=--no-periodic", "--option=options=--logfile=x=y")
    (pool,) = config_of("emails", "--backend=huey", *options, "--env=A=1", "--env=A=2").pools
    assert pool.command[-2:] == ("--no-periodic", "--logfile=x=y")
    assert ("A", "2") in pool.launch.env


def test_an_unknown_backend_is_exit_2_and_names_the_nearest(chaperone: Chaperone) -> None:
    ended = chaperone("supervise", "emails", "--backend", "cellery")
    assert ended.code == 2
    assert "'cellery' is not a backend; did you mean 'celery'?" in ended.err
    ended = chaperone("supervise", "emails", "--option", "app=x", "--", "true")
    assert (ended.code, "it is for a backend" in ended.err) == (2, True)


def test_wrong_values_are_exit_2_and_one_line_each(chaperone: Chaperone) -> None:
    ended = chaperone("supervise", "emails", "--workers", "five", "--grace", "soon", "--env", "A", "--", "x")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    ended = chaperone("supervise", "emails", "--workers", "five", "--grace", "soon", "--", "x")
    assert (ended.code, ended.err.count("\n")) == (2, 2)


def test_some_of_the_pools_can_be_chosen(chaperone: Chaperone) -> None:
    config = load(chaperone.write(TWO_POOLS), {})
    assert [pool.name for pool in choose(config, ["reports"]).pools] == ["reports"]
    with pytest.raises(ConfigError, match=r"cannot run pool 'report': there is none; did you mean 'reports'\?"):
        choose(config, ["emails", "report"])


def test_up_refuses_an_unknown_pool_with_exit_2(chaperone: Chaperone) -> None:
    chaperone.write(TWO_POOLS)
    ended = chaperone("up", "email")
    assert (ended.code, "did you mean 'emails'?" in ended.err) == (2, True)


def test_up_without_a_configuration_is_exit_2(chaperone: Chaperone) -> None:
    ended = chaperone("up", "-c", "nowhere.toml")
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_config_check_tells_what_it_found(chaperone: Chaperone) -> None:
    path = chaperone.write(TWO_POOLS)
    ended = chaperone("config", "check")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[0] == f"{path}: 2 pools, 0 warnings"
    assert "  pool emails: 2 workers for default: sleep 1" in ended.out.splitlines()


def test_config_check_warns_of_what_is_valid_and_not_meant(chaperone: Chaperone) -> None:
    path = chaperone.write('[pools.emails]\ncommand = "no-such-program-here"', "other.toml")
    ended = chaperone("config", "check", "-c", str(path))
    assert ended.code == 0
    assert "warning: pools.emails.command: there is no program 'no-such-program-here' on PATH here" in ended.out


def test_config_check_refuses_with_every_problem_on_a_line_and_exit_2(chaperone: Chaperone) -> None:
    chaperone.write('[pools.emails]\ncommand = "x"\nworkrs = 3\nqueue = 5')
    ended = chaperone("config", "check")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 2)
    assert "did you mean 'workers'?" in ended.err


def test_bad_usage_is_exit_2_and_help_and_version_are_0(chaperone: Chaperone) -> None:
    assert chaperone().code == 2
    assert chaperone("helth").code == 2
    assert chaperone("crashes", "-n", "0").code == 2
    version = chaperone("--version")
    assert (version.code, version.out.split()[0]) == (0, "chaperone")


@pytest.mark.parametrize(
    "words",
    ["", "up", "supervise", "workers", "status", "health", "ready", "crashes", "config", "config check"],
)
def test_every_command_has_help_with_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*words.split(), "--help"])
    assert f"example:\n  chaperone {words}" in capsys.readouterr().out
