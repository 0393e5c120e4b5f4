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


def journal_with(entries: int, kept: int = 5000) -> Journal:
    journal = Journal(kept)
    tell(journal, entries)
    return journal


def tell(journal: Journal, entries: int) -> None:
    for _ in range(entries):
        journal.add("p", Announce("pool.ready", journal.last))


def test_the_first_entries_after_a_number_can_be_asked_for() -> None:
    journal = journal_with(100, kept=10)
    assert [entry.seq for entry in journal.entries(since=93, most=3)] == [94, 95, 96]
    assert [entry.seq for entry in journal.entries(since=0, most=2)] == [91, 92]
    assert not journal.entries(since=200, most=2)


def test_the_journal_says_how_many_entries_are_missing_after_a_number() -> None:
    journal = journal_with(10, kept=3)
    assert [journal.missed(since) for since in (0, 6, 7, 10, 11)] == [7, 1, 0, 0, 0]
    assert Journal().missed(0) == 0


async def test_a_reader_takes_everything_once_and_in_order_at_its_own_pace() -> None:
    journal = journal_with(3)
    reader = journal.subscribe(10, since=1)
    taken = list(reader.take(1))
    tell(journal, 2)
    while reader.position < journal.last:
        taken += reader.take(2)
    assert [entry.seq for entry in taken] == [2, 3, 4, 5]


async def test_a_reader_waits_until_something_happens() -> None:
    journal = journal_with(3)
    reader, seen = journal.subscribe(10), list[int]()

    async def read() -> None:
        while await reader.more():
            seen.extend(entry.seq for entry in reader.take(10))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.sleep(1)
        assert not seen
        tell(journal, 1)
        await anyio.sleep(1)
        assert seen == [4]
        tell(journal, 2)
        reader.close()
    assert seen == [4, 5, 6]
    assert journal.readers == 0


async def test_a_reader_that_falls_too_far_behind_is_dropped_and_the_others_are_not() -> None:
    journal, dropped = journal_with(0), list[str]()
    slow = journal.subscribe(3, on_drop=lambda: dropped.append("slow"))
    quick = journal.subscribe(3, on_drop=lambda: dropped.append("quick"))
    for _ in range(10):
        tell(journal, 1)
        quick.take(1)
    assert dropped == ["slow"]
    assert (slow.dropped, await slow.more()) == (True, False)
    assert journal.readers == 1


async def test_a_reader_that_begins_far_behind_may_catch_up() -> None:
    journal = journal_with(100)
    reader = journal.subscribe(3, since=0)
    tell(journal, 3)
    assert [entry.seq for entry in reader.take(200)] == list(range(1, 104))
    tell(journal, 4)
    assert reader.dropped


async def test_a_reader_sees_what_it_can_no_longer_get() -> None:
    journal = journal_with(10, kept=4)
    reader = journal.subscribe(3, since=2)
    assert reader.missed == 4
    assert [entry.seq for entry in reader.take(10)] == [7, 8, 9, 10]
    assert reader.missed == 0
