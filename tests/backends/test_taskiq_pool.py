"""Pools of taskiq workers, by `backend = "taskiq"` alone, on a list and on a stream of a real Redis."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis
from taskiq import TaskiqMessage, TaskiqResult
from taskiq.kicker import AsyncKicker
from taskiq_redis import ListQueueBroker, RedisStreamBroker

from chaperone_async.agent.taskiq import Telling
from chaperone_async.attendant.deaths import Deaths
from chaperone_async.attendant.taskiq import PARKED, Attendant
from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.protocol import Asked, Unsuited
from chaperone_async.system.backends.taskiq import Taskiq, TaskiqTable
from tests.backends.apps.work import done
from tests.backends.promises import JOBS, QUEUE, Counts, Promises, SafePromises, Shop, lossless, worker_of
from tests.backends.servers import Run
from tests.e2e.service import Launch

APP = "tests.backends.apps.taskiq_app:broker"


class TaskiqShop(Shop):
    backend = "taskiq"
    options = f'taskiq.app = "{APP}"'
    kind: Any = ListQueueBroker
    beats = False

    @property
    def env(self) -> dict[str, str]:
        return super().env | {"TEST_BROKER": self.kind.__name__}

    def broker(self) -> Any:
        return self.kind(self.server, queue_name=QUEUE)

    def send(self, job: str, what: str, *, delay: float | None = None) -> None:
        asyncio.run(self._send(job, what))

    async def _send(self, job: str, what: str) -> None:
        broker = self.broker()
        await broker.startup()
        kicker: AsyncKicker[Any, Any] = AsyncKicker(job, broker, {})
        await kicker.kiq(str(self.place), what)
        await broker.shutdown()

    def counts(self) -> Counts:
        with Redis.from_url(self.server) as redis:
            return {"ready": redis.llen(QUEUE), "reserved": None}


class StreamShop(TaskiqShop):
    kind = RedisStreamBroker

    def counts(self) -> Counts:
        with Redis.from_url(self.server) as redis:
            (group,) = redis.xinfo_groups(QUEUE)
            return {"ready": group["lag"], "reserved": group["pending"]}


class TestTaskiqOnAList(Promises):
    @pytest.fixture
    def shop(self, redis_url: str, tmp_path: Path) -> TaskiqShop:
        return TaskiqShop(redis_url, tmp_path)

    def test_the_task_of_a_killed_worker_is_lost_and_that_is_said(self, launch: Launch, shop: TaskiqShop) -> None:
        service = launch(shop.pool(), probe="/readyz")
        shop.send("hold", "gate")
        shop.until_done(service, "gate-began")
        service.until(lambda: worker_of(service)["activity"] == "busy")
        os.kill(worker_of(service)["pid"], signal.SIGKILL)
        service.until(lambda: service.lines("1 task is lost: a Redis list forgets a task", "use a RedisStreamBroker"))


class TestTaskiqOnAStream(Promises, SafePromises):
    @pytest.fixture
    def shop(self, redis_url: str, tmp_path: Path) -> StreamShop:
        return StreamShop(redis_url, tmp_path)

    def test_a_worker_whose_child_is_killed_ends_and_its_task_is_done_by_the_next(
        self, launch: Launch, shop: StreamShop
    ) -> None:
        service = launch(shop.pool(), probe="/readyz")
        shop.send("hold", "gate")
        shop.until_done(service, "gate-began")
        pid = worker_of(service)["pid"]
        (child,) = [each for each in psutil.Process(pid).children() if "resource_tracker" not in str(each.cmdline())]
        os.kill(child.pid, signal.SIGKILL)
        service.until(lambda: done(shop.place).count("gate-began") == 2)
        shop.allow("gate")
        shop.until_done(service, "gate-ended")
        assert [crash["pid"] for crash in service.crashes("jobs")] == [pid]


def test_no_job_is_lost_while_workers_are_killed_scaled_rolled_and_drained(run: Run, tmp_path: Path) -> None:
    outcome = lossless("taskiq-stream", run, tmp_path)
    assert (outcome.ran, outcome.never, outcome.kills) == (JOBS, (), 2)


@pytest.mark.parametrize("groups", [1, 2])
def test_what_a_dead_consumer_had_waits_for_another_as_ready(redis_url: str, tmp_path: Path, groups: int) -> None:
    shop = StreamShop(redis_url, tmp_path)
    attendant = Attendant(shop.broker(), [], Deaths(2))
    backlog = attendant.backlog([QUEUE])
    assert (backlog["ready"], backlog["reserved"]) == (0, 0)
    with Redis.from_url(redis_url) as redis:
        for n in range(3):
            shop.send("work", str(n))
        for n in range(1, groups):
            redis.xgroup_create(QUEUE, f"other-{n}", "$")
        redis.xreadgroup("taskiq", "dead", {QUEUE: ">"}, count=1)
        redis.xreadgroup("taskiq", "alive", {QUEUE: ">"}, count=1)
        backlog = attendant.backlog([QUEUE])
        assert (backlog["ready"], backlog["reserved"]) == (1, 2)
        assert 0 <= backlog["oldest_age"] < 20
        assert attendant.reclaim({"id": "dead", "jobs": []}) == 1
        assert attendant.reclaim({"id": "dead", "jobs": []}) == 0
        backlog = attendant.backlog([QUEUE])
        assert (backlog["ready"], backlog["reserved"]) == (2, 1)
        attendant._loop.run(attendant._broker.shutdown())
        assert {consumer["name"].decode() for consumer in redis.xinfo_consumers(QUEUE, "taskiq")} == {
            "alive",
            *([PARKED] if groups > 1 else []),
        }
        assert redis.xlen(QUEUE) == (3 if groups > 1 else 4)


def test_the_tasks_of_all_streams_that_a_worker_reads_are_counted(redis_url: str) -> None:
    broker = RedisStreamBroker(redis_url, queue_name=QUEUE, additional_streams={"letters": ">"})
    attendant = Attendant(broker, [], Deaths(0))
    with Redis.from_url(redis_url) as redis:
        for stream, many in ((QUEUE, 1), ("letters", 3)):
            redis.xgroup_create(stream, "taskiq", "0", mkstream=True)
            for _ in range(many):
                redis.xadd(stream, {"data": "a task"})
        redis.xreadgroup("taskiq", "one", {"letters": ">"}, count=1)
    backlog = attendant.backlog([QUEUE])
    assert (backlog["ready"], backlog["reserved"]) == (3, 1)
    attendant._loop.run(broker.shutdown())


def test_a_task_that_has_cost_too_many_workers_has_to_wait(redis_url: str, tmp_path: Path) -> None:
    shop = StreamShop(redis_url, tmp_path)
    attendant = Attendant(shop.broker(), [], Deaths(2))
    shop.send("work", "deadly")
    with Redis.from_url(redis_url) as redis:
        (task,) = [attendant._task_of(fields, number) for number, fields in redis.xrange(QUEUE)]
        lives: list[tuple[str, list[str], bool, int]] = [
            ("one", [task], True, 1),
            ("two", [task], False, 1),
            ("three", [], True, 1),  # it had only fetched the task
            ("four", [task], True, 0),
        ]
        for life, jobs, blamed, goes_back in lives:
            redis.xreadgroup("taskiq", life, {QUEUE: ">"}, count=1)
            assert attendant.reclaim({"id": life, "jobs": jobs, "blamed": blamed}) == goes_back
        attendant._loop.run(attendant._broker.shutdown())
        (waiting,) = redis.xpending_range(QUEUE, "taskiq", "-", "+", 9)
        assert waiting["consumer"] == PARKED.encode()
        assert waiting["time_since_delivered"] < 60_000 < shop.broker().idle_timeout


def test_each_run_of_a_task_is_told_of_by_itself_and_ends_though_a_middleware_raises() -> None:
    message = TaskiqMessage(task_id="7", task_name="work", labels={}, args=[], kwargs={})
    telling = Telling(QUEUE)

    async def run(begun: asyncio.Event, *, raises: bool) -> None:
        telling.pre_execute(message)
        begun.set()
        await others.wait()
        if raises:
            raise ValueError("a middleware's")
        telling.post_execute(message, TaskiqResult(is_err=False, return_value=None, execution_time=1.0))

    async def run_at_once() -> list[int]:
        begun = [asyncio.Event() for _ in range(2)]
        runs = [asyncio.create_task(run(each, raises=number > 0)) for number, each in enumerate(begun)]
        for each in begun:
            await each.wait()
        many = [len(telling._runs)]
        others.set()
        await asyncio.wait(runs)
        await asyncio.gather(*runs, return_exceptions=True)
        return [*many, len(telling._runs)]

    others = asyncio.Event()
    assert asyncio.run(run_at_once()) == [2, 0]


def plan(job: JobOptions | None = None, **options: Any) -> Any:
    table = TaskiqTable(**options)
    asked = Asked(pool="p", queues=(QUEUE,), options=table, python="python", job=job or JobOptions())
    return Taskiq().plan(asked)


@pytest.mark.parametrize(
    ("given", "key", "why"),
    [
        ({}, "taskiq.app", "is missing"),
        ({"app": "proj.broker.broker"}, "taskiq.app", "does not name it as the library does"),
        ({"app": APP, "options": ("-w4",)}, "taskiq.options", "write the pool's workers instead"),
        ({"app": APP, "options": ("--max-tasks-per-child", "9")}, "taskiq.options", "write recycle.max_jobs instead"),
        ({"app": APP, "job": JobOptions(tries=3)}, "job.tries", "retry_on_error=True"),
    ],
)
def test_what_taskiq_cannot_do_is_refused_with_the_reason(given: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(Unsuited, match=why) as refusal:
        plan(**given)
    assert refusal.value.key == key
