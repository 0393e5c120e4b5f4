"""Pools of Procrastinate workers, by `backend = "procrastinate"` alone, on a real PostgreSQL."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.jobs import Status

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.deaths import Deaths
from chaperone_async.attendant.procrastinate import Attendant
from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.procrastinate import Procrastinate, ProcrastinateTable
from chaperone_async.system.backends.protocol import Asked, Unsuited
from tests.backends.promises import JOBS, QUEUE, Counts, Promises, SafePromises, Shop, lossless
from tests.backends.servers import Run

APP = "tests.backends.apps.procrastinate_app.app"
_STATUS = {"todo": "ready", "doing": "reserved", "failed": "failed"}


class ProcrastinateShop(Shop):
    backend = "procrastinate"
    options = f'procrastinate.app = "{APP}"'

    def __init__(self, server: str, place: Path) -> None:
        super().__init__(server, place)
        self.app = App(connector=SyncPsycopgConnector(conninfo=server, min_size=1))
        self.app.open()
        self.app.schema_manager.apply_schema()

    def send(self, job: str, what: str, *, delay: float | None = None, **options: Any) -> None:
        if delay is not None:
            options["schedule_in"] = {"seconds": delay}
        self.app.configure_task(job, queue=QUEUE, **options).defer(place=str(self.place), what=what)

    def counts(self) -> Counts:
        found = Counter(job.status for job in self.app.job_manager.list_jobs(queue=QUEUE))
        return {name: found[status] for status, name in _STATUS.items()}

    def fail(self) -> None:
        """The jobs that wait, as a worker does it."""
        self.set_status("failed")

    def take(self, worker: int) -> None:
        self.app.connector.execute_query("select procrastinate_register_worker_v1()")
        self.set_status("doing", worker)

    def set_status(self, status: str, worker: int | None = None) -> None:
        query = "update procrastinate_jobs set status = 'doing', worker_id = %(worker)s where status = 'todo'"
        self.app.connector.execute_query(query, worker=worker)
        if status != "doing":
            query = "update procrastinate_jobs set status = %(status)s::procrastinate_job_status where status = 'doing'"
            self.app.connector.execute_query(query, status=status)


@pytest.fixture
def shop(postgres_url: str, tmp_path: Path) -> Iterator[ProcrastinateShop]:
    shop = ProcrastinateShop(postgres_url, tmp_path)
    yield shop
    shop.app.close()


@pytest.fixture
def attendant(shop: ProcrastinateShop) -> Iterator[Attendant]:
    app = App(connector=PsycopgConnector(conninfo=shop.server, min_size=1))
    attendant = Attendant(app, Deaths(2))
    yield attendant
    attendant._loop.run(app.close_async())


class TestProcrastinate(Promises, SafePromises):
    pass


def test_no_job_is_lost_while_workers_are_killed_scaled_rolled_and_drained(run: Run, tmp_path: Path) -> None:
    outcome = lossless("procrastinate", run, tmp_path)
    assert (outcome.ran, outcome.never, outcome.kills) == (JOBS, (), 2)
    assert outcome.twice <= 2


def test_its_figures_are_those_of_procrastinate_itself(shop: ProcrastinateShop, attendant: Attendant) -> None:
    shop.send("work", "failed")
    shop.fail()
    for n in range(3):
        shop.send("work", str(n))
    assert {name: attendant.backlog([QUEUE])[name] for name in shop.counts()} == shop.counts()
    shop.send("work", "later", delay=3600)
    backlog = attendant.backlog([QUEUE, "other"])
    assert (backlog["ready"], backlog["delayed"]) == (3, 1)
    assert 0 <= backlog["oldest_age"] < 20
    assert 3500 < backlog["next_due"] <= 3600
    other = attendant.backlog(["other"])
    assert (other["ready"], other["failed"]) == (0, 0)


def test_failed_jobs_are_listed_and_done_again_or_forgotten(shop: ProcrastinateShop, attendant: Attendant) -> None:
    for n in range(3):
        shop.send("work", str(n))
    shop.fail()
    page = attendant.failed(QUEUE, 2, None)
    rest = attendant.failed(QUEUE, 2, page["next"])
    jobs = page["jobs"] + rest["jobs"]
    assert [f'what="{n}"' in job["args"] for n, job in zip((2, 1, 0), jobs, strict=True)] == [True] * 3
    assert {(job["name"], job["queue"], job["error"]) for job in jobs} == {("work", QUEUE, None)}
    assert all(job["failed_at"] for job in jobs)
    assert rest["next"] is None
    assert attendant.retry(QUEUE, [jobs[0]["id"], "no number"]) == 1
    assert attendant.flush(QUEUE, [jobs[1]["id"]]) == 1
    assert (attendant.flush("other", None), attendant.flush(QUEUE, None)) == (0, 1)
    assert shop.counts() == {"ready": 1, "reserved": 0, "failed": 0}


def test_a_job_that_was_retried_and_is_at_work_is_not_put_back_by_another_retry(
    shop: ProcrastinateShop, attendant: Attendant
) -> None:
    shop.send("work", "once")
    shop.fail()
    assert attendant.retry(QUEUE, None) == 1
    shop.take(1)
    assert not attendant._loop.run(attendant._put_back(1, Status.FAILED))  # chosen before, by somebody else
    assert shop.counts() == {"ready": 0, "reserved": 1, "failed": 0}


def test_a_job_that_somebody_else_puts_back_first_has_not_failed(
    shop: ProcrastinateShop, attendant: Attendant, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.send("work", "once")
    shop.take(1)

    def put_back(*_: object, **__: object) -> bool:
        shop.app.connector.execute_query("select procrastinate_retry_job_v2(1, now(), NULL, NULL, NULL)")
        return False

    monkeypatch.setattr(attendant._deaths, "is_last", put_back)
    assert attendant.reclaim({"mark": "1", "jobs": []}) == 0
    assert shop.counts() == {"ready": 1, "reserved": 0, "failed": 0}


def test_a_job_that_cannot_go_back_or_has_cost_too_many_workers_has_failed(
    shop: ProcrastinateShop, attendant: Attendant
) -> None:
    shop.send("work", "deadly")
    for number, blamed, goes_back in ((1, True, 1), (2, False, 1), (3, True, 0)):
        shop.take(number)
        assert attendant.reclaim({"mark": str(number), "jobs": [], "blamed": blamed}) == goes_back
    assert shop.counts() == {"ready": 0, "reserved": 0, "failed": 1}
    shop.send("work", "first", queueing_lock="one at a time")
    shop.take(4)
    shop.send("work", "second", queueing_lock="one at a time")
    assert attendant.reclaim({"mark": "4", "jobs": []}) == 0
    assert shop.counts() == {"ready": 1, "reserved": 0, "failed": 2}


def test_a_job_goes_back_though_its_worker_has_been_struck_off(shop: ProcrastinateShop, attendant: Attendant) -> None:
    for what in ("mine", "theirs"):
        shop.send("work", what)
    shop.take(1)
    shop.app.connector.execute_query("delete from procrastinate_workers")
    assert attendant.reclaim({"mark": "1", "jobs": ["1"]}) == 1
    assert shop.counts() == {"ready": 1, "reserved": 1, "failed": 0}


def test_what_is_wrong_with_the_database_is_said() -> None:
    app = App(connector=PsycopgConnector(conninfo="postgresql://postgres@127.0.0.1:1/none"))
    attendant = Attendant(app, Deaths(0))
    with pytest.raises(Unavailable, match="Connection refused"):
        attendant.backlog([QUEUE])
    attendant._loop.run(app.close_async())


def plan(job: JobOptions | None = None, **options: Any) -> Any:
    table = ProcrastinateTable(**options)
    asked = Asked(pool="p", queues=(QUEUE,), options=table, python="python", job=job or JobOptions())
    return Procrastinate().plan(asked)


@pytest.mark.parametrize(
    ("given", "key", "why"),
    [
        ({}, "procrastinate.app", "is missing"),
        ({"app": APP, "options": ("--one-shot",)}, "procrastinate.options", "started again at once"),
        ({"app": APP, "job": JobOptions(tries=3)}, "job.tries", r"@app.task\(retry=3\)"),
        ({"app": APP, "job": JobOptions(sleep=0.0)}, "job.sleep", "0 would ask the queue without a pause"),
    ],
)
def test_what_procrastinate_cannot_do_is_refused_with_the_reason(given: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(Unsuited, match=why) as refusal:
        plan(**given)
    assert refusal.value.key == key


def test_how_long_to_wait_between_looks_is_told_to_procrastinate() -> None:
    asked = plan(JobOptions(sleep=3), app=APP)
    assert asked.honours == {"sleep"}
    assert asked.command[-2:] == ("--fetch-job-polling-interval", "{sleep}")
