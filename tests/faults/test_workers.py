"""Workers that behave badly: supervision goes on, and nothing of them is left."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from chaperone_async.system.janitor import read_stat
from tests.faults.conftest import Start
from tests.faults.service import QUICK_PYTHON, Service, alive, children, command_line, polled, resident, until

Script = Callable[[str, str], Path]

GOOD = """
[pools.good]
command = "sleep 1000"
workers = 2
restart.start_seconds = 0.1
"""
MUCH = 30 << 20


def bad(command: str, extra: str = "") -> str:
    return f"""{GOOD}
[pools.bad]
command = "{command}"
restart = {{ start_seconds = 0.1, backoff = {{ initial = 0.02, max = 0.1, jitter = 0 }} }}
{extra}
"""


def pid_from(path: Path) -> int:
    return int(until(lambda: path.exists() and path.read_text().endswith("\n") and path.read_text()))


def undisturbed(service: Service) -> None:
    assert service.pool("good")["restarts"] == 0
    assert service.get("/readyz/good")[0] == 200


@pytest.mark.parametrize("flood", ["yes", "yes x | tr -d '\\\\n'", "cat /dev/zero"])
def test_a_flood_of_output_costs_no_memory_and_delays_nobody(start: Start, script: Script, flood: str) -> None:
    flooder = script("flood", f"#!/bin/sh\n{flood}\n".replace("\\\\", "\\"))
    service = start(bad(str(flooder), "workers = 2"), stdout=os.open(os.devnull, os.O_WRONLY)).started()
    tail = until(lambda: service.pids("bad"))[0]
    until(lambda: service.get("/api/v1/pools/bad/workers/0/logs?lines=10")[1])
    before = resident(service.pid)
    passed = read_by(service.pid)
    with polled(service, "/livez"), polled(service, "/readyz/good"):
        until(lambda: read_by(service.pid) - passed > 64 << 20, what="it reads too slowly")
    assert resident(service.pid) - before < MUCH
    assert alive(tail)
    undisturbed(service)
    assert service.stop() == 0


def read_by(pid: int) -> int:
    """Bytes that a process has read so far."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def test_one_that_ignores_sigterm_is_killed_when_its_time_is_up(start: Start, script: Script, tmp_path: Path) -> None:
    deaf = script("deaf", f"#!/bin/sh\ntrap '' TERM\ntouch '{tmp_path}/deaf-now'\nwhile :; do sleep 1; done\n")
    service = start(bad(str(deaf), "stop.timeout = 0.3")).started()
    until((tmp_path / "deaf-now").exists)
    pid = service.pids("bad")[0]
    assert service.stop() == 0
    assert not alive(pid)
    assert "is killed" in service.text


def test_one_that_ends_at_once_for_ever_is_restarted_ever_more_slowly(start: Start) -> None:
    service = start(bad(f"{QUICK_PYTHON} -c pass", "workers = 4")).serving()
    with polled(service, "/livez"):
        until(lambda: service.pool("bad")["restarts"] >= 30)
    assert service.crashes("bad")[0]["reason"] == "exit"
    assert service.get("/readyz")[0] == 503
    undisturbed(service)
    assert service.stop() == 0


LEAVER = """#!/bin/sh
sleep 1000 &
setsid sleep 1000 &
(setsid sh -c 'sleep 1000 & echo $! > "{pid}.new"; mv "{pid}.new" "{pid}"; wait' &)
{last}
"""


@pytest.mark.parametrize("last", ["exit 3", "wait", "exec sleep 1000", "exec >&- 2>&-; wait"])
def test_what_it_forked_and_detached_ends_with_it(start: Start, script: Script, tmp_path: Path, last: str) -> None:
    leaver = script("leaver", LEAVER.format(pid=tmp_path / "pid", last=last))
    service = start(bad(str(leaver))).serving()
    detached = pid_from(tmp_path / "pid")
    if "exit" in last:
        until(lambda: not alive(detached))
    else:
        until(lambda: service.pool("bad")["ready"])
        worker = service.pids("bad")[0]
        assert alive(detached)
        os.kill(worker, signal.SIGKILL)
        until(lambda: not alive(detached))
    until(lambda: service.pool("bad")["restarts"] >= 1)
    undisturbed(service)
    assert service.stop() == 0


