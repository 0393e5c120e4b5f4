"""What follows a death, as tables: at once, later, never again."""

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.reasons import Reason
from chaperone_async.core.restart import FRESH, Again, Ending, Finish, GiveUp, History, decide, is_crash
from chaperone_async.core.spec import Backoff, Callbacks, CrashLoop, HealthPolicy, RestartMode, RestartPolicy
from chaperone_async.core.states import Finished, Spawning
from tests.core.world import World, plan, running

STEADY = Backoff(jitter=0.0)
NO_LOOP = CrashLoop(count=1000)
POLICY = RestartPolicy(backoff=STEADY, crash_loop=NO_LOOP)


def crash(uptime: float, at: float = 0.0) -> Ending:
    return Ending(Reason.ERROR, uptime, crashed=True, requested=False, at=at)


def delays(policy: RestartPolicy, *uptimes: float, spread: float = 0.0) -> list[float]:
    """The delays after these crashes in a row."""
    history, given = FRESH, []
    for uptime in uptimes:
        history, verdict = decide(policy, history, crash(uptime), spread)
        assert isinstance(verdict, Again)
        given.append(verdict.delay)
    return given


@pytest.mark.parametrize(
    ("uptimes", "expected"),
    [
        ((1.0,), [0]),  # a first crash after a started run: at once
        ((5.0, 5.0, 5.0, 5.0), [0, 0.5, 1, 2]),  # further ones in a row back off
        ((0.9,), [0.5]),  # sooner than start_seconds: not even the first at once
        ((0.0, 0.0, 0.0), [0.5, 1, 2]),
        ((0.0, 5.0), [0.5, 1]),
        ((0.0,) * 9, [0.5, 1, 2, 4, 8, 16, 30, 30, 30]),  # capped
        ((0.0, 0.0, 60.0, 5.0), [0.5, 1, 0, 0.5]),  # a run of reset_after clears the count
        ((0.0, 0.0, 59.9), [0.5, 1, 2]),
    ],
)
def test_delays_follow_the_table(uptimes: tuple[float, ...], expected: list[float]) -> None:
    assert delays(POLICY, *uptimes) == expected


def test_the_factor_and_the_first_delay_are_the_configured_ones() -> None:
    policy = RestartPolicy(backoff=Backoff(initial=2, factor=3, max=20, jitter=0), crash_loop=NO_LOOP)
    assert delays(policy, 0, 0, 0, 0) == [2, 6, 18, 20]


def test_jitter_lengthens_a_delay_by_up_to_its_share() -> None:
    policy = RestartPolicy(backoff=Backoff(jitter=0.5), crash_loop=NO_LOOP)
    assert delays(policy, 0, 0, spread=0.5) == [0.625, 1.25]


def test_many_crashes_do_not_overflow() -> None:
    history, verdict = decide(POLICY, History(crashes=5000, delays=5000), crash(0), 0)
    assert verdict == Again(30)
    assert history.crashes == 5001


@pytest.mark.parametrize(
    ("mode", "reason", "uptime", "expected"),
    [
        ("always", Reason.EXIT, 5.0, False),
        ("always", Reason.EXIT, 1.0, False),
        ("always", Reason.EXIT, 0.9, True),  # too soon is a crash whatever the code
        ("always", Reason.ERROR, 5.0, True),
        ("on-failure", Reason.EXIT, 0.9, False),  # a success is the end of the matter
        ("never", Reason.EXIT, 0.9, False),
        ("on-failure", Reason.SIGNAL, 5.0, True),
        ("never", Reason.OOM, 5.0, True),
    ],
)
def test_what_counts_as_a_crash(mode: RestartMode, reason: Reason, uptime: float, expected: bool) -> None:
    assert is_crash(RestartPolicy(mode=mode), reason, uptime) is expected


@pytest.mark.parametrize(
    ("mode", "reason", "verdict"),
    [
        ("always", Reason.EXIT, Again),
        ("on-failure", Reason.EXIT, Finish),
        ("on-failure", Reason.ERROR, Again),
        ("on-failure", Reason.SIGNAL, Again),
        ("never", Reason.EXIT, Finish),
        ("never", Reason.ERROR, Finish),
    ],
)
def test_the_mode_decides_whether_there_is_a_successor(mode: RestartMode, reason: Reason, verdict: type) -> None:
    ending = Ending(reason, 5.0, crashed=reason is not Reason.EXIT, requested=False, at=0)
    assert isinstance(decide(RestartPolicy(mode=mode), FRESH, ending, 0)[1], verdict)


