"""How a pool is paused: by its backend's own signal, by letting its workers finish, or by freezing them."""

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.spec import BackendUse, PauseMode, PoolSpec
from chaperone_async.core.states import Frozen, Held
from tests.core.world import World

DRAINING = BackendUse(name="rq")
SIGNALLED = BackendUse(name="laravel", pause_signal="SIGUSR2")


def paused(mode: PauseMode, backend: BackendUse | None) -> World:
    world = World(PoolSpec(name="p", command=("w",), pause=mode, backend=backend))
    world.begin()
    world.spawn_all()
    world.advance(2)
    world.send(ev.PauseRequested(None, world.now))
    return world


@pytest.mark.parametrize(
    ("mode", "backend", "signal"),
    [
        ("auto", None, "SIGSTOP"),
        ("auto", DRAINING, "SIGTERM"),
        ("auto", SIGNALLED, "SIGUSR2"),
        ("drain", SIGNALLED, "SIGTERM"),
        ("drain", None, "SIGTERM"),
        ("freeze", SIGNALLED, "SIGSTOP"),
        ("freeze", DRAINING, "SIGSTOP"),
    ],
)
def test_the_mode_and_the_backend_say_how(mode: PauseMode, backend: BackendUse | None, signal: str) -> None:
    world = paused(mode, backend)
    (ref,) = world.alive
    assert world.names(ref) == [signal]
    drains = signal == "SIGTERM"
    if drains:
        world.dies(ref, 0)
    assert isinstance(world.pool.slots[0].state, Held if drains else Frozen)
    world.send(ev.ResumeRequested(None, world.now))
    if drains:
        assert world.asked, "another takes its place"
    else:
        assert world.names(ref) == [signal, "SIGCONT"]


@pytest.mark.parametrize("spawned", [False, True])
def test_a_worker_that_is_not_ready_to_hear_its_own_signal_is_frozen(spawned: bool) -> None:
    world = World(PoolSpec(name="p", command=("w",), backend=SIGNALLED))
    world.begin()
    if spawned:
        world.spawn_all()
    world.send(ev.PauseRequested(None, world.now))
    world.spawn_all()
    (ref,) = world.alive
    assert world.names(ref) == ["SIGSTOP"]
    world.send(ev.ResumeRequested(None, world.now))
    assert world.names(ref) == ["SIGSTOP", "SIGCONT"]
