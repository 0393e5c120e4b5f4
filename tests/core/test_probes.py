"""The situations of the supervisor's own probes, each as a pool that really got there."""

from collections.abc import Callable

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.probes import STALLED_AFTER, Supervised, livez, readyz, startupz
from chaperone_async.core.spec import CrashLoop, OnFatal, RestartPolicy
from chaperone_async.core.status import status_of
from tests.core.world import World, plan, running


def probes(world: World, *, pulse_age: float = 0.0, draining: bool = False) -> str:
    """livez, startupz and readyz: + or - each."""
    seen = Supervised([world.pool], pulse_age, draining)
    return "".join("+" if all(check.ok for check in probe(seen)) else "-" for probe in (livez, startupz, readyz))


def not_yet_up() -> World:
    world = World(plan(2))
    world.begin()
    world.spawn_all()
    return world


def one_of_two_crashed() -> World:
    world = running(plan(2))
    world.crash(0)
    world.crash(0)
    return world


def under_min_ready() -> World:
    world = running(plan(2, min_ready=2))
    world.crash(0)
    return world


def fatal(on_fatal: OnFatal = "unready", *, essential: bool = True) -> World:
    policy = RestartPolicy(crash_loop=CrashLoop(count=1, action="fatal"))
    world = running(plan(1, restart=policy, on_fatal=on_fatal, essential=essential))
    world.crash(0)
    assert world.pool.fatal
    return world


def crash_looping() -> World:
    world = running(plan(1, restart=RestartPolicy(crash_loop=CrashLoop(count=1))))
    world.crash(0)
    assert world.broken()
    return world


def paused() -> World:
    world = running(plan(2))
    world.request(ev.PauseRequested)
    return world


def scaled_to_nothing() -> World:
    world = running(plan(0))
    assert not world.alive
    return world


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (not_yet_up, "+--"),
        (lambda: running(plan(2)), "+++"),
        (one_of_two_crashed, "+++"),
        (under_min_ready, "++-"),
        (fatal, "++-"),
        (lambda: fatal("ignore"), "+++"),
        (lambda: fatal(essential=False), "+++"),
        (crash_looping, "++-"),
        (paused, "+++"),
        (scaled_to_nothing, "+++"),
    ],
)
def test_the_table_of_situations(situation: Callable[[], World], expected: str) -> None:
    assert probes(situation()) == expected


def test_draining_is_unready_at_once_and_live_to_the_end() -> None:
    assert probes(running(plan(1)), draining=True) == "++-"


def test_a_stalled_supervisor_fails_everything() -> None:
    assert probes(running(plan(1)), pulse_age=STALLED_AFTER + 0.1) == "---"
    assert probes(running(plan(1)), pulse_age=STALLED_AFTER) == "+++"


def test_a_pool_whose_supervision_broke_fails_everything_and_says_why() -> None:
    seen = Supervised([running(plan(1)).pool], 0.0, draining=False, broken=[("q", "a bug")])
    for probe in (livez, startupz, readyz):
        failed = [check for check in probe(seen) if not check.ok]
        assert [(check.name, check.reason) for check in failed] == [("pool/q", "a bug")]


def test_a_failing_check_says_what_is_missing() -> None:
    (check,) = readyz(Supervised([under_min_ready().pool], 0.0, draining=False))
    assert check.reason == "too few workers: 1 of at least 2 ready"


def test_a_slot_has_a_public_word_in_every_situation() -> None:
    assert [status_of(slot) for slot in one_of_two_crashed().pool.slots] == ["backoff", "running"]
    assert [status_of(slot) for slot in paused().pool.slots] == ["paused", "paused"]
    assert [status_of(slot) for slot in fatal().pool.slots] == ["fatal"]
    assert [status_of(slot) for slot in not_yet_up().pool.slots] == ["starting", "starting"]
    assert [status_of(slot) for slot in crash_looping().pool.slots] == ["backoff"]


def test_failed_checks_show_in_the_public_word() -> None:
    world = running(plan(1))
    world.check(world.ref(0), "heartbeat", passed=False)
    assert status_of(world.slot(0)) == "degraded"
    for _ in range(2):
        world.check(world.ref(0), "heartbeat", passed=False)
    assert status_of(world.slot(0)) == "stopping"
