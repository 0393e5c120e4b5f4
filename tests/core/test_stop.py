"""The ladder: signal, grace, SIGKILL; and what stays stopped."""

from math import inf

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.actions import Kill, Signal
from chaperone_async.core.spec import Backoff, RestartPolicy, StopPolicy
from tests.core.world import World, plan, running


def test_signal_then_grace_then_kill_again_and_again() -> None:
    world = running(plan(stop=StopPolicy(signal="SIGQUIT", timeout=10, to="group")))
    ref, start = world.ref(0), world.now
    world.request(ev.StopRequested)
    world.advance(12.5)
    sent = [(at - start, name) for at, name in world.signals[ref]]
    assert sent == [(0, "SIGQUIT"), (10, "SIGKILL"), (11, "SIGKILL"), (12, "SIGKILL")]
    assert Signal(ref, "SIGQUIT", "group") in [action for _, action in world.log]
    world.dies(ref, signal=9)
    assert world.pool.next_deadline == inf
    assert world.deaths() == ["stop"]


def test_a_worker_that_obeys_is_not_killed() -> None:
    world = running(plan())
    ref = world.ref(0)
    world.request(ev.StopRequested)
    world.dies(ref, 0)
    world.advance(1000)
    assert world.names(ref) == ["SIGTERM"]
    assert (world.state(), world.asked) == ("stopped", [])


def test_the_end_of_a_stop_is_told_once_when_the_last_one_is_gone() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested)
    world.dies(world.ref(0), 0)
    assert world.state() == "stopping"
    assert "pool.stopped" not in world.kinds()
    world.dies(world.ref(1), 0)
    world.advance(10)
    assert world.kinds().count("pool.stopped") == 1
    assert world.kinds().count("worker.stopping") == 2


def test_no_grace_at_all_is_a_kill_at_once() -> None:
    world = running(plan(stop=StopPolicy(timeout=0)))
    ref = world.ref(0)
    world.request(ev.StopRequested)
    assert world.names(ref) == ["SIGKILL"]


def test_a_second_stop_does_not_signal_again_or_start_the_grace_anew() -> None:
    world = running(plan(stop=StopPolicy(timeout=10)))
    ref = world.ref(0)
    world.request(ev.StopRequested)
    world.advance(9)
    world.request(ev.StopRequested)
    world.advance(1)
    assert world.names(ref) == ["SIGTERM", "SIGKILL"]


def test_a_worker_may_ask_for_more_time_but_never_for_less() -> None:
    world = running(plan(stop=StopPolicy(timeout=10)))
    ref = world.ref(0)
    world.request(ev.StopRequested)
    world.send(ev.TimeExtended(ref, 1, world.now))
    world.advance(9)
    world.send(ev.TimeExtended(ref, 20, world.now))
    world.advance(19.9)
    assert world.names(ref) == ["SIGTERM"]
    world.advance(0.1)
    assert world.names(ref)[-1] == "SIGKILL"


def test_a_worker_spawned_after_the_stop_is_ended() -> None:
    world = World(plan())
    world.begin()
    ref = world.ref(0)
    world.request(ev.StopRequested)
    world.advance(100)
    world.spawned(ref)
    assert world.names(ref)[0] == "SIGTERM"
    world.advance(29.9)
    assert "SIGKILL" not in world.names(ref), "its grace begins with its life"
    world.dies(ref, 0)
    assert world.state() == "stopped"


def test_what_cannot_be_spawned_after_the_stop_is_no_crash() -> None:
    world = World(plan())
    world.begin()
    world.request(ev.StopRequested)
    world.spawn_failed(world.ref(0))
    assert (world.states(), world.state()) == (["Held"], "stopped")
    assert world.slot(0).history.crashes == 0


def test_a_stop_in_a_back_off_keeps_the_slot_empty() -> None:
    world = World(plan(restart=RestartPolicy(backoff=Backoff(initial=5))))
    world.begin()
    world.crash(0)
    world.request(ev.StopRequested)
    world.advance(100)
    assert (world.states(), world.state()) == (["Held"], "stopped")


def test_a_crash_while_stopping_is_not_held_against_it() -> None:
    world = running(plan())
    world.request(ev.StopRequested)
    world.dies(world.ref(0), signal=11)
    assert world.deaths() == ["stop"]
    assert world.slot(0).history.crashes == 0


# Starting again


