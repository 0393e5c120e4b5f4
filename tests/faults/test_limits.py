"""Descriptors and processes run out: spawning fails as a fact, probes answer, and all recovers by itself."""

import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.service import AS_NOBODY, Service, descriptors, polled, until

FEW_FILES = 64


def connect(service: Service) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(service.socket))
    return client


@contextmanager
def only(pid: int, kind: int, limit: int) -> Iterator[None]:
    before = resource.prlimit(pid, kind, (limit, resource.prlimit(pid, kind)[1]))
    yield
    resource.prlimit(pid, kind, before)


MANY = """
[pools.many]
command = "sleep 1000"
workers = 40
restart.start_seconds = 0.1
restart.backoff = { initial = 0.05, max = 0.3 }
"""


def test_more_workers_than_descriptors_fail_to_start_and_say_why(start: Start) -> None:
    service = start(MANY, prefix=("prlimit", f"--nofile={FEW_FILES}:{FEW_FILES}", "--")).serving()
    until(lambda: any(row["problem"] for row in service.pool("many")["workers"]))
    with polled(service, "/livez"):
        running = service.pool("many")["running"]
        assert 5 < running < 40
        rows = service.pool("many")["workers"]
        problems = {row["problem"] for row in rows if row["problem"]}
        assert all("too many open files" in problem.lower() for problem in problems), problems
        assert {row["status"] for row in rows} <= {"running", "starting", "backoff"}
        until(lambda: service.pool("many")["restarts"] > 30)
    assert service.stop() == 0
    assert "Traceback" not in service.text


LEAVING = """
[pools.leaving]
command = "sh -c 'until test -e {go}; do sleep 0.5; done'"
workers = 40
restart.policy = "never"
"""


def test_all_start_as_soon_as_others_have_given_descriptors_back(start: Start, tmp_path: Path) -> None:
    """Room for 60 sockets and 25 workers, beside what is the supervisor's own."""
    pools = LEAVING.format(go=tmp_path / "go") + MANY.replace("workers = 40", "workers = 20")
    service = start(pools, prefix=("prlimit", "--nofile=215:215", "--")).serving()
    until(lambda: any("too many open files" in (row["problem"] or "") for row in service.pool("many")["workers"]))
    (tmp_path / "go").touch()
    with polled(service, "/livez"):
        until(lambda: service.pool("many")["ready_workers"] == 20)
    assert service.stop() == 0


def test_clients_that_take_all_descriptors_do_not_make_it_spin_and_it_recovers(start: Start) -> None:
    service = start('[pools.few]\ncommand = "sleep 1000"\nworkers = 2').started()
    workers = service.pids("few")
    with only(service.pid, resource.RLIMIT_NOFILE, descriptors(service.pid) + 20), ExitStack() as clients:
        for _ in range(60):
            clients.enter_context(connect(service))
        until(lambda: "too many open files" in service.text.lower() or descriptors(service.pid) > FEW_FILES)
        spent = cpu_ticks(service.pid)
        janitor = service.janitor()
        os.kill(workers[0], 9)
        until(lambda: "died (signal)" in service.text)
        assert cpu_ticks(service.pid) - spent < os.sysconf("SC_CLK_TCK")
    until(lambda: service.answers("/readyz") == 200)
    until(lambda: service.pool("few")["ready_workers"] == 2)
    assert service.janitor() == janitor
    assert service.stop() == 0


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the service as somebody else")
def test_more_workers_than_processes_fail_to_start_and_say_why(
    start: Start, nobodys_directory: Path, request: pytest.FixtureRequest
) -> None:
    """The limit counts all processes of a user: here 60 others' of nobody, which end in time."""
    others = [subprocess.Popen([*AS_NOBODY, "sleep", "1000"]) for _ in range(60)]
    for other in others:
        request.addfinalizer(other.wait)
        request.addfinalizer(other.kill)  # before that
    prefix = ("prlimit", "--nproc=80", "--", *AS_NOBODY)
    service = start(MANY, within=nobodys_directory, prefix=prefix).serving()
    until(lambda: any(row["problem"] for row in service.pool("many")["workers"]))
    with polled(service, "/livez"):
        problems = {row["problem"] for row in service.pool("many")["workers"] if row["problem"]}
        assert all("no more processes may be created" in problem for problem in problems), problems
        assert 0 < service.pool("many")["running"] < 40
        for other in others:
            other.kill()
            other.wait()
        until(lambda: service.pool("many")["ready_workers"] == 40)
    assert service.stop() == 0
    assert "Traceback" not in service.text
