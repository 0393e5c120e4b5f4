"""Pools that become smaller from any slot, and grow again."""

from typing import Any

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.ending import OVERDUE_GRACE
from chaperone_async.core.scaling import Leaver
from chaperone_async.core.spec import JobOptions, PoolSpec, Rung, StopPolicy
from tests.core.world import World


def running(workers: int = 4, **more: Any) -> World:
    world = World(PoolSpec(name="p", command=("w",), workers=workers, **more))
    world.begin()
    world.spawn_all()
    world.advance(2)
    return world


def shrink(world: World, workers: int, *leavers: Leaver) -> None:
    world.send(ev.ScaleRequested(workers, world.now, leavers=leavers))


def slots(world: World) -> list[int]:
    return sorted(ref.slot for ref in world.alive)


def ref(world: World, slot: int) -> ev.WorkerRef:
    return next(ref for ref in world.alive if ref.slot == slot)


def test_who_is_named_first_goes_first_and_the_others_keep_their_slots() -> None:
    world = running()
    shrink(world, 2, Leaver(1), Leaver(0))
    for slot in (0, 1):
        assert world.names(ref(world, slot)) == ["SIGTERM"]
        world.dies(ref(world, slot), 0)
    assert slots(world) == [2, 3]
    assert (world.pool.desired, world.pool.width, len(world.pool.slots)) == (2, 4, 4)
    world.advance(100)
    assert not world.asked, "nobody follows in a slot that was scaled away"


def test_without_a_name_the_highest_go() -> None:
    world = running()
    shrink(world, 2)
    assert [slot for slot in range(4) if world.signals.get(ref(world, slot))] == [2, 3]


def test_growth_uses_the_free_slots_again_before_there_are_more() -> None:
    world = running()
    shrink(world, 2, Leaver(0), Leaver(1))
    for slot in (0, 1):
        world.dies(ref(world, slot), 0)
    shrink(world, 5)
    assert sorted(asked.slot for asked in world.asked) == [0, 1, 4]


def test_a_slot_on_its_way_out_gets_its_successor_when_it_has_gone() -> None:
    world = running(2)
    shrink(world, 1, Leaver(0))
    shrink(world, 2)
    assert not world.asked
    world.dies(ref(world, 0), 0)
    assert [asked.slot for asked in world.asked] == [0]


def test_empty_slots_at_the_top_disappear() -> None:
    world = running()
    shrink(world, 1, Leaver(1), Leaver(2), Leaver(3))
    for slot in (1, 2, 3):
        world.dies(ref(world, slot), 0)
    assert len(world.pool.slots) == 1


def test_a_stop_and_a_start_leave_the_surplus_empty() -> None:
    world = running(3)
    shrink(world, 2, Leaver(0))
    world.dies(ref(world, 0), 0)
    world.send(ev.StopRequested(None, world.now))
    for slot in (1, 2):
        world.dies(ref(world, slot), 0)
    world.send(ev.StartRequested(None, world.now))
    assert sorted(asked.slot for asked in world.asked) == [1, 2]


def test_a_rolling_restart_goes_around_the_surplus() -> None:
    world = running(3)
    shrink(world, 2, Leaver(0))
    world.dies(ref(world, 0), 0)
    old = set(world.alive)
    world.send(ev.RollRequested(None, world.now))
    for _ in range(20):
        world.spawn_all()
        world.advance(2)
        for gone in [each for each in world.alive if "SIGTERM" in world.names(each)]:
            world.dies(gone, 0)
    assert slots(world) == [1, 2]
    assert not old & set(world.alive)


def test_a_patient_end_lasts_as_long_as_the_job_may_take() -> None:
    world = running(2, job=JobOptions(timeout=90), stop=StopPolicy(timeout=10))
    shrink(world, 1, Leaver(0, patiently=True))
    world.advance(99)
    assert world.names(ref(world, 0)) == ["SIGTERM"]
    world.advance(2)
    assert world.names(ref(world, 0))[:2] == ["SIGTERM", "SIGKILL"]


def test_an_overdue_job_ends_even_the_patience() -> None:
    world = running(2, stop=StopPolicy(timeout=10))
    shrink(world, 1, Leaver(0, patiently=True))
    world.advance(1000)
    world.send(ev.JobOverdue(ref(world, 0), "job 7 has taken too long", world.now))
    world.advance(OVERDUE_GRACE)
    assert world.names(ref(world, 0)) == ["SIGTERM", "SIGKILL"]


