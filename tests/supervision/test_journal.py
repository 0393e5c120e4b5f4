"""What has happened: numbered, bounded, heard at once; and the record of every death."""

import anyio

from chaperone_async.core.actions import Announce
from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import MB
from chaperone_async.supervision.journal import Entry, Journal
from chaperone_async.system.ports import ExitStatus, Telemetry, Usage
from tests.supervision.fakes import FakeWorld, Script, crashes_after, lives, plan, pool_of


def test_the_journal_is_bounded_and_its_numbers_grow() -> None:
    journal = Journal(kept=3)
    for at in range(10):
        journal.add("p", Announce("pool.ready", at))
    assert [entry.seq for entry in journal.entries()] == [8, 9, 10]
    assert [entry.seq for entry in journal.entries(since=9)] == [10]
    assert [entry.news.at for entry in journal.entries(since=3)] == [7, 8, 9]
    assert not journal.entries(since=10)


def test_a_listener_hears_every_entry_until_it_goes() -> None:
    journal, heard = Journal(), list[Entry]()
    leave = journal.listen(heard.append)
    journal.add(None, Announce("supervisor.started", 0))
    leave()
    journal.add(None, Announce("supervisor.stopped", 1))
    assert [entry.news.kind for entry in heard] == ["supervisor.started"]


async def test_a_life_is_told_from_its_start_to_its_end() -> None:
    world = FakeWorld(lives(crashes_after(5), Script()))
    async with pool_of(world, plan()):
        await anyio.sleep(5.5)
        assert world.kinds() == [
            "worker.started",
            "worker.ready",
            "pool.ready",
            "worker.crashed",
            "pool.unready",
            "worker.started",
        ]
        first = world.journal.entries()[0].news
        assert (first.at, first.pid, first.worker_id) == (0, 1001, world.journal.crashes("p")[0].death.worker_id)


async def test_a_crash_record_has_output_peak_memory_cpu_time_and_the_job() -> None:
    dying = Script(ends_after=5.5, status=ExitStatus(signal=11), output=tuple(f"line {n}" for n in range(80)))
    world = FakeWorld(lives(dying, Script()))
    first = WorkerRef("p", 0, 1)
    world.usage[first] = Usage(memory=20 * MB, peak_memory=90 * MB, cpu_seconds=1.25)
    world.said[first] = Telemetry(spoke=True, current_job="job-7")
    async with pool_of(world, plan()):
        await anyio.sleep(6)
        (record,) = world.journal.crashes("p")
        assert record.output == tuple(f"line {n}" for n in range(30, 80))
        assert (record.peak_memory, record.cpu_seconds, record.job) == (90 * MB, 1.25, "job-7")
        assert (record.death.exit_signal, record.death.pid, record.death.at) == (11, 1001, 5.5)


async def test_at_most_crash_records_deaths_are_remembered_the_newest_first() -> None:
    world = FakeWorld(Script(ends_after=2, status=ExitStatus(code=0)))
    async with pool_of(world, plan(crash_records=3)):
        await anyio.sleep(21)
        records = world.journal.crashes("p")
        assert [record.death.at for record in records] == [20, 18, 16]
        assert [record.id for record in records] == [10, 9, 8]


async def test_what_a_dead_worker_wrote_is_kept_until_the_next_death_in_its_slot() -> None:
    world = FakeWorld(crashes_after(5))
    async with pool_of(world, plan()):
        await anyio.sleep(6)
        assert not world.forgotten
        await anyio.sleep(5)
        assert world.forgotten == [WorkerRef("p", 0, 1)]
