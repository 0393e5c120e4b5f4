"""Pools that scale themselves, on the virtual clock: by their backlogs, within their bounds and budget, without harm to
anybody at work."""

from itertools import pairwise
from math import inf
from typing import Any

import anyio
import pytest

from chaperone_async.core.demand import AutoscalePolicy
from chaperone_async.core.events import PauseRequested, ReloadRequested, ResumeRequested, ScaleRequested, StopRequested
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import MB, BacklogPolicy, JobOptions, PoolSpec, StopPolicy
from chaperone_async.errors import QueueUnavailable
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.system.ports import Telemetry, Usage
from tests.supervision.fakes import FakeQueue, FakeWorld, Script, plan, pool_of, supervising


def scaled(name: str = "p", least: int = 1, most: int = 10, **more: Any) -> PoolSpec:
    usual: dict[str, Any] = {"target": 10.0, "cooldown": 3.0, "stabilization": 0.0, "max_step": 1}
    own = {key: more.pop(key) for key in list(more) if key in AutoscalePolicy.__dataclass_fields__}
    policy = AutoscalePolicy(min=least, max=most, **{**usual, **own})
    return plan(name, workers=least, max_workers=most, autoscale=policy, **more)


def idle(since: float = 0.0) -> Telemetry:
    return Telemetry(spoke=True, last_job_ended_at=since)


def busy(job: str = "j1", since: float = 0.0) -> Telemetry:
    return Telemetry(spoke=True, current_job=job, current_job_since=since, running=((job, since),))


def world_with(queue: FakeQueue, name: str = "p", script: Script | None = None) -> FakeWorld:
    world = FakeWorld(script)
    world.queues[name] = queue
    return world


def sizes(runner: PoolRunner) -> list[tuple[int, int]]:
    return [(made.from_, made.wanted) for made in runner.decisions if made.wanted != made.from_]


async def test_a_backlog_calls_for_workers_one_per_cooldown_and_each_step_is_explained() -> None:
    queue = FakeQueue(ready=100)
    async with pool_of(world_with(queue), scaled()) as runner:
        await anyio.sleep(40)
        assert len(runner.pool.slots) == runner.pool.desired == 10
        assert sizes(runner) == [(n, n + 1) for n in range(1, 10)]
        ats = [made.at for made in runner.decisions if made.wanted != made.from_]
        assert all(after - before == pytest.approx(3.0) for before, after in pairwise(ats))
        last = next(made for made in reversed(runner.decisions) if made.wanted != made.from_)
        assert last.raw == pytest.approx(10.0)
        assert last.sample.backlog == 100
        assert "call for 10.00" in last.reason
        queue.holds(0)
        await anyio.sleep(40)
        assert runner.pool.desired == len(runner.pool.slots) == 1


async def test_a_backlog_that_appears_is_decided_about_with_the_sample_that_shows_it() -> None:
    queue = FakeQueue(ready=0)
    async with pool_of(world_with(queue), scaled(max_step=9)) as runner:
        await anyio.sleep(10.5)
        queue.holds(100)
        await anyio.sleep(0.5 + 0.3)  # the sample is taken each second, and the last tick may have been just before
        assert runner.pool.desired == 10


async def test_the_longest_idle_worker_goes_and_the_busy_ones_stay_in_their_slots() -> None:
    queue = FakeQueue(ready=0, reserved=2)
    world = world_with(queue)
    async with pool_of(world, scaled(most=4, target=1.0)) as runner:
        queue.holds(4)
        await anyio.sleep(15)
        assert runner.pool.desired == 4
        for slot, said in enumerate((busy("a"), idle(9.0), busy("b"), idle(5.0))):
            world.said[world.ref(slot)] = said
        queue.holds(0)
        await anyio.sleep(15)
        assert sorted(ref.slot for ref in world.alive) == [0, 2]
        assert runner.pool.desired == 2
        assert [slot for _, what, slot in world.log if what == "SIGTERM"] == [3, 1]
        queue.holds(3)
        await anyio.sleep(15)
        assert sorted(ref.slot for ref in world.alive)[:4] == [0, 1, 2, 3]


