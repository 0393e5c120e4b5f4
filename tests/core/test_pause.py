"""Pausing by freezing or draining, and resuming, which undoes it completely."""

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.spec import HealthPolicy, PauseMode
from tests.core.world import World, plan, running

MODES: list[PauseMode] = ["auto", "drain", "freeze"]


def obey(world: World) -> None:
    for ref in list(world.alive):
        if "SIGTERM" in world.names(ref):
            world.dies(ref, 0)


@pytest.mark.parametrize("mode", ["auto", "freeze"])
def test_freezing_stops_the_whole_session_and_resuming_lets_it_go_on(mode: PauseMode) -> None:
    world = running(plan(2, pause=mode))
    refs = [world.ref(0), world.ref(1)]
    world.request(ev.PauseRequested)
    assert (world.states(), world.state()) == (["Frozen"] * 2, "paused")
    world.request(ev.ResumeRequested)
    assert (world.states(), world.state()) == (["Running"] * 2, "running")
    assert [world.names(ref) for ref in refs] == [["SIGSTOP", "SIGCONT"]] * 2
    assert world.pool.ready


def test_draining_ends_the_workers_and_keeps_the_slots_empty() -> None:
    world = running(plan(2, pause="drain"))
    world.request(ev.PauseRequested)
    assert world.states() == ["Stopping"] * 2
    obey(world)
    world.advance(1000)
    assert (world.states(), world.state(), world.asked) == (["Held"] * 2, "paused", [])
    world.request(ev.ResumeRequested)
    world.up()
    assert world.states() == ["Running"] * 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", ["spawning", "starting", "running", "backoff", "stopping"])
def test_whatever_was_paused_runs_after_the_resume(mode: PauseMode, before: str) -> None:
    world = World(plan(pause=mode))
    world.begin()
    if before != "spawning":
        world.spawn_all()
    if before in {"running", "stopping"}:
        world.advance(1)
    if before == "backoff":
        world.dies(world.ref(0), 1)
    if before == "stopping":
        world.request(ev.RestartRequested)
    world.request(ev.PauseRequested)
    world.spawn_all()
    obey(world)
    world.advance(500)
    assert world.states()[0] in {"Frozen", "Held"}
    assert not world.asked
    world.request(ev.ResumeRequested)
    world.up()
    assert world.states() == ["Running"]
    assert world.pool.hold is None


@pytest.mark.parametrize("mode", MODES)
def test_a_pause_taken_back_before_it_took_effect_changes_nothing(mode: PauseMode) -> None:
    world = running(plan(2, pause=mode))
    world.request(ev.PauseRequested)
    world.request(ev.ResumeRequested)
    obey(world)
    world.up()
    assert world.states() == ["Running"] * 2


def test_a_frozen_worker_is_not_judged_and_forgets_its_failures() -> None:
    world = running(plan())
    for _ in range(2):
        world.check(world.ref(0), "heartbeat", passed=False)
    world.request(ev.PauseRequested)
    for _ in range(5):
        world.check(world.ref(0), "heartbeat", passed=False)
    assert world.states() == ["Frozen"]
    world.request(ev.ResumeRequested)
    world.check(world.ref(0), "heartbeat", passed=False)
    assert world.states() == ["Running"]


def test_a_worker_frozen_while_starting_gets_its_whole_start_timeout_again() -> None:
    world = World(plan(health=HealthPolicy(ready="notify", start_timeout=10)))
    world.begin()
    world.spawn_all()
    world.advance(9)
    world.request(ev.PauseRequested)
    world.advance(100)
    world.request(ev.ResumeRequested)
    world.advance(9.9)
    assert world.states() == ["Starting"]
    world.send(ev.ReadyTold(world.ref(0), world.now))
    assert world.states() == ["Running"]


def test_the_time_of_a_pause_is_none_in_which_a_worker_could_show_what_it_is_good_for() -> None:
    world = World(plan(health=HealthPolicy(http="http://x/", start_grace=10)))
    world.begin()
    world.spawn_all()
    ref = world.ref(0)
    world.request(ev.PauseRequested)
    world.advance(60)
    world.request(ev.ResumeRequested)
    for _ in range(9):
        world.check(ref, "http", passed=False)
        world.advance(1)
    assert world.names(ref)[-1] == "SIGCONT"
    world.check(ref, "http", passed=True)
    assert world.states() == ["Running"]


def test_a_replacement_that_was_paused_at_its_start_is_not_ready_when_it_is_resumed() -> None:
    world = running(plan())
    old = world.ref(0)
    world.request(ev.RollRequested)
    world.spawn_all()
    world.request(ev.PauseRequested)
    world.advance(60)
    world.request(ev.ResumeRequested)
    assert world.names(old).count("SIGTERM") == 0
    world.advance(1)
    assert world.names(old).count("SIGTERM") == 1


def test_what_a_worker_said_just_before_it_froze_is_not_lost() -> None:
    world = World(plan(health=HealthPolicy(ready="notify")))
    world.begin()
    world.spawn_all()
    world.request(ev.PauseRequested)
    world.send(ev.ReadyTold(world.ref(0), world.now))
    world.request(ev.ResumeRequested)
    assert world.states() == ["Running"]


def test_a_frozen_worker_killed_by_someone_is_replaced_only_after_the_resume() -> None:
    world = running(plan())
    world.request(ev.PauseRequested)
    world.dies(world.ref(0), signal=9)
    assert world.states() == ["Held"]
    world.request(ev.ResumeRequested)
    assert world.states() == ["Spawning"]