@pytest.mark.parametrize("mode", ["always", "on-failure", "never"])
def test_what_we_ended_ourselves_comes_back_at_once_and_counts_for_nothing(mode: RestartMode) -> None:
    ending = Ending(Reason.ERROR, 0.1, crashed=False, requested=True, at=0)
    assert decide(RestartPolicy(mode=mode), FRESH, ending, 0) == (FRESH, Again(0))


def test_a_slot_loops_after_count_early_crashes_within_the_window() -> None:
    policy = RestartPolicy(crash_loop=CrashLoop(count=3, window=100, early=30))
    history = FRESH
    for at, uptime, looping in [
        (0, 29.9, False), (10, 0, False), (105, 0, False),  # the first has left the window
        (106, 0, True), (107, 30.0, False),  # one that outlived `early` breaks the loop
        (108, 0, True),
    ]:  # fmt: skip
        history, _ = decide(policy, history, crash(uptime, at), 0)
        assert history.looping is looping, at


def test_a_looping_slot_gives_up_where_that_is_the_action() -> None:
    policy = RestartPolicy(crash_loop=CrashLoop(count=2, action="fatal"))
    history, verdict = decide(policy, FRESH, crash(0), 0)
    assert isinstance(verdict, Again)
    history, verdict = decide(policy, history, crash(0), 0)
    assert isinstance(verdict, GiveUp)
    assert "crashed 2 times within 300 s" in verdict.detail


# In a pool


def test_the_first_crash_of_a_started_worker_is_answered_in_the_same_step() -> None:
    world = running(plan())
    old = world.ref(0)
    world.dies(old, 1)
    assert isinstance(world.slot(0).state, Spawning)
    assert world.ref(0).generation > old.generation
    assert world.slot(0).restarts == 1


def test_a_back_off_ends_at_its_time_and_not_before() -> None:
    world = running(plan(restart=RestartPolicy(backoff=Backoff(initial=4, jitter=0))))
    world.crash(after=5)
    world.crash(after=2)
    assert world.delay() == 4
    world.advance(3.99)
    assert not world.asked
    world.advance(0.01)
    assert len(world.asked) == 1


def test_a_success_sooner_than_start_seconds_backs_off_and_says_why() -> None:
    world = World(plan())
    world.begin()
    world.spawn_all()
    world.advance(0.5)
    world.dies(world.ref(0), 0)
    death = world.told[-2].death
    assert death is not None
    assert (death.reason, death.crashed, world.states()) == (Reason.EXIT, True, ["Backoff"])
    assert "sooner than start_seconds" in death.detail


def test_an_expected_exit_of_a_started_worker_is_no_crash() -> None:
    world = running(plan(restart=RestartPolicy(success_codes=(0, 12))))
    world.dies(world.ref(0), 12)
    assert world.states() == ["Spawning"]
    assert world.deaths() == ["exit"]
    assert "worker.exited" in world.kinds()
    assert "worker.crashed" not in world.kinds()


@pytest.mark.parametrize(
    ("code", "signal", "oom", "reason"),
    [(0, None, False, "exit"), (3, None, False, "error"), (None, 11, False, "signal"), (None, 9, True, "oom")],
)
def test_every_death_has_its_reason(code: int | None, signal: int | None, oom: bool, reason: str) -> None:
    world = running(plan())
    world.dies(world.ref(0), code, signal, oom=oom)
    death = next(told.death for told in world.told if told.death)
    assert (death.reason, death.exit_code, death.exit_signal, death.uptime) == (reason, code, signal, 1.0)


def test_what_cannot_be_spawned_backs_off_with_the_exact_cause() -> None:
    world = World(plan(restart=POLICY))
    world.begin()
    world.spawn_failed(world.ref(0), "cannot run 'x': no such program")
    death = next(told.death for told in world.told if told.death)
    assert (death.reason, death.detail, death.pid, death.uptime) == (
        "spawn_error", "cannot run 'x': no such program", None, 0.0,
    )  # fmt: skip
    assert world.delay() == 0.5
    assert world.slot(0).last_error == "cannot run 'x': no such program"


