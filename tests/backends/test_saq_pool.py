"""Pools of SAQ workers, by `backend = "saq"` alone, on a real Redis and a real PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from saq import Job, Queue, Status, Worker

from chaperone_async.agent import target
from chaperone_async.agent.saq import Watch, _sent, settings
from chaperone_async.attendant import Refused, Unavailable
from chaperone_async.attendant.deaths import Deaths
from chaperone_async.attendant.loop import load
from chaperone_async.attendant.saq import Attendant, InPostgres, InRedis
from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.protocol import Asked, Unsuited
from chaperone_async.system.backends.saq import Saq, SaqTable
from tests.backends.promises import JOBS, QUEUE, Counts, Promises, SafePromises, Shop, lossless
from tests.backends.servers import Run

APP = "tests.backends.apps.saq_app.settings"


class SaqShop(Shop):
    backend = "saq"
    options = f'saq.app = "{APP}"'

    def send(self, job: str, what: str, *, delay: float | None = None) -> None:
        scheduled = int(time.time() + delay) if delay else 0
        asyncio.run(self._send(job, what, scheduled))

    async def _send(self, job: str, what: str, scheduled: int) -> None:
        queue = Queue.from_url(self.server, name=QUEUE)
        await queue.connect()
        kwargs = {"place": str(self.place), "what": what}
        await queue.enqueue(job, kwargs=kwargs, scheduled=scheduled, timeout=0)
        await queue.disconnect()

    def counts(self) -> Counts:
        return asyncio.run(self._counts())

    async def _counts(self) -> Counts:
        queue = Queue.from_url(self.server, name=QUEUE)
        await queue.connect()
        queued, active = await queue.count("queued"), await queue.count("active")
        delayed = await queue.count("incomplete") - queued - active
        await queue.disconnect()
        return {"ready": queued, "reserved": active, "delayed": delayed}


class TestSaq(Promises, SafePromises):
    @pytest.fixture
    def shop(self, redis_url: str, tmp_path: Path) -> SaqShop:
        return SaqShop(redis_url, tmp_path)


class TestSaqInPostgres(SafePromises):
    @pytest.fixture
    def shop(self, postgres_url: str, tmp_path: Path) -> SaqShop:
        return SaqShop(postgres_url, tmp_path)

    def test_its_figures_are_those_of_saq_itself(self, shop: SaqShop) -> None:
        queue = Queue.from_url(shop.server, name=QUEUE)
        attendant = Attendant(InPostgres(queue), Deaths(0))
        for n in range(3):
            shop.send("work", str(n))
        shop.send("work", "later", delay=3600)
        backlog = attendant.backlog([QUEUE])
        assert {name: backlog[name] for name in shop.counts()} == shop.counts()
        assert (backlog["ready"], backlog["reserved"], backlog["delayed"]) == (3, 0, 1)
        assert 0 <= backlog["oldest_age"] < 20
        assert 3500 < backlog["next_due"] <= 3600
        attendant._loop.run(queue.disconnect())

    def test_a_job_that_is_tried_again_is_nobodys(self, shop: SaqShop) -> None:
        async def try_twice() -> str | None:
            async with watched(shop) as (worker, _):
                job = await taken(worker.queue)
                await job.retry("it has failed")
                again = await worker.queue.dequeue(1)
                assert again is not None
                return again.worker_id

        shop.send("work", "twice")
        assert asyncio.run(try_twice()) is None


@asynccontextmanager
async def watched(shop: SaqShop) -> AsyncIterator[tuple[Worker[Any], Watch]]:
    """A worker with the agent's hooks that does nothing by itself; it has stopped in the end."""
    queue = Queue.from_url(shop.server, name=QUEUE)
    await queue.connect()
    worker: Worker[Any] = Worker(queue, [])
    watch = Watch(QUEUE)
    await watch.begin({"worker": worker})
    yield worker, watch
    worker.event.set()
    await asyncio.gather(*watch._tasks)
    await queue.disconnect()


async def taken(queue: Queue, **what: Any) -> Job:
    """A job in the hands of a worker that is no more."""
    job = await queue.dequeue(1)
    assert job is not None
    job.worker_id = "former"
    await job.update(status=Status.ACTIVE, **what)
    return job


def test_a_worker_that_stops_puts_back_the_job_that_it_sweeps(redis_url: str, tmp_path: Path) -> None:
    shop = SaqShop(redis_url, tmp_path)

    async def stop_in_the_middle() -> int:
        async with watched(shop) as (worker, watch):
            queue = worker.queue
            await queue.enqueue("work", timeout=1, retries=2)
            job = await taken(queue, started=1, attempts=1)
            sweeping = asyncio.create_task(queue.sweep(60, 1.0))
            watch._clocks = {sweeping}
            while (now := await queue.job(job.key)) is None or now.status is not Status.ABORTING:
                await asyncio.sleep(0.01)
            worker.event.set()
            await asyncio.wait({sweeping})
            return await queue.count("queued")

    assert asyncio.run(stop_in_the_middle()) == 1


def test_no_job_is_lost_while_workers_are_killed_scaled_rolled_and_drained(run: Run, tmp_path: Path) -> None:
    outcome = lossless("saq", run, tmp_path)
    assert (outcome.ran, outcome.never, outcome.kills) == (JOBS, (), 2)
    assert outcome.twice <= 2


@pytest.fixture
def attendant(redis_url: str) -> Iterator[Attendant]:
    """A job may cost two workers."""
    attendant = Attendant(InRedis(Queue.from_url(redis_url, name=QUEUE)), Deaths(2))
    yield attendant
    attendant._loop.run(attendant._stored.queue.disconnect())


