"""Crash loops: the breaker with its canaries, giving up, or only telling."""

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.scaling import Leaver
from chaperone_async.core.spec import Backoff, CrashLoop, HealthPolicy, LoopAction, RestartPolicy
from chaperone_async.core.states import Backoff as BackingOff
from chaperone_async.core.states import Frozen
from chaperone_async.core.step import step
from tests.core.world import World, plan, running


def looping_policy(action: LoopAction = "breaker", count: int = 2, initial: float = 0.5) -> RestartPolicy:
    return RestartPolicy(
        backoff=Backoff(initial=initial, jitter=0, max=8), crash_loop=CrashLoop(count=count, early=30, action=action)
    )


def crash_until(world: World, slots: list[int], times: int) -> None:
    """Each of these slots crashes so many times, half a second after its starts."""
    for _ in range(times):
        world.spawn_all()
        world.advance(0.5)
        for slot in slots:
            if world.slot(slot).live:
                world.dies(world.ref(slot), 1)
        if not world.broken():
            waits = [world.delay(slot) for slot in slots if isinstance(world.slot(slot).state, BackingOff)]
            world.advance(max(waits, default=0.0))


def broken(workers: int = 3, action: LoopAction = "breaker") -> World:
    """A pool all of whose workers loop: the breaker is open and nothing runs."""
    world = World(plan(workers, restart=looping_policy(action)))
    world.begin()
    crash_until(world, list(range(workers)), 2)
    assert world.broken()
    assert not world.pool.live
    return world


def wait_for_canary(world: World) -> int:
    world.advance(world.pool.next_deadline - world.now)
    assert len(world.asked) == 1, "one canary at a time"
    return world.asked[0].slot


def test_the_breaker_opens_when_all_loop() -> None:
    world = World(plan(2, restart=looping_policy()))
    world.begin()
    crash_until(world, [0, 1], 1)
    assert not world.broken()
    crash_until(world, [0, 1], 1)
    assert world.broken()
    assert world.state() == "crash_loop"
    assert world.kinds().count("pool.breaker_opened") == 1
    assert world.kinds().count("slot.crash_loop") == 2


def test_it_stays_closed_while_one_is_healthy_and_the_looping_slot_keeps_its_capped_back_off() -> None:
    world = running(plan(2, restart=looping_policy()))
    given = []
    for _ in range(7):
        world.crash(0)
        given.append(world.delay(0) if world.states()[0] == "Backoff" else 0)
        world.advance(given[-1])
    assert given == [0, 0.5, 1, 2, 4, 8, 8]
    assert not world.broken()


def test_it_opens_as_soon_as_the_last_healthy_one_loops_too() -> None:
    world = running(plan(2, restart=looping_policy()))
    crash_until(world, [0], 3)
    crash_until(world, [1], 2)
    assert world.broken()


def test_slots_kept_empty_by_hand_are_not_waited_for() -> None:
    world = running(plan(2, restart=looping_policy()))
    world.request(ev.StopRequested, 1)
    world.dies(world.ref(1), 0)
    crash_until(world, [0], 2)
    assert world.broken()


def test_looping_slots_kept_empty_by_hand_do_not_open_it_for_others() -> None:
    world = running(plan(3, restart=looping_policy()))
    for index in (0, 1):
        crash_until(world, [index], 2)
        world.request(ev.StopRequested, index)
        world.spawn_all()
        world.dies(world.ref(index), 0)
    world.dies(world.ref(2), 1)
    assert world.states() == ["Held", "Held", "Spawning"]
    assert not world.broken()


def test_one_canary_at_a_time_each_slot_in_turn() -> None:
    world, order = broken(3), []
    for _ in range(7):
        order.append(wait_for_canary(world))
        assert world.states().count("Waiting") == 2
        world.crash(order[-1])
    assert order == [0, 1, 2, 0, 1, 2, 0]


def test_canaries_wait_out_the_capped_back_off_between_them() -> None:
    world = broken(2)
    for _ in range(8):
        world.crash(wait_for_canary(world))
    before = world.now
    wait_for_canary(world)
    assert world.now - before == 8


def test_nobody_is_tried_while_another_one_still_lives() -> None:
    world = World(plan(2, restart=looping_policy(count=1)))
    world.begin()
    world.crash(0)
    world.spawn_all()
    world.dies(world.ref(1), 1)
    assert world.broken()
    world.crash(wait_for_canary(world))
    assert world.states().count("Waiting") == 1


def test_a_canary_that_outlives_early_starts_the_rest_and_forgets_their_crashes() -> None:
    world = broken(3)
    canary = wait_for_canary(world)
    world.spawn_all()
    world.advance(29.9)
    assert world.broken()
    assert world.pool.ready
    world.advance(0.1)
    assert not world.broken()
    assert sorted([canary, *(ref.slot for ref in world.asked)]) == [0, 1, 2]
    assert not any(slot.history.crashes or slot.history.looping for slot in world.pool.slots)
    assert "pool.breaker_closed" in world.kinds()