async def test_a_busy_worker_is_asked_to_finish_and_not_killed_before_its_jobs_own_time_out() -> None:
    queue = FakeQueue(ready=20)
    world = world_with(queue, script=Script(obeys_term_after=inf))
    spec = scaled(most=2, job=JobOptions(timeout=90), stop=StopPolicy(timeout=10.0))
    async with pool_of(world, spec) as runner:
        await anyio.sleep(10)
        assert runner.pool.desired == 2
        for slot in (0, 1):
            world.said[world.ref(slot)] = busy(since=1e9)
        runner.submit(ScaleRequested(1, anyio.current_time(), patient=True))
        await anyio.sleep(99)
        assert world.times("kill") == []
        await anyio.sleep(3)
        assert len(world.times("kill")) == 1


async def test_a_busy_worker_that_is_to_go_and_bloats_is_not_let_be() -> None:
    world = world_with(FakeQueue(ready=20), script=Script(obeys_term_after=inf))
    async with pool_of(world, scaled(most=2, stop=StopPolicy(timeout=10.0))) as runner:
        await anyio.sleep(10)
        for slot in (0, 1):
            world.said[world.ref(slot)] = busy(since=1e9)
        runner.submit(ScaleRequested(1, anyio.current_time(), patient=True))
        await anyio.sleep(1000)
        assert world.times("kill") == []
        (leaver,) = [slot.life.ref for slot in runner.pool.slots if slot.surplus and slot.life is not None]
        world.usage[leaver] = Usage(memory=600 * MB)
        await anyio.sleep(15)
        assert len(world.times("kill")) == 1


async def test_a_change_of_the_bounds_lets_the_idle_go_and_a_busy_worker_finish() -> None:
    world = world_with(FakeQueue(ready=None), script=Script(obeys_term_after=inf))
    spec = scaled(least=3, most=4, stop=StopPolicy(timeout=10.0))
    async with pool_of(world, spec) as runner:
        await anyio.sleep(5)
        for slot, said in enumerate((idle(), busy("a", 4.0), busy("b", 4.0))):
            world.said[world.ref(slot)] = said
        smaller = scaled(least=1, most=1, stop=StopPolicy(timeout=10.0))
        runner.submit(ReloadRequested(smaller, anyio.current_time()))
        await anyio.sleep(60)
        assert [slot for _, what, slot in world.log if what == "SIGTERM"] == [0, 2]
        assert [slot for _, what, slot in world.log if what == "kill"] == [0]


async def test_who_is_on_the_way_out_is_no_room() -> None:
    queue = FakeQueue(ready=100)
    world = world_with(queue, script=Script(obeys_term_after=60.0))
    async with pool_of(world, scaled(most=3, max_step=3, stop=StopPolicy(timeout=100.0))) as runner:
        await anyio.sleep(10)
        assert len(world.alive) == 3
        queue.holds(0)
        await anyio.sleep(10)
        assert (runner.pool.desired, len(world.alive)) == (1, 3)
        queue.holds(100)
        await anyio.sleep(30)
        assert len(world.alive) == 3
        assert runner.pool.desired == 1
        assert any(step.name == "leaving" for step in runner.decisions[-1].steps)
        await anyio.sleep(60)
        assert runner.pool.desired == 3


@pytest.mark.parametrize("takes", [0.0, 5.2])
async def test_a_change_of_the_interval_does_not_wait_for_the_old_one(takes: float) -> None:
    world = world_with(FakeQueue(ready=0))
    world.queues["p"].takes = takes  # it may be asked just then
    async with pool_of(world, scaled(backlog=BacklogPolicy(interval=300.0))) as runner:
        await anyio.sleep(5)
        world.queues["p"] = FakeQueue(ready=100)
        runner.submit(ReloadRequested(scaled(), anyio.current_time()))
        await anyio.sleep(5)
        assert 4 <= world.queues["p"].asked <= 5


async def test_an_unknown_backlog_holds_and_is_told_once() -> None:
    queue = FakeQueue(ready=50)
    world = world_with(queue)
    async with pool_of(world, scaled()) as runner:
        await anyio.sleep(8)
        before = runner.pool.desired
        queue.now = QueueUnavailable("cannot reach redis")
        await anyio.sleep(60)
        assert runner.pool.desired == before
        assert runner.demand.problem == "cannot reach redis"
        assert [step.name for step in runner.decisions[-1].steps][:1] == ["unknown"]
        assert world.kinds().count("queue.unreachable") == 1
        queue.holds(0)
        await anyio.sleep(30)
        assert world.kinds().count("queue.reachable") == 1
        assert runner.pool.desired == 1


