"""One after the other, each replacement ready before an old worker goes."""

from typing import Any

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import CrashLoop, PauseMode, PoolSpec, RestartPolicy
from tests.core.world import World, plan, running


def roll_on(world: World, *, patience: int = 60) -> list[tuple[str, int]]:
    """Workers obey SIGTERM and become ready after a second; what was spawned and ended in which order."""
    story: list[tuple[str, int]] = []
    for _ in range(patience):
        for ref in list(world.alive):
            if "SIGTERM" in world.names(ref):
                story.append(("end", ref.slot))
                world.dies(ref, 0)
        for ref in list(world.asked):
            story.append(("new", ref.slot))
            world.spawned(ref)
        world.advance(1)
    return story


def rolling(spec: PoolSpec) -> World:
    world = running(spec)
    world.request(ev.RollRequested)
    return world


def test_the_surge_comes_first_then_each_slot_and_the_surge_goes() -> None:
    assert roll_on(rolling(plan(3))) == [
        ("new", 3), ("end", 0), ("new", 0), ("end", 1), ("new", 1), ("end", 2), ("new", 2), ("end", 3),
    ]  # fmt: skip


def test_afterwards_the_pool_is_as_before_with_new_workers() -> None:
    world = running(plan(3))
    old = {slot.last_id for slot in world.pool.slots}
    world.request(ev.RollRequested)
    roll_on(world)
    assert world.states() == ["Running"] * 3
    assert old.isdisjoint({slot.last_id for slot in world.pool.slots})
    assert world.deaths() == ["restart"] * 3 + ["scaled_down"]


@pytest.mark.parametrize("min_ready", [0, 1, 2, 3])
def test_ready_workers_never_become_fewer_than_they_were(min_ready: int) -> None:
    world = rolling(plan(3, min_ready=min_ready))
    for _ in range(40):
        for ref in list(world.alive):
            if "SIGTERM" in world.names(ref):
                world.dies(ref, 0)
                assert world.pool.ready_count >= 3
        world.spawn_all()
        world.advance(1)
    assert world.pool.surge == 0
    assert "pool.unready" not in world.kinds()


def test_nobody_goes_while_that_would_make_the_pool_unready() -> None:
    world = rolling(plan(2, min_ready=2))
    world.dies(world.ref(1), 1)
    world.spawned(world.ref(2))
    world.advance(1)
    assert world.states() == ["Running", "Spawning", "Running"]
    world.up()
    assert world.states() == ["Stopping", "Running", "Running"]


def test_the_next_one_goes_only_when_the_replacement_of_the_last_is_ready() -> None:
    world = rolling(plan(2))
    world.up()
    world.dies(world.ref(0), 0)
    world.advance(100)
    assert world.states() == ["Spawning", "Running", "Running"]
    world.up()
    assert world.states() == ["Running", "Stopping", "Running"]


def test_a_surge_that_crashes_leaves_the_old_ones_running() -> None:
    world = rolling(plan(2))
    for _ in range(10):
        world.crash(2)
        assert world.states()[:2] == ["Running", "Running"]
        world.advance(world.delay(2))
    assert world.names(world.ref(0)) == []
    assert world.state() == "running"


def test_a_surge_in_a_crash_loop_does_not_open_the_breaker_over_a_healthy_worker() -> None:
    world = rolling(plan(1))
    for _ in range(10):
        world.crash(1)
        world.advance(world.delay(1))
    assert not world.broken()
    assert world.pool.ready


def test_one_worker_alone_is_replaced_without_a_gap() -> None:
    world = running(plan(3))
    world.request(ev.RollRequested, world.ref(1))
    assert roll_on(world) == [("new", 3), ("end", 1), ("new", 1), ("end", 3)]


def test_a_worker_that_is_not_ready_is_replaced_at_once() -> None:
    world = World(plan(2))
    world.begin()
    world.spawn_all()
    world.request(ev.RollRequested)
    assert world.states() == ["Stopping", "Stopping"]


def test_a_worker_just_being_spawned_is_replaced_too() -> None:
    """Its process may have been started from what is being replaced."""
    world = World(plan())
    world.begin()
    ref = world.ref(0)
    world.request(ev.RollRequested)
    world.spawned(ref)
    assert world.names(ref) == ["SIGTERM"]


def test_a_roll_asked_for_twice_is_not_done_twice() -> None:
    world = rolling(plan(2))
    world.request(ev.RollRequested)
    assert len(roll_on(world)) <= 8


def test_an_old_worker_that_crashes_in_the_roll_need_not_be_replaced_again() -> None:
    world = rolling(plan(2))
    world.dies(world.ref(1), 1)
    assert roll_on(world).count(("new", 1)) == 1


