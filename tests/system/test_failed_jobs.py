"""The list of failed jobs that we keep: what is noted is there, through restarts and broken files, to be retried."""

import json
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import anyio
import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import BackendUse, Launch, PoolSpec
from chaperone_async.errors import QueueError, QueueUnavailable
from chaperone_async.system.attendants import Attendants
from chaperone_async.system.config.failed_jobs import FailedJobsPlace, default_path
from chaperone_async.system.failed_jobs import FailedJobs
from chaperone_async.system.ports import JobNotice
from chaperone_async.system.queues import Queue
from chaperone_async.system.sweep import Family
from tests.system.world import no_thread_to_be_had, until

ATTENDANT = """
import json, os
from chaperone_async.attendant import Unavailable

class Attendant:
    def backlog(self, queues):
        return {"ready": 5}

    def send(self, name, args, kwargs, queue):
        if args == ["away"]:
            raise Unavailable("cannot reach the broker")
        with open("sent", "a") as file:
            file.write(json.dumps([name, args, kwargs, queue]) + "\\n")

def attend(settings):
    return Attendant()
"""
KEEPS_NONE = BackendUse(
    name="test", attendant="deputy", can=frozenset({"backlog"}), reports=True, keeps_failed=False
)  # fmt: skip


def failed(job: str, *args: object, queue: str | None = "q", told: str | None = None) -> JobNotice:
    arguments = json.dumps({"args": args, "kwargs": {"n": 1}}) if told is None else told
    return JobNotice(
        WorkerRef("p", 0, 1), job, "app.work", queue, ok=False, seconds=1, wait=None, error="ValueError: no",
        arguments=arguments or None,
    )  # fmt: skip


class World:
    def __init__(self, directory: Path, attendants: Attendants) -> None:
        self.directory, self.attendants = directory, attendants
        self.told: list[str] = []
        self.file = directory / "failed.db"

    def jobs(self, keep: int = 100) -> FailedJobs:
        return FailedJobs(FailedJobsPlace(self.file, keep), self.told.append)

    def queue(self, jobs: FailedJobs, name: str = "p") -> Queue:
        launch = Launch(directory=str(self.directory))
        spec = PoolSpec(name=name, command=("w",), queues=("q", "other"), launch=launch, backend=KEEPS_NONE)
        return Queue(spec, self.attendants, jobs)

    def sent(self) -> list[object]:
        lines = (self.directory / "sent").read_text().splitlines() if (self.directory / "sent").exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "deputy.py").write_text(ATTENDANT)
    async with Attendants(Family()) as attendants:
        yield World(tmp_path, attendants)


async def ids(queue: Queue, name: str = "q") -> list[str]:
    return [job.id for job in (await queue.failed(name, 100, None)).jobs]


async def test_what_has_failed_is_listed_the_newest_first_page_by_page_and_counted(world: World) -> None:
    async with world.jobs() as jobs:
        queue, another = world.queue(jobs), world.queue(jobs, "another")
        assert queue.can == {"backlog", "failed", "retry", "flush"}
        for number in range(5):
            queue.note_failed(failed(f"job-{number}", number, "ä"))
        queue.note_failed(failed("elsewhere", queue="other"))
        queue.note_failed(failed("nowhere", queue="default"))
        another.note_failed(failed("job-1"))
        page = await queue.failed("q", 4, None)
        assert [job.id for job in page.jobs] == ["nowhere", "job-4", "job-3", "job-2"]
        assert (page.next, page.recorded_by_us) == ("job-2", True)
        assert (page.jobs[1].arguments, page.jobs[1].error, page.jobs[1].attempts) == (
            '4, "ä", n=1',
            "ValueError: no",
            1,
        )
        rest = await queue.failed("q", 4, page.next)
        assert ([job.id for job in rest.jobs], rest.next) == (["job-1", "job-0"], None)
        assert await ids(queue, "other") == ["elsewhere"]
        assert await ids(another) == ["job-1"]
        backlog = await queue.backlog()
        assert (backlog.ready, backlog.failed) == (5, 7)
        with pytest.raises(QueueError, match="cannot go on after the job 'gone'"):
            await queue.failed("q", 4, "gone")


async def test_the_list_outlives_the_supervisor_and_is_nobody_elses_to_read(world: World) -> None:
    async with world.jobs() as jobs:
        world.queue(jobs).note_failed(failed("job"))
    async with world.jobs() as jobs:
        assert await ids(world.queue(jobs)) == ["job"]
    assert stat.S_IMODE(world.file.stat().st_mode) == 0o600
    assert world.told == []


async def test_of_each_pool_the_latest_are_kept_and_one_that_fails_again_is_one_of_them(world: World) -> None:
    async with world.jobs(keep=3) as jobs:
        queue, another = world.queue(jobs), world.queue(jobs, "another")
        another.note_failed(failed("its own"))
        for number in (0, 1, 2, 1, 3):
            queue.note_failed(failed(f"job-{number}"))
            await ids(queue)  # what is read has been written: else the first would make room for the last
        page = await queue.failed("q", 9, None)
        assert [(job.id, job.attempts) for job in page.jobs] == [("job-3", 1), ("job-1", 2), ("job-2", 1)]
        assert await ids(another) == ["its own"]


async def test_jobs_are_sent_again_and_go_from_the_list_one_by_one_as_they_are_sent(world: World) -> None:
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        for job, *args in (("a", 1), ("b", 2), ("c", "away"), ("d", 4)):
            queue.note_failed(failed(job, *args))
        assert await queue.retry("q", ["b", "unknown"]) == 1
        with pytest.raises(
            QueueUnavailable, match=r"^cannot reach the broker; 1 of 3 were sent before, the others stay"
        ):
            await queue.retry("q", None)
        assert world.sent() == [["app.work", [2], {"n": 1}, "q"], ["app.work", [1], {"n": 1}, "q"]]
        assert await ids(queue) == ["d", "c"]


