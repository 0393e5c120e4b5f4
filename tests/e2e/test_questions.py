"""The supervisor is asked from other processes: over its unix socket, over TCP, and when it is not there."""

import json
from collections.abc import Iterator
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from textwrap import dedent

import pytest

from tests.e2e.service import Document, Launch, Script, Service, command

SLEEPER = "import signal; signal.pause()"
TWO_POOLS = """
    [defaults]
    restart.start_seconds = 0.1
    [pools.good]
    command = {sleeper}
    workers = 2
    queue = ["high", "default"]
    [pools.bad]
    command = ["/does/not/exist"]
    restart.backoff.initial = "1h"
    restart.backoff.max = "1h"
"""
CHANGING = frozenset({"uptime", "memory_usage", "cpu_percent", "last_health_check"})


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A supervisor with a pool that is ready, and one that never will be; it is only looked at."""
    place = tmp_path_factory.mktemp("half")
    (place / "sleeper.py").write_text(SLEEPER)
    with Service(place, dedent(TWO_POOLS.format(sleeper=command(place / "sleeper.py")))) as service:
        service.start().until_up("/startupz/good")
        service.until(lambda: service.pool("good")["ready_workers"] == 2 and service.crashes("bad"))
        yield service


def steady(document: Document) -> Document:
    """Without what changes from one moment to the next."""

    def keep(value: object) -> object:
        if isinstance(value, dict):
            return {key: keep(item) for key, item in value.items() if key not in CHANGING}
        return [keep(item) for item in value] if isinstance(value, list) else value

    return {key: keep(value) for key, value in document.items() if key not in CHANGING}


def test_probes_answer_by_exit_code_and_one_line(half: Service) -> None:
    assert half.cli("health") == (0, "ok\n", "")
    assert half.cli("health", "good") == (0, "ok\n", "")
    assert half.cli("ready", "good") == (0, "ok\n", "")
    for words in (("ready",), ("ready", "bad")):
        code, out, err = half.cli(*words)
        assert (code, err) == (1, "")
        assert out == "bad failed: starting: 0 of 1 workers ready\n"


def test_an_unknown_pool_is_a_clear_no_everywhere(half: Service) -> None:
    for words in (("health", "mails"), ("ready", "mails"), ("workers", "mails"), ("crashes", "mails")):
        code, out, err = half.cli(*words)
        assert (words, code, out) == (words, 1, "")
        assert err == "chaperone: there is no pool named 'mails'; there are: good, bad\n"
    for path in ("/livez/mails", "/readyz/mails", "/startupz/mails", "/healthz/mails", "/api/v1/pools/mails"):
        answer = half.get(path)
        assert (path, answer.status, answer.json["detail"]) == (path, 404, "there is no pool named 'mails'")


def test_what_is_printed_as_json_is_the_document_of_the_api(half: Service) -> None:
    for words, path in (
        (("status",), "/api/v1/status"),
        (("workers", "good"), "/api/v1/pools/good"),
        (("workers",), "/api/v1/pools"),
        (("crashes",), "/api/v1/crashes"),
        (("crashes", "bad"), "/api/v1/pools/bad/crashes"),
    ):
        code, out, err = half.cli(*words, "--format", "json")
        assert (code, err) == (0, "")
        assert steady(json.loads(out)) == steady(half.get(path).json)


def test_tables_show_every_worker_and_every_pool(half: Service) -> None:
    status, workers = half.cli("status"), half.cli("workers")
    rows = half.workers("good")

    assert (status.code, workers.code) == (0, 0)
    assert f"e2e: running, chaperone {half.status()['version']}, pid {half.pid}, up " in status.out
    (good,) = [line.split() for line in status.out.splitlines() if line.startswith("good ")]
    assert good[:5] == ["good", "running", "2/2", "1", "0"]
    for row in rows:
        (line,) = [line.split() for line in workers.out.splitlines() if line.startswith(row["id"])]
        assert line[1:4] == [str(row["pid"]), "high,default", "running"]
    assert "cannot run '/does/not/exist': " in status.out


def test_it_is_found_through_the_configuration_the_environment_or_its_url(half: Service) -> None:
    unix, tcp = f"unix:{half.socket}", f"http://127.0.0.1:{half.port}"

    assert half.cli("health", here=False, env={"CHAPERONE_CONFIG": str(half.config)}).code == 0
    assert half.cli("health", here=False, env={"CHAPERONE_URL": unix}).code == 0
    for words in (("health",), ("ready", "good"), ("workers",), ("status",), ("crashes", "bad")):
        for url in (unix, tcp):
            assert (words, url, half.cli(*words, "--url", url, here=False).code) == (words, url, 0)
    assert half.cli("workers", "mails", "--url", tcp, here=False).code == 1
    assert half.get("/readyz/good", tcp=True).status == 200


def test_nobody_there_is_its_own_exit_code(launch: Launch, script: Script) -> None:
    service = launch(f"[pools.good]\ncommand = {command(script('sleeper', SLEEPER))}")
    port = service.port
    url = f"http://127.0.0.1:{port}"
    service.stop()

    with socket() as held:  # bound, and not listening: nobody else is given the port meanwhile
        held.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        for words in (("health",), ("ready", "good"), ("workers",), ("status",), ("crashes",)):
            code, out, err = service.cli(*words, "--url", url, here=False)
            assert (words, code, out) == (words, 3, "")
            assert err.startswith(f"chaperone: cannot reach a supervisor: {url}: connection refused")
    over_unix = service.cli("health", "--url", f"unix:{service.socket}", here=False)
    assert (over_unix.code, over_unix.out) == (3, "")


def test_a_wrong_question_is_bad_usage(half: Service) -> None:
    for words in (("workers", "--format", "xml"), ("health", "--timeout", "soon"), ("nonsense",)):
        code, out, err = half.cli(*words)
        assert (words, code, out) == (words, 2, "")
        assert err
    missing = half.cli("health", "-c", "/no/such/file.toml", here=False)
    assert missing.code == 2
    assert "/no/such/file.toml: cannot read the configuration: no such file or directory" in missing.err
