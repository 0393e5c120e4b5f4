"""The supervisor ends: one deadline for all, and nothing starts again."""

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.shutdown import kill_time
from chaperone_async.core.spec import StopPolicy
from tests.core.world import World, plan, running


def shut_down(world: World, seconds: float) -> None:
    world.send(ev.ShutdownRequested(world.now + seconds, world.now))


@pytest.mark.parametrize(("seconds", "spared"), [(30, 1), (10, 1), (5, 0.5), (1, 0.1), (0, 0)])
def test_a_tenth_of_the_time_is_kept_for_the_kill_one_second_at_most(seconds: float, spared: float) -> None:
    assert kill_time(100 + seconds, 100) == 100 + seconds - spared


def test_all_graces_share_the_deadline() -> None:
    world = running(plan(2, stop=StopPolicy(timeout=300)))
    refs = [world.ref(0), world.ref(1)]
    world.request(ev.StopRequested, 0)
    world.advance(5)
    start = world.now
    shut_down(world, 10)
    world.advance(9.1)
    for ref in refs:
        assert next(at - start for at, name in world.signals[ref] if name == "SIGKILL") == pytest.approx(9)


def test_a_grace_shorter_than_the_deadline_stays_as_short() -> None:
    world = running(plan(stop=StopPolicy(timeout=3)))
    start = world.now
    shut_down(world, 30)
    world.advance(3)
    assert world.signals[world.ref(0)] == [(start, "SIGTERM"), (start + 3, "SIGKILL")]


def test_no_worker_may_extend_its_time_past_the_deadline() -> None:
    world = running(plan())
    shut_down(world, 10)
    world.send(ev.TimeExtended(world.ref(0), 1000, world.now))
    world.advance(9.1)
    assert world.states() == ["Killing"]


def test_a_second_shutdown_hurries() -> None:
    world = running(plan(2))
    refs = [world.ref(0), world.ref(1)]
    shut_down(world, 30)
    world.advance(2)
    shut_down(world, 0)
    assert [world.names(ref) for ref in refs] == [["SIGTERM", "SIGKILL"]] * 2
    assert world.kinds().count("pool.stopping") == 1


def test_a_later_deadline_gives_no_more_time() -> None:
    world = running(plan(stop=StopPolicy(timeout=300)))
    shut_down(world, 10)
    shut_down(world, 100)
    world.send(ev.TimeExtended(world.ref(0), 1000, world.now))
    world.advance(9.1)
    assert world.states() == ["Killing"]


def test_a_newborn_after_the_deadline_is_killed_at_once() -> None:
    world = World(plan())
    world.begin()
    ref = world.ref(0)
    shut_down(world, 10)
    world.advance(20)
    world.spawned(ref)
    assert world.names(ref) == ["SIGKILL"]


def test_frozen_workers_are_woken_for_a_shutdown() -> None:
    world = running(plan())
    ref = world.ref(0)
    world.request(ev.PauseRequested)
    shut_down(world, 10)
    assert world.names(ref) == ["SIGSTOP", "SIGTERM", "SIGCONT"]


@pytest.mark.parametrize("kind", [ev.StartRequested, ev.RestartRequested, ev.RollRequested, ev.ResumeRequested])
@pytest.mark.parametrize("target", [None, 0])
def test_nothing_starts_again_in_a_shutdown(kind: type, target: ev.Target) -> None:
    world = running(plan(2))
    shut_down(world, 10)
    world.request(kind, target)
    world.send(ev.ScaleRequested(5, world.now))
    for ref in list(world.alive):
        world.dies(ref, 0)
    world.advance(1000)
    assert not world.asked
    assert world.state() == "stopped"
