"""The embedded queue under Huey's real consumer: what is put in gets done, through kills and power cuts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest
from huey.api import chord
from huey.exceptions import TaskException

from chaperone_async.huey import failed, recover, retry
from tests.backends.consumer import Application, until

Make = Callable[..., Application]

WORK = """
    @huey.task()
    def work(n):
        note(n)
"""


def test_a_thousand_jobs_are_done_though_their_worker_is_killed_again_and_again(application: Make) -> None:
    app = application(WORK, ", max_deaths=1000")
    for n in range(1000):
        app.work(n)
    for kills in range(1, 11):
        with app.consumer("-w", "4", worker=f"w-{kills}") as consumer:
            until(partial(app.has_done, kills * 100 - 50), "it has done more of them")
            consumer.kill()
        recover(app.file, f"w-{kills}")
    with app.consumer("-w", "4"):
        app.until_empty()
    assert set(app.times_done()) == {str(n) for n in range(1000)}
    assert len(app.done()) <= 1000 + 10 * 4
    assert app.backlog().failed == 0


def test_two_consumers_of_one_file_do_each_job_once(application: Make) -> None:
    app = application(WORK)
    for n in range(300):
        app.work(n)
    with app.consumer("-w", "2") as one, app.consumer("-w", "2", "-k", "process") as other:
        app.until_empty()
        assert one.stop() == 0
        assert other.stop() == 0
    assert app.times_done() == {str(n): 1 for n in range(300)}


def test_the_jobs_of_one_that_died_are_done_by_another_that_runs(application: Make) -> None:
    app = application("""
        @huey.task()
        def wait():
            note("began")
            wait_for("calm")
            note("ended")
    """)
    app.wait()
    with app.consumer("-w", "1") as first:
        app.until_done("began")
        with app.consumer("-w", "1"):
            first.kill()
            app.allow("calm")
            app.until_done("ended")
            app.until_empty()
    assert app.done() == ["began", "began", "ended"]


def test_the_job_of_a_killed_child_is_done_by_its_sibling(application: Make) -> None:
    app = application("""
        @huey.task()
        def wait():
            note(os.getpid())
            wait_for("calm")
            note("ended")
    """)
    app.wait()
    with app.consumer("-w", "2", "-k", "process"):
        until(app.done, "a child that works")
        os.kill(int(app.done()[0]), signal.SIGKILL)
        app.allow("calm")
        app.until_done("ended")
        app.until_empty()


def test_a_job_that_kills_its_workers_is_given_up_and_those_beside_it_are_done(application: Make) -> None:
    app = application("""
        @huey.task()
        def kill():
            note("killing")
            os.kill(os.getpid(), signal.SIGKILL)

        @huey.task()
        def work(n):
            wait_for("calm")
            note(n)
    """)
    result = app.kill()
    for n in range(3):
        app.work(n)
    for _ in range(3):
        with app.consumer("-w", "4") as consumer:
            assert consumer.process.wait() == -signal.SIGKILL
    with app.consumer("-w", "4"):
        until(lambda: app.backlog().failed, "it is given up")
        app.allow("calm")
        app.until_empty()
    assert app.times_done() == {"killing": 3, "0": 1, "1": 1, "2": 1}
    (job,) = failed(app.file)
    assert (job.name, job.deaths) == ("app.kill", 3)
    assert job.error == "JobKilledWorkers('the job was given up: 3 workers have died while they had it')"
    with pytest.raises(TaskException, match="3 workers have died"):
        result.get()


def test_a_job_that_ends_its_thread_comes_back(application: Make) -> None:
    app = application("""
        @huey.task()
        def leave():
            note("leaving")
            if len((here / "done").read_text().split()) == 1:
                raise SystemExit
    """)
    app.leave()
    with app.consumer("-w", "2"):
        app.until_empty()
    assert app.done() == ["leaving", "leaving"]


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_an_interrupted_job_comes_back_and_is_not_blamed(application: Make, kind: str) -> None:
    app = application(
        """
        @huey.task()
        def wait():
            note("began")
            wait_for("calm")
            note("ended")
    """,
        ", max_deaths=1",
    )
    app.wait()
    with app.consumer("-w", "1", "-k", kind) as consumer:
        app.until_done("began")
        assert consumer.stop(signal.SIGTERM) == 0
    assert app.backlog().ready == 1
    app.allow("calm")
    with app.consumer("-w", "1", "-k", kind):
        app.until_empty()
    assert app.done() == ["began", "began", "ended"]
    assert app.backlog().failed == 0


def test_a_lock_ends_with_the_worker_whose_job_held_it(application: Make) -> None:
    app = application("""
        @huey.task()
        @huey.lock_task("one")
        def wait():
            note("began")
            wait_for("calm")
            note("ended")
    """)
    app.wait()
    with app.consumer("-w", "1", worker="w-1") as consumer:
        app.until_done("began")
        assert app.huey.is_locked("one")
        consumer.kill()
    assert recover(app.file, "w-1") == 1
    assert not app.huey.is_locked("one")
    app.allow("calm")
    with app.consumer("-w", "1"):
        app.until_empty()
    assert app.done() == ["began", "began", "ended"]


def test_a_job_that_fails_is_tried_as_often_as_it_asks_then_kept_and_can_be_retried(application: Make) -> None:
    app = application("""
        @huey.task(retries=2)
        def fail():
            note("tried")
            if not (here / "mended").exists():
                raise ValueError("broken")
            note("ended")
    """)
    app.fail()
    with app.consumer("-w", "2"):
        app.until_empty()
        (job,) = failed(app.file)
        assert (job.name, job.error, job.attempts) == ("app.fail", "ValueError('broken')", 3)
        assert 'raise ValueError("broken")' in job.traceback
        app.allow("mended")
        assert retry(app.file, job.id) == 1
        app.until_done("ended")
        app.until_empty()
    assert app.times_done() == {"tried": 4, "ended": 1}
    assert failed(app.file) == []


def test_delayed_periodic_chained_and_chorded_jobs_and_results_are_as_with_any_huey(application: Make) -> None:
    app = application("""
        @huey.task()
        def later(due):
            note("late" if time.time() >= due else "early")

        @huey.task(retries=1, retry_delay=1)
        def again():
            note("again")
            if len([line for line in (here / "done").read_text().split() if line == "again"]) == 1:
                raise ValueError("once")

        @huey.periodic_task(crontab())
        def each_minute():
            note("minute")

        @huey.task()
        def add(a, b):
            return a + b

        @huey.task()
        def total(numbers):
            return sum(numbers)
    """)
    app.later.schedule((time.time() + 1,), delay=1)
    app.again()
    chain = app.huey.enqueue(app.add.s(1, 2).then(app.add, 10))
    chorded = app.huey.enqueue(chord([app.add.s(n, n) for n in range(4)], app.total))
    with app.consumer("-w", "2", "-k", "process"):
        assert [part.get(blocking=True, timeout=30) for part in chain] == [3, 13]
        assert chorded.get(blocking=True, timeout=30) == 12
        app.until_done("late", "minute")
        until(lambda: app.times_done()["again"] == 2, "the second try")
        app.until_empty()
    assert app.times_done()["late"] == 1
    assert "early" not in app.done()
    assert app.backlog().failed == 0


def test_the_highest_priority_goes_first_and_the_rest_in_order(application: Make) -> None:
    app = application(WORK)
    for n, priority in enumerate([None, 5, 1, None, 5]):
        app.huey.enqueue(app.work.s(n, priority=priority))
    with app.consumer("-w", "1"):
        app.until_empty()
    assert app.done() == ["1", "4", "2", "0", "3"]


def test_a_job_that_this_release_does_not_know_is_kept(application: Make) -> None:
    app = application(WORK)
    app.huey.task(name="unknown")(print)()
    with app.consumer("-w", "1"):
        until(lambda: app.backlog().failed, "it is kept")
    assert failed(app.file)[0].error == "cannot be read: HueyException('builtins.unknown not found in TaskRegistry')"


def test_nothing_of_huey_is_imported_before_it_is_used() -> None:
    look = "import sys, chaperone_async; from chaperone_async.huey import backlog; print('huey' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", look], text=True) == "False\n"


def test_without_huey_the_error_names_the_extra() -> None:
    use = "import sys; sys.modules['huey'] = None\nfrom chaperone_async.huey import DurableHuey"
    run = subprocess.run([sys.executable, "-c", use], capture_output=True, text=True, check=False)
    assert (
        'cannot use DurableHuey: the package huey is not installed; pip install "chaperone-async[huey]"' in run.stderr
    )
