"""A hypothesis machine over `step`: whatever happens in whatever order, the invariants hold after every event."""

from dataclasses import replace
from math import inf
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chaperone_async.core import events as ev
from chaperone_async.core.actions import Spawn
from chaperone_async.core.ending import OVERDUE_GRACE
from chaperone_async.core.reasons import Reason
from chaperone_async.core.scaling import Leaver
from chaperone_async.core.slots import Lane
from chaperone_async.core.spec import (
    Callbacks,
    CrashLoop,
    HealthPolicy,
    PoolSpec,
    RecyclePolicy,
    RestartPolicy,
    Rung,
    StopPolicy,
)
from chaperone_async.core.states import (
    Consulting,
    Finished,
    Frozen,
    Held,
    Hold,
    Killing,
    Running,
    Spawning,
    Starting,
    Stopping,
    Vacant,
)
from chaperone_async.core.step import step
from tests.core.world import World

LEAVING = Spawning | Stopping | Killing | Consulting | Vacant | Held
specs = st.builds(
    PoolSpec,
    name=st.just("p"),
    command=st.just(("w",)),
    workers=st.integers(0, 4),
    pause=st.sampled_from(["auto", "drain", "freeze"]),
    health=st.builds(
        HealthPolicy,
        failure_threshold=st.integers(1, 3),
        start_timeout=st.sampled_from([0.0, 5.0]),
        ready=st.sampled_from(["alive", "notify"]),
        callback=st.booleans(),
    ),
    restart=st.builds(
        RestartPolicy,
        mode=st.sampled_from(["always", "on-failure", "never"]),
        crash_loop=st.builds(CrashLoop, count=st.integers(1, 3), action=st.sampled_from(["breaker", "fatal", "alert"])),
    ),
    recycle=st.builds(RecyclePolicy, max_time=st.sampled_from([0.0, 20.0])),
    stop=st.builds(
        StopPolicy,
        timeout=st.sampled_from([0.0, 3.0, 30.0]),
        then=st.sampled_from([(), (Rung("SIGQUIT", 2.0),), (Rung("SIGQUIT", 2.0), Rung("SIGINT", 1.0))]),
    ),
    callbacks=st.builds(Callbacks, on_crash=st.booleans(), on_unhealthy=st.booleans()),
)


