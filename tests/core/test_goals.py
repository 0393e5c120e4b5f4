"""When something that was asked for has come true, and when it never will."""

from typing import Any

from chaperone_async.core import events as ev
from chaperone_async.core.goals import (
    Missed,
    Reached,
    Standing,
    Underway,
    generations,
    paused,
    reloaded,
    replaced,
    resumed,
    scaled,
    started,
    stopped,
)
from chaperone_async.core.scaling import Leaver
from chaperone_async.core.spec import CrashLoop, RestartPolicy, StopPolicy
from tests.core.world import World, plan, running


def why(standing: Standing) -> str:
    assert isinstance(standing, Missed)
    return standing.why


def test_a_stop_is_done_when_nobody_lives() -> None:
    world, goal = running(plan(2)), stopped(None)
    world.request(ev.StopRequested)
    assert goal(world.pool) == Underway("2 of 2 still running")
    world.obey(3)
    assert goal(world.pool) == Reached()


def test_a_stop_is_missed_when_somebody_starts_the_pool_again() -> None:
    world, goal = running(plan(2)), stopped(None)
    world.request(ev.StopRequested)
    world.request(ev.StartRequested)
    assert why(goal(world.pool)) == "it was started again meanwhile"


def test_a_stop_of_one_worker_is_about_that_one() -> None:
    world = running(plan(2))
    goal = stopped(world.ref(1))
    world.request(ev.StopRequested, world.ref(1))
    assert goal(world.pool) == Underway("it is still running")
    world.obey(3)
    assert goal(world.pool) == Reached()


def test_a_stop_of_one_worker_is_done_where_it_is_scaled_away_meanwhile() -> None:
    world = running(plan(2))
    goal = stopped(world.ref(1))
    world.request(ev.StopRequested, world.ref(1))
    world.send(ev.ScaleRequested(1, world.now))
    assert goal(world.pool) == Underway("it is still running")
    world.obey(3)
    assert goal(world.pool) == Reached()


def test_a_start_is_done_when_all_are_ready() -> None:
    world, goal = running(plan(2)), started(None)
    world.request(ev.StopRequested)
    world.obey(3)
    world.request(ev.StartRequested)
    assert goal(world.pool) == Underway("0 of 2 ready, 2 more live")
    world.up()
    assert goal(world.pool) == Reached()


def test_a_start_is_missed_in_a_crash_loop_and_the_cause_is_told() -> None:
    world = World(plan(1, restart=RestartPolicy(crash_loop=CrashLoop(count=2))))
    world.begin()
    for _ in range(2):
        world.crash(0)
        world.advance(1)
    assert why(started(None)(world.pool)) == "its workers are in a crash loop: exit code 1"


def test_a_roll_counts_those_that_are_replaced() -> None:
    world = running(plan(2))
    goal = replaced(generations(world.pool))
    world.request(ev.RollRequested)
    assert goal(world.pool) == Underway("0 of 2 replaced")
    world.up()
    world.dies(world.ref(0), 0)
    world.up()
    assert goal(world.pool) == Underway("1 of 2 replaced")
    world.obey()
    assert goal(world.pool) == Reached()


def test_a_roll_is_missed_when_the_replacement_does_not_get_up() -> None:
    world = running(plan(1, restart=RestartPolicy(crash_loop=CrashLoop(count=2))))
    goal = replaced(generations(world.pool))
    world.request(ev.RollRequested)
    for _ in range(2):
        world.crash(1)
        world.advance(world.delay(1))
    assert "the replacement is in a crash loop: exit code 1" in why(goal(world.pool))


def test_a_start_is_missed_when_one_slot_crash_loops_beside_others_that_do_well() -> None:
    world = running(plan(2, restart=RestartPolicy(crash_loop=CrashLoop(count=2))))
    goal = started(None)
    for _ in range(2):
        world.up()
        world.crash(1)
    assert why(goal(world.pool)) == "slot 1 is in a crash loop: exit code 1"
    assert goal(world.pool) == scaled(2)(world.pool)


def test_a_roll_is_missed_when_a_later_replacement_crash_loops() -> None:
    world = running(plan(2, restart=RestartPolicy(crash_loop=CrashLoop(count=2))))
    goal = replaced(generations(world.pool))
    world.request(ev.RollRequested)
    world.up()
    world.dies(world.ref(0), 0)
    for _ in range(2):
        world.crash(0)
        world.advance(world.delay(0))
    assert "the replacement is in a crash loop: exit code 1" in why(goal(world.pool))


def test_a_roll_is_missed_when_a_replacement_crashes_that_is_never_restarted() -> None:
    world = running(plan(1, restart=RestartPolicy(mode="never")))
    first = replaced(generations(world.pool))
    world.request(ev.RollRequested)
    world.crash(1)
    assert why(first(world.pool)) == "the replacement has crashed for good: exit code 1"
    second = replaced(generations(world.pool))
    world.request(ev.RollRequested)
    world.up()
    world.dies(world.ref(0), 0)
    world.crash(0)
    assert why(second(world.pool)) == "the replacement has crashed for good: exit code 1"


def test_a_worker_that_was_started_and_has_finished_is_no_longer_waited_for() -> None:
    world = running(plan(1, restart=RestartPolicy(mode="on-failure")))
    world.dies(world.ref(0), 0)
    assert started(0)(world.pool) == Reached("it has finished")