def test_a_canary_that_ends_as_expected_stays_the_canary() -> None:
    world = broken(2)
    canary = wait_for_canary(world)
    world.spawn_all()
    world.advance(5)
    world.dies(world.ref(canary), 0)
    assert [ref.slot for ref in world.asked] == [canary]


def test_a_canary_that_has_ended_as_expected_closes_the_breaker_with_its_next_run() -> None:
    world = broken()
    canary = wait_for_canary(world)
    world.up()
    world.dies(world.ref(canary), 0)
    world.up()
    assert not world.broken()
    assert len(world.asked) == 2


def test_a_canary_that_never_gets_ready_and_crashes_late_is_followed_by_another() -> None:
    world = World(plan(2, restart=looping_policy(), health=HealthPolicy(ready="notify", start_timeout=60)))
    world.begin()
    crash_until(world, [0, 1], 2)
    for slot in (0, 1, 0):
        assert wait_for_canary(world) == slot
        world.spawn_all()
        world.advance(60)
        world.dies(world.ref(slot), 0)


def test_a_single_worker_is_its_own_canary() -> None:
    world = broken(1)
    assert wait_for_canary(world) == 0
    world.crash(0)
    assert wait_for_canary(world) == 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_slot_that_need_not_back_off_is_tried_too(count: int) -> None:
    """A first crash after a started run restarts at once, and a back-off may be configured to nothing."""
    world = running(plan(restart=looping_policy(count=count, initial=0)))
    crash_until(world, [0], count)
    assert world.broken()
    assert wait_for_canary(world) == 0


# What may happen to the canary


def test_a_canary_that_is_scaled_away_is_followed_by_another() -> None:
    world = broken(3)
    for _ in range(2):
        world.crash(wait_for_canary(world))
    assert world.pool.breaker
    assert world.pool.breaker.canary == 2
    world.send(ev.ScaleRequested(2, world.now))
    assert wait_for_canary(world) == 0


def test_a_canary_that_is_scaled_away_from_among_the_others_is_followed_by_another() -> None:
    world = broken(3)
    world.crash(wait_for_canary(world))
    assert world.pool.breaker is not None
    assert world.pool.breaker.canary == 1
    world.send(ev.ScaleRequested(2, world.now, leavers=(Leaver(1),)))
    assert wait_for_canary(world) == 2


def test_a_canary_stopped_by_hand_is_followed_by_another() -> None:
    world = broken(2)
    world.request(ev.StopRequested, 0)
    assert wait_for_canary(world) == 1


def test_a_worker_paused_by_hand_keeps_no_other_from_being_tried() -> None:
    world = World(plan(2, restart=looping_policy()))
    world.begin()
    crash_until(world, [0, 1], 1)
    crash_until(world, [0], 1)
    world.up()
    world.request(ev.PauseRequested, 0)
    crash_until(world, [1], 1)
    assert world.states() == ["Frozen", "Backoff"]
    assert world.broken()
    assert wait_for_canary(world) == 1


def test_a_canary_paused_by_hand_is_followed_by_another() -> None:
    world = broken(2)
    assert wait_for_canary(world) == 0
    world.up()
    world.request(ev.PauseRequested, 0)
    assert wait_for_canary(world) == 1


def test_a_pool_scaled_to_nothing_loops_no_more_and_scaled_back_it_begins_afresh() -> None:
    world = broken(1)
    world.send(ev.ScaleRequested(0, world.now))
    assert not world.broken()
    world.send(ev.ScaleRequested(2, world.now))
    assert [ref.slot for ref in world.asked] == [0, 1]


@pytest.mark.parametrize("kind", [ev.StartRequested, ev.RestartRequested])
@pytest.mark.parametrize("target", [None, 1])
def test_a_start_closes_the_breaker_for_all(kind: type, target: int | None) -> None:
    world = broken(3)
    world.request(kind, target)
    assert not world.broken()
    assert {1, 2} <= {ref.slot for ref in world.asked}
    assert world.states().count("Waiting") == 0


@pytest.mark.parametrize("kind", [ev.RestartRequested, ev.RollRequested, None])
def test_a_pool_that_is_restarted_or_changed_while_its_canary_lives_does_not_wait(kind: type | None) -> None:
    world = broken(1)
    wait_for_canary(world)
    world.spawn_all()
    if kind is None:
        world.reload(command=("better",))
    else:
        world.request(kind)
    world.dies(world.ref(0), 0)
    assert not world.broken()
    assert world.asked


