"""Pools side by side: one ends, breaks or comes, and the others go on."""

import dataclasses

import anyio
import pytest

from chaperone_async.core.events import ScaleRequested, StopRequested, WorkerRef
from chaperone_async.core.pool import Pool
from chaperone_async.core.probes import livez, readyz
from chaperone_async.core.spec import StopPolicy
from chaperone_async.errors import DuplicatePool, UnknownPool
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.system.ports import Telemetry, Usage, Verdict
from tests.supervision.fakes import FakeProber, FakeWorld, Script, crashes_after, lives, plan, pool_of, supervising


async def test_a_pool_added_while_running_starts_at_once() -> None:
    world = FakeWorld()
    async with supervising(world, plan()) as supervisor:
        await anyio.sleep(5)
        supervisor.add(plan("q"), Hooks())
        await anyio.sleep(0.001)
        assert world.log == [(0, "spawn", 0), (5, "spawn", 0)]
        assert world.ref(pool="q")


async def test_a_pool_added_while_shutting_down_ends_with_the_others() -> None:
    world = FakeWorld(Script(obeys_term_after=5))
    async with supervising(world, plan()) as supervisor:
        await anyio.sleep(2)
        supervisor.shut_down(32)
        added = supervisor.add(plan("q"), Hooks())
        await added.until(lambda pool: pool.stopped)
        assert anyio.current_time() <= 7
        assert not [ref for ref in world.alive if ref.pool == "q"]


async def test_two_pools_of_one_name_are_refused() -> None:
    async with supervising(FakeWorld(), plan()) as supervisor:
        with pytest.raises(DuplicatePool, match="cannot add pool 'p': there is one of that name; choose another"):
            supervisor.add(plan(), Hooks())


async def test_a_removed_pool_is_stopped_gracefully_and_forgotten() -> None:
    world = FakeWorld(lives(crashes_after(2), Script(obeys_term_after=3)))
    async with supervising(world, plan(), plan("q")) as supervisor:
        await anyio.sleep(10)
        await supervisor.remove("p")
        assert anyio.current_time() == 13
        assert [ref for ref in world.alive if ref.pool == "p"] == []
        assert supervisor.names == ("q",)
        assert not world.journal.crashes("p")
        assert {ref.generation for ref in world.forgotten if ref.pool == "p"} == {1, 2}
        with pytest.raises(UnknownPool, match="there is no pool named 'p'"):
            await supervisor.remove("p")
        with pytest.raises(UnknownPool, match="there is no pool named 'p'"):
            supervisor.submit("p", ScaleRequested(2, 13))


async def test_a_name_is_free_again_when_its_pool_is_removed() -> None:
    world = FakeWorld()
    async with supervising(world, plan()) as supervisor:
        await anyio.sleep(2)
        await supervisor.remove("p")
        supervisor.add(plan(workers=2), Hooks())
        await supervisor.runner("p").until(lambda pool: pool.ready_count == 2)
        assert len(world.alive) == 2


async def test_a_bug_in_one_pools_supervision_ends_that_pool_and_not_the_others() -> None:
    world = FakeWorld()
    world.signal_bug["p"] = RuntimeError("a bug")
    async with supervising(world, plan(workers=2), plan("q")) as supervisor:
        await anyio.sleep(2)
        broken = supervisor.runner("p")
        supervisor.submit("p", StopRequested(None, 2))
        await broken.until(lambda pool: pool.stopped)  # it never will be: but it has ended
        await anyio.sleep(60)

        assert world.times("aclose") == [2, 2]
        assert world.ref(pool="q")
        (news,) = [entry.news for entry in world.journal.entries() if entry.news.kind == "pool.broken"]
        assert "RuntimeError: a bug" in news.detail

        probed = supervisor.snapshot().probed
        assert [(check.name, check.reason) for check in livez(probed) if not check.ok] == [
            ("pool/p", "its supervision failed; see the log")
        ]
        assert any(not check.ok for check in readyz(probed))
        assert broken.pool.state == "fatal"
        assert broken.pool.live == 0

        await supervisor.remove("p")
        assert all(check.ok for check in livez(supervisor.snapshot().probed))
        supervisor.shut_down(100)
        await supervisor.runner("q").until(lambda pool: pool.stopped)


async def test_a_shutdown_does_not_wait_for_a_pool_whose_supervision_failed() -> None:
    world = FakeWorld()
    world.signal_bug["p"] = RuntimeError("a bug")
    async with supervising(world, plan(), plan("q")) as supervisor:
        await anyio.sleep(2)
        supervisor.submit("p", StopRequested(None, 2))
        await anyio.sleep(1)
        supervisor.shut_down(100)
        await anyio.sleep(1)
        assert not world.alive
        assert supervisor.runner("q").pool.stopped


