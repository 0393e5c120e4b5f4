"""What is done for jobs, on the virtual clock: those of the dead are put back, those that take too long end their
worker, and workers that get nowhere while jobs wait are recycled."""

from dataclasses import replace
from typing import Any

import anyio

from chaperone_async.core.actions import Death
from chaperone_async.core.events import PauseRequested, ReloadRequested, ResumeRequested, ShutdownRequested, WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import BackendUse, HealthPolicy, JobOptions, PoolSpec, RestartPolicy, Rung, StopPolicy
from chaperone_async.errors import QueueError, QueueUnavailable
from chaperone_async.supervision.custody import Custody
from chaperone_async.system.ports import JobNotice, Telemetry
from tests.supervision.fakes import FakeQueue, FakeWorld, Script, crashes_after, lives, plan, pool_of, supervising


def world_with(queue: FakeQueue, script: Any = None) -> FakeWorld:
    world = FakeWorld(script)
    world.queues["p"] = queue
    return world


def death() -> Death:
    return Death(WorkerRef("p", 0, 1), "p-1", 1, Reason.EXIT, "", 1, None, 1.0, True, 0.0)


def busy(job: str, since: float, name: str | None = None) -> Telemetry:
    return Telemetry(
        spoke=True, current_job=job, current_job_name=name, current_job_since=since, running=((job, since),), mark="m-1"
    )


async def test_the_jobs_of_a_dead_worker_go_back_at_once() -> None:
    queue = FakeQueue(ready=0)
    queue.reclaims = 2
    world = world_with(queue, lives(crashes_after(20), Script()))
    async with pool_of(world, plan()):
        await anyio.sleep(1)
        ref = world.ref()
        world.said[ref] = busy("job-7", 0.5)
        await anyio.sleep(20)
        (dead,) = queue.reclaimed
        assert (dead.slot, dead.pid, dead.jobs, dead.mark) == (0, 1000 + ref.generation, ("job-7",), "m-1")
        assert dead.blamed
        assert world.kinds().count("queue.reclaimed") == 1


async def test_a_reclaim_that_fails_is_told_and_changes_nothing_else() -> None:
    queue = FakeQueue(ready=0)
    queue.now = QueueUnavailable("cannot reach redis")
    world = world_with(queue, lives(crashes_after(20), Script()))
    async with pool_of(world, plan()) as runner:
        await anyio.sleep(30)
        assert world.kinds().count("queue.reclaim_failed") == 1
        assert runner.pool.ready_count == 1


async def test_jobs_are_put_back_after_an_outage_however_long_and_its_dead_do_not_ask_all_at_once() -> None:
    queue = FakeQueue(ready=0)
    queue.now = QueueUnavailable("cannot reach redis")
    world = world_with(queue, lives(*[crashes_after(20)] * 4, Script()))
    async with pool_of(world, plan(workers=4)):
        await anyio.sleep(600)
        before = queue.tried
        await anyio.sleep(600)
        assert queue.tried - before == 10
        assert world.kinds().count("queue.reclaim_failed") == 4
        queue.holds(0)
        await anyio.sleep(61)
        assert {(dead.slot, dead.blamed) for dead in queue.reclaimed} == {(slot, False) for slot in range(4)}


async def test_a_queue_that_is_the_pools_no_more_is_not_asked_for_ever() -> None:
    old, told = FakeQueue(ready=0), []
    old.now = QueueUnavailable("cannot reach redis")
    custody = Custody(lambda _: FakeQueue(ready=0), plan())
    with anyio.fail_after(2 * 86_400):
        await custody.put_back(old, death(), Telemetry(), lambda _, why: told.append(why))
    assert anyio.current_time() >= 86_400
    assert len(told) == 2


async def test_not_more_than_a_thousand_of_the_dead_wait_for_their_queue() -> None:
    queue, told = FakeQueue(ready=0), []
    queue.now = QueueUnavailable("cannot reach redis")
    custody = Custody(lambda _: queue, plan())
    async with anyio.create_task_group() as group:
        for _ in range(1001):
            group.start_soon(custody.put_back, queue, death(), Telemetry(), lambda _, why: told.append(why))
        await anyio.sleep(100)
        assert len(told) == 1002
        assert "it is not tried again" in told[-1]
        group.cancel_scope.cancel()


async def test_what_cannot_be_put_back_is_not_tried_again() -> None:
    queue = FakeQueue(ready=0)
    queue.now = QueueError("1 task is lost")
    world = world_with(queue, lives(crashes_after(20), Script()))
    async with pool_of(world, plan()):
        await anyio.sleep(600)
        assert (queue.tried, world.kinds().count("queue.reclaim_failed")) == (1, 1)


