"""A new specification for a pool that runs: what it restarts, what it leaves alone, and when it is taken back."""

from dataclasses import replace
from typing import Any

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.demand import AutoscalePolicy
from chaperone_async.core.plan import differ, make_plan
from chaperone_async.core.reloading import trial
from chaperone_async.core.scaling import Leaver
from chaperone_async.core.spec import (
    CrashLoop,
    HealthPolicy,
    Launch,
    LogPolicy,
    PoolSpec,
    RecyclePolicy,
    RestartMode,
    RestartPolicy,
    StopPolicy,
)
from tests.core.world import World, plan, running

LIVE: list[dict[str, Any]] = [
    {"workers": 5},
    {"workers": 1},
    {"min_ready": 2},
    {"max_surge": 3},
    {"pause": "drain"},
    {"stop": StopPolicy(timeout=3)},
    {"restart": RestartPolicy(start_seconds=3)},
    {"health": HealthPolicy(interval=3, failure_threshold=9, memory_limit=0, http="http://x/")},
    {"recycle": RecyclePolicy(max_time=900)},
    {"logs": LogPolicy(keep=7, max_size=5, backups=1)},
]
ROLLING: list[dict[str, Any]] = [
    {"command": ("new",)},
    {"queues": ("other",)},
    {"launch": Launch(env=(("A", "1"),))},
    {"launch": Launch(user="www-data")},
    {"launch": Launch(directory="/new")},
    {"logs": LogPolicy(mode="file", path="/x")},
    {"health": HealthPolicy(heartbeat=3)},
]


TRIAL = trial(plan())


def named(changes: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in changes.items())[:40]


@pytest.mark.parametrize("changes", LIVE, ids=named)
def test_counts_limits_and_thresholds_change_without_a_restart(changes: dict[str, Any]) -> None:
    world = running(plan(3))
    old = {world.ref(index) for index in range(3)}
    world.reload(**changes)
    world.obey(20)
    assert world.pool.spec == replace(world.spec, **changes)
    assert {world.ref(index) for index in range(min(3, world.pool.desired))} <= old
    assert len(world.pool.slots) == changes.get("workers", 3)
    assert "worker.due" not in world.kinds()


@pytest.mark.parametrize("changes", ROLLING, ids=named)
@pytest.mark.parametrize("min_ready", [1, 3])
def test_what_a_worker_was_given_at_its_start_changes_worker_by_worker(changes: dict[str, Any], min_ready: int) -> None:
    world = running(plan(3, min_ready=min_ready))
    old = {world.ref(index) for index in range(3)}
    world.reload(**changes)
    for _ in range(20):
        world.obey(1)
        assert world.pool.ready_count >= min_ready
    assert not old & set(world.alive)
    assert world.states() == ["Running"] * 3
    assert world.deaths() == ["reload"] * 3 + ["scaled_down"]
    assert world.pool.change is None
    assert world.kinds()[-1] == "pool.reloaded"


def test_nothing_happens_for_a_specification_that_is_the_same() -> None:
    world = running(plan(2))
    before = world.pool
    assert world.reload() == ()
    assert world.pool is before


def test_old_workers_finish_within_their_stop_time() -> None:
    world = running(plan(2, stop=StopPolicy(timeout=500)))
    world.reload(command=("new",))
    world.up()
    assert world.states() == ["Stopping", "Running", "Running"]
    world.advance(499)
    assert world.states() == ["Stopping", "Running", "Running"]
    world.dies(world.ref(0), 0)
    world.obey()
    assert world.pool.change is None


def test_a_limit_on_time_counts_from_the_start_of_workers_that_run() -> None:
    world = running(plan(1))
    world.advance(100)
    world.reload(recycle=RecyclePolicy(max_time=50, jitter=0))
    world.advance(0)
    assert [a.reason for a in world.told if a.kind == "worker.due"] == ["max_time"]


def test_a_worker_that_starts_gets_the_new_time_for_it() -> None:
    world = World(plan(health=HealthPolicy(ready="notify", start_timeout=60)))
    world.begin()
    world.spawn_all()
    world.reload(health=HealthPolicy(ready="notify", start_timeout=5))
    world.advance(6)
    assert world.states() == ["Stopping"]