def test_what_a_dead_worker_had_taken_and_not_marked_goes_back_and_what_others_have_does_not(
    attendant: Attendant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaperone_async.attendant.saq._PAUSE", 1.0)  # a busy machine is no failure
    queue, run = attendant._stored.queue, attendant._loop.run

    async def mark(job: Job, worker: str) -> None:
        """As a worker does, a moment after it has taken the job: or later, when its loop is held up."""
        job.worker_id = worker
        await job.update(status=Status.ACTIVE)

    async def prepare() -> list[Job]:
        for n in range(4):
            await queue.enqueue("work", n=n)
        return [await queue.dequeue(1) for _ in range(4)]

    mine, theirs, late, _ = jobs = run(prepare())
    run(mark(mine, "dead"))
    run(mark(theirs, "alive"))
    with ThreadPoolExecutor() as threads:
        many = threads.submit(attendant.reclaim, {"id": "dead"})
        time.sleep(3)
        run(mark(late, "alive"))
        assert many.result() == 2
    states = [run(queue.job(job.key)).status for job in jobs]
    assert states == [Status.QUEUED, Status.ACTIVE, Status.ACTIVE, Status.QUEUED]
    assert set(attendant._deaths._of) == {mine.key}, "what has not begun is not to blame"
    backlog = attendant.backlog([QUEUE])
    assert (backlog["ready"], backlog["reserved"]) == (2, 2)
    assert 0 <= backlog["oldest_age"] < 20


def test_a_job_that_has_cost_too_many_workers_is_aborted_and_that_is_said(attendant: Attendant) -> None:
    queue, run = attendant._stored.queue, attendant._loop.run

    async def take() -> Job:
        job: Job = await queue.dequeue(1)
        job.worker_id = "dead"
        await job.update(status=Status.ACTIVE)
        return job

    run(queue.enqueue("work", n=1))
    for blamed in (True, False):
        run(take())
        assert attendant.reclaim({"id": "dead", "blamed": blamed}) == 1
    job = run(take())
    with pytest.raises(Refused, match=f"aborted, since too many workers have died with it: work {job.key}$"):
        attendant.reclaim({"id": "dead"})
    assert run(queue.job(job.key)).status is Status.ABORTED
    assert attendant.backlog([QUEUE])["ready"] == 0


def test_a_job_is_sent_again_with_its_own_properties(attendant: Attendant) -> None:
    queue, run = attendant._stored.queue, attendant._loop.run
    plain = Job("work", {"n": 1}, timeout=300, retries=4, key="only-one")
    assert _sent(plain) == {"n": 1, "timeout": 300, "retries": 4, "key": "only-one"}
    assert _sent(Job("work", key=7)) == {"key": 7}  # type: ignore[arg-type]  # as applications do it
    clashing = Job("work", {"timeout": 1})
    assert _sent(clashing) == {"kwargs": {"timeout": 1}}
    assert attendant.send("work", [], _sent(plain), QUEUE) == "only-one"
    with pytest.raises(Unavailable, match="a job of its key 'only-one' waits already"):
        attendant.send("work", [], _sent(plain), QUEUE)
    job = run(queue.job("only-one"))
    assert (job.kwargs, job.timeout, job.retries) == ({"n": 1}, 300, 4)
    with pytest.raises(Unavailable, match="the application has the queue 'mails', not 'letters'"):
        attendant.send("work", [], {}, "letters")


def test_a_pool_that_names_no_queue_works_on_the_applications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAPERONE_QUEUE", "default")
    assert target.queue_name("mails") == "default"
    monkeypatch.setenv("CHAPERONE_QUEUE", "letters")
    with pytest.raises(SystemExit, match="cannot work on the queue 'letters'"):
        target.queue_name("mails")


def test_a_worker_looks_for_jobs_as_often_as_its_pulse_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAPERONE_TARGET", APP)
    monkeypatch.setitem(load(APP), "dequeue_timeout", 60)
    assert settings()["dequeue_timeout"] == 1


@pytest.mark.parametrize("strange", [{"n": object()}, {"n": (1, 2)}, {"n": {1: 2}}, {"n": float("nan")}])
def test_arguments_that_json_would_change_are_not_kept(strange: dict[str, object]) -> None:
    assert target.arguments(kwargs=strange) is None


def plan(job: JobOptions | None = None, *, queues: tuple[str, ...] = (QUEUE,), **options: Any) -> Any:
    table = SaqTable(**options)
    return Saq().plan(Asked(pool="p", queues=queues, options=table, python="python", job=job or JobOptions()))


@pytest.mark.parametrize(
    ("given", "key", "why"),
    [
        ({}, "saq.app", "is missing"),
        ({"app": "settings"}, "saq.app", "does not name it as the library does"),
        ({"app": APP, "options": ("--workers=3",)}, "saq.options", "write the pool's workers instead"),
        ({"app": APP, "queues": ("a", "b")}, "queue", "works on one; make a pool for each"),
        ({"app": APP, "job": JobOptions(tries=3)}, "job.tries", r"queue.enqueue\(…, retries=3\)"),
        ({"app": APP, "job": JobOptions(sleep=3)}, "job.sleep", "it is handed them"),
    ],
)
def test_what_saq_cannot_do_is_refused_with_the_reason(given: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(Unsuited, match=why) as refusal:
        plan(**given)
    assert refusal.value.key == key
