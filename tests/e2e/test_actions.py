"""Actions on real processes, typed and asked for over HTTP: what is said at the end is what has happened."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service import ROOT, Answer, Connection, Launch, Script, Service, alive, command

SLEEPER = "import signal; signal.pause()"
STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "w") as told:
    print("deaf", file=told)
while True:
    signal.pause()
"""
TALKER = """
import signal, sys
told = open(sys.argv[1], "a", buffering=1)
signal.signal(signal.SIGHUP, lambda *_: told.write("hup\\n"))
told.write("up\\n")
while True:
    signal.pause()
"""
FICKLE = f"""
import os, signal, sys
if os.path.exists(sys.argv[1]):
    sys.exit(3)
sys.path.append({str(ROOT)!r})
from chaperone_async.worker import notify
notify.ready()
signal.pause()
"""
POOLS = """
[defaults]
command = {sleeper}
restart.start_seconds = 0.1
[pools.emails]
workers = 2
[pools.images]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Each test leaves it with all workers running."""
    place = tmp_path_factory.mktemp("actions")
    (place / "sleeper.py").write_text(SLEEPER)
    with Service(place, POOLS.format(sleeper=command(place / "sleeper.py"))) as service:
        service.start().until_up()
        yield service


def ask(service: Service, method: str, path: str, body: object = None) -> Answer:
    connection = Connection(service.socket)
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


def statuses(service: Service, pool: str) -> list[str]:
    return [row["status"] for row in service.workers(pool)]


def do(service: Service, line: str) -> None:
    done = service.cli(*line.split(), "--wait")
    assert done.code == 0, done


def of_slot(service: Service, pool: str, slot: int) -> dict[str, Any]:
    return service.workers(pool)[slot]


@pytest.mark.parametrize("target", ["emails", "all"])
def test_a_pool_stops_and_starts(target: str, service: Service) -> None:
    pids = service.pids("emails")
    do(service, f"stop {target}")
    assert not any(alive(pid) for pid in pids)
    assert statuses(service, "emails") == ["stopped", "stopped"]
    assert statuses(service, "images") == ["stopped" if target == "all" else "running"]
    do(service, f"start {target}")
    assert statuses(service, "emails") == ["running", "running"]


@pytest.mark.parametrize("named", ["slot", "id"])
def test_one_worker_stops_restarts_and_pauses_and_the_others_go_on(named: str, service: Service) -> None:
    other = of_slot(service, "emails", 1)["pid"]

    def target() -> str:
        return "emails:0" if named == "slot" else of_slot(service, "emails", 0)["id"]

    first = of_slot(service, "emails", 0)["pid"]
    do(service, f"restart {target()}")
    second = of_slot(service, "emails", 0)["pid"]
    assert (second != first, alive(first), alive(second)) == (True, False, True)
    do(service, f"pause {target()}")
    assert statuses(service, "emails") == ["paused", "running"]
    do(service, f"resume {target()}")
    assert of_slot(service, "emails", 0)["pid"] == second
    do(service, f"stop {target()}")
    assert not alive(second)
    do(service, f"start {target()}")
    assert statuses(service, "emails") == ["running", "running"]
    assert of_slot(service, "emails", 1)["pid"] == other


def test_what_is_stopped_by_hand_stays_stopped(service: Service) -> None:
    do(service, "stop emails:0")
    do(service, "resume all")
    do(service, "restart emails")
    do(service, "scale emails 3")
    assert statuses(service, "emails") == ["stopped", "running", "running"]
    assert ask(service, "GET", "/pools/emails").json["workers"][0]["held_by"]
    do(service, "scale emails 2")
    do(service, "start emails")
    assert statuses(service, "emails") == ["running", "running"]


def test_a_rolling_restart_of_all_replaces_everybody(service: Service) -> None:
    before = {*service.pids("emails"), *service.pids("images")}
    do(service, "restart all")
    after = {*service.pids("emails"), *service.pids("images")}
    assert len(after) == 3
    assert not before & after


def test_a_signal_reaches_whom_it_was_sent_to(launch: Launch, script: Script, tmp_path: Path) -> None:
    told = tmp_path / "told"
    service = launch(f"[pools.talkers]\ncommand = {command(script('talker', TALKER), str(told))}")
    assert service.until_path(told) == "up\n"
    ended = service.cli("signal", "talkers:0", "HUP", "--wait")
    assert ended.out == "signal talkers:0: done: SIGHUP was sent to 1 worker\n"
    service.until(lambda: told.read_text() == "up\nhup\n")


