"""The queue file itself: what a power cut, a reused pid, an older or newer release, a full disk leave of it."""

import datetime as dt
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from huey.api import SqliteHuey, chord

from chaperone_async.huey import DurableHuey, QueueFileError, backlog, failed, flush_failed, recover, retry
from chaperone_async.huey.jobs import Failure
from chaperone_async.huey.storage import DurableStorage

PAST, FUTURE = dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1)  # noqa: DTZ001  Huey's are without a zone


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def storage(file: Path) -> Iterator[DurableStorage]:
    with closing(DurableStorage("jobs", str(file))) as storage:
        yield storage


def died(storage: DurableStorage, program: str) -> None:
    """Another process uses the storage, and is killed."""
    start = "import os, signal, sys; from chaperone_async.huey.storage import DurableStorage"
    use = f"s = DurableStorage('jobs', sys.argv[1]); {program}; os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", f"{start}; {use}", storage.database.path], check=False)


def sql(file: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(file)) as db, db:
        return db.execute(statement, values).fetchall()


def test_no_power_cut_takes_a_job_that_was_put_in_nor_brings_back_one_that_has_ended(
    storage: DurableStorage, file: Path, tmp_path: Path
) -> None:
    log = Path(f"{file}-wal")

    def after_power_cuts(since: int) -> set[tuple[int, int]]:
        """What is found after each: of the log all is left that was written to disk, and any part of the rest."""
        left = set()
        for length in range(since, log.stat().st_size + 1, 1024):
            cut = tmp_path / f"cut-{length}.db"
            cut.write_bytes(file.read_bytes())
            Path(f"{cut}-wal").write_bytes(log.read_bytes()[:length])
            found = backlog(cut)
            left.add((found.ready, found.reserved))
        return left

    storage.enqueue(b"job")
    put_in = log.stat().st_size
    assert after_power_cuts(put_in) == {(1, 0)}
    held = storage.reserve()
    assert held is not None
    storage.put_data("result", b"42", is_result=True)
    assert after_power_cuts(put_in) == {(1, 0), (0, 1)}
    storage.acknowledge(held)
    assert after_power_cuts(log.stat().st_size) == {(0, 0)}


def test_what_the_dead_had_comes_back_to_its_place(storage: DurableStorage) -> None:
    storage.enqueue(b"first")
    died(storage, "s.reserve()")
    storage.enqueue(b"second")
    assert storage.recover() == 1
    assert storage.enqueued_items() == [b"first", b"second"]
    assert storage.recover() == 0


def test_a_living_process_keeps_its_jobs(storage: DurableStorage, file: Path) -> None:
    storage.enqueue(b"job")
    held = storage.reserve()
    look = "from chaperone_async.huey.storage import DurableStorage; import sys"
    use = f"{look}; print(DurableStorage('jobs', sys.argv[1]).recover())"
    assert subprocess.check_output([sys.executable, "-c", use, str(file)], text=True) == "0\n"
    assert storage.recover() == 0
    assert held is not None
    storage.acknowledge(held)


def test_a_job_comes_back_though_its_pid_is_that_of_a_living_process_by_now(
    storage: DurableStorage, file: Path
) -> None:
    storage.enqueue(b"job")
    died(storage, "s.reserve()")
    sql(file, "update owner set pid = ?", os.getpid())
    assert storage.recover() == 1


def test_one_that_was_taken_for_dead_cannot_end_the_job_of_who_has_it_now(storage: DurableStorage, file: Path) -> None:
    storage.enqueue(b"job")
    early = storage.reserve()
    assert early is not None
    sql(file, "update owner set worker = 'w-1'")
    assert recover(file, "w-1") == 1
    late = storage.reserve()
    storage.acknowledge(early)
    storage.bury(early, Failure("late"))
    storage.release(early)
    assert backlog(file).reserved == 1
    assert backlog(file).failed == 0
    assert late is not None
    storage.acknowledge(late)
    assert backlog(file).reserved == 0


@pytest.mark.parametrize("blamed", [True, False])
def test_an_end_without_blame_does_not_count(storage: DurableStorage, file: Path, *, blamed: bool) -> None:
    storage.enqueue(b"job")
    assert storage.reserve() is not None
    sql(file, "update owner set worker = 'w-1'")
    assert recover(file, "w-1", blamed=blamed) == 1
    held = storage.reserve()
    assert held is not None
    assert held.deaths == int(blamed)


