"""The tree of slots: the same as a list with counters, at a cost that does not grow with the pool."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chaperone_async.core import events as ev
from chaperone_async.core import slots as slots_module
from chaperone_async.core.reasons import Reason
from chaperone_async.core.slots import WIDTH, Lane, Slots
from chaperone_async.core.spec import CrashLoop, RecyclePolicy, RestartPolicy
from chaperone_async.core.states import Slot
from tests.core.world import World, plan, running


@dataclass(frozen=True)
class Leaf:
    name: int
    due: float = inf
    tally: int = 0


leaves = st.builds(
    Leaf,
    st.integers(),
    st.sampled_from([0.0, 1.0, 2.5, 10.0, inf]),
    st.sets(st.sampled_from(Lane)).map(lambda lanes: sum(lane.one for lane in lanes)),
)


class SlotsMachine(RuleBasedStateMachine):
    """Against a list. Sizes around the widths of the tree are where it may break."""

    @initialize(size=st.sampled_from([0, 1, WIDTH - 1, WIDTH, WIDTH**2 - 1, WIDTH**2, WIDTH**2 + 1]), leaf=leaves)
    def begin(self, size: int, leaf: Leaf) -> None:
        self.model = [leaf] * size
        self.slots: Slots[Leaf] = Slots()
        for _ in range(size):
            self.slots = self.slots.append(leaf)

    @rule(leaf=leaves)
    def append(self, leaf: Leaf) -> None:
        self.model = [*self.model, leaf]
        self.slots = self.slots.append(leaf)

    @precondition(lambda self: self.model)
    @rule(times=st.integers(1, 20))
    def pop(self, times: int) -> None:
        for _ in range(min(times, len(self.model))):
            self.model = self.model[:-1]
            self.slots = self.slots.pop()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), leaf=leaves)
    def put(self, data: Any, leaf: Leaf) -> None:
        index = data.draw(st.integers(0, len(self.model) - 1))
        before, copy = self.slots, self.model
        self.model = [*copy[:index], leaf, *copy[index + 1 :]]
        self.slots = before.put(index, leaf)
        assert before[index] == copy[index], "the old one has changed"

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.slots) == len(self.model)
        assert list(self.slots) == self.model
        for index in {0, 1, WIDTH, WIDTH**2, len(self.model) - 1}:
            if 0 <= index < len(self.model):
                assert self.slots[index] is self.model[index]

    @invariant()
    def knows_the_earliest_deadline_and_whose_it_is(self) -> None:
        assert self.slots.due == min((leaf.due for leaf in self.model), default=inf)
        for at in (0.0, 2.0, 100.0):
            expected = next((i for i, leaf in enumerate(self.model) if leaf.due <= at), None)
            assert self.slots.first_due(at) == expected

    @invariant()
    def counts_and_finds_by_lane(self) -> None:
        for lane in (Lane.VACANT, Lane.DUE, Lane.HELD):
            members = [i for i, leaf in enumerate(self.model) if leaf.tally & lane.one]
            assert self.slots.count(lane) == len(members)
            for start in (0, 1, WIDTH, len(self.model) // 2, len(self.model)):
                assert self.slots.first(lane, start) == next((i for i in members if i >= start), None)


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(stateful_step_count=15)


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_there_is_nothing_outside(index: int) -> None:
    slots: Slots[Leaf] = Slots()
    for name in range(3):
        slots = slots.append(Leaf(name))
    with pytest.raises(IndexError):
        slots[index]
    with pytest.raises(IndexError):
        slots.put(index, Leaf(0))


def test_nothing_can_be_taken_from_nothing() -> None:
    with pytest.raises(IndexError):
        Slots().pop()


# Cost, counted in tree nodes and slots made


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    made = [0]

    def count(cls: Any) -> None:
        original = cls.__init__

        def init(self: object, *args: Any, **fields: Any) -> None:
            made[0] += 1
            original(self, *args, **fields)

        patch.setattr(cls, "__init__", init)

    with monkeypatch.context() as patch:
        for cls in (slots_module._Twig, slots_module._Branch, Slot):
            count(cls)
        yield made


def crash(world: World) -> None:
    world.dies(world.ref(world.pool.desired // 2), 1)


def crash_in_a_loop(world: World) -> None:
    index = world.pool.desired // 2
    for _ in range(3):
        world.crash(index)
        world.advance(40)


def fail_a_check(world: World) -> None:
    world.check(world.ref(world.pool.desired - 1), "memory", passed=False)


def recycle(world: World) -> None:
    world.send(ev.LimitReached(world.ref(3), Reason.MEMORY, "", world.now))
    world.up()
    world.dies(world.ref(3), 0)
    world.up()


def grow_and_shrink(world: World) -> None:
    world.send(ev.ScaleRequested(world.pool.desired + 1, world.now))
    world.send(ev.ScaleRequested(world.pool.desired - 1, world.now))


def nothing_to_do(world: World) -> None:
    world.send(ev.TimePassed(world.now))


@pytest.mark.parametrize("happening", [crash, crash_in_a_loop, fail_a_check, recycle, grow_and_shrink, nothing_to_do])
def test_an_event_costs_hardly_more_in_a_pool_a_hundred_times_as_large(
    happening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = []
    for workers in (20, 2000):
        world = running(plan(workers, restart=RestartPolicy(crash_loop=CrashLoop(count=2))))
        with counting(monkeypatch) as made:
            happening(world)
        costs.append(made[0])
    assert costs[1] <= 2 * costs[0] + 4, costs


def test_a_thousand_crashing_together_are_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for workers in (100, 1000):
        world = running(plan(workers))
        with counting(monkeypatch) as made:
            for ref in list(world.alive):
                world.dies(ref, 1)
            world.up()
        costs.append(made[0])
    assert costs[1] <= 15 * costs[0], costs


def test_an_open_breaker_over_many_slots_costs_no_more_per_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for workers in (20, 1000):
        world = running(plan(workers, restart=RestartPolicy(crash_loop=CrashLoop(count=1))))
        for ref in list(world.alive):
            world.dies(ref, 1)
        world.spawn_all()
        for ref in list(world.alive):
            world.dies(ref, 1)
        assert world.broken()
        with counting(monkeypatch) as made:
            world.advance(world.pool.next_deadline - world.now)
            world.crash(world.asked[0].slot)
        costs.append(made[0])
    assert costs[1] <= 2 * costs[0] + 4, costs


def test_a_steady_pool_has_no_deadline_to_look_at() -> None:
    world = running(plan(50))
    assert world.pool.next_deadline == inf
    assert running(plan(50, recycle=RecyclePolicy(max_time=1000))).pool.next_deadline < inf
