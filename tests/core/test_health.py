"""From starting to ready, and what failed checks lead to."""

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.health import PASSIVE, Failing, judge
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import Callbacks, HealthPolicy, ReadyWhen, RestartPolicy
from chaperone_async.core.states import Running
from tests.core.world import World, plan, running


def starting(**health: object) -> World:
    world = World(plan(health=HealthPolicy(**health)))  # type: ignore[arg-type]  # from a table
    world.begin()
    world.spawn_all()
    return world


def fail(world: World, check: str, times: int = 1) -> None:
    for _ in range(times):
        world.check(world.ref(0), check, passed=False)


# Ready


def test_being_alive_for_start_seconds_is_ready() -> None:
    world = starting()
    world.advance(0.99)
    assert world.states() == ["Starting"]
    world.advance(0.01)
    assert world.slot(0).ready
    assert "worker.ready" in world.kinds()


@pytest.mark.parametrize("wait", [0.0, 0.5, 1.0, 7.0, 59.0])
def test_a_probed_worker_is_ready_when_it_is_alive_and_a_check_has_passed(wait: float) -> None:
    world = starting(http="http://x")
    world.advance(wait)
    world.check(world.ref(0), "http", passed=True)
    assert world.slot(0).ready is (wait >= 1)
    world.advance(1)
    assert world.slot(0).ready


def test_each_active_check_must_pass_before_a_worker_is_ready() -> None:
    world = starting(http="http://x", tcp="localhost:1")
    world.advance(1)
    world.check(world.ref(0), "http", passed=True)
    assert not world.slot(0).ready
    world.check(world.ref(0), "tcp", passed=True)
    assert world.slot(0).ready


def test_a_passive_check_does_not_make_a_probed_worker_ready() -> None:
    world = starting(http="http://x")
    world.check(world.ref(0), "memory", passed=True)
    world.advance(5)
    assert world.states() == ["Starting"]


def test_notify_waits_for_ready_and_then_no_longer() -> None:
    world = starting(ready="notify")
    world.advance(30)
    assert world.states() == ["Starting"]
    world.send(ev.ReadyTold(world.ref(0), world.now))
    assert world.slot(0).ready


def test_ready_told_before_start_seconds_is_enough() -> None:
    world = starting()
    world.send(ev.ReadyTold(world.ref(0), world.now))
    assert world.slot(0).ready


@pytest.mark.parametrize("ready", ["alive", "notify"])
def test_ready_told_before_the_pid_is_known_is_not_lost(ready: ReadyWhen) -> None:
    world = World(plan(health=HealthPolicy(ready=ready)))
    world.begin()
    world.send(ev.ReadyTold(world.ref(0), world.now))
    world.spawn_all()
    assert world.slot(0).ready


def test_not_ready_by_start_timeout_ends_the_worker_as_a_crash() -> None:
    world = starting(ready="notify", start_timeout=60)
    ref = world.ref(0)
    world.advance(59.9)
    assert world.names(ref) == []
    world.advance(0.1)
    assert world.names(ref) == ["SIGTERM"]
    world.dies(ref, 0)
    assert world.deaths() == ["start_timeout"]
    assert world.slot(0).history.crashes == 1


def test_a_worker_may_ask_for_more_time_to_start() -> None:
    world = starting(ready="notify", start_timeout=10)
    world.advance(9)
    world.send(ev.TimeExtended(world.ref(0), 20, world.now))
    world.advance(19.9)
    assert world.states() == ["Starting"]
    world.advance(0.1)
    assert world.states() == ["Stopping"]


def test_no_start_timeout_means_never() -> None:
    world = starting(ready="notify", start_timeout=0)
    world.advance(1e6)
    assert world.states() == ["Starting"]


def test_start_timeout_does_not_end_what_is_only_younger_than_start_seconds() -> None:
    world = World(plan(restart=RestartPolicy(start_seconds=90), health=HealthPolicy(start_timeout=60)))
    world.begin()
    world.up(90)
    assert world.slot(0).ready


def test_a_worker_that_says_it_leaves_is_not_ready_any_more() -> None:
    world = running(plan())
    world.send(ev.StoppingTold(world.ref(0), world.now))
    assert not world.pool.ready
    assert world.names(world.ref(0)) == []
    world.dies(world.ref(0), 0)
    assert world.deaths() == ["exit"]


# Counting


def test_failures_count_in_a_row_and_per_check() -> None:
    policy = HealthPolicy(failure_threshold=3)
    failing: tuple[Failing, ...] = ()
    for check, passed, expected in [
        ("http", False, {"http": 1}), ("tcp", False, {"http": 1, "tcp": 1}), ("http", False, {"http": 2, "tcp": 1}),
        ("http", True, {"tcp": 1}), ("http", False, {"http": 1, "tcp": 1}),
    ]:  # fmt: skip
        failing = judge(policy, failing, ev.CheckResult(ev.WorkerRef("p", 0, 1), check, passed), 99, probed=True)
        assert {f.check: f.count for f in failing} == expected


