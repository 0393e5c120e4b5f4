"""A specification that changes while the pool runs, on the virtual clock: who is held to which checks, and when."""

from dataclasses import replace
from typing import cast

import anyio
import anyio.lowlevel

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import Callbacks, HealthPolicy, PoolSpec, StopPolicy
from chaperone_async.errors import ConfigError
from chaperone_async.service.compose import Composed
from chaperone_async.service.operations import Operations
from chaperone_async.service.reload import Origin, Reloader
from chaperone_async.service.settings import Readied
from chaperone_async.service.watch import Watch
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.system.ports import ExitStatus, Prober, Telemetry, Verdict
from tests.supervision.fakes import FakeProber, FakeWorld, Script, crashes_after, plan, pool_of, reload, supervising
from tests.supervision.stage import configuration, playing

PASS, FAIL = Verdict(passed=True), Verdict(passed=False, detail="503")


class Probers:
    """One prober for each http check that a specification names; `broken` ones cannot be made."""

    def __init__(self, *broken: str) -> None:
        self.made: dict[str, FakeProber] = {}
        self.broken = broken

    def __call__(self, _: PoolRunner, spec: PoolSpec) -> tuple[Prober, ...]:
        url = spec.health.http
        if url in self.broken:
            raise ConfigError([f"cannot check {url}"])
        return (self.made.setdefault(url, FakeProber(PASS)),) if url else ()


async def test_while_a_change_goes_through_old_workers_are_held_to_the_old_check() -> None:
    world, probers = FakeWorld(lambda _: Script(obeys_term_after=20)), Probers()
    old = plan(workers=2, health=HealthPolicy(http="http://old/"))
    async with supervising(world) as supervisor:
        supervisor.add(old, Hooks(), probers)
        await anyio.sleep(5.5)
        reload(supervisor.runner("p"), replace(old, command=("new",), health=HealthPolicy(http="http://new/")))
        await anyio.sleep(10)
        asked_old = {slot for at, slot in probers.made["http://old/"].asked if at > 8}
        asked_new = {slot for _, slot in probers.made["http://new/"].asked}
        assert (asked_old, asked_new) == ({1}, {2})  # slot 0 is stopping, slot 1 still serves, slot 2 is the surge
        await anyio.sleep(60)
        assert supervisor.runner("p").pool.change is None
        assert max(at for at, _ in probers.made["http://old/"].asked) < 60
        assert {slot for at, slot in probers.made["http://new/"].asked if at > 60} == {0, 1}


async def test_a_check_that_alone_has_changed_is_made_of_the_workers_there_are() -> None:
    world, probers = FakeWorld(), Probers()
    old = plan(health=HealthPolicy(http="http://old/"))
    async with supervising(world) as supervisor:
        supervisor.add(old, Hooks(), probers)
        await anyio.sleep(5.5)
        reload(supervisor.runner("p"), replace(old, health=HealthPolicy(http="http://new/", interval=2)))
        await anyio.sleep(6)
        assert [at for at, _ in probers.made["http://new/"].asked] == [7, 9, 11]
        assert world.times("spawn") == [0]


async def test_a_shorter_interval_of_checks_does_not_wait_for_the_old_one() -> None:
    world = FakeWorld()
    old = plan(health=HealthPolicy(interval=600))
    async with supervising(world, old) as supervisor:
        await anyio.sleep(5)
        reload(supervisor.runner("p"), replace(old, health=HealthPolicy(interval=1)))
        await anyio.sleep(1.5)
        assert supervisor.runner("p").readings.at == 6