def test_a_worker_that_starts_keeps_the_time_it_has_asked_for_when_something_else_changes() -> None:
    world = World(plan(health=HealthPolicy(ready="notify", start_timeout=10)))
    world.begin()
    world.spawn_all()
    world.send(ev.TimeExtended(world.ref(0), 100, world.now))
    world.advance(50)
    world.reload(crash_records=9)
    world.advance(40)
    assert world.states() == ["Starting"]


def test_a_worker_that_starts_is_ready_when_the_check_that_it_lacked_is_no_more() -> None:
    world = World(plan(health=HealthPolicy(http="http://x/")))
    world.begin()
    world.up(5)
    assert world.states() == ["Starting"]
    world.reload(health=HealthPolicy())
    world.advance(0)
    assert world.states() == ["Running"]


# Taken back


def fail_new_workers(world: World, old: tuple[str, ...], patience: int = 40) -> None:
    """Workers of another command than `old` die half a second after their start; others obey SIGTERM."""
    for _ in range(patience):
        for ref in list(world.asked):
            bad = world.pool.spec.command != old
            world.spawned(ref)
            if bad:
                world.advance(0.5)
                if ref in world.alive:
                    world.dies(ref, 1)
        for ref in list(world.alive):
            if "SIGTERM" in world.names(ref):
                world.dies(ref, 0)
        world.advance(1)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_command_that_crash_loops_is_taken_back_and_nobody_was_lost(workers: int) -> None:
    world = running(plan(workers))
    old = {world.ref(index) for index in range(workers)}
    world.reload(command=("bad",), workers=workers + 2)
    fail_new_workers(world, ("w",))
    assert world.pool.spec == world.spec
    assert {world.ref(index) for index in range(workers)} == old
    assert world.states() == ["Running"] * workers
    assert world.pool.undone is not None
    assert "exit code 1" in world.pool.undone.why
    assert world.pool.change is None
    assert world.pool.ready
    assert "pool.unready" not in world.kinds()


def test_a_program_that_is_missing_is_taken_back() -> None:
    world = running(plan(2))
    world.reload(command=("missing",))
    for _ in range(30):
        for ref in list(world.asked):
            if world.pool.spec.command == ("missing",):
                world.spawn_failed(ref, "cannot run 'missing': no such program")
            else:
                world.spawned(ref)
        world.advance(1)
    assert world.pool.undone is not None
    assert "no such program" in world.pool.undone.why
    assert world.states() == ["Running", "Running"]
    assert world.names(world.ref(0)) == []


def test_workers_that_never_get_ready_are_taken_back() -> None:
    world = running(plan(2, health=HealthPolicy(ready="notify", start_timeout=20)))
    for ref in list(world.alive):
        world.send(ev.ReadyTold(ref, world.now))
    world.reload(command=("silent",))
    world.obey(30)
    assert world.pool.undone is not None
    assert "not ready" in world.pool.undone.why
    assert world.states() == ["Running", "Running"]


def test_workers_that_are_unhealthy_before_they_were_ever_ready_are_taken_back_however_late() -> None:
    world = running(plan(2, health=HealthPolicy(http="http://old/", start_grace=40, start_timeout=0)))
    for ref in list(world.alive):
        world.check(ref, "http", passed=True)
    world.reload(command=("silent",))
    for _ in range(600):
        for ref in list(world.alive):
            if world.pool.slots[ref.slot].ready is False:
                world.check(ref, "http", passed=world.pool.undone is not None)
        world.obey(1)
    assert world.pool.undone is not None
    assert world.pool.spec == world.spec
    assert world.states() == ["Running", "Running"]


def test_what_a_scaler_made_of_a_pool_is_taken_back_with_it() -> None:
    world = running(plan(3))
    scaled = AutoscalePolicy(min=1, max=10)
    world.reload(command=("bad",), workers=1, max_workers=10, autoscale=scaled)
    world.send(ev.ScaleRequested(7, world.now, "the scaler", patient=True))
    fail_new_workers(world, ("w",))
    world.obey()
    assert (world.pool.spec, world.pool.desired) == (world.spec, 3)
    assert world.states() == ["Running"] * 3