def test_what_is_stopped_can_neither_be_paused_nor_resumed() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested)
    obey(world)
    world.request(ev.PauseRequested)
    world.request(ev.ResumeRequested)
    assert (world.states(), world.state()) == (["Held"] * 2, "stopped")


def test_a_slot_stopped_by_hand_stays_stopped_through_pause_and_resume() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested, 0)
    obey(world)
    world.request(ev.PauseRequested)
    world.request(ev.ResumeRequested)
    world.advance(100)
    assert world.states() == ["Held", "Running"]


def test_one_worker_may_be_paused_and_resumed_alone() -> None:
    world = running(plan(2))
    world.request(ev.PauseRequested, world.ref(1))
    assert (world.states(), world.pool.hold) == (["Running", "Frozen"], None)
    world.request(ev.ResumeRequested, world.ref(1))
    assert world.states() == ["Running"] * 2


def test_a_stop_of_a_frozen_worker_wakes_it_so_that_it_hears() -> None:
    world = running(plan())
    ref = world.ref(0)
    world.request(ev.PauseRequested)
    world.request(ev.StopRequested)
    assert world.names(ref) == ["SIGSTOP", "SIGTERM", "SIGCONT"]
    assert world.state() == "stopping"
    world.dies(ref, 0)
    assert world.state() == "stopped"


def test_a_restart_of_a_paused_pool_runs_again() -> None:
    world = running(plan())
    ref = world.ref(0)
    world.request(ev.PauseRequested)
    world.request(ev.RestartRequested)
    assert sorted(world.names(ref)) == ["SIGCONT", "SIGSTOP", "SIGTERM"]
    world.dies(ref, 0)
    world.up()
    assert world.state() == "running"


@pytest.mark.parametrize("mode", ["freeze", "drain"])
def test_a_worker_paused_by_hand_stays_paused_through_a_restart_of_the_pool(mode: PauseMode) -> None:
    world = running(plan(2, pause=mode))
    world.request(ev.PauseRequested, 0)
    world.request(ev.RestartRequested)
    obey(world)
    world.up()
    assert world.states() == ["Held", "Running"]
    world.request(ev.ResumeRequested)
    world.up()
    assert world.states() == ["Running", "Running"]


def test_a_start_of_a_paused_pool_thaws_it() -> None:
    world = running(plan())
    world.request(ev.PauseRequested)
    world.request(ev.StartRequested)
    assert world.states() == ["Running"]


def test_a_kill_of_a_frozen_worker_leaves_its_slot_paused() -> None:
    world = running(plan())
    ref = world.ref(0)
    world.request(ev.PauseRequested, 0)
    world.request(ev.KillRequested, ref)
    assert world.names(ref) == ["SIGSTOP", "SIGKILL"]
    world.dies(ref, signal=9)
    assert world.states() == ["Held"]
    world.request(ev.ResumeRequested)
    assert world.states() == ["Spawning"]


@pytest.mark.parametrize("mode", ["drain", "freeze"])
def test_one_worker_of_a_paused_pool_can_be_resumed_and_the_others_stay_paused(mode: PauseMode) -> None:
    world = running(plan(3, pause=mode))
    world.send(ev.PauseRequested(None, world.now, until=world.now + 100))
    world.obey(3)
    world.request(ev.ResumeRequested, 1)
    world.obey(3)
    assert [slot.ready for slot in world.pool.slots] == [False, True, False]
    world.obey(100)
    assert world.states() == ["Running"] * 3


def test_a_pause_ends_by_itself_when_it_was_asked_for_a_time() -> None:
    world = running(plan(2))
    world.send(ev.PauseRequested(None, world.now, until=world.now + 60))
    world.advance(59)
    assert (world.states(), world.state()) == (["Frozen"] * 2, "paused")
    world.advance(1)
    assert (world.states(), world.state()) == (["Running"] * 2, "running")


def test_one_worker_that_was_paused_for_a_time_goes_on_after_it() -> None:
    world = running(plan(2))
    world.send(ev.PauseRequested(1, world.now, until=world.now + 60))
    world.advance(60)
    assert world.states() == ["Running"] * 2


@pytest.mark.parametrize("mode", MODES)
def test_a_second_pause_says_for_how_long(mode: PauseMode) -> None:
    world = running(plan(2, pause=mode))
    world.send(ev.PauseRequested(None, world.now, until=world.now + 10))
    obey(world)
    world.send(ev.PauseRequested(None, world.now, by="another", until=world.now + 100))
    world.advance(99)
    assert world.state() == "paused"
    assert world.pool.hold is not None
    assert world.pool.hold.by == "another"
    world.advance(1)
    world.up()
    assert world.states() == ["Running"] * 2


def test_a_second_pause_of_one_worker_says_for_how_long() -> None:
    world = running(plan(2))
    world.send(ev.PauseRequested(1, world.now, until=world.now + 10))
    world.send(ev.PauseRequested(1, world.now))
    world.advance(100)
    assert world.states() == ["Running", "Frozen"]


def test_one_worker_of_a_pool_paused_for_a_time_may_be_paused_for_longer() -> None:
    world = running(plan(2))
    world.send(ev.PauseRequested(None, world.now, until=world.now + 10))
    world.send(ev.PauseRequested(1, world.now))
    world.advance(100)
    assert world.states() == ["Running", "Frozen"]


def test_one_worker_of_a_paused_pool_does_not_wake_before_the_others() -> None:
    world = running(plan(2))
    world.request(ev.PauseRequested)
    world.send(ev.PauseRequested(1, world.now, until=world.now + 10))
    world.advance(100)
    assert world.states() == ["Frozen"] * 2
