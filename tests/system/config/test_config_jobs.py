"""Job options and the words of a command; how many workers are replaced at a time."""

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import expand, placeholders
from chaperone_async.core.spec import JobOptions
from tests.system.config.conftest import Load, Refuse

ALL = """
[pools.a]
queue = ["high", "low"]
command = "w --on {queue} --timeout={timeout} --tries {tries} --backoff {backoff} {sleep} {max_exceptions}"
job = { timeout = "1m30s", tries = 3, backoff = [1, "2.5s", "1h"], sleep = 0.5, max_exceptions = 2 }
"""


def argv(load: Load, text: str) -> list[str]:
    (spec,) = load(text).pools
    words = placeholders(spec, WorkerRef("a", 0, 1), "a-000000")
    return [expand(word, words) for word in spec.command]


def test_job_options_expand_in_the_command_as_bare_numbers(loaded: Load) -> None:
    assert argv(loaded, ALL)[1:] == [
        "--on", "high,low", "--timeout=90", "--tries", "3", "--backoff", "1,2.5,3600", "0.5", "2",
    ]  # fmt: skip


def test_job_options_are_part_of_the_pool(loaded: Load) -> None:
    job = loaded(ALL).pools[0].job
    assert job == JobOptions(timeout=90.0, tries=3, backoff=(1.0, 2.5, 3600.0), sleep=0.5, max_exceptions=2)
    assert type(job.backoff and job.backoff[0]) is float


def test_one_delay_stands_without_a_list_and_large_numbers_are_written_out(loaded: Load) -> None:
    text = '[pools.a]\ncommand = "w {backoff} {timeout}"\njob = { backoff = "5s", timeout = "100d" }'
    assert argv(loaded, text) == ["w", "5", "8640000"]


def test_other_braces_in_a_command_are_left_alone(loaded: Load) -> None:
    assert argv(loaded, """[pools.a]\ncommand = ["w", '{"queue": "{queue}"}', "{time}", "{}"]""")[1:] == [
        '{"queue": "default"}', "{time}", "{}",
    ]  # fmt: skip


def test_a_job_option_that_the_command_does_not_take_is_refused_where_it_was_written(refused: Refuse) -> None:
    own, inherited = refused("""
        [defaults]
        job.sleep = 3
        [pools.a]
        command = "w {sleep}"
        [pools.b]
        command = "w {sleep}"
        job.tries = 3
        [pools.c]
        command = "w"
    """)
    why = "cannot be honoured: the command of pool 'b' does not take it; write {tries} into the command, or remove it"
    assert own == f"chaperone.toml: pools.b.job.tries: {why}"
    assert inherited.startswith("chaperone.toml: defaults.job.sleep: cannot be honoured: the command of pool 'c'")


def test_a_placeholder_whose_option_is_not_set_is_refused(refused: Refuse) -> None:
    why = "uses {sleep}, and job.sleep is not set; set it, or write the value itself"
    assert refused("""
        [pools.a]
        command = "w {sleep}"
        [pools.b]
        command = "w"
        health.exec = "check {sleep}"
    """) == [f"chaperone.toml: pools.a.command: {why}", f"chaperone.toml: pools.b.health.exec: {why}"]


def test_an_empty_list_of_delays_is_refused(refused: Refuse) -> None:
    (problem,) = refused('[pools.a]\ncommand = "w {backoff}"\njob.backoff = []')
    assert problem.startswith("chaperone.toml: pools.a.job.backoff: names no delay; write one")


def test_a_wrong_job_option_is_told_with_its_key(refused: Refuse) -> None:
    assert [problem.split(" ")[1] for problem in refused(
        '[pools.a]\ncommand = "w"\njob = { timeout = "soon", backoff = [1, "x"], tris = 3 }'
    )] == ["pools.a.job.timeout:", "pools.a.job.backoff[1]:", "pools.a.job.tris:"]  # fmt: skip


def test_the_surge_and_watching_reach_the_configuration(loaded: Load) -> None:
    config = loaded('watch = true\n[pools.a]\ncommand = "true"\nworkers = 4\nmax_surge = 2\n[pools.b]\ncommand = "x"')
    assert ([pool.max_surge for pool in config.pools], config.watch) == ([2, 1], True)
    assert loaded('[pools.a]\ncommand = "x"').watch is False


def test_replacing_without_an_extra_worker_must_leave_the_pool_ready(loaded: Load, refused: Refuse) -> None:
    (problem,) = refused('[pools.a]\ncommand = "w"\nmax_surge = 0')
    why = "0 lets one worker go before its successor comes, and min_ready is 1 of 1"
    assert problem == f"chaperone.toml: pools.a.max_surge: {why}; write 1 or more, or a lower min_ready"
    assert loaded('[pools.a]\ncommand = "w"\nmax_surge = 0\nworkers = 2').pools[0].max_surge == 0
    assert loaded('[pools.a]\ncommand = "w"\nmax_surge = 0\nworkers = 0').pools[0].max_surge == 0


def test_what_secret_variables_held_is_known_so_that_it_can_be_hidden(loaded: Load) -> None:
    config = loaded('[pools.a]\ncommand = "w --key ${API_KEY} ${HOME}"', API_KEY="abc123", HOME="/root")
    assert "abc123" in config.hidden
    assert "/root" not in config.hidden
    assert "hidden" not in repr(config)