async def test_the_last_workers_jobs_are_put_back_before_a_pool_ends() -> None:
    queue = FakeQueue(ready=0)
    queue.takes = 1.0
    world = world_with(queue)
    async with pool_of(world, plan(workers=3)) as runner:
        await anyio.sleep(5)
        runner.submit(ShutdownRequested(anyio.current_time() + 10, anyio.current_time()))
        await anyio.sleep(0.5)
        assert queue.reclaimed == []
        await anyio.sleep(2)
        assert [dead.blamed for dead in queue.reclaimed] == [False] * 3


async def test_jobs_that_are_not_put_back_before_a_pool_ends_are_told_of() -> None:
    queue = FakeQueue(ready=0)
    queue.takes = 1000.0
    world = world_with(queue)
    async with pool_of(world, plan()) as runner:
        await anyio.sleep(5)
        runner.submit(ShutdownRequested(anyio.current_time() + 10, anyio.current_time()))
        await anyio.sleep(6)
        assert runner.over
        assert world.kinds().count("queue.reclaim_failed") == 1


async def test_a_pool_that_has_ended_waits_for_what_another_puts_back() -> None:
    world, slow = FakeWorld(), FakeQueue(ready=0)
    slow.takes = 3.0
    world.queues = {"a": slow, "b": FakeQueue(ready=0)}
    async with supervising(world, plan("a"), plan("b")) as supervisor:
        await anyio.sleep(5)
        supervisor.shut_down(anyio.current_time() + 10)
        await anyio.sleep(5)
        assert len(slow.reclaimed) == 1


async def test_the_jobs_of_an_old_worker_go_back_to_its_old_queue() -> None:
    old, new = FakeQueue(ready=0), FakeQueue(ready=0)
    world = world_with(old, Script(obeys_term_after=20.0))
    async with pool_of(world, plan()) as runner:
        await anyio.sleep(5)
        world.queues["p"] = new
        runner.submit(ReloadRequested(replace(runner.pool.spec, queues=("other",)), anyio.current_time()))
        await anyio.sleep(60)
        assert (len(old.reclaimed), len(new.reclaimed)) == (1, 1)  # the new one's first worker was the surge's


async def test_after_two_quick_changes_the_jobs_of_the_first_workers_go_back_to_their_own_queue() -> None:
    queues = [FakeQueue(ready=0) for _ in range(3)]
    world = world_with(queues[0], Script(obeys_term_after=20.0))
    async with pool_of(world, plan(workers=2)) as runner:
        await anyio.sleep(5)
        for number in (1, 2):
            world.queues["p"] = queues[number]
            runner.submit(ReloadRequested(replace(runner.pool.spec, queues=(str(number),)), anyio.current_time()))
            await anyio.sleep(1)
        await anyio.sleep(80)
        assert [dead.pid for dead in queues[0].reclaimed] == [1001, 1002]


async def test_a_queue_that_fails_in_any_way_of_the_system_is_unknown() -> None:
    queue = FakeQueue(ready=3)
    world = world_with(queue)
    async with pool_of(world, plan()) as runner:
        queue.now = OSError(24, "Too many open files")
        await anyio.sleep(10)
        assert runner.pool.ready_count == 1
        assert "Too many open files" in (runner.demand.problem or "")


async def test_a_job_that_takes_too_long_ends_its_worker_and_is_named() -> None:
    world = FakeWorld(Script(obeys_term_after=100.0))
    async with pool_of(world, plan(job=JobOptions(timeout=30))):
        await anyio.sleep(10)
        world.said[world.ref()] = busy("job-7", anyio.current_time(), "resize")
        await anyio.sleep(29)
        assert world.times("SIGTERM") == []
        await anyio.sleep(10)
        assert world.reasons() == [Reason.JOB_TIMEOUT]
        (record,) = world.journal.crashes("p")
        assert record.job == "job-7"
        assert "job job-7 (resize) has taken 3" in record.death.detail
        assert not record.death.crashed, "it is no crash: its successor starts at once"
        (term,), (kill,) = world.times("SIGTERM"), world.times("kill")
        assert kill - term == 5.0


async def test_the_time_of_a_paused_job_stands_still() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(job=JobOptions(timeout=60))) as runner:
        await anyio.sleep(5)
        world.said[world.ref()] = busy("job-7", anyio.current_time())
        await anyio.sleep(5)
        runner.submit(PauseRequested(None, anyio.current_time()))
        await anyio.sleep(120)
        runner.submit(ResumeRequested(None, anyio.current_time()))
        await anyio.sleep(50)
        assert world.reasons() == []
        await anyio.sleep(20)
        assert world.reasons() == [Reason.JOB_TIMEOUT]