async def test_a_job_whose_arguments_are_not_known_says_so_and_stays(world: World) -> None:
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        for job, told in (("too-long", ""), ("no-json", "<object>"), ("odd", "[1]"), ("deep", "[" * 12_000)):
            queue.note_failed(failed(job, told=told))
        page = await queue.failed("q", 9, None)
        assert {job.arguments for job in page.jobs} == {"not kept: too long, or not JSON"}
        with pytest.raises(QueueError, match="cannot retry the job 'odd': its arguments were not kept"):
            await queue.retry("q", ["odd"])
        queue.note_failed(failed("good"))
        assert await queue.retry("q", None) == 1
        assert await ids(queue) == ["deep", "odd", "no-json", "too-long"]


async def test_two_who_retry_all_at_the_same_time_send_each_job_once(world: World) -> None:
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        for number in range(20):
            queue.note_failed(failed(f"job-{number}", number))
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(queue.retry, "q", None)
        assert len(world.sent()) == 20


async def test_flushed_jobs_are_forgotten(world: World) -> None:
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        for job in "abc":
            queue.note_failed(failed(job))
        queue.note_failed(failed("elsewhere", queue="other"))
        assert await queue.flush("q", ["b", "unknown"]) == 1
        assert await queue.flush("q", None) == 2
        assert (await queue.backlog()).failed == 1


def not_a_database(path: Path) -> None:
    path.write_text("no database, but long enough to be looked at\n" * 50)


def somebody_elses(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table precious (a)")


def of_a_later_release(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("pragma application_id = 0x43686661; pragma user_version = 99; create table failed (a)")


def a_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (not_a_database, "file is not a database"),
        (somebody_elses, "it holds something else"),
        (of_a_later_release, "it was written by another version of this program"),
        (a_directory, "Is a directory"),
    ],
)
async def test_with_a_file_that_cannot_be_used_the_list_is_in_memory_and_that_is_said_once(
    world: World, spoil: Callable[[Path], None], why: str
) -> None:
    spoil(world.file)
    before = world.file.read_bytes() if world.file.is_file() else b""
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        queue.note_failed(failed("a"))
        assert await ids(queue) == ["a"]
        assert await queue.flush("q", None) == 1
    (line,) = world.told
    assert line.startswith(
        f"cannot keep the list of failed jobs: {world.file} cannot be used: {why}; it is kept in memory"
    )
    assert (world.file.read_bytes() if world.file.is_file() else b"") == before


async def test_when_the_disk_is_full_the_list_goes_on_in_memory_with_what_was_in_it(world: World) -> None:
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        queue.note_failed(failed("before"))
        assert await ids(queue) == ["before"]
        assert jobs._file is not None
        jobs._file._db.execute("pragma max_page_count = 1")  # what SQLite takes for a full disk
        for number in range(20):
            queue.note_failed(failed(f"after-{number}", "x" * 5000))
        assert len(await ids(queue)) == 21
    assert len(world.told) == 1
    assert "failed.db cannot be used any more: database or disk is full" in world.told[0]


async def test_while_the_file_is_locked_nobody_waits_for_what_is_noted(world: World) -> None:
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        assert await ids(queue) == []
        with closing(sqlite3.connect(world.file, isolation_level=None)) as other:
            other.execute("begin immediate")
            queue.note_failed(failed("job"))
            await until(lambda: not jobs._noted)  # the thread has taken it, and waits for the file
            with anyio.move_on_after(0.2) as scope:
                await ids(queue)
            assert scope.cancelled_caught, "the list was read though it was locked"
            other.execute("rollback")
        assert await ids(queue) == ["job"]
    assert world.told == []


async def test_a_file_that_stays_locked_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaperone_async.system.failed_file._BUSY", 0.1)
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        assert await ids(queue) == []
        with closing(sqlite3.connect(world.file, isolation_level=None)) as other:
            other.execute("begin immediate")
            queue.note_failed(failed("job"))
            with pytest.raises(QueueUnavailable, match="locked by another program"):
                await ids(queue)
            other.execute("rollback")
        assert await ids(queue) == ["job"]
    assert world.told == []


def test_by_default_it_is_where_state_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_path("", {"STATE_DIRECTORY": "/s"}) == Path("/s/failed-jobs.db")
    assert default_path("a/b", {"STATE_DIRECTORY": "/s/one:/s/two"}) == Path("/s/one/failed-jobs-a%2Fb.db")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert default_path("a", {"XDG_STATE_HOME": "/x"}) == Path("/x/chaperone/failed-jobs-a.db")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_path("a", {}) == Path("/home/me/.local/state/chaperone/failed-jobs-a.db")


async def test_without_any_place_it_is_in_memory_and_that_is_said(world: World) -> None:
    async with AsyncExitStack() as stack:
        jobs = await stack.enter_async_context(FailedJobs(FailedJobsPlace(None), world.told.append))
        queue = world.queue(jobs)
        queue.note_failed(failed("a"))
        assert await ids(queue) == ["a"]
    assert world.told[0].startswith("cannot keep the list of failed jobs: there is no place for them; it is kept in")


async def test_what_is_noted_while_no_thread_can_be_started_is_written_later(world: World) -> None:
    async with world.jobs() as jobs:
        queue = world.queue(jobs)
        with no_thread_to_be_had():
            queue.note_failed(failed("job-1"))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(QueueUnavailable, match="no thread can be started"):
                await ids(queue)
        assert await ids(queue) == ["job-1"]
