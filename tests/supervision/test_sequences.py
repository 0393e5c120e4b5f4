"""Random sequences of actions, reloads, deaths and time: in the end the world is as the last accepted configuration and
the last actions say, and every operation has told the truth."""

from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from chaperone_async.core.goals import Reached
from chaperone_async.core.spec import Backoff, CrashLoop, HealthPolicy, PoolSpec, RestartPolicy, StopPolicy
from chaperone_async.errors import ConflictError, UnknownPool, UnknownWorker
from chaperone_async.service.control import Action, How
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.system.ports import ExitStatus
from tests.supervision.model import PoolModel, is_good
from tests.supervision.stage import EARLY, TEMPERS, Play, playing, time_stands

POOLS = ("a", "b", "c")
BY_REQUEST = "d"
GAPS = (0.0, 0.3, 1.7, 6.1, 14.3)

pool_names = st.sampled_from((*POOLS, BY_REQUEST))
slots = st.none() | st.integers(0, 3)
good_commands = st.integers(0, 3).map(lambda n: ("good", str(n)))
bad_commands = st.sampled_from([("crash", "1"), ("crash", "2"), ("silent", "1")])


def a_pool(name: str) -> st.SearchStrategy[PoolSpec]:
    return st.builds(
        PoolSpec,
        name=st.just(name),
        command=st.just(("good", "0")),
        workers=st.integers(0, 3),
        min_ready=st.none() | st.integers(0, 3),
        max_surge=st.integers(0, 2),
        pause=st.sampled_from(["auto", "drain", "freeze"]),
        stop=st.just(StopPolicy(timeout=3.0)),
        health=st.just(HealthPolicy(interval=60.0, ready="notify", start_timeout=3.0)),
        restart=st.just(RestartPolicy(backoff=Backoff(max=2.0), crash_loop=CrashLoop(count=2, early=EARLY))),
    )


configurations = st.fixed_dictionaries({"a": a_pool("a"), "b": a_pool("b")})


@dataclass(frozen=True)
class Act:
    """`slot`: None is the whole pool. `by_id`: the slot's worker is meant, by its own name."""

    verb: Action
    pool: str
    slot: int | None = None
    by_id: bool = False
    how: How = How()  # noqa: RUF009  a frozen value

    async def take(self, play: Play) -> None:
        names = [runner.pool.name for runner in play.control.runners(self.pool)]
        if self.verb == "restart" and self.pool == "all":  # it wakes nobody
            names = [name for name in names if play.models[name].held is None]
        slot = None if self.pool == "all" else self.slot
        worker = self._name(play, slot)
        if self.verb == "restart" and slot is None and not self.how.now:
            play.world.calm = {
                name: least(play.models[name].spec, play.models[name].desired) for name in names if play.settled(name)
            }
        before = {ref for name in names for ref in play.world.of(name, slot)}
        operation = await play.control.act(self.verb, self.pool, "a play", worker, self.how)
        for name in names:
            tell_model(play.models[name], self.verb, slot, anyio.current_time() + self.how.seconds)

        def fact() -> str:
            living = {ref for name in names for ref in play.world.of(name, slot)}
            working = living - play.world.frozen
            facts = {
                "start": lambda: "; ".join(filter(None, (lacking(play, name, slot) for name in names))),
                "stop": lambda: some("live", living),
                "pause": lambda: some("work", working),
                "resume": lambda: some("are frozen", living & play.world.frozen),
                "restart": lambda: some("are the old ones", before & working),
            }
            return facts[self.verb]()

        play.watch(operation, fact)

    def _name(self, play: Play, slot: int | None) -> str | None:
        if slot is None:
            return None
        if slot >= play.models[self.pool].desired:
            raise UnknownWorker(self.pool, str(slot))
        living = play.old_enough(self.pool, slot)
        if self.by_id and living is not None:
            return play.runner(self.pool).worker(living).id
        return str(slot)


def tell_model(model: PoolModel, verb: Action, slot: int | None, until: float) -> None:
    match verb:
        case "start":
            model.start(slot)
        case "stop":
            model.stop(slot)
        case "restart":
            model.restart(slot)
        case "pause":
            model.pause(slot, until)
        case "resume":
            model.resume(slot)


@dataclass(frozen=True)
class Drain:
    pool: str

    async def take(self, play: Play) -> None:
        operation = await play.control.drain(self.pool, "a play")
        play.models[self.pool].stop(None)
        play.watch(operation, lambda: some("live", play.world.of(self.pool)))


