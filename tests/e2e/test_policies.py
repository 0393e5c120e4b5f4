"""What follows a death: a successor, none, or the end of the pool or of the supervisor."""

import signal
import time
from pathlib import Path

import pytest

from chaperone_async.service.signals import SAME_SIGNAL
from tests.e2e.service import Launch, Script, Service, command

SLEEPER = "import signal; signal.pause()"
FAILS_ONCE = """
    import pathlib, sys
    tried = pathlib.Path(sys.argv[1])
    if tried.exists():
        sys.exit(0)
    tried.touch()
    sys.exit(3)
"""
FINISHES_ITS_JOB = """
    import pathlib, signal, sys, time

    def finish(number, frame):
        while not pathlib.Path(sys.argv[1]).exists():
            time.sleep(0.01)
        sys.exit("the job is done")

    signal.signal(signal.SIGTERM, finish)
    print("at work", flush=True)
    while True:
        signal.pause()
"""
QUICK = "start_seconds = 0.1, backoff = { initial = 0.02, max = 0.05 }"
GIVING_UP = f"""
    [pools.hopeless]
    command = ["/bin/sh", "-c", "echo out of luck; exit 3"]
    restart = {{ {QUICK}, crash_loop = {{ count = 3, early = "1m", action = "fatal" }} }}
"""


def until_given_up(service: Service) -> Service:
    service.until(lambda: service.is_up("/livez") and service.pool("hopeless")["state"] == "fatal")
    return service


def test_on_failure_a_crash_has_a_successor_and_a_success_has_none(launch: Launch, script: Script) -> None:
    work = script("work", FAILS_ONCE)
    service = launch(
        f"""
        [pools.batch]
        command = {command(work, str(work.with_suffix(".tried")))}
        restart = {{ policy = "on-failure", {QUICK} }}
        """,
        probe="/livez",
    )
    service.until(lambda: service.lines("slot 0 has finished and stays empty"))

    assert [(death["reason"], death["exit_code"]) for death in service.crashes("batch")] == [("exit", 0), ("error", 3)]
    (row,) = service.workers("batch")
    assert (row["status"], row["pid"], row["restarts"]) == ("stopped", None, 1)
    assert service.get("/readyz").status == 200, "a pool that is done is not missed"


def test_never_means_that_a_crash_has_no_successor_either(launch: Launch) -> None:
    service = launch(
        """
        [pools.once]
        command = ["/bin/sh", "-c", "exit 3"]
        restart.policy = "never"
        """,
        probe="/livez",
    )
    service.until(lambda: service.lines("slot 0 has finished and stays empty"))

    (death,) = service.crashes("once")
    assert (death["reason"], death["exit_code"]) == ("error", 3)
    assert service.workers("once")[0]["pid"] is None


def test_a_pool_that_was_given_up_makes_the_supervisor_unready_and_no_more(launch: Launch, script: Script) -> None:
    good = f"[pools.good]\ncommand = {command(script('sleeper', SLEEPER))}\nrestart.start_seconds = 0.1\n"
    service = until_given_up(launch(good + GIVING_UP.replace("\n    ", "\n"), probe=None))
    service.until_up("/readyz/good")

    readyz = service.get("/readyz")
    assert readyz.status == 503
    assert readyz.body.startswith("[-]hopeless failed: fatal: ")
    assert service.get("/livez").status == 200
    assert [row["status"] for row in service.workers("hopeless")] == ["fatal"]
    assert len(service.crashes("hopeless")) == 3
    assert service.crashes("hopeless")[0]["output"] == ["out of luck"]
    assert service.cli("ready").code == 1


@pytest.mark.parametrize("setting", ['on_fatal = "ignore"', "essential = false"])
def test_a_pool_that_does_not_matter_leaves_the_supervisor_ready(launch: Launch, setting: str) -> None:
    service = until_given_up(launch(f"{GIVING_UP}    {setting}\n", probe=None))

    assert service.get("/readyz").status == 200
    assert service.get("/startupz").status == 200
    assert service.cli("ready").code == 0


def test_an_essential_pool_may_take_the_supervisor_with_it(launch: Launch, script: Script) -> None:
    good = f"[pools.good]\ncommand = {command(script('sleeper', SLEEPER))}\n"
    service = launch(good + GIVING_UP.replace("\n    ", "\n") + 'on_fatal = "exit"\n', probe=None)

    assert service.wait() == 1
    assert service.lines("pool hopeless is fatal: draining")
    assert service.lines("good-", "ended (stop)")
    assert service.left() == {}


def test_the_first_signal_does_not_hurry_a_supervisor_that_a_pool_has_taken_with_it(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    go, done = tmp_path / "go", tmp_path / "done"
    good = f"[pools.good]\ncommand = {command(script('worker', FINISHES_ITS_JOB), str(done))}\nstop.timeout = '20s'\n"
    bad = GIVING_UP.replace("\n    ", "\n").replace("echo out", f"until [ -e {go} ]; do sleep 0.02; done; echo out")
    service = launch(f'{good}{bad}on_fatal = "exit"\n', probe=None)
    service.until(lambda: service.lines("| at work"))
    go.touch()
    service.until(lambda: service.lines("pool hopeless is fatal: draining"))
    time.sleep(2 * SAME_SIGNAL)

    service.send(signal.SIGTERM)
    service.until(lambda: service.lines("SIGTERM: draining already"))
    done.touch()
    assert service.wait() == 1
    assert service.lines("| the job is done")