def test_the_first_crash_of_workers_that_are_never_restarted_takes_a_change_back() -> None:
    world = running(plan(2, restart=RestartPolicy(mode="never")))
    old = [world.ref(0), world.ref(1)]
    world.reload(command=("bad",))
    fail_new_workers(world, ("w",))
    assert world.pool.spec == world.spec
    assert [world.ref(0), world.ref(1)] == old
    assert world.kinds()[-1] != "pool.reloaded"


def test_a_new_worker_that_dies_before_it_is_replaced_is_followed_even_where_nobody_is_restarted() -> None:
    world = running(plan(3, restart=RestartPolicy(mode="never")))
    world.reload(command=("bad",))
    world.up()  # the surge is ready
    for slot in range(2):
        world.dies(world.ref(slot), 0)
        world.up()  # and so is its successor
    world.crash(0)
    assert world.pool.undone is not None
    world.crash(1)
    world.obey()
    assert world.states() == ["Running"] * 3
    assert world.pool.surge == 0


def test_new_workers_that_were_ready_go_again_when_the_change_is_taken_back() -> None:
    world = running(plan(3, restart=RestartPolicy(crash_loop=CrashLoop(count=2))))
    world.reload(command=("bad",))
    world.up()  # the surge is ready
    world.dies(world.ref(0), 0)
    world.up()  # and so is the first successor
    newer = world.ref(0)
    for _ in range(2):
        world.crash(1 if world.slot(1).live and world.ref(1) in world.asked else 3)
        world.advance(1)
    world.obey()
    assert world.pool.spec == world.spec
    assert newer not in world.alive
    assert world.states() == ["Running"] * 3
    assert world.pool.surge == 0


def test_crashes_of_old_workers_do_not_speak_against_the_new_ones() -> None:
    world = running(plan(3, restart=RestartPolicy(crash_loop=CrashLoop(count=1))))
    world.reload(command=("new",))
    world.dies(world.ref(2), 1)
    world.obey()
    assert world.pool.spec.command == ("new",)
    assert world.pool.undone is None


def test_a_pool_that_was_scaled_meanwhile_keeps_that_number_when_the_change_is_taken_back() -> None:
    world = running(plan(2))
    world.reload(command=("bad",), workers=4)
    world.send(ev.ScaleRequested(3, world.now))
    fail_new_workers(world, ("w",))
    assert world.pool.spec == world.spec
    assert world.pool.desired == 3


def test_a_live_change_that_was_accepted_during_a_roll_outlives_its_end() -> None:
    world = running(plan(2))
    world.reload(command=("bad",))
    world.reload(stop=StopPolicy(timeout=7))
    fail_new_workers(world, ("w",))
    assert world.pool.spec == replace(world.spec, stop=StopPolicy(timeout=7))


def test_a_second_change_goes_back_to_what_was_proven_not_to_the_first() -> None:
    world = running(plan(2))
    world.reload(command=("first",))
    world.up()
    world.reload(command=("second",))
    fail_new_workers(world, ("w",))
    assert world.pool.spec == world.spec
    assert world.states() == ["Running", "Running"]
    assert world.pool.surge == 0


def die_young(world: World, command: tuple[str, ...], seconds: float, patience: int = 60) -> None:
    """Workers of this command are ready, and die so long after their start; others obey SIGTERM."""
    bad: dict[ev.WorkerRef, float] = {}
    for _ in range(patience):
        for ref in list(world.asked):
            if world.pool.spec.command == command:
                bad[ref] = world.now + seconds
            world.spawned(ref)
        world.advance(0.5)
        for ref in list(world.alive):
            if "SIGTERM" in world.names(ref):
                world.dies(ref, 0)
            elif bad.get(ref, world.now + 1) <= world.now:
                world.dies(ref, 1)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_command_that_is_ready_and_then_dies_is_taken_back(workers: int) -> None:
    world = running(plan(workers))
    world.reload(command=("bad",))
    die_young(world, ("bad",), 3)
    assert world.pool.spec == world.spec
    assert world.pool.undone is not None
    world.obey()
    assert world.states() == ["Running"] * workers


