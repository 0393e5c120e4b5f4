"""What a Huey consumer tells of its jobs over the notify socket, and that it is Huey's own in all else."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.backends.consumer import Application
from tests.backends.hearing import Hearing, hearing
from tests.e2e.service import PATIENCE, ROOT, until

Make = Callable[..., Application]

OUTCOMES = """
    from huey.exceptions import CancelExecution, TaskTimeout

    @huey.task()
    def fine():
        return 1

    @huey.task()
    def broken():
        raise ValueError("broken")

    @huey.task(retries=1)
    def again():
        note("again")
        if len(list(open(here / "done"))) == 1:
            raise ValueError("once")

    @huey.task()
    @huey.lock_task("taken")
    def locked():
        note("never")

    @huey.task()
    def cancelled():
        raise CancelExecution

    @huey.task(timeout=5)
    def overdue():
        raise TaskTimeout

    @huey.task(expires=-1)
    def expired():
        note("never")

    @huey.task()
    def leave():
        note("leave")
        if "leave" not in (here / "done").read_text().replace("leave", "", 1):
            raise SystemExit(7)

    @huey.task()
    def wait():
        note("began")
        wait_for("calm")
"""


@contextmanager
def agent(app: Application, kind: str) -> Iterator[tuple[Hearing, subprocess.Popen[bytes]]]:
    options = ("-w", "1", "-k", kind, "-g", "TERM", "-d", "0.02", "-m", "0.02", "-c", "0.05")
    command = [sys.executable, "-m", "chaperone_async.agent.huey", "app.huey", *options]
    with hearing() as heard, (app.directory / "log").open("wb") as log:
        env = {**os.environ, "NOTIFY_SOCKET": str(heard.path), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=app.directory, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            yield heard, process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_each_run_of_a_job_is_told_as_one_start_and_one_end(application: Make, kind: str) -> None:
    app = application(OUTCOMES)
    app.huey.lock_task("taken").acquire()
    told = {
        "fine": ["ok"], "broken": ["ValueError: broken"], "again": ["ok", "ok"], "locked": ["ok"],
        "cancelled": ["ok"], "overdue": ["TaskTimeout: it ran longer than its 5 s"], "expired": [],
        "leave": ["SystemExit: 7", "ok"],
    }  # fmt: skip
    with agent(app, kind) as (heard, process):
        for name, ends in told.items():  # one after the other: the socket holds ten messages
            getattr(app, name)()
            until(lambda name=name, ends=ends: heard.runs(f"app.{name}") == ends)  # type: ignore[misc]  # a value of the loop
            app.until_empty()
        app.wait()
        until(lambda: heard.said[-1].get("X_CHAPERONE_NAME") == "app.wait")
        begun = heard.said[-1]
        beats = heard.count("WATCHDOG")
        until(lambda: heard.count("WATCHDOG") > beats)
        process.send_signal(signal.SIGTERM)
        until(lambda: b"Shutting down gracefully" in (app.directory / "log").read_bytes())
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        until(lambda: heard.runs("app.wait"))
    assert heard.count("READY") == 1
    told["wait"] = ["ok"]
    assert {name: heard.runs(f"app.{name}") for name in told} == told
    assert begun["X_CHAPERONE_QUEUE"] == "jobs"
    assert 0 <= float(begun["X_CHAPERONE_WAIT_MS"]) < PATIENCE * 1000
    assert app.backlog().ready == 1


def test_by_sighup_a_consumer_starts_anew_as_what_it_was(application: Make) -> None:
    app = application(OUTCOMES)
    with agent(app, "thread") as (heard, process):
        until(lambda: heard.count("READY") == 1)
        process.send_signal(signal.SIGHUP)
        until(lambda: heard.count("READY") == 2)
        app.fine()
        until(lambda: heard.runs("app.fine") == ["ok"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_what_is_no_huey_is_refused_in_one_line(application: Make) -> None:
    app = application("")
    command = [sys.executable, "-m", "chaperone_async.agent.huey", "app.os", "-w", "1"]
    run = subprocess.run(command, cwd=app.directory, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "cannot run app.os: it is a module, not a Huey; name the instance, such as app.os.huey\n"
