"""A worker that dies is replaced, at once and alone, and its death is on record."""

import json
import os
import signal

from tests.e2e.service import Launch, Script, Service, command

SLEEPER = """
import os, signal
print("at work in slot", os.environ["CHAPERONE_SLOT"], flush=True)
signal.pause()
"""
POOLS = """
[defaults]
command = {command}
restart.start_seconds = 0.2
restart.backoff = {{ initial = "10m", max = "10m" }}

[pools.emails]
workers = 5
[pools.images]
workers = 3
[pools.reports]
workers = 2
"""


def running(service: Service, *pools: str) -> dict[tuple[str, int], tuple[str, int]]:
    rows = [(pool, row) for pool in pools for row in service.workers(pool) if row["status"] == "running"]
    return {(pool, row["slot"]): (row["id"], row["pid"]) for pool, row in rows}


def test_a_killed_worker_is_replaced_in_its_slot_and_no_other_worker_is_touched(launch: Launch, script: Script) -> None:
    service = launch(POOLS.format(command=command(script("sleeper", SLEEPER))))
    pools = ("emails", "images", "reports")
    service.until(lambda: len(running(service, *pools)) == 10)
    before = running(service, *pools)

    worker_id, pid = before.pop(("emails", 3))
    os.kill(pid, signal.SIGKILL)
    service.until(lambda: service.workers("emails")[3]["pid"] not in (None, pid))
    service.until(lambda: len(running(service, *pools)) == 10)
    after = running(service, *pools)

    new_id, new_pid = after.pop(("emails", 3))
    assert new_id != worker_id
    assert new_id.startswith("emails-")
    assert new_pid != pid
    assert after == before
    assert [row["restarts"] for row in service.workers("emails")] == [0, 0, 0, 1, 0]
    assert service.get("/readyz").status == 200


def test_a_death_is_on_record_with_its_reason_and_the_last_words(launch: Launch, script: Script) -> None:
    service = launch(POOLS.format(command=command(script("sleeper", SLEEPER))))
    worker = service.until(lambda: running(service, "images").get(("images", 1)))
    os.kill(worker[1], signal.SIGKILL)
    service.until(lambda: service.crashes("images"))

    as_json = service.cli("crashes", "images", "--format", "json")
    table = service.cli("crashes")

    assert (as_json.code, as_json.err) == (0, "")
    assert json.loads(as_json.out) == service.get("/api/v1/pools/images/crashes").json
    (record,) = json.loads(as_json.out)["crashes"]
    assert {key: record[key] for key in ("worker_id", "pool", "slot", "pid", "reason", "exit_code", "exit_signal")} == {
        "worker_id": worker[0], "pool": "images", "slot": 1, "pid": worker[1],
        "reason": "signal", "exit_code": None, "exit_signal": 9,
    }  # fmt: skip
    assert record["output"] == ["at work in slot 1"]
    assert record["uptime"] > 0.2
    assert table.code == 0
    assert worker[0] in table.out
    assert "SIGKILL" in table.out
    assert "at work in slot 1" in table.out
    assert service.lines(worker[0], "died (signal)")