def test_a_pause_interrupts_the_canary_and_the_resume_brings_it_back() -> None:
    world = broken(2)
    canary = wait_for_canary(world)
    world.spawn_all()
    world.request(ev.PauseRequested)
    assert isinstance(world.slot(canary).state, Frozen)
    world.advance(100)
    assert not world.asked
    world.request(ev.ResumeRequested)
    world.advance(1)
    assert not world.broken(), "it has outlived `early` in the meantime"


def test_a_policy_changed_to_tell_only_lets_everybody_go() -> None:
    world = broken(2)
    world.spec = plan(2, restart=looping_policy("alert"))
    world.pool = type(world.pool)(
        world.spec, world.pool.salt, 2, world.pool.slots, world.pool.next_generation, breaker=world.pool.breaker
    )
    world.begin()
    assert not world.broken()
    assert {ref.slot for ref in world.asked} == {0, 1}


# Giving up, and only telling


def test_fatal_is_first_the_slot_and_with_all_its_slots_the_pool() -> None:
    world = running(plan(2, restart=looping_policy("fatal")))
    crash_until(world, [0], 2)
    assert world.states() == ["Fatal", "Running"]
    assert world.state() == "degraded"
    assert world.pool.fatal is None
    assert "pool.unready" not in world.kinds()
    crash_until(world, [1], 2)
    assert world.state() == "fatal"
    assert not world.pool.ready
    assert [kind for kind in world.kinds() if "fatal" in kind] == ["slot.fatal", "slot.fatal", "pool.fatal"]
    world.advance(10_000)
    assert not world.asked


def test_a_start_begins_afresh_after_fatal() -> None:
    world = running(plan(restart=looping_policy("fatal")))
    crash_until(world, [0], 2)
    world.request(ev.StartRequested)
    assert world.pool.fatal is None
    world.crash(0, after=1)
    assert world.states() == ["Spawning"], "its crashes are forgotten"
    world.up()
    assert world.pool.ready


def test_a_fatal_pool_that_is_scaled_stays_fatal() -> None:
    world = running(plan(restart=looping_policy("fatal")))
    crash_until(world, [0], 2)
    world.send(ev.ScaleRequested(3, world.now))
    assert not world.asked
    world.request(ev.StartRequested)
    assert len(world.asked) == 3


def test_a_pool_that_gave_up_while_another_slot_was_paused_runs_again_with_that_one() -> None:
    world = running(plan(2, pause="drain", restart=looping_policy("fatal")))
    world.request(ev.PauseRequested, 1)
    world.dies(world.ref(1), 0)
    crash_until(world, [0], 2)
    assert world.state() == "fatal"
    world.request(ev.ResumeRequested, 1)
    world.up()
    assert world.states() == ["Fatal", "Running"]
    assert world.pool.fatal is None
    assert world.pool.ready


def test_a_pool_scaled_after_it_gave_up_has_all_its_workers_once_it_runs_again() -> None:
    world = running(plan(2, pause="drain", restart=looping_policy("fatal")))
    world.request(ev.PauseRequested, 1)
    world.dies(world.ref(1), 0)
    crash_until(world, [0], 2)
    world.send(ev.ScaleRequested(4, world.now))
    assert world.state() == "fatal"
    world.request(ev.ResumeRequested, 1)
    assert [ref.slot for ref in world.asked] == [1, 2, 3]


def test_a_surge_that_gives_up_does_not_make_a_running_pool_fatal() -> None:
    world = running(plan(restart=looping_policy("fatal")))
    world.request(ev.RollRequested)
    crash_until(world, [1], 2)
    assert world.states() == ["Running", "Fatal"]
    assert world.pool.fatal is None
    assert world.pool.ready


def test_alert_only_tells() -> None:
    world = World(plan(restart=looping_policy("alert")))
    world.begin()
    for _ in range(5):
        world.crash(0)
        assert world.states() == ["Backoff"]
        world.advance(world.delay())
    assert world.kinds().count("slot.crash_loop") == 4
    assert not world.broken()


def test_a_worker_that_lives_on_proves_its_slot_sound() -> None:
    world = running(plan(2, restart=looping_policy()))
    crash_until(world, [0], 2)
    assert world.slot(0).history.looping
    world.spawn_all()
    world.advance(29.9)
    assert world.slot(0).history.looping
    world.advance(0.1)
    assert not world.slot(0).history.looping
    assert "worker.proven" in world.kinds()


def test_steps_leave_the_pool_they_were_given_as_it_was() -> None:
    world = broken(2)
    before, states = world.pool, world.states()
    step(before, ev.StartRequested(None, world.now))
    assert [type(slot.state).__name__ for slot in before.slots] == states


def test_a_pool_that_has_given_up_is_not_ready_even_where_nobody_need_be() -> None:
    world = World(plan(1, min_ready=0, restart=RestartPolicy(crash_loop=CrashLoop(count=1, action="fatal"))))
    world.begin()
    world.crash(0)
    assert world.state() == "fatal"
    assert not world.pool.ready