@pytest.mark.parametrize("check", sorted(PASSIVE | {"http", "tcp", "exec", "python"}))
def test_only_active_checks_have_a_start_grace(check: str) -> None:
    world = starting(start_grace=10, callback=True)
    fail(world, check)
    life = world.slot(0).life
    assert life is not None
    assert bool(life.failing) is (check in PASSIVE)


def test_the_start_grace_ends_with_time() -> None:
    world = starting(start_grace=10, http="http://x")
    world.advance(9.9)
    fail(world, "http", 5)
    assert world.states() == ["Starting"]
    world.advance(0.1)
    fail(world, "http", 3)
    assert world.states() == ["Stopping"]


def test_the_start_grace_ends_with_the_first_success() -> None:
    world = starting(start_grace=10, http="http://x")
    world.check(world.ref(0), "http", passed=True)
    fail(world, "http", 3)
    assert world.states() == ["Stopping"]


def test_the_success_of_one_check_does_not_end_the_start_grace_of_another() -> None:
    world = starting(start_grace=10, http="http://x", tcp="localhost:1")
    world.check(world.ref(0), "http", passed=True)
    fail(world, "tcp", 3)
    assert world.states() == ["Starting"]


# Degraded, unhealthy, recovered


def test_fewer_failures_than_the_threshold_degrade_and_a_success_recovers() -> None:
    world = running(plan())
    world.told.clear()
    fail(world, "heartbeat", 2)
    assert world.slot(0).ready
    world.check(world.ref(0), "heartbeat", passed=True)
    fail(world, "heartbeat", 2)
    assert world.kinds() == ["worker.degraded", "worker.recovered", "worker.degraded"]
    assert world.states() == ["Running"]


def test_the_threshold_ends_the_worker_gracefully_as_a_crash() -> None:
    world = running(plan())
    ref = world.ref(0)
    fail(world, "heartbeat", 3)
    assert world.names(ref) == ["SIGTERM"]
    world.dies(ref, 0)
    death = next(told.death for told in world.told if told.death)
    assert (death.reason, death.crashed, death.exit_code) == (Reason.UNHEALTHY, True, 0)
    assert death.detail == "heartbeat check failed 3 times in a row: bad"


def test_too_much_memory_has_its_own_reason() -> None:
    world = running(plan(health=HealthPolicy(failure_threshold=1)))
    fail(world, "memory")
    world.dies(world.ref(0), 0)
    assert world.deaths() == ["memory"]


def test_a_worker_found_stopped_is_woken_so_that_it_hears_the_signal() -> None:
    world = running(plan())
    fail(world, "process", 3)
    assert world.names(world.ref(0)) == ["SIGTERM", "SIGCONT"]


def test_a_worker_may_be_unhealthy_before_it_is_ready() -> None:
    world = starting(ready="notify")
    fail(world, "heartbeat", 3)
    assert world.states() == ["Stopping"]


# on_unhealthy


def asked(threshold: int = 3) -> World:
    return running(plan(callbacks=Callbacks(on_unhealthy=True), health=HealthPolicy(failure_threshold=threshold)))


def test_on_unhealthy_replaces_the_restart() -> None:
    world = asked()
    fail(world, "heartbeat", 3)
    assert [consult.hook for consult in world.consults] == ["on_unhealthy"]
    assert world.states() == ["Running"]
    assert not world.pool.ready
    assert world.names(world.ref(0)) == []


def test_on_unhealthy_is_asked_again_at_each_further_threshold() -> None:
    world, calls = asked(2), []
    for _ in range(7):
        fail(world, "heartbeat")
        calls.append(len(world.consults))
    assert calls == [0, 1, 1, 2, 2, 3, 3]
    assert world.kinds().count("worker.unhealthy") == 1


def test_a_pass_of_another_check_asks_nobody() -> None:
    world = asked(2)
    fail(world, "http")
    world.advance(20)
    fail(world, "http", 2)
    world.check(world.ref(0), "heartbeat", passed=False)
    world.check(world.ref(0), "heartbeat", passed=True)
    assert len(world.consults) == 1


def test_an_unhealthy_worker_recovers_and_is_ready_again() -> None:
    world = asked()
    fail(world, "heartbeat", 4)
    world.check(world.ref(0), "heartbeat", passed=True)
    assert world.pool.ready
    assert world.kinds()[-2:] == ["worker.recovered", "pool.ready"]


def test_going_from_unhealthy_back_to_degraded_is_told() -> None:
    world = asked()
    fail(world, "heartbeat", 3)
    fail(world, "memory")
    world.told.clear()
    world.check(world.ref(0), "heartbeat", passed=True)
    assert world.kinds() == ["worker.degraded", "pool.ready"]


def test_one_report_may_speak_of_many_workers() -> None:
    world = running(plan(3, health=HealthPolicy(failure_threshold=1)))
    gone = ev.WorkerRef("p", 1, 99)
    refs = [world.ref(0), gone, world.ref(2)]
    world.send(ev.HealthReported(tuple(ev.CheckResult(ref, "memory", passed=False) for ref in refs), world.now))
    assert world.states() == ["Stopping", "Running", "Stopping"]
    assert isinstance(world.slot(1).state, Running)