class PoolMachine(RuleBasedStateMachine):
    @initialize(spec=specs, salt=st.integers(0, 2**32))
    def begin(self, spec: PoolSpec, salt: int) -> None:
        self.world = World(spec, salt=salt)
        self.world.begin()
        self.past: list[ev.PoolEvent] = []
        self.generations: set[int] = set()
        self.checked = 0
        self.killed_by_hand: set[ev.WorkerRef] = set()
        self.least_grace = spec.stop.timeout

    def some_alive(self, data: Any) -> ev.WorkerRef:
        choice: ev.WorkerRef = data.draw(st.sampled_from(sorted(self.world.alive, key=lambda r: r.generation)))
        return choice

    # What the operating system does

    @precondition(lambda self: self.world.asked)
    @rule(data=st.data())
    def exec_succeeds(self, data: Any) -> None:
        ref = data.draw(st.sampled_from(self.world.asked))
        self.past.append(ev.Spawned(ref, 1, self.world.now))
        self.world.spawned(ref)

    @precondition(lambda self: self.world.asked)
    @rule(data=st.data())
    def exec_fails(self, data: Any) -> None:
        self.world.spawn_failed(data.draw(st.sampled_from(self.world.asked)))

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), how=st.sampled_from([(0, None), (1, None), (None, 9), (None, 15)]), oom=st.booleans())
    def exits(self, data: Any, how: tuple[int | None, int | None], oom: bool) -> None:
        ref = self.some_alive(data)
        self.past.append(ev.Exited(ref, how[0], how[1], False, self.world.now))
        self.world.dies(ref, *how, oom=oom and how[1] == 9)

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), check=st.sampled_from(["process", "memory", "http", "python"]), passed=st.booleans())
    def is_checked(self, data: Any, check: str, passed: bool) -> None:
        ref = self.some_alive(data)
        self.past.append(ev.HealthReported((ev.CheckResult(ref, check, passed),), self.world.now))
        self.world.check(ref, check, passed=passed)

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), what=st.sampled_from(["ready", "stopping", "extend", "memory", "jobs", "overdue"]))
    def says(self, data: Any, what: str) -> None:
        ref, now = self.some_alive(data), self.world.now
        said: dict[str, ev.PoolEvent] = {
            "ready": ev.ReadyTold(ref, now),
            "stopping": ev.StoppingTold(ref, now),
            "extend": ev.TimeExtended(ref, 5.0, now),
            "memory": ev.LimitReached(ref, Reason.MEMORY, "", now),
            "jobs": ev.LimitReached(ref, Reason.MAX_JOBS, "", now),
            "overdue": ev.JobOverdue(ref, "", now),
        }
        self.past.append(said[what])
        if what == "overdue":
            self.least_grace = min(self.least_grace, OVERDUE_GRACE)
        self.world.send(said[what])

    @precondition(lambda self: self.world.consults)
    @rule()
    def callback_returns(self) -> None:
        self.world.send(ev.CallbackReturned(self.world.consults.pop().ref, self.world.now))

    # Time

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 7.0, 40.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @precondition(lambda self: self.world.pool.next_deadline < inf)
    @rule()
    def time_jumps_to_the_next_deadline(self) -> None:
        self.world.advance(max(0.0, self.world.pool.next_deadline - self.world.now))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def an_old_event_comes_again(self, data: Any) -> None:
        old = data.draw(st.sampled_from(self.past))
        ref = old.results[0].ref if isinstance(old, ev.HealthReported) else old.ref
        slots = self.world.pool.slots
        life = slots[ref.slot].life if ref.slot < len(slots) else None
        stale = life is None or life.ref != ref
        before = self.world.pool
        self.world.pool, actions = step(before, replace(old, at=self.world.now))
        if stale:
            assert self.world.pool is before, "a stale event changed the pool"
            assert not actions, "a stale event made something happen"
        else:
            self.world.pool = before  # the same fact twice about a living worker is not what this rule is about

    # Operators

    @rule(workers=st.integers(0, 5), first=st.lists(st.integers(0, 6), max_size=3, unique=True))
    def scale(self, workers: int, first: list[int]) -> None:
        self.world.send(ev.ScaleRequested(workers, self.world.now, leavers=tuple(map(Leaver, first))))

    @rule(data=st.data(), kind=st.sampled_from([
        ev.StartRequested, ev.StopRequested, ev.RestartRequested, ev.RollRequested,
        ev.PauseRequested, ev.ResumeRequested, ev.KillRequested,
    ]))  # fmt: skip
    def asks(self, data: Any, kind: Any) -> None:
        targets: list[ev.Target] = [None, 0, 1, *self.world.alive]
        target = data.draw(st.sampled_from(targets))
        if kind is ev.KillRequested:
            self.killed_by_hand.update(self.world.alive, self.world.asked)
        self.world.send(kind(target, self.world.now))

    @rule(changes=st.fixed_dictionaries({}, optional={
        "command": st.sampled_from([("a",), ("b",), ("c",)]),
        "workers": st.integers(0, 4),
        "max_surge": st.integers(0, 2),
        "min_ready": st.sampled_from([None, 0]),
        "stop": st.builds(StopPolicy, timeout=st.sampled_from([0.0, 3.0, 30.0])),
        "recycle": st.builds(RecyclePolicy, max_time=st.sampled_from([0.0, 20.0])),
    }))  # fmt: skip
    def reloads(self, changes: dict[str, Any]) -> None:
        self.world.reload(**changes)
        self.least_grace = min(self.least_grace, self.world.pool.spec.stop.timeout)

    @rule(whom=st.sampled_from([None, 0, 1]), seconds=st.sampled_from([0.0, 5.0, 50.0]))
    def pauses_for(self, whom: int | None, seconds: float) -> None:
        self.world.send(ev.PauseRequested(whom, self.world.now, until=self.world.now + seconds))

    @rule(whom=st.sampled_from([None, 0, 1]))
    def signals(self, whom: int | None) -> None:
        self.world.send(ev.SignalRequested(whom, "SIGHUP", self.world.now))

    @rule(seconds=st.sampled_from([0.0, 2.0, 10.0]))
    def shut_down(self, seconds: float) -> None:
        self.world.send(ev.ShutdownRequested(self.world.now + seconds, self.world.now))

    # What always holds

    @invariant()
    def a_slot_has_at_most_one_life(self) -> None:
        slots = [ref.slot for ref in (*self.world.alive, *self.world.asked)]
        assert len(slots) == len(set(slots))

    @invariant()
    def the_os_and_the_pool_agree_on_who_lives(self) -> None:
        ours = {slot.life.ref for slot in self.world.pool.slots if slot.live and slot.life is not None}
        assert ours == {*self.world.alive, *self.world.asked}

    @invariant()
    def no_generation_is_used_twice(self) -> None:
        for _, action in self.world.log[self.checked :]:
            if isinstance(action, Spawn):
                assert action.ref.generation not in self.generations
                self.generations.add(action.ref.generation)

    @invariant()
    def nothing_is_spawned_while_the_pool_is_held(self) -> None:
        pool = self.world.pool
        for at, action in self.world.log[self.checked :]:
            if isinstance(action, Spawn) and pool.hold is not None:
                assert at <= pool.hold.since, "spawned after the stop"
        self.checked = len(self.world.log)

    @invariant()
    def what_must_end_by_itself_has_a_deadline(self) -> None:
        for slot in self.world.pool.slots:
            if isinstance(slot.state, Stopping | Killing):
                assert slot.due < inf
            if isinstance(slot.state, Starting) and self.world.spec.health.start_timeout:
                assert slot.due < inf
            assert slot.due >= self.world.pool.next_deadline, "nobody is woken for it"

    @invariant()
    def killed_only_after_its_grace(self) -> None:
        pool = self.world.pool
        for ref, sent in self.world.signals.items():
            names = [name for _, name in sent]
            if "SIGKILL" in names and "SIGTERM" in names:
                warned, killed = (next(at for at, n in sent if n == name) for name in ("SIGTERM", "SIGKILL"))
                grace = min(self.least_grace, pool.kill_by - warned)
                assert killed - warned >= grace - 1e-9 or ref in self.killed_by_hand

    @invariant()
    def a_change_under_way_can_be_told_from_what_it_changes(self) -> None:
        pool = self.world.pool
        if pool.change is not None:
            assert pool.change.proven <= pool.change.first <= pool.next_generation
            assert not pool.shutting
            for slot in pool.slots:
                older = slot.live and slot.life is not None and slot.life.ref.generation < pool.change.first
                if older and not isinstance(slot.state, Stopping | Killing | Spawning):
                    assert slot.life is not None
                    assert slot.life.due is not None, "an old worker that nobody replaces"

    @invariant()
    def what_is_replaced_is_awaited_within_the_pool(self) -> None:
        pool = self.world.pool
        assert all(index < pool.width for index in pool.rolling)
        assert not any(pool.slots[index].surplus for index in pool.rolling)
        assert pool.surge <= max(1, pool.spec.max_surge, 2)

    @invariant()
    def counters_are_true(self) -> None:
        slots = list(self.world.pool.slots)
        count = self.world.pool.slots.count
        assert count(Lane.LIVE) == sum(slot.live for slot in slots)
        assert count(Lane.READY) == sum(slot.ready for slot in slots)
        assert count(Lane.LOOPING) == sum(
            slot.history.looping and not slot.surplus and not isinstance(slot.state, Held | Finished) for slot in slots
        )
        assert count(Lane.SURPLUS) == sum(slot.surplus for slot in slots)
        assert self.world.pool.slots.due == min((slot.due for slot in slots), default=inf)

    @invariant()
    def who_is_scaled_away_is_on_its_way_out(self) -> None:
        slots = self.world.pool.slots
        assert all(not slot.surplus or isinstance(slot.state, LEAVING) for slot in slots)
        assert not len(slots) or not slots[len(slots) - 1].surplus or slots[len(slots) - 1].life is not None

    @invariant()
    def frozen_only_on_hold(self) -> None:
        for slot in self.world.pool.slots:
            assert not isinstance(slot.state, Frozen) or isinstance(slot.hold, Hold)
            assert not isinstance(slot.state, Running) or slot.hold is None

    @invariant()
    def in_a_quiet_pool_every_wanted_slot_is_cared_for(self) -> None:
        pool = self.world.pool
        assert pool.hold is not None or pool.fatal is not None or len(pool.slots) >= pool.target
        assert pool.slots.first(Lane.VACANT) is None or (pool.slots.first(Lane.VACANT) or 0) >= pool.target

    @invariant()
    def nobody_waits_for_a_canary_that_never_comes(self) -> None:
        pool = self.world.pool
        if pool.slots.first(Lane.WAITING) is not None:
            assert pool.breaker is not None
            at_work = pool.live > pool.slots.count(Lane.FROZEN)
            assert at_work or pool.next_deadline < inf, "all wait, and nobody is tried"

    @invariant()
    def nothing_wakes_a_pool_in_its_shutdown(self) -> None:
        assert not self.world.pool.shutting or self.world.pool.hold is not None

    def teardown(self) -> None:
        """From anywhere: left alone with workers that do as they are told, everything that was begun comes to its end;
        and stop and time make an end of every process."""
        if not hasattr(self, "world"):
            return
        world = self.world
        if not world.pool.shutting:
            self.all_goes_well()
            self.nothing_is_left_half_done()
        world.send(ev.ShutdownRequested(world.now + 10, world.now))
        world.spawn_all()
        world.advance(10)
        for ref in list(world.alive):
            assert any(name == "SIGKILL" for _, name in world.signals[ref]), "not killed by the deadline"
            world.dies(ref, signal=9)
        assert world.pool.live == 0
        assert not world.asked, "spawned during the shutdown"
        assert world.pool.state in {"stopped", "fatal"}
        world.advance(1000)
        assert not world.asked

    def all_goes_well(self) -> None:
        """For so long that every pause for a time, back-off and grace is over."""
        world = self.world
        for seconds in [1.0] * 150 + [60.0] * 6:  # a pause, a back-off and a canary's trial, one after the other
            for ref in list(world.alive):
                if {"SIGTERM", "SIGKILL"} & set(world.names(ref)):
                    world.dies(ref, 0)
            while world.consults:
                world.send(ev.CallbackReturned(world.consults.pop().ref, world.now))
            world.spawn_all()
            for ref in list(world.alive):
                world.send(ev.ReadyTold(ref, world.now))
                for check in ("process", "memory", "http", "python"):
                    world.check(ref, check, passed=True)
            world.advance(seconds if world.asked or seconds < 60 else 1.0)

    def nothing_is_left_half_done(self) -> None:
        pool = self.world.pool
        if pool.hold is not None or pool.fatal is not None:
            return
        if any(isinstance(slot.state, Finished) and slot.last_error for slot in pool.slots):
            return  # a replacement that crashed for good holds up what waits for it
        frozen = pool.slots.count(Lane.FROZEN)
        if pool.spec.recycle.max_time == 0 and not any(slot.life and slot.life.leaving for slot in pool.slots):
            assert (pool.surge, pool.rolling) == (0, ()), "a roll that never ends"
            assert pool.breaker is None
            assert len(pool.slots) == pool.width
            assert not any(slot.surplus and slot.live for slot in pool.slots)
            gone = pool.slots.count(Lane.FATAL)
            assert pool.ready_count == pool.live - frozen == max(0, pool.wanted) - frozen - gone
            assert pool.change is None or frozen or gone, "a change that never ends"


TestPool = PoolMachine.TestCase
TestPool.settings = settings(stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow])