# Other requests in the middle of a roll


@pytest.mark.parametrize("workers", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("progress", range(5))
def test_a_scale_during_a_roll_ends_with_that_many_new_workers(workers: int, progress: int) -> None:
    world = rolling(plan(3))
    old = world.pool.next_generation - 2  # the surge has been asked for already
    roll_on(world, patience=progress)
    world.send(ev.ScaleRequested(workers, world.now))
    roll_on(world)
    assert world.states() == ["Running"] * workers
    assert (world.pool.surge, world.pool.rolling) == (0, ())
    assert all(world.ref(index).generation > old for index in range(workers))


@pytest.mark.parametrize("mode", ["freeze", "drain"])
@pytest.mark.parametrize("progress", range(5))
def test_a_pause_interrupts_a_roll_and_the_resume_continues_it(mode: str, progress: int) -> None:
    world = rolling(plan(2, pause=mode))
    old = world.pool.next_generation - 2
    roll_on(world, patience=progress)
    world.request(ev.PauseRequested)
    spawned = len(world.spawns())
    roll_on(world)
    assert len(world.spawns()) == spawned
    assert "Running" not in world.states()
    world.request(ev.ResumeRequested)
    roll_on(world)
    assert world.states() == ["Running", "Running"]
    assert all(world.ref(index).generation > old for index in range(2))


@pytest.mark.parametrize("progress", range(5))
def test_a_stop_ends_a_roll_and_a_start_begins_without_it(progress: int) -> None:
    world = rolling(plan(2))
    roll_on(world, patience=progress)
    world.request(ev.StopRequested)
    roll_on(world)
    assert world.state() == "stopped"
    world.request(ev.StartRequested)
    roll_on(world)
    assert world.states() == ["Running", "Running"]
    assert world.pool.surge == 0


def test_a_roll_of_a_paused_pool_wakes_and_replaces_it() -> None:
    world = running(plan(2, pause="freeze"))
    world.request(ev.PauseRequested)
    world.request(ev.RollRequested)
    roll_on(world)
    assert world.states() == ["Running", "Running"]
    assert world.deaths().count("restart") == 2


def test_a_roll_of_a_stopping_pool_starts_it_again() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested)
    world.request(ev.RollRequested)
    roll_on(world)
    assert world.states() == ["Running", "Running"]


def test_what_is_stopped_by_hand_during_its_own_replacement_is_not_waited_for() -> None:
    world = rolling(plan(2))
    world.up()
    world.request(ev.StopRequested, 0)
    roll_on(world)
    assert world.states() == ["Held", "Running"]
    assert world.pool.surge == 0


# Several at a time


@pytest.mark.parametrize(("surge", "most"), [(1, 6), (2, 7), (3, 8), (9, 10)])
def test_so_many_extra_workers_come_as_are_replaced_at_a_time(surge: int, most: int) -> None:
    world = running(plan(5, max_surge=surge))
    world.request(ev.RollRequested)
    seen = 0
    for _ in range(40):
        world.obey(1)
        seen = max(seen, len(world.pool.slots))
        assert world.pool.ready_count >= 5 or world.pool.surge
    assert seen == most
    assert world.states() == ["Running"] * 5
    assert all(world.ref(index).generation > 5 for index in range(5))
    assert (world.pool.surge, world.pool.rolling) == (0, ())


@pytest.mark.parametrize("surge", [0, 1, 2, 3])
@pytest.mark.parametrize("min_ready", [0, 1, 3])
def test_a_roll_never_takes_a_pool_under_its_minimum(surge: int, min_ready: int) -> None:
    world = running(plan(4, max_surge=surge, min_ready=min_ready))
    world.request(ev.RollRequested)
    for _ in range(60):
        world.obey(1)
        assert world.pool.ready_count >= min_ready
    assert "pool.unready" not in world.kinds()
    assert all(world.ref(index).generation > 4 for index in range(4))


def test_without_a_surge_one_goes_before_its_successor_comes() -> None:
    world = running(plan(3, max_surge=0))
    world.request(ev.RollRequested)
    assert world.states() == ["Stopping", "Running", "Running"]
    assert roll_on(world) == [("end", 0), ("new", 0), ("end", 1), ("new", 1), ("end", 2), ("new", 2)]


def test_where_nobody_can_be_spared_even_a_pool_without_a_surge_gets_one() -> None:
    world = running(plan(1, max_surge=0))
    world.request(ev.RollRequested)
    assert roll_on(world) == [("new", 1), ("end", 0), ("new", 0), ("end", 1)]


