"""Pools of Huey consumers: by `backend = "huey"` alone they work, tell of their jobs, and lose none of them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chaperone_async.huey import failed
from tests.backends.adapters import ADAPTERS
from tests.backends.consumer import Application
from tests.backends.lossless import prepared
from tests.e2e.service import Launch, Service, until

Make = Callable[..., Application]

TASKS = """
    @huey.task()
    def work(n):
        note(n)

    @huey.task()
    def wait():
        note("began")
        wait_for("calm")
        note("ended")

    @huey.task()
    def fail(why):
        note("tried")
        raise ValueError(why)
"""


def pool(app: Application, more: str = "") -> str:
    return f"""
[pools.jobs]
backend = "huey"
huey.app = "app.huey"
queue = "jobs"
directory = {json.dumps(str(app.directory))}
job.sleep = "20ms"
{more}"""


def only_worker(service: Service) -> dict[str, Any]:
    (worker,) = service.workers("jobs")
    return worker


def backlog(service: Service) -> dict[str, Any]:
    """Nothing, before it was read for the first time."""
    return service.pool("jobs")["backlog"] or {}


def test_a_pool_by_its_backend_alone_does_jobs_and_tells_of_them(application: Make, launch: Launch) -> None:
    app = application(TASKS)
    for n in range(20):
        app.work(n)
    app.fail("broken")
    service = launch(pool(app))
    app.until_done(*map(str, range(20)), "tried")
    service.until(lambda: only_worker(service)["jobs_processed"] == 20 and only_worker(service)["activity"] == "idle")
    app.wait()
    app.until_done("began")
    service.until(lambda: only_worker(service)["activity"] == "busy")
    assert only_worker(service)["current_job_name"] == "app.wait"
    service.until(lambda: backlog(service).get("reserved") == 1)
    app.allow("calm")
    service.until(lambda: only_worker(service)["jobs_processed"] == 21)
    counts = {"ready": 0, "delayed": 0, "reserved": 0, "failed": 1}
    service.until(lambda: counts.items() <= backlog(service).items())

    (job,) = failed(app.file)
    told = json.loads(service.cli("failed", "jobs", "--format", "json").out)["failed"]
    assert [(one["id"], one["name"], one["error"]) for one in told] == [
        (str(job.id), "app.fail", "ValueError('broken')")
    ]
    assert "'broken'" in json.dumps(told)
    assert service.cli("retry", str(job.id)).code == 0
    until(lambda: app.times_done()["tried"] == 2 and app.backlog().failed == 1)
    assert service.cli("flush", "jobs", "--yes").code == 0
    assert app.backlog().failed == 0


@pytest.mark.parametrize(("jobs", "kills"), [(150, 6), (60, 0)])
def test_no_job_is_lost_and_none_done_twice_but_by_kills(tmp_path: Path, jobs: int, kills: int) -> None:
    trial = prepared(ADAPTERS["huey"], tmp_path, "", seed=7)
    with trial.service.start().until_up():
        outcome = trial.run(jobs, kills)
        assert not trial.service.lines("cannot put back")
    assert (outcome.ran, outcome.never) == (jobs, ())
    assert outcome.twice <= outcome.kills == kills


def test_a_dead_workers_job_is_put_back_at_once(application: Make, launch: Launch) -> None:
    app = application(TASKS)
    app.wait()
    service = launch(pool(app, "huey.options = ['--scheduler-interval=60']"))
    app.until_done("began")
    os.kill(only_worker(service)["pid"], signal.SIGKILL)
    service.until(lambda: service.lines("put back into the queue: 1 job of jobs-"))
    app.allow("calm")
    app.until_empty()
    assert app.done() == ["began", "began", "ended"]


def test_a_worker_that_is_stopped_finishes_its_job(application: Make, launch: Launch) -> None:
    app = application(TASKS)
    app.wait()
    app.work(1)
    service = launch(pool(app))
    app.until_done("began")
    service.send(signal.SIGTERM)
    service.until(lambda: service.lines("Shutting down gracefully"))
    app.allow("calm")
    assert service.wait() == 0
    assert app.done() == ["began", "ended"]
    assert app.backlog().ready == 1


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_job_that_takes_too_long_to_stop_goes_back_unblamed(application: Make, launch: Launch, kind: str) -> None:
    app = application(TASKS)
    app.wait()
    service = launch(pool(app, f"huey.worker_type = '{kind}'\nstop.timeout = '200ms'"))
    app.until_done("began")
    assert service.stop() == 0
    assert service.lines("is sent SIGTERM")
    assert not service.lines("is killed")
    with closing(sqlite3.connect(app.file)) as file:
        assert file.execute("select state, deaths from job").fetchall() == [("ready", 0)]


def test_a_job_that_takes_too_long_costs_its_worker_and_is_given_up_in_the_end(
    application: Make, launch: Launch
) -> None:
    app = application(TASKS, ", max_deaths=1")
    app.wait()
    service = launch(pool(app, "job.timeout = '300ms'\nstop.timeout = '100ms'"))
    service.until(lambda: app.backlog().failed == 1)
    (job,) = failed(app.file)
    assert (job.name, job.error) == (
        "app.wait",
        "JobKilledWorkers('the job was given up: 1 worker has died while it had it')",
    )
    assert app.done() == ["began"]
    assert [crash["reason"] for crash in service.crashes("jobs")] == ["job_timeout"]


def test_child_processes_are_counted_as_their_worker(application: Make, launch: Launch) -> None:
    app = application(TASKS)
    service = launch(pool(app, "huey.worker_type = 'process'\nhuey.workers = 3"))
    for n in range(30):
        app.work(n)
    app.until_done(*map(str, range(30)))
    service.until(lambda: only_worker(service)["jobs_processed"] == 30)
    assert app.times_done() == {str(n): 1 for n in range(30)}


PLAIN = """
import os, signal
from pathlib import Path
from huey import RedisHuey, SqliteHuey

huey = {huey}

@huey.task()
def work(n):
    Path(f"done-{{n}}").touch()

@huey.task()
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("storage", ["SqliteStorage", "RedisStorage"])
def test_a_plain_huey_works_too_and_what_it_loses_is_told(
    tmp_path: Path, launch: Launch, storage: str, redis_url: str
) -> None:
    instances = {
        "SqliteStorage": "SqliteHuey('plain', filename='plain.db')",
        "RedisStorage": f"RedisHuey('plain', url={redis_url!r})",
    }
    (tmp_path / "plain.py").write_text(PLAIN.format(huey=instances[storage]))
    more = f"directory = {json.dumps(str(tmp_path))}\njob.sleep = 0.02"
    service = launch(f'[pools.jobs]\nbackend = "huey"\nhuey.app = "plain.huey"\nqueue = "plain"\n{more}')
    send = "import plain; plain.work(1); plain.work(2); plain.die()"
    subprocess.run([sys.executable, "-c", send], cwd=tmp_path, check=True)
    told = f"1 job is lost: {storage} forgets a job when it gives it out; use chaperone_async.huey.DurableHuey"
    service.until(lambda: service.lines(told))
    assert {path.name for path in tmp_path.glob("done-*")} == {"done-1", "done-2"}
    assert service.pool("jobs")["jobs_processed"] == 2
    service.until(lambda: backlog(service).get("ready") == 0)
    assert [backlog(service)[what] for what in ("reserved", "failed", "oldest_age")] == [None, None, None]