async def test_a_check_changed_while_a_change_goes_through_stays_when_that_is_taken_back() -> None:
    world = FakeWorld(lambda ref: Script(ends_after=0.1) if ref.generation > 1 else Script())
    probers, old = Probers(), plan(health=HealthPolicy(http="http://old/"))
    async with supervising(world) as supervisor:
        supervisor.add(old, Hooks(), probers)
        await anyio.sleep(5.5)
        bad = replace(old, command=("bad",))
        reload(supervisor.runner("p"), bad)
        await anyio.sleep(0.5)
        reload(supervisor.runner("p"), replace(bad, health=HealthPolicy(http="http://new/")))
        await anyio.sleep(60)
        pool = supervisor.runner("p").pool
        assert (pool.spec.command, pool.ready_count, pool.undone is not None) == (old.command, 1, True)
        asked = anyio.current_time()
        await anyio.sleep(5)
        assert [url for url, prober in probers.made.items() if any(at > asked for at, _ in prober.asked)] == [
            "http://new/"
        ]


async def test_a_check_that_is_made_no_more_fails_no_more() -> None:
    world = FakeWorld()
    prober = FakeProber(FAIL)
    old = plan(health=HealthPolicy(http="http://old/", failure_threshold=100, start_grace=0))
    async with supervising(world) as supervisor:
        supervisor.add(old, Hooks(), lambda _, spec: (prober,) if spec.health.http else ())
        await anyio.sleep(5.5)
        reload(supervisor.runner("p"), replace(old, health=HealthPolicy()))
        await anyio.sleep(3)
        life = supervisor.runner("p").pool.slots[0].life
        assert life is not None
        assert life.failing == ()


async def test_a_heartbeat_asked_of_new_workers_is_not_asked_of_old_ones() -> None:
    world = FakeWorld(lambda _: Script(obeys_term_after=30))
    async with pool_of(world, plan(workers=1, health=HealthPolicy(heartbeat=30))) as runner:
        await anyio.sleep(5)
        world.said[WorkerRef("p", 0, 1)] = Telemetry(heartbeat_at=5.0)
        reload(runner, replace(runner.pool.spec, health=HealthPolicy(heartbeat=2)))
        await anyio.sleep(20)
        assert "worker.unhealthy" not in world.kinds()


async def test_a_callbacks_new_time_limit_counts_at_once() -> None:
    world = FakeWorld(crashes_after(3))

    async def hang(_: object) -> None:
        await anyio.sleep_forever()

    spec = plan(callbacks=Callbacks(on_crash=True, timeout=100))
    async with pool_of(world, spec, Hooks(on_crash=hang)) as runner:
        reload(runner, replace(spec, callbacks=Callbacks(on_crash=True, timeout=2)))
        await anyio.sleep(6)
        assert runner.complaints.callback_failures == 1


async def test_a_command_that_crash_loops_is_taken_back_and_its_checks_with_it() -> None:
    probers = Probers()
    old = plan(workers=2, health=HealthPolicy(http="http://old/"))
    bad = replace(old, command=("bad",), health=HealthPolicy(http="http://bad/"))

    def script(ref: WorkerRef) -> Script:
        return Script(ends_after=0.3, status=ExitStatus(code=9)) if ref.generation > 2 else Script()

    world = FakeWorld(script)
    async with supervising(world) as supervisor:
        supervisor.add(old, Hooks(), probers)
        await anyio.sleep(5)
        reload(supervisor.runner("p"), bad)
        await anyio.sleep(60)
        pool = supervisor.runner("p").pool
        assert pool.spec == old
        assert pool.undone is not None
        assert "exit code 9" in pool.undone.why
        assert {ref.generation for ref in world.alive} == {1, 2}
        assert world.kinds().count("pool.rolled_back") == 1
        assert max(at for at, _ in probers.made["http://old/"].asked) > 60


async def test_one_pools_slow_change_does_not_hold_up_anothers() -> None:
    world = FakeWorld(lambda ref: Script(obeys_term_after=25 if ref.pool == "slow" else 0))
    slow, quick = plan("slow", stop=StopPolicy(timeout=30)), plan("quick")
    async with supervising(world, slow, quick) as supervisor:
        await anyio.sleep(5)
        for spec in (slow, quick):
            reload(supervisor.runner(spec.name), replace(spec, command=("new",)))
        await anyio.sleep(9)
        assert supervisor.runner("quick").pool.change is None
        assert supervisor.runner("slow").pool.change is not None