def test_a_restart_whose_new_worker_crash_loops_fails_and_the_old_worker_stays(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    """The new worker is never taken for ready, however late its death is seen."""
    bad = tmp_path / "bad"
    service = launch(
        f"""
        [pools.emails]
        command = {command(script("fickle", FICKLE), str(bad))}
        health.ready = "notify"
        restart = {{ backoff.initial = "10ms", crash_loop.count = 2 }}
        """
    )
    pids = service.pids("emails")
    bad.touch()
    ended = service.cli("restart", "emails", "--wait")
    assert ended.code == 1
    assert "restart emails failed: the replacement is in a crash loop" in ended.err
    assert alive(pids[0])


def test_a_drain_fails_where_a_worker_had_to_be_killed(launch: Launch, script: Script, tmp_path: Path) -> None:
    told = tmp_path / "told"
    service = launch(
        f"""
        [pools.emails]
        command = {command(script("sleeper", SLEEPER))}
        [pools.slow]
        command = {command(script("stubborn", STUBBORN), str(told))}
        stop.timeout = "0.2s"
        """
    )
    service.until_path(told)
    worker = of_slot(service, "slow", 0)["id"]
    ended = service.cli("drain", "--wait")
    assert ended.code == 1
    assert f"drain all failed: slow: stopped, but {worker} had to be killed" in ended.err
    assert statuses(service, "emails") == statuses(service, "slow") == ["stopped"]
    assert service.cli("drain", "emails", "--wait").code == 0


def test_actions_are_done_while_another_pool_is_still_stopping(
    launch: Launch, script: Script, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    told = tmp_path / "told"
    service = launch(
        f"""
        [defaults]
        restart.start_seconds = 0
        [pools.emails]
        command = {command(script("sleeper", SLEEPER))}
        [pools.slow]
        command = {command(script("stubborn", STUBBORN), str(told))}
        stop.timeout = "10m"
        """,
        head='shutdown.grace = "15m"',
    )
    service.until_path(told)
    slow = ask(service, "POST", "/pools/slow/stop").json["id"]
    slowest = 0.0
    for action in ("restart?now=true&", "stop?", "start?", "pause?", "resume?") * 6:
        begun = time.monotonic()
        answer = ask(service, "POST", f"/pools/emails/{action.rstrip('?&')}")
        slowest = max(slowest, time.monotonic() - begun)
        assert answer.status == 202
        assert ask(service, "GET", f"/operations/{answer.json['id']}?wait=30").json["state"] == "done"
        expected = {"stop?": ["stopped"], "pause?": ["paused"]}.get(action, ["running"])
        assert statuses(service, "emails") == expected
        assert ask(service, "GET", f"/operations/{slow}").json["state"] == "running"
    record_property("slowest_answer_ms", round(slowest * 1000, 1))
    assert ask(service, "POST", "/pools/slow/signal", {"signal": "SIGKILL"}).status == 202
    assert ask(service, "GET", f"/operations/{slow}?wait=30").json["state"] == "done"


def test_pools_come_and_go_while_others_run(service: Service, tmp_path: Path) -> None:
    sleeper = json.loads(command(service.directory / "sleeper.py"))
    new = {"name": "reports", "queue": "reports", "command": sleeper, "workers": 2, "restart": {"start_seconds": 0.1}}
    added = ask(service, "POST", "/pools?wait=30", new)
    assert (added.status, added.json["state"]) == (200, "done")
    pids = service.pids("reports")
    assert all(alive(pid) for pid in pids)
    assert ask(service, "POST", "/pools", new).status == 409
    assert ask(service, "DELETE", "/pools/emails").status == 409

    removed = ask(service, "DELETE", "/pools/reports?wait=30")
    assert (removed.status, removed.json["state"]) == (200, "done")
    assert not any(alive(pid) for pid in pids)
    assert [pool["name"] for pool in service.status()["pools"]] == ["emails", "images"]


def test_a_health_check_that_cannot_be_loaded_is_refused(service: Service) -> None:
    wrong = {"name": "reports", "command": "true", "health": {"python": "no_such_module:check"}}
    answer = ask(service, "POST", "/pools", wrong)
    assert answer.status == 422
    assert "no_such_module" in answer.json["detail"]
    assert len(service.status()["pools"]) == 2


def test_one_more_worker_for_a_queue(launch: Launch, script: Script) -> None:
    told = command(script("sleeper", SLEEPER), "--timeout={timeout}", "--sleep={sleep}", "--tries={tries}")
    service = launch(
        f"""
        [defaults]
        restart.start_seconds = 0.1
        [pools.default]
        command = {told}
        job = {{ timeout = 60, sleep = 3, tries = 3 }}
        """
    )
    wanted = {"queue": "default", "timeout": 60, "memory": 512, "sleep": 3, "tries": 3}
    same = ask(service, "POST", "/workers?wait=30", wanted)
    assert (same.status, same.json["pool"], len(service.pids("default"))) == (200, "default", 2)

    other = ask(service, "POST", "/workers?wait=30", wanted | {"timeout": 90})
    assert (other.status, other.json["pool"]) == (200, "default-1")
    (pid,) = service.pids("default-1")
    assert "--timeout=90" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert ask(service, "POST", "/workers", {"queue": "nope"}).status == 404


def test_while_the_supervisor_drains_changes_are_refused(launch: Launch, script: Script, tmp_path: Path) -> None:
    told = tmp_path / "told"
    service = launch(
        f"""
        [pools.slow]
        command = {command(script("stubborn", STUBBORN), str(told))}
        """
    )
    service.until_path(told)
    service.send(signal.SIGTERM)
    service.until(lambda: service.status()["state"] == "draining")
    ended = service.cli("start", "slow")
    assert (ended.code, "the supervisor is shutting down" in ended.err) == (4, True)
    os.kill(service.pids("slow")[0], signal.SIGKILL)