def test_what_it_detached_in_its_first_moment_ends_with_it(start: Start) -> None:
    """The main process may be dead, and its daemon in the middle of an exec, before the spawn has even returned."""
    service = start(bad("setsid sleep 1000", "workers = 5\n[defaults.restart]\ncrash_loop.count = 1000")).serving()
    until(lambda: service.pool("bad")["restarts"] >= 100)
    detached = [pid for pid in children(service.pid) if b"sleep" in command_line(pid)]
    assert len(detached) < 2 + 5 + 3
    assert service.stop() == 0


def test_one_that_closes_its_output_lives_on(start: Start) -> None:
    service = start(bad("sh -c 'exec sleep 1000 >&- 2>&-'")).started()
    pid = service.pids("bad")[0]
    with polled(service, "/livez"):
        until(lambda: service.pool("bad")["ready"])
        until(lambda: service.pool("bad")["workers"][0]["last_health_check"])
    assert service.pids("bad") == [pid]
    assert cpu_seconds(service.pid) < 5
    assert service.stop() == 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_one_that_was_stopped_from_outside_is_unhealthy_and_replaced(start: Start) -> None:
    checks = "health = { interval = 0.1, failure_threshold = 2 }\nstop.timeout = 1"
    service = start(bad("sleep 1000", checks)).started()
    pid = service.pids("bad")[0]
    os.kill(pid, signal.SIGSTOP)
    until(lambda: not alive(pid))
    crash = until(lambda: service.crashes("bad"))[0]
    assert (crash["pid"], crash["reason"]) == (pid, "unhealthy")
    assert "stopped" in crash["detail"]
    undisturbed(service)
    assert service.stop() == 0


def test_one_that_leaves_its_process_group_is_stopped_and_swept(start: Start, script: Script, tmp_path: Path) -> None:
    text = f"#!{QUICK_PYTHON}\nimport os, time\n"
    text += f"if not os.fork():\n    os.setpgid(0, 0)\n    open('{tmp_path}/pid', 'w').write(f'{{os.getpid()}}\\n')\n"
    regrouped = script("regrouped.py", text + "time.sleep(1000)\n")
    service = start(bad(f"{QUICK_PYTHON} {regrouped}")).started()
    child = pid_from(tmp_path / "pid")
    worker = service.pids("bad")[0]
    os.kill(worker, signal.SIGKILL)
    until(lambda: not alive(child))
    until(lambda: set(service.pids("bad")) - {worker})
    assert service.stop() == 0


ZOMBIE = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_one_whose_main_thread_has_ended_is_unhealthy_and_replaced(start: Start, script: Script) -> None:
    zombie = script("zombie.py", ZOMBIE)
    checks = "health = { interval = 0.1, failure_threshold = 2 }\nstop.timeout = 0.5"
    service = start(bad(f"{QUICK_PYTHON} {zombie}", checks)).serving()
    crash = until(lambda: service.crashes("bad"))[0]
    assert crash["reason"] == "unhealthy"
    assert "zombie" in crash["detail"]
    until(lambda: not alive(crash["pid"]) and not read_stat(crash["pid"]))
    undisturbed(service)
    assert service.stop() == 0


def test_one_that_dies_while_being_stopped_was_stopped(start: Start) -> None:
    service = start(bad("sh -c 'trap \\\"kill -9 $$$$\\\" TERM; while :; do sleep 0.05; done'")).started()
    assert service.stop() == 0
    assert "(stop)" in service.text
    assert "is killed" not in service.text
    assert "died" not in service.text


def test_one_that_says_nothing_and_dies_by_itself_at_the_moment_of_stopping_is_no_trouble(start: Start) -> None:
    service = start(
        bad("sh -c 'exec sleep 0.1'", "workers = 30\n[defaults.restart]\ncrash_loop.count = 1000")
    ).serving()
    until(lambda: service.pool("bad")["restarts"] > 60)
    assert service.stop() == 0