async def test_a_queue_that_never_answers_is_unknown_and_holds_up_nothing() -> None:
    queue = FakeQueue(ready=50)
    queue.takes = 1000.0
    world = world_with(queue)
    async with pool_of(world, scaled()) as runner:
        await anyio.sleep(30)
        assert runner.pool.ready_count == runner.pool.desired == 1
        assert runner.demand.problem == "no answer within 5 s"


async def test_an_empty_pool_goes_to_zero_and_the_first_job_wakes_it() -> None:
    queue = FakeQueue(ready=0)
    world = world_with(queue)
    async with pool_of(world, scaled(least=0, scale_to_zero_after=20.0)):
        queue.holds(5)
        await anyio.sleep(5)
        assert len(world.alive) == 1
        queue.holds(0)
        await anyio.sleep(15)
        assert len(world.alive) == 1
        await anyio.sleep(15)
        assert len(world.alive) == 0
        assert world.reasons() == [Reason.SCALED_DOWN]
        queue.holds(0, delayed=1, next_due=0.0)
        await anyio.sleep(5)
        assert len(world.alive) == 1, "a job is due"


async def test_pools_share_a_budget_by_their_work() -> None:
    world = FakeWorld()
    world.queues = {"a": FakeQueue(ready=90), "b": FakeQueue(ready=10)}
    specs = [scaled(name, target=1.0, max_step=10) for name in "ab"]
    async with supervising(world, *specs) as supervisor:
        supervisor.scaler.total = 10
        await anyio.sleep(30)
        assert len(world.alive) == 10
        assert supervisor.runner("a").pool.desired == 9


async def test_a_paused_pool_is_not_scaled_and_goes_on_when_it_is_resumed() -> None:
    queue = FakeQueue(ready=0)
    async with pool_of(world_with(queue), scaled()) as runner:
        await anyio.sleep(5)
        runner.submit(PauseRequested(None, anyio.current_time()))
        queue.holds(100)
        await anyio.sleep(30)
        assert runner.pool.desired == 1
        runner.submit(ResumeRequested(None, anyio.current_time()))
        await anyio.sleep(30)
        assert runner.pool.desired > 5


async def test_what_a_paused_pool_comes_back_with_is_not_given_to_others() -> None:
    world = FakeWorld()
    world.queues = {"a": FakeQueue(ready=50), "b": FakeQueue(ready=50)}
    specs = [scaled(name, target=1.0, max_step=10, pause="drain") for name in "ab"]
    async with supervising(world, *specs) as supervisor:
        supervisor.scaler.total = 10
        await anyio.sleep(30)
        supervisor.submit("a", PauseRequested(None, anyio.current_time()))
        await anyio.sleep(30)
        supervisor.submit("a", ResumeRequested(None, anyio.current_time()))
        for _ in range(30):
            await anyio.sleep(1)
            assert len(world.alive) <= 10


async def test_a_pause_forgets_nothing_that_was_learnt() -> None:
    world = world_with(FakeQueue(ready=0))
    async with pool_of(world, scaled(strategy="latency")) as runner:
        for done in (0, 2):
            await anyio.sleep(5)
            world.said[world.ref()] = Telemetry(spoke=True, jobs_done=done, busy_seconds=2.5 * done)
        await anyio.sleep(5)
        runner.submit(PauseRequested(None, anyio.current_time()))
        await anyio.sleep(5)
        runner.submit(ResumeRequested(None, anyio.current_time()))
        await anyio.sleep(90)
        assert "2.50 s each" in runner.decisions[-1].reason


async def test_a_slot_that_is_stopped_by_hand_is_not_what_is_left_of_a_pool() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(workers=3)) as runner:
        await anyio.sleep(5)
        runner.submit(StopRequested(1, anyio.current_time()))
        await anyio.sleep(5)
        runner.submit(ScaleRequested(1, anyio.current_time()))
        await anyio.sleep(5)
        assert [ref.slot for ref in world.alive] == [0]


async def test_a_function_of_the_operators_may_decide() -> None:
    queue = FakeQueue(ready=7)
    queue.called = 4.0
    spec = scaled(strategy="python", python="app:workers")
    async with pool_of(world_with(queue), spec) as runner:
        await anyio.sleep(30)
        assert runner.pool.desired == 4
        queue.called = None
        await anyio.sleep(30)
        assert runner.pool.desired == 4


async def test_a_pool_without_a_queue_is_asked_nothing() -> None:
    world = FakeWorld()
    async with pool_of(world, plan()) as runner:
        await anyio.sleep(10)
        assert runner.demand.at is None
        assert not runner.decisions
