"""Events and logs of a real supervisor, followed over its socket and by the command line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from tests.e2e.service import PATIENCE, Launch, Script, Service, command, until

TALKER = """
    import os, signal, sys
    me = os.environ["CHAPERONE_WORKER_ID"]
    signal.signal(signal.SIGUSR1, lambda *_: print("hello from", me, flush=True))
    print("ready", me, flush=True)
    while True:
        signal.pause()
"""


class Follower:
    """A command that goes on: its lines so far, on both streams."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._threads = [Thread(target=self._read, args=pair) for pair in self._pairs()]
        for thread in self._threads:
            thread.start()

    def _pairs(self) -> Iterator[tuple[object, list[str]]]:
        yield self.process.stdout, self.out
        yield self.process.stderr, self.err

    def _read(self, stream: Iterator[str], lines: list[str]) -> None:
        lines.extend(line.rstrip("\n") for line in stream)

    def until(self, *words: str) -> str:
        """The first line with all of them."""
        return until(lambda: next((line for line in self.out if all(word in line for word in words)), ""))

    def end(self, number: signal.Signals | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join()
        return code


@contextmanager
def following(service: Service, *words: str) -> Iterator[Follower]:
    environment = service.environment(PYTHONUNBUFFERED="1", TZ="UTC")
    del environment["E2E_MARK"]
    argv = [sys.executable, "-m", "chaperone_async", *words, "-c", str(service.config)]
    with subprocess.Popen(
        argv, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        follower = Follower(process)
        try:
            yield follower
        finally:
            process.kill()
            follower.end()


def one_pool(script: Script, name: str = "talk", workers: int = 1) -> str:
    return f"[pools.{name}]\ncommand = {command(script('talker', TALKER))}\nworkers = {workers}\n"


def test_events_are_followed_until_ctrl_c(launch: Launch, script: Script) -> None:
    service = launch(one_pool(script))
    (worker,) = service.workers("talk")
    with following(service, "events", "-f", "--format", "json") as follower:
        first = json.loads(follower.until("supervisor.started"))
        assert (first["seq"], first["level"]) == (1, "info")
        os.kill(worker["pid"], signal.SIGKILL)
        crash = json.loads(follower.until("worker.crashed", worker["id"]))
        assert (crash["reason"], crash["message"]) == (
            "signal",
            f"{worker['id']} died (signal): killed by signal 9, not sent by the supervisor",
        )
        follower.until("worker.ready")
        assert follower.end(signal.SIGINT) == 0
        assert [json.loads(line)["seq"] for line in follower.out] == list(range(1, len(follower.out) + 1))
        assert not follower.err


def test_logs_of_a_pool_go_on_with_the_successor_and_those_of_a_worker_end_with_it(
    launch: Launch, script: Script
) -> None:
    service = launch(one_pool(script, workers=2))
    first, second = service.workers("talk")
    with (
        following(service, "logs", "talk", "-f") as pool,
        following(service, "logs", "talk:0", "-f") as slot,
        following(service, "logs", first["id"], "-f") as worker,
    ):
        assert pool.until(second["id"]) == f"{second['id']} | ready {second['id']}"
        for follower in (pool, slot, worker):
            follower.until("ready", first["id"])
        os.kill(first["pid"], signal.SIGUSR1)
        for follower in (pool, slot, worker):
            follower.until("hello from", first["id"])
        os.kill(first["pid"], signal.SIGKILL)
        assert worker.end() == 0
        assert worker.out == [f"ready {first['id']}", f"hello from {first['id']}"]
        service.until(lambda: service.workers("talk")[0]["id"] != first["id"])
        successor = service.workers("talk")[0]["id"]
        pool.until(f"{successor} | ready {successor}")
        slot.until(f"ready {successor}")
        assert slot.end(signal.SIGINT) == 0
    dead = service.cli("logs", first["id"])
    assert dead == (0, f"ready {first['id']}\nhello from {first['id']}\n", "")


def test_followers_see_the_end_and_say_that_the_supervisor_is_gone(launch: Launch, script: Script) -> None:
    service = launch(one_pool(script))
    with following(service, "events", "-f") as events, following(service, "logs", "talk", "-f") as logs:
        events.until("listening on")
        logs.until("ready")
        service.stop()
        assert (events.end(), logs.end()) == (3, 3)
        events.until("draining")
        assert events.err[0].startswith("chaperone: the connection is broken: it was closed")
        assert events.err[-1].startswith("chaperone: the supervisor is gone: ")
    assert "Traceback" not in service.log()


def test_followers_go_on_when_the_supervisor_is_started_again(launch: Launch, script: Script) -> None:
    service = launch(one_pool(script))
    with following(service, "events", "-f", "--kind", "supervisor.started") as follower:
        follower.until(f"pid {service.pid}")
        service.stop()
        until(lambda: any("the connection is broken" in line for line in follower.err))
        follower.process.send_signal(signal.SIGSTOP)  # it tries for some seconds only
        service.start().until_up()
        follower.process.send_signal(signal.SIGCONT)
        follower.until(f"pid {service.pid}")
        missing = "chaperone: something is missing here: the supervisor has been restarted since"
        until(lambda: missing in follower.err)  # which is read by another thread
        assert follower.end(signal.SIGINT) == 0
        assert len(follower.out) == 2


def test_a_flood_is_followed_with_losses_that_are_told_and_stops_nobody(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    flood = """
        import itertools
        for number in itertools.count():
            print(number, "a line as long as lines of a log happen to be, or perhaps a little bit longer than that")
    """
    pools = f"[pools.flood]\ncommand = {command(script('flood', flood))}\nlogs.mode = 'file'\nlogs.path = '/dev/null'\n"
    service = launch(pools + one_pool(script))
    with following(service, "logs", "flood", "-f") as follower:
        follower.until("0 a line")
        follower.process.send_signal(signal.SIGSTOP)
        (worker,) = service.workers("talk")
        os.kill(worker["pid"], signal.SIGKILL)
        service.until(lambda: service.workers("talk")[0]["id"] != worker["id"])
        service.until_up("/readyz")
        follower.process.send_signal(signal.SIGCONT)
        follower.until("lines lost")
        assert follower.end(signal.SIGINT) == 0
    service.stop()
    assert "Traceback" not in service.log()