async def test_of_several_paused_jobs_each_has_its_own_time() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(job=JobOptions(timeout=60))) as runner:
        await anyio.sleep(5)
        both = replace(busy("a", 5.0), running=(("a", 5.0), ("b", 5.0)))
        world.said[world.ref()] = both
        runner.submit(PauseRequested(None, anyio.current_time()))
        await anyio.sleep(120)
        runner.submit(ResumeRequested(None, anyio.current_time()))
        await anyio.sleep(10)
        world.said[world.ref()] = busy("b", 5.0)
        await anyio.sleep(45)
        assert world.reasons() == []
        await anyio.sleep(10)
        assert world.reasons() == [Reason.JOB_TIMEOUT]


async def test_a_worker_that_is_told_of_the_time_out_keeps_to_it_by_itself() -> None:
    world = FakeWorld()
    backend = BackendUse(name="laravel", honours=frozenset({"timeout"}))
    async with pool_of(world, plan(job=JobOptions(timeout=30), backend=backend)):
        await anyio.sleep(1)
        world.said[world.ref()] = busy("job-7", 0.0)
        await anyio.sleep(100)
        assert world.times("SIGTERM") == []


def stalled(world: FakeWorld) -> int:
    return world.reasons().count(Reason.STALLED)


def stalling(**more: Any) -> PoolSpec:
    return plan(workers=3, health=HealthPolicy(stall=60.0), restart=RestartPolicy(), **more)


async def test_workers_that_get_nowhere_are_recycled_one_and_then_more() -> None:
    queue = FakeQueue(ready=10)
    world = world_with(queue)
    async with pool_of(world, stalling()):
        await anyio.sleep(59)
        assert world.reasons() == []
        await anyio.sleep(10)
        assert stalled(world) == 1
        assert any("10 jobs wait" in record.death.detail for record in world.journal.crashes("p"))
        await anyio.sleep(60)
        assert stalled(world) == 2
        await anyio.sleep(60)
        assert stalled(world) == 4


async def test_whoever_works_is_not_stalled() -> None:
    queue = FakeQueue(ready=10)
    world = world_with(queue)
    async with pool_of(world, stalling()):
        await anyio.sleep(30)
        world.said[world.ref()] = busy("long", 30.0)
        await anyio.sleep(300)
        assert world.reasons() == []
        world.said[world.ref()] = Telemetry(spoke=True, jobs_done=1)
        await anyio.sleep(50)
        assert world.reasons() == []
        for beat in range(20):
            world.said[world.ref()] = Telemetry(spoke=True, jobs_done=1, heartbeat_at=anyio.current_time() + 0 * beat)
            await anyio.sleep(10)
        assert world.reasons() == []


async def test_a_backlog_that_shrinks_or_is_unknown_is_no_stall() -> None:
    queue = FakeQueue(ready=100)
    world = world_with(queue)
    async with pool_of(world, stalling()):
        for ready in range(100, 60, -4):
            queue.holds(ready)
            await anyio.sleep(20)
        queue.now = QueueUnavailable("cannot reach redis")
        await anyio.sleep(300)
        assert world.reasons() == []


async def test_the_rungs_of_a_stop_ladder_are_taken_one_by_one_and_fit_before_a_deadline() -> None:
    world = FakeWorld(Script(obeys_term_after=1000.0))
    ladder = StopPolicy(timeout=20.0, then=(Rung("SIGQUIT", 5.0), Rung("SIGINT", 1.0)))
    async with pool_of(world, plan(stop=ladder)) as runner:
        await anyio.sleep(10)
        runner.submit(ShutdownRequested(anyio.current_time() + 13, anyio.current_time()))
        await anyio.sleep(15)
        steps = [(at, what) for at, what, _ in world.log if what in {"SIGTERM", "SIGQUIT", "SIGINT", "kill"}]
        assert steps == [(10.0, "SIGTERM"), (16.0, "SIGQUIT"), (21.0, "SIGINT"), (22.0, "kill")]
        assert world.kinds().count("worker.urged") == 2


async def test_a_pool_adds_up_what_its_workers_tell_of_their_jobs() -> None:
    queue = FakeQueue(ready=0)
    world = world_with(queue)
    async with pool_of(world, plan()) as runner:
        await anyio.sleep(1)
        for number in range(20):
            world.notice(JobNotice(world.ref(), str(number), "f", "a", number % 5 > 0, number / 10, 0.5, "no", None))
        figures = runner.ledger.figures(anyio.current_time())
        assert (figures.done, figures.failed, figures.per_minute, figures.wait) == (16, 4, 20.0, 0.5)
        assert (round(figures.average or 0, 3), figures.p95) == (0.95, 1.8)
        assert runner.ledger.by_queue(anyio.current_time())["a"].done == 16
        assert [notice.job for notice in queue.failures] == ["0", "5", "10", "15"]
        await anyio.sleep(61)
        assert runner.ledger.figures(anyio.current_time()).per_minute == 0.0