def test_a_stop_taken_back_while_the_workers_still_end_gives_them_successors() -> None:
    world = running(plan())
    world.request(ev.StopRequested)
    world.request(ev.StartRequested)
    assert not world.asked
    world.dies(world.ref(0), 0)
    assert world.states() == ["Spawning"]


def test_a_slot_stopped_by_hand_survives_a_restart_of_the_pool() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested, 0)
    world.dies(world.ref(0), 0)
    world.request(ev.RestartRequested)
    world.dies(world.ref(1), 0)
    world.up()
    assert world.states() == ["Held", "Running"]
    world.request(ev.StartRequested, 0)
    world.up()
    assert world.states() == ["Running"] * 2


@pytest.mark.parametrize("kind", [ev.RestartRequested, ev.RollRequested])
def test_a_slot_still_stopping_by_hand_does_not_come_back_with_the_pool(kind: type) -> None:
    world = running(plan(2))
    world.request(ev.StopRequested, 0)
    world.request(kind)
    world.dies(world.ref(0), 0)
    assert world.states()[0] == "Held"


def test_a_restart_of_a_stopped_slot_starts_it() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested, 0)
    world.dies(world.ref(0), 0)
    world.request(ev.RestartRequested, 0)
    assert world.states()[0] == "Spawning"


@pytest.mark.parametrize("kind", [ev.StopRequested, ev.PauseRequested])
@pytest.mark.parametrize("target", [None, 0])
def test_a_restart_that_may_wake_nobody_leaves_what_is_held_as_it_is(kind: type, target: int | None) -> None:
    world = running(plan(2))
    world.request(kind, target)
    before = world.pool
    world.send(ev.RestartRequested(world.ref(0), world.now, wakes=False))
    assert world.pool is before
    world.send(ev.RestartRequested(0, world.now))
    assert world.slot(0).hold is None


def test_a_restart_ends_gracefully_and_does_not_wait_for_a_replacement() -> None:
    world = running(plan(2))
    world.request(ev.RestartRequested)
    assert world.states() == ["Stopping"] * 2
    for index in (0, 1):
        world.dies(world.ref(index), 0)
    assert world.states() == ["Spawning"] * 2
    assert world.deaths() == ["restart"] * 2


@pytest.mark.parametrize("kind", [ev.StartRequested, ev.RestartRequested, ev.RollRequested])
@pytest.mark.parametrize("target", [99, -1, ev.WorkerRef("p", 0, 999), ev.WorkerRef("p", 7, 1)])
def test_a_request_for_nobody_starts_nothing(kind: type, target: ev.Target) -> None:
    world = running(plan())
    world.send(ev.StopRequested(None, world.now, fatal="by order"))
    world.dies(world.ref(0), 0)
    before = world.pool
    assert world.request(kind, target) == ()
    assert world.pool is before


def test_a_fatal_stop_ends_gracefully_and_gives_the_pool_up() -> None:
    world = running(plan())
    world.send(ev.StopRequested(None, world.now, by="on_crash", fatal="no licence"))
    assert world.state() == "stopping"
    world.dies(world.ref(0), 0)
    assert (world.state(), world.pool.fatal) == ("fatal", "no licence")
    world.request(ev.StartRequested)
    world.up()
    assert (world.state(), world.pool.fatal) == ("running", None)


# Killing


def test_a_kill_is_at_once_and_followed_by_a_successor() -> None:
    world = running(plan())
    ref = world.ref(0)
    actions = world.request(ev.KillRequested, ref)
    assert Kill(ref) in actions
    assert world.names(ref) == ["SIGKILL"]
    world.dies(ref, signal=9)
    assert world.states() == ["Spawning"]
    assert world.slot(0).history.crashes == 0


def test_a_kill_cuts_a_grace_short() -> None:
    world = running(plan())
    ref = world.ref(0)
    world.request(ev.StopRequested)
    world.request(ev.KillRequested)
    assert world.names(ref) == ["SIGTERM", "SIGKILL"]
    world.dies(ref, signal=9)
    assert (world.states(), world.deaths()) == (["Held"], ["stop"])


def test_a_kill_of_a_worker_not_spawned_yet_takes_effect_when_it_is() -> None:
    world = World(plan())
    world.begin()
    ref = world.ref(0)
    world.request(ev.KillRequested)
    world.spawned(ref)
    assert world.names(ref) == ["SIGKILL"]


def test_a_kill_of_a_slot_without_a_process_does_nothing() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested, 0)
    world.dies(world.ref(0), 0)
    assert world.request(ev.KillRequested, 0) == ()