@pytest.mark.parametrize(("mode", "code"), [("never", 1), ("never", 0), ("on-failure", 0)])
def test_a_finished_pool_is_not_missed(mode: RestartMode, code: int) -> None:
    world = running(plan(restart=RestartPolicy(mode=mode)))
    world.dies(world.ref(0), code)
    assert isinstance(world.slot(0).state, Finished)
    assert world.pool.ready
    world.advance(1000)
    assert not world.asked


def test_a_surge_that_finishes_leaves_the_others_what_they_are() -> None:
    loop = CrashLoop(count=1, action="fatal")
    world = running(plan(2, restart=RestartPolicy(mode="on-failure", crash_loop=loop)))
    world.dies(world.ref(0), 1)
    world.send(ev.LimitReached(world.ref(1), Reason.MAX_JOBS, "over", world.now))
    world.spawn_all()
    world.dies(world.ref(2), 0)
    assert world.pool.fatal is None
    world.obey()
    assert world.states() == ["Fatal", "Running"]


def test_a_roll_goes_on_when_the_replacement_finds_nothing_to_do() -> None:
    world = running(plan(1, restart=RestartPolicy(mode="on-failure")))
    world.request(ev.RollRequested)
    world.spawn_all()
    world.dies(world.ref(1), 0)
    assert world.names(world.ref(0)) == ["SIGTERM"]


# on_crash


def test_nothing_follows_a_crash_before_on_crash_has_answered() -> None:
    world = running(plan(callbacks=Callbacks(on_crash=True)))
    ref = world.ref(0)
    world.dies(ref, 1)
    assert [(consult.ref, consult.hook) for consult in world.consults] == [(ref, "on_crash")]
    assert world.states() == ["Consulting"]
    world.send(ev.CallbackReturned(ref, world.now))
    assert world.states() == ["Spawning"]


def test_an_answer_that_never_comes_is_waited_for_only_so_long() -> None:
    world = running(plan(callbacks=Callbacks(on_crash=True, timeout=10)))
    world.dies(world.ref(0), 1)
    world.advance(10.9)
    assert world.states() == ["Consulting"]
    world.advance(0.1)
    assert world.states() == ["Spawning"]


@pytest.mark.parametrize("target", [None, 0])
def test_a_stop_while_on_crash_is_asked_leaves_no_replacement(target: int | None) -> None:
    world = running(plan(callbacks=Callbacks(on_crash=True)))
    ref = world.ref(0)
    world.dies(ref, 1)
    world.request(ev.StopRequested, target)
    world.send(ev.CallbackReturned(ref, world.now))
    world.advance(100)
    assert (world.states(), world.asked) == (["Held"], [])


def test_a_restart_asked_for_by_on_crash_does_not_get_around_the_back_off() -> None:
    world = running(plan(callbacks=Callbacks(on_crash=True), restart=POLICY))
    given = []
    for _ in range(4):
        ref = world.ref(0)
        if ref in world.asked:
            world.spawned(ref)
        world.dies(ref, 1)
        world.request(ev.RestartRequested, ref)
        world.send(ev.CallbackReturned(ref, world.now))
        given.append(world.delay() if world.states() == ["Backoff"] else 0)
        world.advance(given[-1])
    assert given == [0, 0.5, 1, 2]


def test_on_crash_may_ask_for_a_successor_where_the_policy_wants_none() -> None:
    world = running(plan(callbacks=Callbacks(on_crash=True), restart=RestartPolicy(mode="never")))
    ref = world.ref(0)
    world.dies(ref, 1)
    world.request(ev.RestartRequested, ref)
    assert not world.asked
    world.send(ev.CallbackReturned(ref, world.now))
    assert world.states() == ["Spawning"]


def test_on_crash_is_asked_about_a_worker_ended_for_its_own_fault() -> None:
    world = running(plan(callbacks=Callbacks(on_crash=True), health=HealthPolicy(failure_threshold=1)))
    ref = world.ref(0)
    world.check(ref, "memory", passed=False)
    world.dies(ref, 0)
    assert [(consult.ref, consult.hook) for consult in world.consults] == [(ref, "on_crash")]
    assert world.states() == ["Consulting"]


def test_on_crash_is_not_asked_about_a_worker_ended_on_purpose() -> None:
    world = running(plan(callbacks=Callbacks(on_crash=True)))
    ref = world.ref(0)
    world.request(ev.RestartRequested)
    world.dies(ref, 1)
    assert not world.consults
    assert world.deaths() == ["restart"]
