"""run() in a program of its own: signals drain, hurry and set the exit code; probes answer on the way."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from chaperone_async import ChaperoneError, WorkerPoolRegistry, WorkerPoolSupervisor, run
from chaperone_async.service.signals import SAME_SIGNAL

HEAD = """
import signal, sys, threading, time
from chaperone_async import StopPool, WorkerPoolRegistry, WorkerPoolSupervisor, run
quick = {"restart": {"start_seconds": 0.05}, "health": {"interval": 0.05}}
pool = WorkerPoolSupervisor("emails").workers(2).command(["sh", "-c", sys.argv[1]]).configure(**quick)
"""
STEADY = "echo at work; exec sleep 600"
STUBBORN = "trap '' TERM; echo at work; while :; do sleep 0.05; done"


class Program:
    """A supervisor as a user would write it; its output goes to a file."""

    def __init__(self, script: str, worker: str, output: Path) -> None:
        self.output = output
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", HEAD + script, worker],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=Path(__file__).parents[2],
            )

    def says(self, words: str, times: int = 1) -> bool:
        return self.output.read_text().count(words) >= times

    def waits_until(self, condition: Callable[[], object], within: float = 60) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, self.output.read_text()
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.01)

    def ends(self, within: float = 60) -> int:
        return self.process.wait(within)


def listening(program: Program) -> int:
    program.waits_until(lambda: program.says("listening on 127.0.0.1:"))
    return int(program.output.read_text().partition("listening on 127.0.0.1:")[2].split()[0])


def request(port: int, method: str, path: str, **body: object) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


Start = Callable[[str, str], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    programs: list[Program] = []

    def begin(script: str, worker: str) -> Program:
        programs.append(Program(script, worker, tmp_path / "output"))
        return programs[-1]

    yield begin
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()


def test_sigterm_drains_and_the_exit_code_is_0(start: Start) -> None:
    program = start("sys.exit(run(pool))", STEADY)
    program.waits_until(lambda: program.says("| at work", times=2))
    program.process.send_signal(signal.SIGTERM)
    assert program.ends() == 0
    assert program.says("SIGTERM: draining")
    assert program.says("all workers are gone")
    assert not program.says("Traceback")


def test_a_second_sigterm_hurries(start: Start) -> None:
    program = start("sys.exit(run(pool, grace=60))", STUBBORN)
    program.waits_until(lambda: program.says("| at work", times=2))
    program.process.send_signal(signal.SIGTERM)
    program.waits_until(lambda: program.says("SIGTERM: draining"))
    began = time.monotonic()
    program.waits_until(lambda: time.monotonic() > began + SAME_SIGNAL)  # before, it passes for an echo of the first
    program.process.send_signal(signal.SIGTERM)
    assert program.ends() == 0
    assert program.says("SIGTERM again: killing what is left")
    assert time.monotonic() - began < 50


def test_run_returns_when_all_pools_are_given_up(start: Start) -> None:
    script = """
@pool.on_crash
def enough(worker):
    raise StopPool("seen enough")
code = run(pool)
print("code", code, pool.status()["state"], pool.status()["reason"])
"""
    program = start(script, "exit 3")
    assert program.ends() == 0
    assert program.says("code 0 fatal seen enough")


def test_run_takes_several_pools_or_a_registry(start: Start) -> None:
    script = """
other = WorkerPoolSupervisor("images").command(["sh", "-c", sys.argv[1]])
registry = WorkerPoolRegistry()
registry.register("emails", pool)
registry.register("images", other)
sys.exit(run(registry) or run(pool, other))
"""
    program = start(script, STEADY)
    for workers in (3, 6):
        program.waits_until(partial(program.says, "| at work", times=workers))
        program.process.send_signal(signal.SIGINT)
    assert program.ends() == 0


def test_a_registry_runs_alone() -> None:
    with pytest.raises(ChaperoneError, match="cannot run a registry beside something else; register all pools in it"):
        run(WorkerPoolRegistry(), WorkerPoolSupervisor("images").command("w"))


def test_a_hanging_sync_callback_does_not_keep_the_program_alive(start: Start) -> None:
    script = """
entered = []
@pool.on_crash
def hang(worker):
    print("hanging", flush=True)
    while True:
        time.sleep(60)
sys.exit(run(pool))
"""
    program = start(script, "exit 3")
    program.waits_until(lambda: program.says("hanging"))
    program.process.send_signal(signal.SIGTERM)
    assert program.ends() == 0


def test_a_bad_pool_is_refused_with_exit_code_2(start: Start) -> None:
    program = start("sys.exit(run(pool.configure(workerz=3)))", STEADY)
    assert program.ends() == 2
    assert program.says("workerz")
    assert not program.says("at work")


def test_listen_gives_probes(start: Start) -> None:
    program = start("sys.exit(run(pool, listen=['127.0.0.1:0']))", STEADY)
    probe = partial(request, listening(program), "GET")
    program.waits_until(lambda: probe("/readyz") == 200)
    assert (probe("/livez"), probe("/startupz"), probe("/readyz/emails"), probe("/readyz/sms")) == (200, 200, 200, 404)
    program.process.send_signal(signal.SIGTERM)
    assert program.ends() == 0


def test_a_pool_added_by_request_has_its_grace_when_the_programs_own_are_stopped(start: Start) -> None:
    program = start("sys.exit(run(pool, listen=['127.0.0.1:0']))", STEADY)
    port = listening(program)
    program.waits_until(lambda: request(port, "GET", "/readyz") == 200)
    at_work = "trap 'sleep 0.5; echo has finished; exit 0' TERM; echo was added; while :; do sleep 0.05; done"
    assert request(port, "POST", "/api/v1/pools", name="extra", command=["sh", "-c", at_work]) == 202
    program.waits_until(lambda: program.says("| was added"))
    assert request(port, "POST", "/api/v1/pools/emails/stop") == 202
    assert program.ends() == 0
    assert program.says("| has finished")


def test_a_pool_that_is_stopped_for_good_by_its_own_callback_leaves_the_others_in_order(start: Start) -> None:
    script = """
registry = WorkerPoolRegistry()
registry.register("emails", pool.workers(1))
registry.register("images", WorkerPoolSupervisor("images").command(["sh", "-c", "exec sleep 600"]))
@pool.on_crash
async def enough(worker):
    await registry.stop("emails")
    print("stopped", flush=True)
sys.exit(run(registry, listen=["127.0.0.1:0"]))
"""
    program = start(script, "exit 3")
    probe = partial(request, listening(program), "GET")
    program.waits_until(lambda: program.says("stopped\n"))
    program.waits_until(lambda: (probe("/livez"), probe("/readyz")) == (200, 200))
    program.process.send_signal(signal.SIGTERM)
    assert program.ends() == 0
    assert not program.says("broken")