def test_of_the_jobs_whose_worker_died_one_is_tried_at_a_time(storage: DurableStorage) -> None:
    for job in (b"a", b"b"):
        storage.enqueue(job)
    died(storage, "s.reserve(), s.reserve()")
    storage.enqueue(b"c")
    assert storage.recover() == 2
    taken = [storage.reserve() for _ in range(3)]
    assert [held and held.data for held in taken] == [b"a", b"c", None]
    assert taken[0] is not None
    storage.acknowledge(taken[0])
    after = storage.reserve()
    assert after is not None
    assert (after.data, after.deaths) == (b"b", 1)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_delayed_job_is_due_when_it_is_wherever_the_clock_hangs(file: Path, zone: str) -> None:
    program = """if True:
        import sys
        from chaperone_async.huey import DurableHuey
        for utc in (True, False):
            huey = DurableHuey(f"utc-{utc}", sys.argv[1], utc=utc)
            huey.task(name="task")(lambda: None).schedule(delay=3600)
            huey.execute(huey.dequeue())
            assert not huey.read_schedule()
    """
    subprocess.run([sys.executable, "-c", program, str(file)], check=True, env={**os.environ, "TZ": zone})
    for queue in ("utc-True", "utc-False"):
        assert 3500 < (backlog(file, queue).next_due or 0) <= 3600