def test_a_leaver_that_bloats_in_its_job_has_the_usual_time_left() -> None:
    world = running(2, stop=StopPolicy(timeout=10))
    shrink(world, 1, Leaver(0, patiently=True))
    leaver = ref(world, 0)
    world.advance(1000)
    for _ in range(world.spec.health.failure_threshold + 2):
        assert world.names(leaver) == ["SIGTERM"]
        world.check(leaver, "memory", passed=False)
        world.advance(1)
    assert world.kinds().count("worker.unhealthy") == 1
    world.advance(6)
    assert world.names(leaver) == ["SIGTERM"]
    world.advance(1)
    assert world.names(leaver) == ["SIGTERM", "SIGKILL"]


@pytest.mark.parametrize("check", ["heartbeat", "http"])
def test_a_leaver_may_fall_silent_while_it_finishes(check: str) -> None:
    world = running(2, stop=StopPolicy(timeout=10))
    shrink(world, 1, Leaver(0, patiently=True))
    for _ in range(20):
        world.check(ref(world, 0), check, passed=False)
        world.advance(10)
    assert world.names(ref(world, 0)) == ["SIGTERM"]


def test_an_overdue_job_has_no_less_time_in_a_shutdown_because_further_signals_are_left_out() -> None:
    world = running(1, stop=StopPolicy(timeout=10, then=(Rung("SIGQUIT", 5.0),)))
    world.send(ev.ShutdownRequested(world.now + 5, world.now))
    before = world.now
    world.send(ev.JobOverdue(ref(world, 0), "job 7 has taken too long", world.now))
    world.advance(10)
    killed = next(at for at, name in world.signals[ref(world, 0)] if name == "SIGKILL")
    assert killed - before >= 4


def test_an_overdue_job_is_not_given_back_by_further_signals() -> None:
    world = running(1, stop=StopPolicy(timeout=10, then=(Rung("SIGQUIT", 5.0),)))
    world.send(ev.JobOverdue(ref(world, 0), "job 7 has taken too long", world.now))
    world.advance(5)
    assert world.names(ref(world, 0)) == ["SIGTERM", "SIGKILL"]


def test_who_is_left_to_finish_stands_in_for_nobody() -> None:
    world = running(4)
    shrink(world, 1, Leaver(0, patiently=True), Leaver(1, patiently=True), Leaver(2, patiently=True))
    shrink(world, 3)
    assert sorted(asked.slot for asked in world.asked) == [4, 5]
    assert world.pool.desired == 3


def test_a_stop_ends_the_patience_with_who_only_made_room() -> None:
    world = running(2, stop=StopPolicy(timeout=10))
    shrink(world, 1, Leaver(0, patiently=True))
    world.advance(1000)
    world.send(ev.StopRequested(None, world.now))
    world.advance(10)
    assert "SIGKILL" in world.names(ref(world, 0))


def test_a_pool_that_was_given_up_is_scaled_up_and_down_without_a_slot_more() -> None:
    world = running(3)
    world.send(ev.StopRequested(None, world.now, fatal="enough"))
    shrink(world, 5)
    shrink(world, 4)
    shrink(world, 1)
    assert world.pool.desired == 1


def test_a_shutdown_nearer_than_the_ladder_is_long_still_asks_first() -> None:
    world = running(1, stop=StopPolicy(timeout=30, then=(Rung("SIGQUIT", 10),)))
    first = ref(world, 0)
    world.send(ev.ShutdownRequested(world.now + 8, world.now))
    world.advance(0)
    assert world.names(first) == ["SIGTERM", "SIGQUIT"]
    world.advance(8)
    assert world.names(first)[:3] == ["SIGTERM", "SIGQUIT", "SIGKILL"]


def test_a_leaver_keeps_nobody_from_being_the_canary() -> None:
    world = running(2)
    shrink(world, 1, Leaver(0, patiently=True))
    for _ in range(12):
        for asked in list(world.asked):
            world.spawned(asked)
        for alive in [each for each in world.alive if each.slot == 1]:
            world.dies(alive, 1)
        world.advance(40)
    assert world.pool.breaker is not None
    assert world.asked or [each for each in world.alive if each.slot == 1], "nobody is tried"