@pytest.mark.parametrize("how", [ev.StopRequested, ev.PauseRequested])
def test_where_the_others_are_held_by_hand_a_pool_without_a_surge_gets_one_for_the_last(how: Any) -> None:
    world = running(plan(2, max_surge=0))
    world.request(how, 1)
    world.obey(1)
    world.request(ev.RollRequested, 0)
    assert roll_on(world) == [("new", 2), ("end", 0), ("new", 0), ("end", 2)]


def test_a_roll_goes_on_where_another_slot_has_given_up_and_all_are_the_minimum() -> None:
    never = RestartPolicy(crash_loop=CrashLoop(count=1, action="fatal"))
    world = running(plan(2, min_ready=2, restart=never))
    world.dies(world.ref(0), 1)
    world.send(ev.LimitReached(world.ref(1), Reason.MEMORY, "", world.now))
    assert roll_on(world) == [("new", 2), ("end", 1), ("new", 1), ("end", 2)]


def test_a_surge_stays_while_a_worker_that_was_due_and_died_by_itself_has_no_successor_yet() -> None:
    world = running(plan(2, min_ready=2))
    world.request(ev.RollRequested)
    world.up()
    world.dies(world.ref(0), 0)
    world.crash(1)
    world.spawned(world.ref(0))
    world.advance(1)
    assert world.pool.ready_count == 2, "the new one, and the surge"
    world.up()
    assert [world.slot(index).ready for index in range(3)] == [True, True, False]


def test_a_surge_that_has_finished_as_it_should_does_not_hold_up_a_roll() -> None:
    world = running(plan(2, restart=RestartPolicy(mode="on-failure")))
    world.request(ev.RollRequested)
    world.up()
    assert world.states() == ["Stopping", "Running", "Running"]
    world.dies(world.ref(2), 0)
    roll_on(world)
    assert world.pool.surge == 0
    assert all(world.ref(index).generation > 3 for index in range(2))


def test_a_replacement_that_crashes_for_good_leaves_the_others_running() -> None:
    world = rolling(plan(2, restart=RestartPolicy(mode="never")))
    world.crash(2)
    world.obey()
    assert world.states() == ["Running", "Running", "Finished"]
    world.request(ev.RollRequested)
    world.up()
    world.dies(world.ref(0), 0)
    world.crash(0)
    world.obey()
    assert world.states() == ["Finished", "Running", "Running"]


def test_a_surge_of_an_older_roll_is_replaced_before_the_others() -> None:
    world = rolling(plan(3))
    world.up()
    assert world.states() == ["Stopping", "Running", "Running", "Running"]
    world.dies(world.ref(0), 0)
    world.up()
    world.reload(command=("new",))
    world.obey()
    assert world.states() == ["Running"] * 3
    assert world.pool.change is None


def test_a_slot_stopped_by_hand_that_becomes_an_extra_one_does_not_hold_up_a_roll() -> None:
    world = rolling(plan(3))
    world.request(ev.StopRequested, 2)
    world.send(ev.ScaleRequested(2, world.now))
    roll_on(world)
    assert world.states() == ["Running", "Running"]
    assert (world.pool.surge, world.pool.rolling) == (0, ())


@pytest.mark.parametrize("mode", ["drain", "freeze"])
@pytest.mark.parametrize("kind", [ev.StopRequested, ev.PauseRequested])
def test_a_roll_goes_on_where_one_is_held_by_hand_and_all_are_the_minimum(kind: Any, mode: PauseMode) -> None:
    world = running(plan(3, min_ready=3, pause=mode))
    old = {world.ref(index) for index in range(3)}
    world.request(kind, 1)
    world.obey(3)
    world.request(ev.RollRequested)
    roll_on(world)
    assert world.slot(0).ready
    assert world.slot(2).ready
    assert not old & {world.ref(0), world.ref(2)}
    assert world.pool.surge == 0


def test_a_replacement_that_somebody_pauses_while_it_starts_is_not_waited_for() -> None:
    world = rolling(plan(2))
    world.up()
    world.dies(world.ref(0), 0)
    world.spawned(world.ref(0))
    world.request(ev.PauseRequested, 0)
    roll_on(world)
    assert (world.pool.surge, world.pool.rolling) == (0, ())
    assert world.states() == ["Frozen", "Running"]


def test_an_event_of_a_life_that_is_over_leaves_a_roll_as_it_is() -> None:
    world = running(plan(2))
    old = world.ref(0)
    world.request(ev.RollRequested)
    world.up()
    world.dies(old, 0)
    before = world.pool
    assert before.rolling == (0,)
    world.send(ev.Spawned(old, 1, world.now))
    assert world.pool is before
