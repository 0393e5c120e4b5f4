"""A configuration that is wrong is refused as a whole, before anything starts."""

from pathlib import Path

import pytest

from tests.faults.conftest import Start

WRONG = """
[pools.one]
command = "touch {trace}"
wrokers = 3
workers = "many"

[pools.two]
command = "touch {trace}"
workers = 2
min_ready = 5
stop.timeout = "10m"

[pools.three]
command = "touch {trace}"
restart.backoff = {{ initial = "60s", max = "1s" }}
health.heartbeat = "-5s"
restart.policy = "sometimes"
"""


def test_every_problem_is_listed_and_nothing_is_started(start: Start, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    service = start(WRONG.format(trace=trace))
    assert service.ended() == 2
    said = service.text
    for key in (
        "pools.one.wrokers", "pools.one.workers", "pools.two.min_ready", "pools.two.stop.timeout",
        "pools.three.restart.backoff.initial", "pools.three.health.heartbeat", "pools.three.restart.policy",
    ):  # fmt: skip
        assert key in said
    assert "Traceback" not in said
    assert not service.socket.exists()
    assert not trace.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pools.a\ncommand = 'true'", "chaperone.toml"),
        ("[pools.a]\nqueue = 'x'", "pools.a.command"),
        ("", "pools"),
        ("[pools.a]\ncommand = 'true'\nworkers = { min = 4, max = 2 }", "pools.a.workers"),
        ("[pools.a]\ncommand = '\\u0000'\n[pools.b]\ncommand = 3", "pools.b.command"),
        ("[pools.a]\ncommand = 'true'\nhealth.python = 'no_such_module:check'", "no_such_module"),
        ("[pools.a]\ncommand = 'true'\nenv = { X = '${NOT_SET_ANYWHERE}' }", "NOT_SET_ANYWHERE"),
        ("[pools.a]\ncommand = 'true'\n[http]\nlisten = ['nonsense']", "http"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_and_a_sentence(start: Start, text: str, said: str) -> None:
    service = start(text)
    assert service.ended() == 2
    assert said in service.text
    assert "Traceback" not in service.text
    assert not service.socket.exists()