async def test_a_prober_with_a_bug_ends_its_pool_only() -> None:
    class Broken(FakeProber):
        async def probe(self, ref: WorkerRef, worker_id: str, pid: int) -> Verdict:
            raise RuntimeError("a bug")

    world = FakeWorld()
    async with supervising(world) as supervisor:
        supervisor.add(plan(), Hooks(), lambda *_: (Broken(Verdict(passed=True)),))
        supervisor.add(plan("q"), Hooks())
        await anyio.sleep(2)
        assert [ref.pool for ref in world.alive] == ["q"]
        assert [check.name for check in livez(supervisor.snapshot().probed) if not check.ok] == ["pool/p"]


async def test_livez_passes_while_supervision_gives_signs_of_life() -> None:
    async with supervising(FakeWorld(), plan()) as supervisor:
        await anyio.sleep(60.5)
        assert all(check.ok for check in livez(supervisor.snapshot().probed))


async def test_until_waits_for_its_condition() -> None:
    async with pool_of(FakeWorld(), plan(workers=3)) as runner:
        await runner.until(lambda pool: pool.live == 3)
        assert anyio.current_time() == 0
        await runner.until(lambda pool: pool.ready_count == 3)
        assert anyio.current_time() == 1


async def test_who_has_what_he_waited_for_is_not_asked_again() -> None:
    seen: list[int] = []

    def has_two(pool: Pool) -> bool:
        seen.append(pool.desired)
        return pool.desired == 2

    async with pool_of(FakeWorld(), plan()) as runner:
        await anyio.sleep(5)
        runner.submit(ScaleRequested(2, 5))
        runner.submit(ScaleRequested(3, 5))
        await runner.until(has_two)
        assert seen == [1, 2]
        assert runner.pool.desired == 3


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    async with pool_of(FakeWorld(), plan()) as runner:
        await anyio.sleep(1)
        before = len(runner._waiting)
        with anyio.move_on_after(5):
            await runner.until(lambda pool: pool.live == 100)
        assert len(runner._waiting) == before


async def test_scaling_down_ends_the_highest_slots_gracefully() -> None:
    world = FakeWorld(Script(obeys_term_after=2))
    async with pool_of(world, plan(workers=4)) as runner:
        await anyio.sleep(5)
        runner.submit(ScaleRequested(1, 5))
        await runner.until(lambda pool: pool.live == 1)
        assert anyio.current_time() == 7
        assert sorted(entry for entry in world.log if entry[1] == "SIGTERM") == [
            (5, "SIGTERM", 1),
            (5, "SIGTERM", 2),
            (5, "SIGTERM", 3),
        ]


async def test_jobs_processed_sums_the_dead_and_the_living() -> None:
    world = FakeWorld(lives(crashes_after(10.5), Script()))
    world.said[WorkerRef("p", 0, 1)] = Telemetry(spoke=True, jobs_done=70)
    world.said[WorkerRef("p", 0, 2)] = Telemetry(spoke=True, jobs_done=5)
    async with supervising(world, plan()) as supervisor:
        await anyio.sleep(10)
        assert supervisor.snapshot().pools[0].jobs_processed == 70
        await anyio.sleep(1)
        snapshot = supervisor.snapshot()
        assert snapshot.pools[0].jobs_processed == 75


async def test_the_rate_of_jobs_is_that_of_the_last_minute() -> None:
    world = FakeWorld()
    first = WorkerRef("p", 0, 1)
    async with supervising(world, plan()) as supervisor:
        await anyio.sleep(0.5)
        for second in range(120):
            world.said[first] = Telemetry(spoke=True, jobs_done=2 * second)
            await anyio.sleep(1)
        assert supervisor.snapshot().jobs_per_minute == 120


async def test_a_snapshot_is_frozen() -> None:
    world, prober = FakeWorld(), FakeProber(Verdict(passed=None, detail="no name"))
    async with supervising(world, plan(stop=StopPolicy(timeout=1)), probers=(prober,)) as supervisor:
        await anyio.sleep(0.5)
        before = supervisor.snapshot()
        shown = dataclasses.replace(before.pools[0], broken_checks=dict(before.pools[0].broken_checks))
        await anyio.sleep(5)
        world.usage[world.ref()] = Usage(memory=1)
        supervisor.shut_down(50)
        await anyio.sleep(5)
        assert before.pools == (shown,)
        assert before.pools[0].pool.live == 1
        assert not before.draining
        with pytest.raises(dataclasses.FrozenInstanceError):
            before.draining = True  # type: ignore[misc]  # that is the point


async def test_the_notify_socket_of_a_slot_that_is_no_more_is_given_up_after_its_last_word() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(workers=3)) as runner:
        await anyio.sleep(2)
        runner.submit(ScaleRequested(1, anyio.current_time()))
        await anyio.sleep(1)
        assert sorted(world.retired) == [("p", 1), ("p", 2)]


async def test_a_pool_that_is_removed_and_added_again_gives_no_workers_name_a_second_time() -> None:
    world = FakeWorld()
    async with supervising(world, plan()) as supervisor:
        await anyio.sleep(2)
        before = supervisor.runner("p").pool.slots[0].last_id
        await supervisor.remove("p")
        supervisor.add(plan(), Hooks())
        await anyio.sleep(2)
        assert supervisor.runner("p").pool.slots[0].last_id != before
