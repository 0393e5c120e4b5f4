"""More and fewer workers."""

from typing import Any

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.spec import CrashLoop, RestartPolicy
from tests.core.world import World, plan, running


def scale(world: World, workers: int) -> None:
    world.send(ev.ScaleRequested(workers, world.now))


def end_all(world: World) -> None:
    for ref in list(world.alive):
        if "SIGTERM" in world.names(ref):
            world.dies(ref, 0)


def test_the_first_event_fills_the_pool() -> None:
    world = World(plan(3))
    assert not world.asked
    world.begin()
    assert [ref.slot for ref in world.asked] == [0, 1, 2]


def test_more_workers_take_the_next_slots() -> None:
    world = running(plan(2))
    scale(world, 4)
    assert [ref.slot for ref in world.asked] == [2, 3]
    assert world.pool.spec.workers == 2, "the configured count stays what it is"


def test_the_highest_slots_end_gracefully_and_disappear() -> None:
    world = running(plan(4))
    leaving = [world.ref(2), world.ref(3)]
    scale(world, 2)
    assert [world.names(ref) for ref in leaving] == [["SIGTERM"]] * 2
    assert world.states() == ["Running", "Running", "Stopping", "Stopping"]
    end_all(world)
    assert world.states() == ["Running", "Running"]
    assert world.deaths() == ["scaled_down"] * 2


def test_a_slot_in_the_middle_that_lives_longer_keeps_its_place() -> None:
    world = running(plan(4))
    lower, upper = world.ref(2), world.ref(3)
    scale(world, 2)
    world.dies(upper, 0)
    assert len(world.pool.slots) == 3
    world.dies(lower, 0)
    assert len(world.pool.slots) == 2


def test_growing_again_before_they_are_gone_gives_them_successors() -> None:
    world = running(plan(3))
    scale(world, 1)
    scale(world, 3)
    assert len(world.asked) == 0, "a slot has one life at a time"
    end_all(world)
    world.up()
    assert world.states() == ["Running"] * 3


def test_a_worker_spawned_for_nothing_is_ended_as_soon_as_it_exists() -> None:
    world = running(plan(1))
    scale(world, 2)
    newborn = world.ref(1)
    scale(world, 1)
    world.spawned(newborn)
    assert world.names(newborn)[0] == "SIGTERM"
    world.dies(newborn, 0)
    assert world.states() == ["Running"]


def test_slots_without_a_process_disappear_at_once() -> None:
    world = running(plan(3))
    world.crash(2)
    world.crash(2)
    assert world.states()[2] == "Backoff"
    scale(world, 2)
    assert len(world.pool.slots) == 2


def test_scaling_to_nothing_and_back_works() -> None:
    world = running(plan(2))
    scale(world, 0)
    end_all(world)
    assert world.states() == []
    scale(world, 1)
    world.up()
    assert world.states() == ["Running"]


@pytest.mark.parametrize(("workers", "min_ready", "ready"), [(0, None, True), (2, None, False), (2, 0, True)])
def test_a_pool_is_ready_with_nothing_only_if_nothing_is_asked_of_it(
    workers: int, min_ready: int | None, ready: bool
) -> None:
    world = World(plan(workers, min_ready=min_ready))
    world.begin()
    assert world.pool.ready is ready


def test_min_ready_above_the_present_size_asks_for_all() -> None:
    world = running(plan(3, min_ready=3))
    scale(world, 1)
    end_all(world)
    assert world.pool.ready


def test_asking_for_what_is_there_says_nothing() -> None:
    world = running(plan(2))
    assert world.send(ev.ScaleRequested(2, world.now)) == ()


def test_fewer_than_none_is_none() -> None:
    world = running(plan(1))
    scale(world, -3)
    assert world.pool.desired == 0


@pytest.mark.parametrize("kind", [ev.StopRequested, ev.PauseRequested])
def test_a_held_pool_takes_its_new_size_when_it_runs_again(kind: type) -> None:
    world = running(plan(2))
    world.request(kind)
    end_all(world)
    scale(world, 4)
    assert not world.asked
    world.request(ev.StartRequested if kind is ev.StopRequested else ev.ResumeRequested)
    world.up()
    assert world.states() == ["Running"] * 4


def test_a_slot_released_and_wanted_again_while_the_pool_is_held_stays_empty() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested)
    scale(world, 1)
    scale(world, 2)
    end_all(world)
    assert (world.asked, world.states()) == ([], ["Held", "Held"])


def test_frozen_workers_that_are_not_wanted_any_more_are_woken_to_end() -> None:
    world = running(plan(2))
    world.request(ev.PauseRequested)
    ref = world.ref(1)
    scale(world, 1)
    assert world.names(ref) == ["SIGSTOP", "SIGTERM", "SIGCONT"]
    world.dies(ref, 0)
    assert world.states() == ["Frozen"]


@pytest.mark.parametrize("settings", [
    {"restart": RestartPolicy(mode="never")},
    {"restart": RestartPolicy(crash_loop=CrashLoop(count=1, action="fatal"))},
])  # fmt: skip
def test_a_slot_that_gave_up_or_finished_goes_too_when_it_is_no_longer_wanted(settings: Any) -> None:
    world = running(plan(3, **settings))
    world.dies(world.ref(2), 1)
    world.send(ev.ScaleRequested(2, world.now))
    world.obey(3)
    assert world.states() == ["Running", "Running"]
    assert world.pool.wanted == 2


def test_a_slot_added_to_a_stopped_pool_stays_stopped_when_another_one_is_started() -> None:
    world = running(plan(1))
    world.request(ev.StopRequested)
    world.obey(3)
    world.send(ev.ScaleRequested(3, world.now))
    world.request(ev.StartRequested, 0)
    world.up()
    assert world.states() == ["Running", "Held", "Held"]
