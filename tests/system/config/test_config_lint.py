"""What is valid and yet worth a warning."""

import pytest

from chaperone_async.system.config.lint import available_memory, lint
from tests.system.config.conftest import Load

POOL = '[pools.a]\ncommand = "sh"\n'
PLENTY = 10**15


def test_a_plain_configuration_gives_no_warning(loaded: Load) -> None:
    assert lint(loaded(f"{POOL}min_ready = 1\nrecycle.max_time = 60"), PLENTY) == []


def test_a_stop_timeout_of_the_whole_grace_is_warned_of_where_it_was_written(loaded: Load) -> None:
    (warning,) = lint(loaded(f"{POOL}stop.timeout = 30"), PLENTY)
    assert warning.startswith("pools.a.stop.timeout: 30 s leaves no time within shutdown.grace, 30 s")


def test_a_job_that_may_take_longer_than_a_stop_waits_is_warned_of(loaded: Load) -> None:
    pool = '[pools.a]\ncommand = "sh -c {timeout}"\nstop.timeout = 20\n'
    (warning,) = lint(loaded(f"{pool}job.timeout = 21"), PLENTY)
    assert warning.startswith(
        "pools.a.job.timeout: a job may take 21 s, and a stop cuts it off after stop.timeout, 20 s"
    )
    assert lint(loaded(f"{pool}job.timeout = 20"), PLENTY) == []


def test_a_listener_open_to_others_without_a_token_is_warned_of(loaded: Load) -> None:
    (warning,) = lint(loaded('http.listen = ["0.0.0.0:9001", "[::1]:9001"]\n' + POOL), PLENTY)
    assert warning.startswith("http.listen: 0.0.0.0:9001 can be reached from outside")
    assert lint(loaded('http = { listen = "0.0.0.0:9001", token = "t" }\n' + POOL), PLENTY) == []


def test_memory_limits_past_the_memory_there_is_are_warned_of(loaded: Load) -> None:
    (warning,) = lint(loaded(f"{POOL}workers = 4\nhealth.memory_limit = 500"), 1_900_000_000)
    assert "adds up to 2000 MB, and there are 1900 MB" in warning


def test_memory_limits_are_those_of_all_who_may_be_started(loaded: Load) -> None:
    scaled = """
        [pools.{0}]
        command = "true"
        workers = {{ min = 1, max = 10 }}
        autoscale = {{ source = {{ command = "true" }} }}
        health.memory_limit = {1}
    """
    both = scaled.format("a", 100) + scaled.format("b", 500)
    assert any("adds up to 6000 MB" in warning for warning in lint(loaded(both), 10**9))
    budget = "budget.max_workers = 5\n" + both  # 4 of b and the one of a that there always is
    assert any("adds up to 2100 MB" in warning for warning in lint(loaded(budget), 10**9))


def test_what_this_machine_lacks_is_warned_of(loaded: Load) -> None:
    warnings = lint(
        loaded("""
            [pools.a]
            command = "no-such-program"
            user = "no-such-user"
            group = "no-such-group"
            directory = "no-such-directory"
            env_file = "no-such-file"
            [pools.b]
            command = "./no-such-file"
            [pools.c]
            command = "sh"
            user = 0
        """),
        PLENTY,
    )
    assert [warning.partition(": ")[0] for warning in warnings] == [
        "pools.a.command", "pools.a.user", "pools.a.group", "pools.a.directory", "pools.a.env_file", "pools.b.command",
    ]  # fmt: skip


def test_the_memory_there_is_is_known() -> None:
    assert available_memory() > 10**7


def test_what_rests_on_reports_of_jobs_is_warned_of_where_nobody_may_report(loaded: Load) -> None:
    source = 'backlog.source = { redis_list = "redis://localhost/0#q" }\n'
    stall, timeout = lint(loaded(f'{POOL}{source}health.stall = "5m"\njob.timeout = 20'), PLENTY)
    assert "only a backlog that shrinks is progress" in stall
    assert "job.timeout: has effect only if the workers report their jobs" in timeout


@pytest.mark.parametrize(
    ("backend", "warned"),
    [
        ('"rq"\nrq.simple = true', True),
        ('"rq"', False),
        ('"taskiq"\ntaskiq.app = "proj:broker"', True),
        ('"celery"\ncelery = { app = "proj", pool = "solo" }', True),
    ],
)
def test_a_heartbeat_of_workers_that_give_none_is_warned_of(loaded: Load, backend: str, *, warned: bool) -> None:
    warnings = lint(loaded(f'[pools.a]\nbackend = {backend}\nhealth.heartbeat = "30s"'), PLENTY)
    assert any("health.heartbeat: has no effect" in warning for warning in warnings) == warned
