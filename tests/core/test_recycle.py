"""Limits of a healthy worker's service: time, jobs, memory."""

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.events import WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.core.recycle import job_limit, memory_limit, recycle_at
from chaperone_async.core.spec import RecyclePolicy
from tests.core.world import plan, running

REFS = [WorkerRef("p", n % 10, n) for n in range(1, 500)]


def test_each_limit_is_lowered_by_up_to_the_jitter_and_differently() -> None:
    policy = RecyclePolicy(max_time=1000, max_jobs=1000, max_memory=1000, jitter=0.1)
    for limits in (
        [recycle_at(policy, ref, 1, 0.0) for ref in REFS],
        [job_limit(policy, ref, 1) or 0 for ref in REFS],
        [memory_limit(policy, ref, 1) or 0 for ref in REFS],
    ):
        assert all(900 <= limit <= 1000 for limit in limits)
        assert len(set(limits)) > 80


def test_nothing_is_limited_unless_configured() -> None:
    policy, ref = RecyclePolicy(), REFS[0]
    assert recycle_at(policy, ref, 1, 5.0) == float("inf")
    assert job_limit(policy, ref, 1) is None
    assert memory_limit(policy, ref, 1) is None


def test_a_job_limit_is_never_under_one() -> None:
    assert all(job_limit(RecyclePolicy(max_jobs=1, jitter=0.9), ref, 1) == 1 for ref in REFS)


def test_max_time_replaces_the_worker_with_the_replacement_ready_first() -> None:
    world = running(plan(recycle=RecyclePolicy(max_time=100, jitter=0)))
    old = world.ref(0)
    world.advance(98.9)
    assert world.pool.surge == 0
    world.advance(0.2)
    assert world.states() == ["Running", "Spawning"]
    assert world.names(old) == []
    world.up()
    assert world.names(old) == ["SIGTERM"]
    world.dies(old, 0)
    assert world.deaths() == ["max_time"]
    world.up()
    world.dies(world.ref(1), 0)
    assert world.states() == ["Running"]


@pytest.mark.parametrize("reason", [Reason.MEMORY, Reason.MAX_JOBS])
def test_a_reached_limit_replaces_gracefully_for_that_reason(reason: Reason) -> None:
    world = running(plan(2))
    old = world.ref(1)
    world.send(ev.LimitReached(old, reason, "over", world.now))
    world.send(ev.LimitReached(old, Reason.MAX_JOBS, "again", world.now))
    world.up()
    assert world.names(old) == ["SIGTERM"]
    world.dies(old, 0)
    assert world.deaths() == [reason]
    assert world.slot(1).history.crashes == 0


def test_many_due_at_once_go_one_at_a_time() -> None:
    world = running(plan(4, recycle=RecyclePolicy(max_time=100, jitter=0)))
    world.advance(99)
    for _ in range(30):
        world.up()
        ending = [ref for ref in world.alive if "SIGTERM" in world.names(ref)]
        assert len(ending) <= 1
        assert world.pool.ready_count >= 4
        for ref in ending:
            world.dies(ref, 0)
    assert world.deaths().count("max_time") == 4


def test_jitter_spreads_the_replacements() -> None:
    world = running(plan(20, recycle=RecyclePolicy(max_time=1000, jitter=0.1)))
    assert len({slot.due for slot in world.pool.slots}) == 20


def test_a_worker_that_became_due_while_frozen_goes_after_the_resume() -> None:
    world = running(plan(recycle=RecyclePolicy(max_time=100, jitter=0)))
    world.request(ev.PauseRequested)
    world.advance(500)
    assert world.states() == ["Frozen"]
    world.request(ev.ResumeRequested)
    world.advance(0)
    assert world.states() == ["Running", "Spawning"]


def test_a_worker_that_ends_when_due_by_itself_needs_no_other_ending() -> None:
    world = running(plan(recycle=RecyclePolicy(max_time=100, jitter=0)))
    world.advance(99)
    world.dies(world.ref(0), 0)
    assert world.deaths() == ["exit"]
    assert world.slot(0).live