def test_a_periodic_task_is_put_in_once_a_minute_by_two_schedulers(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hueys = [DurableHuey("jobs", file), DurableHuey("jobs", file)]
    found = []
    for huey in hueys:
        huey.periodic_task(lambda _: True, name="task")(lambda: None)
    for minute in (1, 2):
        now = PAST.replace(minute=minute)
        monkeypatch.setattr(DurableHuey, "_get_timestamp", lambda _, now=now: now)
        found.append([len(huey.read_periodic(None)) for huey in hueys])
    assert found == [[1, 0], [1, 0]]
    assert len(hueys[0].read_periodic(PAST)) == 1


@pytest.mark.parametrize(
    ("before", "now", "many"),
    [
        (0, -1, 0),  # another scheduler was late
        (0, 1, 1),
        (0, -120, 1),  # the clock was set back
        (None, 0, 1),  # noted as releases before have done it
    ],
)
def test_a_late_scheduler_puts_in_no_periodic_task_and_one_whose_clock_was_set_does(
    file: Path, monkeypatch: pytest.MonkeyPatch, before: int | None, now: int, many: int
) -> None:
    huey = DurableHuey("jobs", file)
    huey.periodic_task(lambda _: True, name="task")(lambda: None)

    def read(minutes: int) -> int:
        monkeypatch.setattr(DurableHuey, "_get_timestamp", lambda _: PAST + dt.timedelta(minutes=minutes))
        return len(huey.read_periodic(None))

    assert read(before or 0) == 1
    if before is None:
        sql(file, f"update counter set value = {PAST:%Y%m%d%H%M}")
    assert [read(now), read(now)] == [many, 0]


def test_a_periodic_task_is_put_in_though_the_next_one_cannot_be(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huey = DurableHuey("jobs", file)
    for name in ("first", "second"):
        huey.periodic_task(lambda _: True, name=name)(lambda: None)
    claimed: list[str] = []

    def claim(key: str, _minute: int) -> bool:
        if claimed:
            raise QueueFileError("the disk is full")
        claimed.append(key)
        return True

    monkeypatch.setattr(huey.storage, "advance", claim)
    assert len(huey.read_periodic(None)) == 1


def test_a_job_that_is_due_is_put_in_once_by_two_schedulers(file: Path) -> None:
    one, other = (DurableHuey("jobs", file) for _ in range(2))
    task = one.task(name="task")(print)
    other.task(name="task")(print)
    one.storage.add_to_schedule(one.serialize_task(task.s()), PAST)
    found = [(huey, huey.read_schedule()) for huey in (one, other)]
    for huey, (due,) in found:
        huey.enqueue(due)
    assert backlog(file).ready == 1
    assert backlog(file).delayed == 0


def test_a_due_job_that_was_not_put_in_yet_is_still_due(file: Path) -> None:
    huey = DurableHuey("jobs", file)
    task = huey.task(name="task")(print)
    huey.storage.add_to_schedule(huey.serialize_task(task.s()), PAST)
    assert huey.read_schedule() == huey.read_schedule()
    assert backlog(file).delayed == 1


def test_a_member_that_runs_again_neither_ends_its_chord_early_nor_ends_it_twice(file: Path) -> None:
    huey = DurableHuey("jobs", file)
    double = huey.task(name="double")(lambda n: 2 * n)
    total = huey.task(name="total")(sum)
    result = huey.enqueue(chord([double.s(n) for n in range(3)], total))
    held = huey.storage.reserve()
    huey.execute(huey.deserialize_task(held.data))  # its worker dies before it is acknowledged
    huey.storage.release(held, deaths=1)
    while (task := huey.dequeue()) is not None:
        huey.execute(task)
    assert result.get() == 6
    assert sql(file, "select count(*) from value where key like 'chord%'") == [(0,)]
    assert sql(file, "select count(*) from counter") == [(0,)]


def test_a_job_whose_result_cannot_be_kept_has_failed(file: Path) -> None:
    huey = DurableHuey("jobs", file)
    huey.task(name="task")(lambda: lambda: None)()
    with pytest.raises(Exception, match="lambda"):
        huey.execute(huey.dequeue())
    (job,) = failed(file)
    assert "lambda" in job.error


def test_an_error_that_is_not_utf_8_is_kept_as_far_as_it_can_be_written(file: Path) -> None:
    huey = DurableHuey("jobs", file)
    huey.task(name="task")(lambda: os.stat("\udcff"))()
    huey.execute(huey.dequeue())
    (job,) = failed(file)
    assert "\\udcff" in job.traceback


@pytest.mark.parametrize(("max_deaths", "value"), [(0, "done"), (1, None)])
def test_a_job_is_given_up_after_so_many_deaths_or_never(file: Path, max_deaths: int, value: str | None) -> None:
    huey = DurableHuey("jobs", file, max_deaths=max_deaths)
    huey.task(name="task")(lambda: "done")()
    died(huey.storage, "s.reserve()")
    assert huey.recover() == 1
    assert huey.execute(huey.dequeue()) == value


def test_an_interrupted_job_that_cannot_be_given_back_is_not_taken_for_done(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huey = DurableHuey("jobs", file)

    def interrupt() -> None:
        raise KeyboardInterrupt

    def refuse(*_: object, **__: object) -> None:
        raise QueueFileError("the disk is full")

    huey.task(name="task")(interrupt)()
    monkeypatch.setattr(huey.storage, "release", refuse)
    huey.execute(huey.dequeue())
    assert backlog(file).reserved == 1


def test_a_forked_child_uses_its_own_connection_and_its_jobs_are_its_own(storage: DurableStorage, file: Path) -> None:
    storage.enqueue(b"mine")
    storage.enqueue(b"its")
    storage.reserve()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        held = storage.reserve()
        os.write(write, held.data if held else b"none")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"its"
    os.close(read)
    os.close(write)
    assert backlog(file).reserved == 2
    assert storage.recover() == 1
    assert storage.enqueued_items() == [b"its"]


def test_the_backlog_is_told_from_the_file(storage: DurableStorage, file: Path) -> None:
    assert backlog(file).oldest_age is None
    storage.enqueue(b"taken", 9)
    for _ in range(2):
        storage.enqueue(b"job")
    storage.add_to_schedule(b"later", FUTURE)
    storage.reserve()
    other = DurableStorage("others", str(file))
    other.enqueue(b"job")
    other.close()
    sql(file, "update job set enqueued_at = enqueued_at - 100 where id = 2")
    all_queues, one = backlog(file), backlog(file, "jobs")
    assert (all_queues.ready, one.ready, one.delayed, one.reserved, one.failed) == (3, 2, 1, 1, 0)
    assert one.oldest_age == pytest.approx(100, abs=20)
    assert one.next_due == pytest.approx(FUTURE.replace(tzinfo=dt.UTC).timestamp() - time.time(), abs=20)
    assert backlog(file, "others").next_due is None


def test_a_job_that_changes_its_state_meanwhile_is_counted_once(storage: DurableStorage, file: Path) -> None:
    storage.enqueue(b"a")
    counted = threading.Event()

    def take_and_give_back() -> None:
        with closing(DurableStorage("jobs", str(file))) as other:
            while not counted.is_set():
                held = other.reserve()
                assert held is not None
                other.release(held)

    mover = threading.Thread(target=take_and_give_back)
    mover.start()
    try:
        assert {(found := backlog(file)).ready + found.reserved for _ in range(500)} == {1}
    finally:
        counted.set()
        mover.join()


def test_failed_jobs_are_listed_the_latest_first_retried_and_forgotten(storage: DurableStorage, file: Path) -> None:
    for name in ("a", "b", "c"):
        storage.enqueue(name.encode(), 5)
        held = storage.reserve()
        assert held is not None
        storage.bury(held, Failure("it broke", "where", f"id-{name}", name))
    assert [job.name for job in failed(file)] == ["c", "b", "a"]
    assert [job.name for job in failed(file, limit=1)] == ["c"]
    assert retry(file, 12345) == 0
    assert retry(file, failed(file)[0].id) == 1
    assert retry(file, "all", "others") == 0
    assert flush_failed(file, "others") == 0
    assert retry(file, "all") == 2
    assert storage.enqueued_items() == [b"c", b"a", b"b"]
    held = storage.reserve()
    assert held is not None
    storage.bury(held, Failure("again"))
    assert flush_failed(file) == 1
    assert failed(file) == []


def test_failed_jobs_are_listed_page_by_page_and_forgotten_one_by_one(storage: DurableStorage, file: Path) -> None:
    for name in ("a", "b", "c"):
        storage.enqueue(name.encode())
        held = storage.reserve()
        assert held is not None
        storage.bury(held, Failure("it broke", name=name))
    first, second = failed(file, limit=2)
    (third,) = failed(file, limit=2, after=second.id)
    assert [job.data for job in (first, second, third)] == [b"c", b"b", b"a"]
    assert failed(file, after=third.id) == []
    assert flush_failed(file, "others", which=second.id) == 0
    assert flush_failed(file, which=second.id) == 1
    assert [job.name for job in failed(file)] == ["c", "a"]
    with pytest.raises(QueueFileError, match="it is not among them any more"):
        failed(file, after=second.id)


def test_what_a_plain_sqlite_huey_has_left_is_taken_over(file: Path) -> None:
    plain = SqliteHuey("jobs", filename=str(file))
    plain.storage.enqueue(b"low")
    plain.storage.enqueue(b"high", 5)
    plain.storage.add_to_schedule(b"later", FUTURE)
    plain.storage.put_data("key", b"result")
    plain.storage.incr("count", 7)
    plain.storage.close()
    with closing(DurableStorage("jobs", str(file))) as storage:
        assert storage.enqueued_items() == [b"high", b"low"]
        assert storage.scheduled_items() == [b"later"]
        assert storage.peek_data("key") == b"result"
        assert storage.incr("count") == 8
    assert sql(file, "pragma user_version") == [(1,)]


def test_a_newer_file_is_refused(storage: DurableStorage, file: Path) -> None:
    storage.close()
    sql(file, "pragma user_version = 99")
    for use in (lambda: DurableHuey("jobs", file), lambda: backlog(file)):
        with pytest.raises(QueueFileError, match=r"its version is 99.*those up to 1; install the newer"):
            use()


def test_another_programs_file_is_refused(file: Path) -> None:
    sql(file, "pragma user_version = 3")
    with pytest.raises(QueueFileError, match="another program's data is in it; name another file"):
        DurableHuey("jobs", file)


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("pragma query_only = on", "attempt to write a readonly database; this user must be able to write"),
        ("pragma max_page_count = 1", "database or disk is full; make room"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_and_holds_what_it_held(
    storage: DurableStorage, file: Path, limit: str, why: str
) -> None:
    storage.enqueue(b"held")
    with storage.database.read() as db:
        db.execute(limit)
    with pytest.raises(QueueFileError, match=f"cannot write to the queue file {file}: {why}"):
        storage.enqueue(b"x" * 100_000)
    assert storage.enqueued_items() == [b"held"]


def test_an_end_that_could_not_be_written_is_written_before_another_job_is_taken(file: Path) -> None:
    huey = DurableHuey("jobs", file)
    task = huey.task(name="task")(lambda: None)
    task()
    task()
    first = huey.dequeue()
    with huey.storage.database.read() as db:
        db.execute("pragma query_only = on")
    with pytest.raises(QueueFileError):
        huey.execute(first)
    with pytest.raises(QueueFileError):
        huey.dequeue()
    assert (backlog(file).reserved, backlog(file).ready) == (1, 1)
    with huey.storage.database.read() as db:
        db.execute("pragma query_only = off")
    assert huey.dequeue() != first
    assert (backlog(file).reserved, backlog(file).ready) == (1, 0)


def test_a_file_that_is_locked_is_told_in_time(storage: DurableStorage, file: Path) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("begin immediate")
        with pytest.raises(QueueFileError, match="database is locked; another program keeps it locked"):
            recover(file, "w-1", timeout=0.01)
        assert backlog(file, timeout=0.01).ready == 0  # reading waits for nobody


@pytest.mark.parametrize(("name", "why"), [("none/jobs.db", "its directory must exist"), (":memory:", "in memory")])
def test_a_place_where_no_file_can_be_is_refused(name: str, why: str, tmp_path: Path) -> None:
    place = name if name.startswith(":") else str(tmp_path / name)
    with pytest.raises(QueueFileError, match=why):
        DurableHuey("jobs", place)


def test_a_file_that_is_none_or_not_there_is_refused(file: Path) -> None:
    with pytest.raises(QueueFileError, match="there is no such file"):
        backlog(file)
    file.write_text("no database, but long enough to be looked at " * 100)
    with pytest.raises(QueueFileError, match="file is not a database; name another file"):
        backlog(file)


def test_jobs_of_nobody_in_particular_are_not_recovered(storage: DurableStorage, file: Path) -> None:
    with pytest.raises(QueueFileError, match="give its CHAPERONE_WORKER_ID"):
        recover(file, "")