def test_a_change_counts_as_good_when_all_have_been_ready_for_a_while() -> None:
    world = running(plan(1))
    world.reload(command=("new",))
    world.up()
    world.dies(world.ref(0), 0)
    world.up()
    world.dies(world.ref(1), 0)
    assert world.pool.change is not None
    assert world.pool.next_deadline == world.now + TRIAL
    world.advance(TRIAL)
    assert world.kinds()[-1] == "pool.reloaded"


def test_a_restart_that_was_asked_for_meanwhile_outlives_a_change_that_is_taken_back() -> None:
    world = running(plan(1))
    old = world.ref(0)
    world.reload(command=("bad",))
    world.request(ev.RollRequested)
    fail_new_workers(world, ("w",))
    assert world.pool.spec == world.spec
    assert old not in world.alive
    assert world.states() == ["Running"]


def test_a_change_is_good_though_a_worker_that_was_scaled_away_still_has_a_job() -> None:
    world = running(plan(2))
    leaver = world.ref(0)
    world.send(ev.ScaleRequested(1, world.now, leavers=(Leaver(0, patiently=True),)))
    world.reload(command=("new",))
    for _ in range(10):
        for ref in list(world.alive):
            if ref != leaver and "SIGTERM" in world.names(ref):
                world.dies(ref, 0)
        world.up()
    assert leaver in world.alive
    assert world.kinds()[-1] == "pool.reloaded"


def test_an_early_death_of_long_ago_does_not_speak_against_a_change() -> None:
    loop = CrashLoop(count=2, early=30, window=60)
    world = running(plan(2, restart=RestartPolicy(crash_loop=loop)))
    world.reload(command=("new",))
    world.spawn_all()
    world.dies(world.ref(2), 1)
    world.advance(200)
    world.spawn_all()
    world.dies(world.ref(2), 1)
    assert world.pool.spec.command == ("new",)


@pytest.mark.parametrize(
    ("before", "after", "code", "again"),
    [
        ("never", "always", 0, True), ("never", "always", 1, True), ("on-failure", "always", 0, True),
        ("never", "on-failure", 1, True), ("never", "on-failure", 0, False), ("always", "never", 0, False),
    ],
)  # fmt: skip
def test_a_slot_that_has_finished_works_again_where_the_new_policy_says_so(
    before: RestartMode, after: RestartMode, code: int, *, again: bool
) -> None:
    world = running(plan(restart=RestartPolicy(mode=before)))
    world.advance(60)
    world.dies(world.ref(0), code)
    asked = list(world.asked)
    world.reload(restart=RestartPolicy(mode=after))
    assert (world.asked != asked) == again


def test_a_slot_that_gave_up_is_tried_again_where_nobody_gives_up_any_more() -> None:
    world = running(plan(restart=RestartPolicy(crash_loop=CrashLoop(count=1, action="fatal"))))
    world.dies(world.ref(0), 1)
    assert world.state() == "fatal"
    world.reload(restart=RestartPolicy(crash_loop=CrashLoop(count=1, action="breaker")))
    assert len(world.asked) == 1
    assert not world.broken()


# What is stopped, paused, broken or scaled by hand


def test_what_is_stopped_by_hand_stays_stopped() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested)
    world.obey(3)
    world.reload(command=("new",), workers=3)
    world.obey(10)
    assert world.state() == "stopped"
    assert not world.alive
    world.request(ev.StartRequested)
    world.up()
    assert world.states() == ["Running"] * 3
    world.advance(TRIAL)
    assert world.pool.change is None


def test_a_command_that_was_changed_while_stopped_is_taken_back_when_it_fails_after_the_start() -> None:
    world = running(plan(2))
    world.request(ev.StopRequested)
    world.obey(3)
    world.reload(command=("bad",))
    world.request(ev.StartRequested)
    fail_new_workers(world, ("w",))
    assert world.pool.spec == world.spec
    assert world.pool.undone is not None
    assert world.states() == ["Running", "Running"]


