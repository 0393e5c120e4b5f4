"""However the supervisor dies, no worker outlives it for longer than a second, and no janitor stays."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.service import QUICK_PYTHON, Service, alive, children, until

LIMIT = 60.0
"""Seconds. That it is one on a machine with nothing else to do is what the benchmarks show."""

HELPERS = """#!/bin/sh
setsid sleep 1000 &
(setsid sh -c 'sleep 1000' &)
echo $$ >> {trace}
exec sleep 1000
"""


def left() -> list[int]:
    """Orphans come to this process; what it has started itself are services."""
    return [pid for pid in children(os.getpid()) if alive(pid)]


def kill(service: Service) -> None:
    """And wait for everything else to be gone."""
    service.send(signal.SIGKILL)
    service.process.wait()
    until(lambda: not left(), LIMIT, "something outlives the supervisor")


def test_an_idle_supervisor_leaves_nothing(start: Start) -> None:
    service = start('[pools.none]\ncommand = "true"\nworkers = 0').started()
    janitor = service.janitor()
    kill(service)
    assert not alive(janitor)


def test_fifty_workers_with_detached_helpers_die_with_it(start: Start, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    program = tmp_path / "program"
    program.write_text(HELPERS.format(trace=trace))
    program.chmod(0o755)
    service = start(f'[pools.many]\ncommand = "{program}"\nworkers = 50').serving()
    until(lambda: trace.exists() and len(trace.read_text().split()) == 50)
    workers = service.pids("many")
    assert len(workers) == 50
    kill(service)
    assert not any(map(alive, workers))


def test_a_check_that_is_under_way_dies_with_it(start: Start, tmp_path: Path) -> None:
    check = tmp_path / "check"
    service = start(
        '[pools.many]\ncommand = "sleep 1000"\n'
        f'health = {{ exec = ["sh", "-c", "touch {check}; sleep 1000"], interval = "0.1s", timeout = "500s" }}'
    )
    until(check.exists)
    kill(service)


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25])
def test_it_may_die_in_the_middle_of_spawning(start: Start, tmp_path: Path, after: float) -> None:
    """Counted from its first worker on, which is when it is busy with the others."""
    trace = tmp_path / "trace"
    program = tmp_path / "program"
    program.write_text(HELPERS.format(trace=trace))
    program.chmod(0o755)
    service = start(f'[pools.many]\ncommand = "{program}"\nworkers = 200')
    until(trace.exists)
    time.sleep(after)  # the moment is the parameter of this test
    kill(service)


def test_a_janitor_that_dies_is_replaced_and_its_successor_does_the_work(start: Start) -> None:
    service = start('[pools.many]\ncommand = "sleep 1000"\nworkers = 5').started()
    first = service.janitor()
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive(first))
    second = service.janitor()
    assert second != first
    workers = service.pids("many")
    kill(service)
    assert not any(map(alive, workers))


STUBBORN = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.environ.clear()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(1)
while True:
    time.sleep(1)
"""


def test_workers_that_block_all_signals_die_with_it(start: Start, script: Callable[[str, str], Path]) -> None:
    program = script("stubborn.py", STUBBORN)
    service = start(f'[pools.many]\ncommand = "{QUICK_PYTHON} {program}"\nworkers = 3').started()
    workers = service.pids("many")
    kill(service)
    assert not any(map(alive, workers))
