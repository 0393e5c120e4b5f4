"""A pool that only crashes: one canary at a time until one lives, and nobody else notices."""

import os
import signal
from pathlib import Path

from tests.e2e.service import ROOT, Launch, Script, command

WORKER = f"""
    import fcntl, os, signal, sys
    place = sys.argv[1]
    lock = open(f"{{place}}/lock", "a")
    if os.path.exists(f"{{place}}/broken"):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with open(f"{{place}}/met-another", "a") as met:
                print(os.environ["CHAPERONE_WORKER_ID"], file=met)
        sys.exit("cannot reach the database")
    sys.path.append({str(ROOT)!r})
    from chaperone_async.worker import notify
    notify.ready()
    signal.pause()
"""


def test_a_pool_that_only_crashes_tries_one_canary_at_a_time_until_one_lives(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    run = command(script("worker", WORKER), str(tmp_path))
    service = launch(
        f"""
        [defaults]
        command = {run}
        restart.start_seconds = 0.1
        health.ready = "notify"
        [pools.shaky]
        workers = 3
        restart.backoff = {{ initial = 0.02, max = 0.05 }}
        restart.crash_loop = {{ count = 2, window = "1m", early = "3s" }}
        [pools.steady]
        workers = 2
        """,
        probe="/readyz",
    )
    service.until(lambda: service.pool("shaky")["ready_workers"] == 3 and service.pool("steady")["ready_workers"] == 2)
    steady, shaky = service.pids("steady"), service.pids("shaky")
    broken, met = tmp_path / "broken", tmp_path / "met-another"

    broken.touch()
    for pid in shaky:
        os.kill(pid, signal.SIGKILL)
    service.until(lambda: service.lines("shaky: canary: "))
    assert service.pool("shaky")["state"] == "crash_loop"
    lives = set()
    while len(service.lines("shaky: canary: ")) < 6:
        lives.add(service.get("/livez").status)
        assert service.pool("shaky")["running"] <= 1
    unready = service.get("/readyz")
    elsewhere = service.get("/readyz/steady").status
    broken.unlink()
    service.until(lambda: service.pool("shaky")["ready_workers"] == 3)

    assert lives == {200}
    assert unready.status == 503
    assert unready.body.startswith("[-]shaky failed: all workers crash soon after their start: 0 of at least 1 ready")
    assert "steady" not in unready.body
    assert elsewhere == 200
    assert service.pids("steady") == steady
    assert service.get("/readyz").status == 200
    assert service.pool("shaky")["state"] == "running"
    assert service.crashes("shaky")[0]["output"] == ["cannot reach the database"]
    trials = service.log().partition("canary: ")[2].partition("breaker closed")[0].splitlines()
    canaries = {line.split(" started (")[0].rpartition(" ")[2] for line in trials if " started (" in line}
    assert len(canaries) >= 5
    assert canaries.isdisjoint(met.read_text().split() if met.exists() else ())