async def test_a_pool_that_is_being_removed_says_so_until_it_is_gone() -> None:
    world = FakeWorld(lambda _: Script(obeys_term_after=5))
    async with supervising(world, plan()) as supervisor, anyio.create_task_group() as tasks:
        await anyio.sleep(2)
        tasks.start_soon(supervisor.remove, "p", "a test")
        await anyio.sleep(1)
        assert (set(supervisor.leaving), supervisor.names) == ({"p"}, ("p",))
        assert supervisor.probed().pools == ()
        await anyio.sleep(5)
        assert (set(supervisor.leaving), supervisor.names) == (set(), ())


async def test_checks_that_can_no_longer_be_made_are_told_of_and_the_pool_goes_on() -> None:
    world, probers = FakeWorld(), Probers()
    async with supervising(world) as supervisor:
        supervisor.add(plan(), Hooks(), probers)
        await anyio.sleep(2)
        probers.broken = ("http://new/",)
        reload(supervisor.runner("p"), plan(health=HealthPolicy(http="http://new/")))
        await anyio.sleep(2)
        assert supervisor.runner("p").complaints.broken_checks == {"health": "cannot check http://new/"}
        assert world.times("spawn") == [0]


async def test_a_signal_waits_for_the_end_of_a_pool_that_is_to_come_again() -> None:
    both = {"p": plan(), "q": replace(plan(), name="q")}
    async with playing(("slow to stop",), both) as play:
        await anyio.sleep(5)
        again = play.file.pop("q")
        await play.reload(force=False)
        play.file["q"] = again
        play.tasks.start_soon(play.reloader.reload_in_turn, "SIGHUP")
        while all("waiting until q" not in entry.news.detail for entry in play.world.journal.entries()):
            await anyio.lowlevel.checkpoint()  # files are read in a thread, of which the virtual clock knows nothing
        assert play.supervisor.leaving == {"q"}
        await anyio.sleep(5)
        while "q" not in play.supervisor.names:
            await anyio.lowlevel.checkpoint()
        await play.supervisor.runner("q").until(lambda pool: pool.ready_count == 1)
        assert play.supervisor.leaving == set()


async def test_a_signal_does_not_wait_for_the_end_of_what_it_has_begun() -> None:
    async with playing(("stubborn",), {"p": plan()}) as play:
        await anyio.sleep(5)
        play.file["p"] = replace(plan(), command=("good", "new"))
        await play.reloader.reload_in_turn("SIGHUP")
        assert play.unfinished()


async def test_files_that_change_during_a_shutdown_are_refused_once() -> None:
    async with playing(("prompt",), {"p": plan()}) as play:
        play.reloader._seen = "what the files were"
        play.supervisor.shut_down(anyio.current_time() + 10)
        await play.reloader.reload_in_turn("a change of its files")
        assert play.world.kinds().count("supervisor.reload_failed") == 1
        assert not await play.reloader.changed()


async def test_files_that_could_not_be_looked_at_are_told_of_and_looked_at_again() -> None:
    looks: list[float] = []
    told: list[tuple[str, str]] = []

    def fingerprint() -> str:
        looks.append(len(looks))
        if len(looks) == 1:
            raise RuntimeError("can't start new thread")
        return ""

    config, nothing = replace(configuration({}), watch=True), cast("Composed", None)
    async with anyio.create_task_group() as tasks:
        origin = Origin(config, lambda: config, fingerprint)
        reloader = Reloader(nothing, Operations(), tasks, origin, lambda _: Readied(lambda: None))
        tasks.start_soon(Watch(reloader, lambda kind, detail: told.append((kind, detail))).look)
        while len(looks) < 2:
            await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert [kind for kind, _ in told] == ["supervisor.broken"]
    assert "can't start new thread" in told[0][1]