@dataclass(frozen=True)
class Scale:
    pool: str
    workers: int
    relative: bool

    async def take(self, play: Play) -> None:
        pool = play.runner(self.pool).pool
        wanted = max(self.workers, -pool.desired) if self.relative else abs(self.workers)
        if self.pool in play.models:  # else it is being removed, and the request is refused
            play.models[self.pool].turned_out(pool.spec.command)
        operation = await play.control.scale(self.pool, wanted, "a play", relative=self.relative)
        model = play.models[self.pool]
        model.scale(model.desired + wanted if self.relative else wanted)
        play.watch(operation, lambda: "" if model.held or model.slots else lacking(play, self.pool, None))


@dataclass(frozen=True)
class Signal:
    pool: str
    slot: int | None
    signal: str

    async def take(self, play: Play) -> None:
        worker = None if self.slot is None else str(self.slot)
        play.watch(await play.control.signal(self.pool, self.signal, "a play", worker), str)


@dataclass(frozen=True)
class Death:
    pool: str
    slot: int

    async def take(self, play: Play) -> None:
        ref = play.old_enough(self.pool, self.slot)
        if ref in play.world.alive and ref not in play.world.frozen:
            play.world.alive[ref].dies(anyio.current_time(), ExitStatus(code=1))


@dataclass(frozen=True)
class AddOrRemove:
    """A pool that is in no file."""

    spec: PoolSpec

    async def take(self, play: Play) -> None:
        if BY_REQUEST in play.models:
            del play.models[BY_REQUEST]
            async with time_stands():
                play.tasks.start_soon(play.supervisor.remove, BY_REQUEST, "a play")
        elif BY_REQUEST not in play.supervisor.names:
            play.supervisor.add(self.spec, Hooks())
            play.models[BY_REQUEST] = PoolModel.of(self.spec)


@dataclass(frozen=True)
class Reload:
    """Each change: a pool of the file, and what of it. None: the pool comes or goes."""

    changes: tuple[tuple[str, tuple[str, Any] | PoolSpec], ...]
    force: bool

    async def take(self, play: Play) -> None:
        before = dict(play.file)
        for name, change in self.changes:
            if isinstance(change, PoolSpec):
                if play.file.pop(name, None) is None:
                    play.file[name] = replace(change, name=name)
            elif name in play.file:
                play.file[name] = replace(play.file[name], **dict([change]))
        for name, model in play.models.items():
            model.turned_out(play.runner(name).pool.spec.command)
        play.world.calm = {
            name: least(
                new, new.workers if new.workers != play.models[name].spec.workers else play.models[name].desired
            )
            for name, new in play.file.items()
            if name in play.models and is_good(new) and play.settled(name)
        }
        under_way = {name for name in play.supervisor.names if play.runner(name).pool.change is not None}
        try:
            operation = await play.reload(force=self.force)
        except ConflictError:
            play.file.clear()
            play.file.update(before)
            raise
        self._tell_models(play, under_way)
        file = dict(play.file)

        def fact() -> str:
            done = play.operations.get(operation.id)
            through = [name for name in file if done.parts.get(name) == Reached()]
            return "; ".join(filter(None, (lacking(play, name, None) for name in through)))

        play.watch(operation, fact)

    def _tell_models(self, play: Play, under_way: set[str]) -> None:
        for name, new in play.file.items():
            if name in play.models:
                play.models[name].change(new, under_way=name in under_way)
            else:
                play.models[name] = PoolModel.of(new)
        for name in play.models.keys() - play.file.keys() - {BY_REQUEST}:
            del play.models[name]


def least(spec: PoolSpec, workers: int) -> int:
    return min(spec.least_ready, workers)


def some(what: str, refs: set[Any]) -> str:
    return f"{sorted(map(str, refs))} {what}" if refs else ""


def lacking(play: Play, pool: str, slot: int | None) -> str:
    """What of the wanted workers is not at work, or not as the accepted specification says."""
    model = play.models[pool]
    if model.doubted:  # it may have been taken back by now, and the number of workers with it
        return ""
    at_work = {ref for ref in play.world.of(pool) if ref not in play.world.frozen}
    if slot is not None:
        at_work, wanted = {ref for ref in at_work if ref.slot == slot}, {slot}
    else:
        wanted = model.running
    found = sorted((ref.slot, play.world.specs[ref].command) for ref in at_work)
    return "" if [index for index, _ in found] == sorted(wanted) else f"{pool}: {found} are at work of {sorted(wanted)}"


