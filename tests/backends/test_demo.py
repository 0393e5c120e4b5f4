"""`chaperone demo`: with nothing installed beside it, it runs, tells the truth, and leaves nothing behind."""

import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest

from chaperone_async.demo import journal
from chaperone_async.demo.kinds import KINDS, kind_of
from chaperone_async.huey import DurableHuey
from chaperone_async.service.demonstration import configure
from tests.e2e.service import PATIENCE, Outcome, Service

pytestmark = pytest.mark.timeout(150)
JOBS = 60


class Demo(Service):
    """Its temporary files are in a directory of their own, where they can be missed."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory, "", tcp="")
        self.temporary = directory / "t"
        self.temporary.mkdir(exist_ok=True)
        self._options = options

    @property
    def words(self) -> list[str]:
        return [sys.executable, "-m", "chaperone_async", "demo", *self._options]

    def environment(self, **more: str) -> dict[str, str]:
        return super().environment(TMPDIR=str(self.temporary), **more)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a short name: sockets are in it."""
    return tmp_path_factory.mktemp("d")


def run(directory: Path, *options: str, program: tuple[str, ...] = ("-m", "chaperone_async")) -> Outcome:
    demo = Demo(directory, *options)
    done = subprocess.run(
        [sys.executable, *program, "demo", *options], cwd=directory, env=demo.environment(), capture_output=True,
        text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_every_job_is_accounted_for_and_nothing_is_left(place: Path) -> None:
    sent = Counter(kind_of(number).name for number in range(JOBS))
    with Demo(place, "--jobs", str(JOBS), "--listen", "127.0.0.1:0").start() as demo:
        demo.until(lambda: demo.lines("export CHAPERONE_URL=http://127.0.0.1:"))
        assert demo.wait(120) == 0
    for kind in KINDS:
        number = sent[kind.name]
        (row,) = demo.lines(kind.name, kind.what)
        assert row.split()[1:4] == [str(number), *(("0", str(number)) if kind.fails else (str(number), "0"))], row
        assert int(row.split()[4]) >= (number if kind.name in {"import_contacts", "read_upload"} else 0)
    failed = sent["charge_card"]
    again = sent["import_contacts"] + sent["read_upload"]
    (verdict,) = demo.lines("0 lost")
    told = re.fullmatch(
        rf"{JOBS} jobs sent: {JOBS - failed} done, {failed} failed as they should, (\d+) run again, 0 lost", verdict
    )
    assert told is not None, verdict
    assert int(told[1]) >= again
    assert demo.lines("risky", "died (signal)")
    assert demo.lines("all workers are gone")
    assert list(demo.temporary.iterdir()) == []


def test_it_makes_way_for_who_has_its_port_and_cleans_up_after_an_interrupt(place: Path) -> None:
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # then another has it already
            other.bind(("127.0.0.1", 9001))
            other.listen()
        with Demo(place).start() as demo:
            demo.until(lambda: demo.lines("jobs sent:", "done"))
            assert demo.lines("cannot listen on 127.0.0.1:9001: the port is taken by another program; listening on ")
            assert demo.stop(signal.SIGINT) == 0
    assert demo.lines("still in the queue, 0 lost") or demo.lines("run again, 0 lost")
    assert list(demo.temporary.iterdir()) == []


def test_a_directory_of_ones_own_is_kept_and_one_with_something_in_it_is_not_touched(place: Path) -> None:
    mine = place / "mine"
    with Demo(place, "--dir", str(mine), "--seconds", "0.1", "--listen", "127.0.0.1:0").start() as demo:
        assert demo.wait(60) == 0
    assert {"chaperone.toml", "jobs.db", "journal.txt", "emails.log"} <= {path.name for path in mine.iterdir()}
    assert list(demo.temporary.iterdir()) == []
    again = run(place, "--dir", str(mine))
    assert again.code == 2
    assert again.err == (
        f"chaperone: cannot use {mine} for the demonstration: it is not empty; name an empty or a new --dir\n"
    )


def test_its_directory_may_have_any_name(tmp_path: Path) -> None:
    here = tmp_path / "${A}$$ \N{BABY CHICK}"
    here.mkdir()
    assert {pool.launch.directory for pool in configure(here, [], None, None).pools} == {str(here)}


def test_without_huey_it_says_what_to_install(place: Path) -> None:
    main = "import sys; sys.modules['huey'] = None; from chaperone_async.__main__ import main; sys.exit(main())"
    told = run(place, program=("-c", main))
    assert told.code == 2
    assert told.err == (
        "chaperone: cannot run the demonstration: the package huey is not installed; "
        'pip install "chaperone-async[demo]"\n'
    )


def test_a_port_that_was_asked_for_and_is_taken_is_refused(place: Path) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        told = run(place, "--listen", address)
    assert told.code == 1
    assert told.err.startswith(f"chaperone: cannot listen on {address}: the port is taken by another program")


def test_in_any_fifty_jobs_there_are_some_of_each_kind() -> None:
    for first in (0, 13, 49):
        seen = Counter(kind_of(number) for number in range(first, first + 50))
        assert seen == {kind: kind.share for kind in KINDS}


def test_the_account_of_what_is_new_is_that_of_the_whole(tmp_path: Path) -> None:
    DurableHuey("emails", tmp_path / journal.QUEUES)
    reading = journal.Reading(tmp_path)
    assert reading.totals() == (0, 0, 0, 0)
    for what in ("sent", "began", "began", "done"):
        journal.note(tmp_path, what, "send_email", 1)
        assert reading.totals() == journal.total(journal.accounts(tmp_path).values())
    assert reading.totals() == (1, 1, 0, 1)
