"""The end: readyz says so at once, livez stays up, workers may finish, nobody outlives the grace, nothing is left."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.service import Launch, Script, Service, alive, command, until

GRACE = 3.0
LATE = 5.0
"""Seconds that a busy machine may take to deliver the signal, and to let us look. Together far less than the 30 s that
the deaf would have without the grace."""
PROBE_EVERY = 0.02
ECHO = 0.5
"""Seconds after which a signal is no echo of another any more."""

FINISHER = """
    import os, signal, sys, time
    def finish(*_):
        time.sleep(0.5)
        open(f"{sys.argv[1]}/finished-{os.environ['CHAPERONE_SLOT']}", "w").write("1\\n")
        sys.exit()
    signal.signal(signal.SIGTERM, finish)
    print("ready to finish", flush=True)
    while True:
        signal.pause()
"""
DEAF = """
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf now", flush=True)
    while True:
        signal.pause()
"""
PARENT = """
    import os, signal, sys
    def live_on(name):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        open(f"{sys.argv[1]}/{name}", "w").write(f"{os.getpid()}\\n")
        while True:
            signal.pause()
    if os.fork() == 0:
        live_on("child")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            live_on("daemon")
        os._exit(0)
    os.wait()
    while True:
        signal.pause()
"""


class Sighting(NamedTuple):
    after: float
    readyz: int
    livez: int


def watch_the_end(service: Service, pids: list[int]) -> tuple[list[Sighting], float]:
    """What a prober sees from the signal on until nobody answers, and when the last of the processes was gone."""
    begun, sightings = time.monotonic(), []

    def wait_until_gone() -> float:
        until(lambda: not any(map(alive, pids)))
        return time.monotonic() - begun

    with ThreadPoolExecutor(1) as beside:
        gone_after = beside.submit(wait_until_gone)
        service.send(signal.SIGTERM)
        with suppress(OSError, HTTPException):
            while True:
                readyz, livez = service.get("/readyz").status, service.get("/livez").status
                sightings.append(Sighting(time.monotonic() - begun, readyz, livez))
                time.sleep(PROBE_EVERY)
        return sightings, gone_after.result()


def test_sigterm_drains_within_the_grace_and_leaves_nothing(launch: Launch, script: Script, tmp_path: Path) -> None:
    here = str(tmp_path)
    service = launch(
        f"""
        [defaults.restart]
        start_seconds = 0.1
        [pools.finishers]
        workers = 2
        command = {command(script("finisher", FINISHER), here)}
        [pools.deaf]
        command = {command(script("deaf", DEAF))}
        [pools.parents]
        command = {command(script("parent", PARENT), here)}
        """,
        head=f"shutdown.grace = {GRACE}",
    )
    service.until(lambda: len(service.lines("| ready to finish")) == 2 and service.lines("| deaf now"))
    kin = [int(service.until_path(tmp_path / name)) for name in ("child", "daemon")]
    (deaf,) = service.workers("deaf")
    pids = [*kin, deaf["pid"], *service.pids("finishers"), *service.pids("parents")]

    sightings, gone_after = watch_the_end(service, pids)
    code = service.wait()

    assert code == 0
    assert gone_after <= GRACE + LATE
    assert sightings[0].readyz == 503
    assert {sighting.readyz for sighting in sightings} == {503}
    assert {sighting.livez for sighting in sightings} == {200}
    assert sightings[-1].after > GRACE / 3, "it answers as long as it waits for the deaf one"
    assert [(tmp_path / f"finished-{slot}").exists() for slot in (0, 1)] == [True, True]
    assert service.lines("SIGTERM: draining, all is over in 3 s at the latest")
    assert service.lines("waiting for ", deaf["id"])
    assert service.lines(deaf["id"], "is killed (stop)")
    assert not service.socket.exists()


def test_a_draining_supervisor_tells_why_it_is_not_ready(launch: Launch, script: Script) -> None:
    service = launch(f"[pools.deaf]\ncommand = {command(script('deaf', DEAF))}")
    service.until(lambda: service.lines("| deaf now"))

    service.send(signal.SIGTERM)
    answer = service.get("/readyz")

    assert (answer.status, answer.body.splitlines()[0]) == (503, "[-]draining failed: the supervisor shuts down")
    assert service.status()["state"] == "draining"
    assert service.cli("ready").code == 1
    assert service.cli("health").code == 0
    os.kill(service.pids("deaf")[0], signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_second_signal_hurries_and_an_echo_of_the_first_does_not(
    launch: Launch, script: Script, number: signal.Signals
) -> None:
    service = launch(
        f"[pools.deaf]\ncommand = {command(script('deaf', DEAF))}\nworkers = 2", head="shutdown.grace = 60"
    )
    service.until(lambda: len(service.lines("| deaf now")) == 2)
    pids = service.pids("deaf")

    service.send(number)
    service.send(number)
    service.until(lambda: service.lines(f"{number.name}: draining"))
    time.sleep(ECHO)  # the one thing that tells a second signal from an echo is time
    after_the_echo = [alive(pid) for pid in pids]
    service.send(number)

    assert service.wait() == 0
    assert after_the_echo == [True, True]
    assert len(service.lines(f"{number.name} again: killing what is left")) == 1
    assert not any(map(alive, pids))


def test_frozen_workers_are_woken_to_hear_the_end(launch: Launch, script: Script, tmp_path: Path) -> None:
    pool = f"[pools.frozen]\ncommand = {command(script('finisher', FINISHER), str(tmp_path))}"
    service = launch(pool, head="shutdown.grace = 20")
    service.until(lambda: service.lines("| ready to finish"))
    service.send(signal.SIGTSTP)
    service.until(lambda: service.workers("frozen")[0]["status"] == "paused")

    assert service.stop() == 0
    assert (tmp_path / "finished-0").exists()


def test_slots_that_wait_for_their_next_try_do_not_hold_up_the_end(launch: Launch) -> None:
    pool = '[pools.gone]\ncommand = ["/does/not/exist"]\nrestart.backoff = { initial = "10m", max = "10m" }'
    service = launch(pool, head="shutdown.grace = 600", probe="/livez")
    service.until(lambda: service.workers("gone")[0]["status"] == "backoff")

    service.send(signal.SIGTERM)

    assert service.wait() == 0


def test_a_signal_while_workers_are_being_started_leaves_nothing(launch: Launch, script: Script) -> None:
    pool = f"[pools.many]\ncommand = {command(script('deaf', DEAF))}\nworkers = 30"
    service = launch(pool, head="shutdown.grace = 1", probe=None)
    service.until(lambda: service.lines("many: many-", "started"))

    assert service.stop() == 0
    assert service.left() == {}


def test_a_killed_worker_takes_its_kin_with_it(launch: Launch, script: Script, tmp_path: Path) -> None:
    service = launch(f"[pools.parents]\ncommand = {command(script('parent', PARENT), str(tmp_path))}")
    kin = [int(service.until_path(tmp_path / name)) for name in ("child", "daemon")]
    (worker,) = service.pids("parents")

    os.kill(worker, signal.SIGKILL)

    service.until(lambda: not any(map(alive, kin)))
    service.until(lambda: set(service.pids("parents")) - {worker})


def test_a_killed_supervisor_takes_its_workers_and_their_kin_with_it(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    service = launch(f"[pools.parents]\ncommand = {command(script('parent', PARENT), str(tmp_path))}")
    kin = [int(service.until_path(tmp_path / name)) for name in ("child", "daemon")]
    pids = [*kin, *service.pids("parents")]

    os.kill(service.pid, signal.SIGKILL)

    assert service.wait() == -signal.SIGKILL
    until(lambda: not service.left() and not any(map(alive, pids)))  # the ending have no environment to be found by


def test_a_grace_shorter_than_a_stop_is_refused_before_anything_starts(launch: Launch, script: Script) -> None:
    pool = f"[pools.deaf]\ncommand = {command(script('deaf', DEAF))}\nstop.timeout = '10s'"
    service = launch(pool, head="shutdown.grace = '5s'", probe=None)

    assert service.wait() == 2
    (line,) = service.log().splitlines()
    assert "chaperone.toml: pools.deaf.stop.timeout: " in line
    assert "10 s is longer than all of shutdown.grace, 5 s" in line