def test_one_slot_stopped_by_hand_stays_so_while_the_others_roll() -> None:
    world = running(plan(3))
    world.request(ev.StopRequested, 1)
    world.obey(3)
    world.reload(command=("new",))
    world.obey()
    assert world.states() == ["Running", "Held", "Running"]
    assert world.pool.change is None


def test_a_paused_pool_rolls_after_the_resume() -> None:
    world = running(plan(2))
    old = dict(world.alive)
    world.request(ev.PauseRequested)
    world.reload(command=("new",))
    world.obey(10)
    assert (world.state(), world.alive) == ("paused", old)
    world.request(ev.ResumeRequested)
    world.obey()
    assert not set(old) & set(world.alive)
    assert world.pool.change is None


def test_a_number_of_workers_set_by_hand_is_kept_unless_the_file_changes_it() -> None:
    world = running(plan(2))
    world.send(ev.ScaleRequested(4, world.now))
    world.up()
    world.reload(stop=StopPolicy(timeout=7))
    assert world.pool.desired == 4
    world.reload(workers=3)
    world.obey(3)
    assert world.pool.desired == 3


@pytest.mark.parametrize("action", ["breaker", "fatal", "alert"])
def test_a_corrected_command_wakes_a_pool_that_had_given_up(action: Any) -> None:
    world = World(plan(2, restart=RestartPolicy(crash_loop=CrashLoop(count=2, action=action))))
    world.begin()
    fail_new_workers(world, ("good",), patience=20)
    assert world.state() in {"fatal", "crash_loop", "starting"}
    world.reload(command=("good",))
    world.obey()
    assert world.state() == "running"
    assert world.pool.undone is None


def test_nothing_is_changed_in_a_shutdown() -> None:
    world = running(plan(2))
    world.send(ev.ShutdownRequested(world.now + 10, world.now))
    world.reload(command=("new",))
    assert world.pool.spec == world.spec


# The plan


def keys(old: PoolSpec, new: PoolSpec) -> list[tuple[str, bool]]:
    return [(difference.key, difference.rolling) for difference in differ(old, new)]


def test_differences_are_named_as_they_are_written() -> None:
    old = plan(2, launch=Launch(env=(("A", "1"), ("B", "2"))))
    new = replace(
        old, workers=3, queues=("x",), pause="drain", launch=Launch(env=(("A", "0"), ("C", "3")), user="me"),
        restart=RestartPolicy(mode="never", crash_loop=CrashLoop(count=9)), logs=LogPolicy(mode="file", backups=1),
    )  # fmt: skip
    assert keys(old, new) == [
        ("queue", True), ("workers", False), ("env.A", True), ("env.B", True), ("env.C", True), ("user", True),
        ("restart.policy", False), ("restart.crash_loop.count", False), ("pause.mode", False), ("logs.mode", True),
        ("logs.backups", False),
    ]  # fmt: skip


def test_a_plan_says_what_comes_what_changes_what_goes_and_what_stays() -> None:
    old = {name: replace(plan(), name=name) for name in ("same", "other", "gone")}
    new = {"new": replace(plan(), name="new"), "same": old["same"], "other": replace(old["other"], command=("x",))}
    made = make_plan(old, new)
    assert [(pool.name, pool.kind, pool.rolling) for pool in made.pools] == [
        ("new", "add", False), ("other", "change", True), ("gone", "remove", False),
    ]  # fmt: skip
    assert made.unchanged == ("same",)


@pytest.mark.parametrize("changes", [*LIVE, *ROLLING], ids=named)
def test_every_difference_has_a_name(changes: dict[str, Any]) -> None:
    assert keys(plan(3), replace(plan(3), **changes))


def test_a_change_upon_a_change_ends_when_the_first_ones_replacement_has_gone() -> None:
    world = running(plan(workers=1))
    old = world.spec
    world.send(ev.ReloadRequested(replace(old, command=("first",)), world.now))
    world.up(old.restart.start_seconds)
    world.send(ev.ReloadRequested(replace(old, command=("second",)), world.now))
    world.dies(world.ref(0), code=0)
    world.up(old.restart.start_seconds)

    world.dies(world.ref(1), code=0)
    world.advance(TRIAL)

    assert world.pool.change is None
    assert world.told[-1].kind == "pool.reloaded"