def test_what_a_shutdown_has_cut_off_is_missed() -> None:
    world = running(plan(2))
    since = world.now
    world.reload(command=("new",))
    assert isinstance(reloaded(world.pool.spec, since)(world.pool), Underway)
    world.send(ev.ShutdownRequested(world.now + 30, world.now))
    assert why(reloaded(world.pool.spec, since)(world.pool)) == "the supervisor shuts down"
    assert why(scaled(2)(world.pool)) == "the supervisor shuts down"


def test_a_restart_of_one_worker_waits_for_its_successor() -> None:
    world = running(plan(2))
    goal = replaced(generations(world.pool, world.ref(0)), world.ref(0).slot)
    world.request(ev.RestartRequested, world.ref(0))
    world.dies(world.ref(0), 0)
    assert goal(world.pool) == Underway("slot 0 is not ready yet")
    world.up()
    assert goal(world.pool) == Reached()


def test_a_restart_of_one_worker_is_missed_when_it_is_scaled_away() -> None:
    world = running(plan(3))
    goal = replaced(generations(world.pool, world.ref(1)), 1)
    world.send(ev.ScaleRequested(2, world.now, leavers=(Leaver(1, patiently=False),)))
    world.request(ev.RestartRequested, world.ref(1))
    world.dies(world.ref(1), 0)
    assert why(goal(world.pool)) == "it was scaled away: nobody follows in its slot"


def test_a_pause_waits_for_jobs_where_it_drains() -> None:
    world, goal = running(plan(2, pause="drain")), paused(None)
    world.request(ev.PauseRequested)
    assert goal(world.pool) == Underway("2 still at work")
    world.obey(3)
    assert goal(world.pool) == Reached()
    world.request(ev.ResumeRequested)
    assert why(goal(world.pool)) == "it was resumed or stopped meanwhile"
    assert resumed(None)(world.pool) == Reached()


def test_a_scale_is_missed_when_another_comes() -> None:
    world, goal = running(plan(2)), scaled(4)
    world.send(ev.ScaleRequested(4, world.now))
    assert goal(world.pool) == Underway("2 of 4 ready, 2 more live")
    world.up()
    assert goal(world.pool) == Reached()
    world.send(ev.ScaleRequested(3, world.now))
    assert why(goal(world.pool)) == "it was scaled to 3 meanwhile"


def test_a_scale_of_a_stopped_pool_is_done_and_says_what_that_means() -> None:
    world, goal = running(plan(2)), scaled(4)
    world.request(ev.StopRequested)
    world.send(ev.ScaleRequested(4, world.now))
    assert goal(world.pool) == Reached("stopped by operator: its workers come when it runs again")


def reload(world: World, **changes: Any) -> Any:
    world.reload(**changes)
    return reloaded(world.pool.spec, world.now)


def test_a_reload_is_done_when_its_workers_are_ready() -> None:
    world = running(plan(2))
    goal = reload(world, command=("new",))
    assert goal(world.pool) == Underway("2 to be replaced")
    world.obey()
    assert goal(world.pool) == Reached()


def test_a_reload_that_needs_no_worker_is_done_at_once() -> None:
    world = running(plan(2))
    assert reload(world, stop=StopPolicy(timeout=3))(world.pool) == Reached()


def test_a_reload_that_is_taken_back_says_why() -> None:
    world = running(plan(1, restart=RestartPolicy(crash_loop=CrashLoop(count=1))))
    goal = reload(world, command=("bad",))
    world.crash(1)
    assert why(goal(world.pool)) == "taken back: 1 new worker ended early, the last: exit code 1"


def test_a_reload_of_a_paused_pool_waits_for_nobody() -> None:
    world = running(plan(1))
    world.request(ev.PauseRequested)
    goal = reload(world, command=("new",))
    assert goal(world.pool) == Reached("paused by operator: it has effect when the pool runs again")


def frozen(workers: int) -> World:
    """One worker of the pool is paused by hand."""
    world = running(plan(workers, pause="freeze"))
    world.request(ev.PauseRequested, 0)
    return world


def test_a_scale_does_not_wait_for_a_worker_that_is_paused_by_hand() -> None:
    world, goal = frozen(2), scaled(3)
    world.send(ev.ScaleRequested(3, world.now))
    assert goal(world.pool) == Underway("1 of 3 ready, 2 more live")
    world.up()
    assert goal(world.pool) == Reached("1 paused: it goes on when resumed")


def test_a_roll_and_a_reload_do_not_wait_for_a_worker_that_is_paused_by_hand() -> None:
    world = frozen(2)
    roll = replaced(generations(world.pool))
    world.request(ev.RollRequested)
    change = reload(world, command=("new",))
    world.obey(20)
    assert roll(world.pool) == change(world.pool) == Reached("1 paused: it goes on when resumed")
    world.request(ev.ResumeRequested, 0)
    world.obey(20)
    assert roll(world.pool) == change(world.pool) == Reached()
    assert world.pool.change is None


def test_a_pause_of_one_worker_is_missed_when_it_is_resumed() -> None:
    world, goal = frozen(2), paused(0)
    assert goal(world.pool) == Reached()
    world.request(ev.ResumeRequested, 0)
    assert why(goal(world.pool)) == "it was resumed meanwhile"


def test_a_resume_is_missed_when_another_pause_comes() -> None:
    world = frozen(2)
    assert why(resumed(None)(world.pool)) == "it was paused again meanwhile"
