"""A pool that scales itself by a real backlog: workers that report their jobs, a source that is read, and no harm to
whoever is at work."""

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.service import ROOT, Launch, Script, Service, until

WORKER = f"""
import os, sys, time
sys.path.append({str(ROOT)!r})
from chaperone_async.worker import notify

root = sys.argv[1]
notify.should_stop()
notify.ready()
while not notify.should_stop():
    try:
        names = sorted(os.listdir(root + "/ready"))
    except FileNotFoundError:  # a test has taken it away
        names = []
    for name in names:
        try:
            os.rename(root + "/ready/" + name, root + "/taken/" + name)
        except FileNotFoundError:
            continue
        with notify.job(name, name="wait", queue="files"):
            while not os.path.exists(root + "/gate"):
                time.sleep(0.02)
        with open(root + "/done", "a") as done:
            done.write(name + "\\n")
        break
    else:
        time.sleep(0.02)
"""
DEPTH = "import os, sys; print(len(os.listdir(sys.argv[1] + '/ready')))"


class Jobs:
    """A directory of files as a queue. While the gate is shut, every job that was taken waits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("ready", "taken"):
            (root / name).mkdir(parents=True)

    def put(self, many: int, first: int = 0) -> None:
        for number in range(first, first + many):
            (self.root / "ready" / f"{number:04}").touch()

    def open_gate(self) -> None:
        (self.root / "gate").touch()

    def shut_gate(self) -> None:
        (self.root / "gate").unlink()

    @property
    def done(self) -> list[str]:
        path = self.root / "done"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "jobs")


def pool(script: Script, jobs: Jobs, least: int, most: int, more: str = "") -> str:
    words = [sys.executable, "-S", "-E", str(script("worker", WORKER)), str(jobs.root)]
    depth = [sys.executable, "-S", "-E", "-c", DEPTH, str(jobs.root)]
    return f"""
        [pools.files]
        command = {json.dumps(words)}
        queue = "files"
        workers = {{ min = {least}, max = {most} }}
        health.ready = "notify"
        backlog = {{ source = {{ command = {json.dumps(depth)} }}, interval = "0.3s" }}
        autoscale = {{ target = 1, cooldown = 0, stabilization = 0, max_step = 10, scale_to_zero_after = "1s" }}
        {more}
    """


def busy(service: Service) -> int:
    return sum(worker["activity"] == "busy" for worker in service.workers("files"))


def test_a_backlog_is_met_with_workers_and_the_busy_are_left_to_finish(
    launch: Launch, script: Script, jobs: Jobs
) -> None:
    service = launch(pool(script, jobs, 1, 10))
    jobs.put(13)
    service.until(lambda: busy(service) == 10)
    assert service.pool("files")["desired"] == 10
    for path in (jobs.root / "ready").iterdir():
        path.unlink()
    jobs.open_gate()
    service.until(lambda: len(jobs.done) == 10)
    service.until(lambda: [len(service.pids("files")), service.pool("files")["desired"]] == [1, 1])
    deaths = service.crashes("files")
    assert {(death["reason"], death["exit_code"]) for death in deaths} == {("scaled_down", 0)}
    assert not service.lines("is killed")
    assert sorted(jobs.done) == sorted(set(jobs.done))
    assert service.lines("scaled by the scaler: from 1 to ", "jobs waiting", "call for")


def test_an_empty_pool_has_no_worker_until_the_first_job(launch: Launch, script: Script, jobs: Jobs) -> None:
    service = launch(pool(script, jobs, 0, 3), probe="/livez")
    jobs.open_gate()
    service.until_up("/readyz")
    assert service.pids("files") == []
    jobs.put(1)
    service.until(lambda: jobs.done == ["0000"])
    service.until(lambda: service.pids("files") == [])
    assert service.get("/readyz").status == 200


def test_a_source_that_cannot_be_read_holds_what_there_is_and_fails_no_probe(
    launch: Launch, script: Script, jobs: Jobs
) -> None:
    service = launch(pool(script, jobs, 1, 3))
    jobs.put(3)
    service.until(lambda: busy(service) == 3)
    (jobs.root / "ready").rmdir()
    service.until(lambda: service.lines("the queue cannot be read"))
    jobs.open_gate()
    service.until(lambda: len(jobs.done) == 3)
    assert service.get("/livez").status == service.get("/readyz").status == 200
    assert service.pool("files")["desired"] == 3
    (jobs.root / "ready").mkdir()
    service.until(lambda: service.lines("the queue can be read again"))
    service.until(lambda: service.pool("files")["desired"] == 1)


def test_bounds_that_are_reloaded_hold_at_once(launch: Launch, script: Script, jobs: Jobs) -> None:
    service = launch(pool(script, jobs, 1, 2))
    jobs.put(10)
    service.until(lambda: busy(service) == 2)
    service.config.write_text(service.config.read_text().replace("max = 2", "max = 4"))
    assert service.cli("reload").code == 0
    service.until(lambda: busy(service) == 4)
    jobs.open_gate()
    until(lambda: len(jobs.done) == 10)