steps = st.one_of(
    st.builds(
        Act,
        st.sampled_from(["start", "stop", "restart", "pause", "resume"]),
        pool_names | st.just("all"),
        slots,
        st.booleans(),
        st.sampled_from([How(), How(now=True), How(seconds=5.0)]),
    ),
    st.builds(Drain, pool_names),
    st.builds(Scale, pool_names, st.integers(-1, 4), st.booleans()),
    st.builds(Signal, pool_names, slots, st.sampled_from(["SIGHUP", "SIGKILL"])),
    st.builds(Death, pool_names, st.integers(0, 3)),
    st.builds(AddOrRemove, a_pool(BY_REQUEST)),
    st.builds(
        Reload,
        st.lists(
            st.tuples(
                st.sampled_from(POOLS),
                st.tuples(st.just("command"), good_commands)
                | st.tuples(st.just("command"), bad_commands)
                | st.tuples(st.just("workers"), st.integers(0, 4))
                | st.tuples(st.just("stop"), st.builds(StopPolicy, timeout=st.sampled_from([2.0, 3.0])))
                | a_pool("new"),
            ),
            min_size=1,
            max_size=3,
        ).map(tuple),
        st.booleans(),
    ),
)
sequences = st.lists(st.tuples(st.sampled_from(GAPS), steps), min_size=3, max_size=14)


@pytest.mark.timeout(max(300, settings().max_examples))
@settings(max_examples=max(200, settings().max_examples), suppress_health_check=[HealthCheck.too_slow])
@given(
    pools=configurations, tempers=st.lists(st.sampled_from(sorted(TEMPERS)), min_size=1, max_size=4), steps=sequences
)
def test_whatever_was_asked_for_in_the_end_the_world_is_as_it_was_asked_to_be(
    pools: dict[str, PoolSpec], tempers: list[str], steps: list[tuple[float, Any]]
) -> None:
    note(f"{[(spec.name, spec.workers, spec.command) for spec in pools.values()]}\n{tempers}\n{steps}")
    anyio.run(
        run_play, pools, tempers, steps, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)}
    )


async def run_play(pools: dict[str, PoolSpec], tempers: list[str], steps: list[tuple[float, Any]]) -> None:
    async with playing(tempers, pools) as play:
        for gap, step in steps:
            await anyio.sleep(gap)
            for model in play.models.values():
                model.time_passes(anyio.current_time())
            play.turn += 1
            play.world.calm = {}
            try:
                await step.take(play)
            except (UnknownPool, UnknownWorker, ConflictError) as refusal:
                event(f"refused: {type(refusal).__name__}")
        await settle(play)
        for model in play.models.values():
            model.time_passes(anyio.current_time())
        assert set(play.supervisor.names) == set(play.models)
        for name in play.models:
            compare(play, name)


async def settle(play: Play) -> None:
    """Long enough for every pause for a time, back-off, grace and start_timeout."""
    await anyio.sleep(60)
    with anyio.move_on_after(240):
        while play.unfinished():
            await anyio.sleep(20)
    assert not play.unfinished(), "operations that never end"


def compare(play: Play, name: str) -> None:
    model, pool = play.models[name], play.runner(name).pool
    story = f"{name}: {model}\n{pool}\n{[(slot.state, slot.hold) for slot in pool.slots]}"
    if model.doubted and pool.spec.command == model.spec.command:
        assert model.untried or model.held or model.slots, f"what fails was kept\n{story}"
    model.turned_out(pool.spec.command)
    assert pool.spec == model.spec, story
    assert pool.desired == model.desired, story
    alive = play.world.of(name)
    frozen = alive & play.world.frozen
    assert len({ref.slot for ref in alive}) == len(alive), story
    paused = {index for index, held in model.slots.items() if held.why == "pause"}
    if model.held is not None and model.held.why == "pause":  # a roll is interrupted by it, and continued afterwards
        paused |= set(range(model.desired, len(pool.slots)))
    assert {ref.slot for ref in frozen} <= paused, story
    if not is_good(model.spec):
        return
    assert {ref.slot for ref in alive - frozen} == model.running, story
    assert {play.world.specs[ref].command for ref in alive - frozen} <= {model.spec.command}, story
    if model.plain:
        assert (pool.change, pool.surge, pool.rolling, pool.breaker) == (None, 0, (), None), story
        assert pool.ready_count == pool.live == len(pool.slots) == model.desired, story
