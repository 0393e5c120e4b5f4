"""Workers that write log files as fast as they can, disks that are full, and files that others move away: supervision,
probes and the other workers go on, memory stays as it was, and no line is torn."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.service import QUICK_PYTHON, Poller, Service, polled, resident, until

LINE = 1024
MOST = 5_000_000
MEGABYTE = 1_000_000
GROWTH = 20 * MEGABYTE
PATIENCE = 90.0

FLOOD = f"""
import os, sys
rest = b" " + b"x" * {LINE - 14} + b"\\n"
number = 0
while True:
    left = memoryview(b"".join([b"%012d%b" % (i, rest) for i in range(number, number + 64)]))
    number += 64
    while left:
        left = left[os.write(1, left):]
    if number % 1024 == 0:
        with open(sys.argv[1] + ".new", "w") as trace:
            trace.write(str(number))
        os.rename(sys.argv[1] + ".new", sys.argv[1])
"""
TICKER = """
import os, time
number = 0
while True:
    os.write(1, b"%012d tick\\n" % number)
    number += 1
    time.sleep(0.002)
"""
CALM = '[pools.calm]\ncommand = "sleep 1000"\nworkers = 2\n'


@pytest.fixture
def flood(script: Callable[[str, str], Path], tmp_path: Path) -> str:
    """The pool's table; its logs may follow."""
    program = script("flood.py", FLOOD)
    return f'[pools.flood]\ncommand = "{QUICK_PYTHON} {program} {tmp_path}/trace{{slot}}"\n'


@pytest.fixture
def ticker(script: Callable[[str, str], Path]) -> str:
    return f'[pools.ticker]\ncommand = "{QUICK_PYTHON} {script("ticker.py", TICKER)}"\n'


def written(tmp_path: Path) -> int:
    """Bytes, so far, by all workers of the flood."""
    return sum(int(trace.read_text()) * LINE for trace in tmp_path.glob("trace?"))


def logs(path: Path | str, max_size: int = MOST, backups: int = 3) -> str:
    return f'logs = {{ mode = "file", path = "{path}", max_size = {max_size / MEGABYTE}, backups = {backups} }}\n'


def flows(tmp_path: Path, megabytes: int) -> None:
    """The worker writes so much more: it waits for nobody."""
    enough = written(tmp_path) + megabytes * MEGABYTE
    until(lambda: written(tmp_path) >= enough, PATIENCE, "the flood has stopped")


@contextmanager
def undisturbed(service: Service) -> Iterator[Poller]:
    """Meanwhile the probes answer, and memory does not grow."""
    before = resident(service.pid)
    with ExitStack() as stack:
        poller = stack.enter_context(polled(service, "/livez"))
        stack.enter_context(polled(service, "/readyz"))
        yield poller
    grown = resident(service.pid) - before
    assert grown < GROWTH, f"{grown / MEGABYTE:.1f} MB more"


def replaced(service: Service) -> None:
    """A calm worker is killed, and there is another one."""
    killed = service.pids("calm")[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in (pids := service.pids("calm")) and len(pids) == 2, what="nobody came in its place")


def numbers(*files: Path) -> list[int]:
    """Of all lines in these files, oldest first, each of them whole; the very last may have been cut by a kill."""
    lines = b"".join(file.read_bytes() for file in files).splitlines(keepends=True)
    assert lines
    assert {len(line) for line in lines[:-1]} == {len(lines[0])}
    return [int(line[:12]) for line in lines[:-1]]


def sizes(directory: Path) -> Iterator[int]:
    """Of its files, while they are being rotated."""
    for file in directory.iterdir():
        with suppress(FileNotFoundError):
            yield file.stat().st_size


def gapless(found: list[int]) -> bool:
    return all(later == earlier + 1 for earlier, later in pairwise(found))


def told(service: Service, words: str) -> int:
    return service.text.count(words)


# As fast as it can


def test_a_flood_into_rotated_files_changes_nothing_for_the_others(start: Start, flood: str, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log"
    service = start(flood + logs(log) + CALM).started()
    flows(tmp_path, 20)
    with undisturbed(service):
        flows(tmp_path, 60)
        replaced(service)
        assert service.document("status")["state"] == "running"
        flows(tmp_path, 140)
    assert service.pool("flood")["restarts"] == 0
    assert service.stop() == 0
    files = [log.with_name(f"log{suffix}") for suffix in (".3", ".2", ".1", "")]
    assert sorted(log.parent.iterdir()) == sorted(files)
    assert max(file.stat().st_size for file in files) <= MOST
    assert gapless(numbers(*files))
    assert told(service, "log file") == 0


def test_many_floods_at_once_share_the_supervisor(start: Start, flood: str, tmp_path: Path) -> None:
    several = flood + "workers = 8\n" + logs(tmp_path / "logs" / "{slot}", max_size=MEGABYTE, backups=1) + CALM
    service = start(several).started()
    flows(tmp_path, 20)
    with undisturbed(service):
        replaced(service)
        flows(tmp_path, 40)
    assert service.pool("flood")["restarts"] == 0
    assert service.stop() == 0
    for slot in range(8):
        assert gapless(numbers(tmp_path / "logs" / f"{slot}.1", tmp_path / "logs" / str(slot)))


def test_a_flood_to_a_reader_that_has_stopped_reading_takes_no_memory(start: Start, flood: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    service = start(flood + CALM, stdout=writer).started()
    os.close(writer)
    flows(tmp_path, 20)
    with undisturbed(service):
        replaced(service)
        flows(tmp_path, 60)
    assert service.stop() == 0
    os.close(reader)


# Full disks


def test_a_full_disk_is_told_once_and_written_to_again_when_there_is_room(
    start: Start, flood: str, tmp_path: Path
) -> None:
    private = ("unshare", "--mount", "--propagation", "private")
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root, and the right to a mount namespace")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size=2m none {disk} && head -c 2000000 /dev/zero >{disk}/ballast && exec "$@"'
    service = start(
        flood + logs(disk / "log", max_size=200_000, backups=1) + CALM,
        prefix=(*private, "sh", "-c", mounted, "sh"),
    ).started()
    until(lambda: told(service, "cannot write log file") == 1)
    with undisturbed(service):
        flows(tmp_path, 25)
        replaced(service)
    assert told(service, "cannot write log file") == 1
    inside = Path(f"/proc/{service.pid}/root{disk}")
    (inside / "ballast").unlink()
    until(lambda: told(service, "is written again"))
    flows(tmp_path, 10)
    assert max(sizes(inside)) <= 200_000
    assert told(service, "cannot write log file") == told(service, "is written again") == 1
    assert service.stop() == 0


def test_a_device_without_room_is_told_once_until_a_file_takes_its_place(
    start: Start, flood: str, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    log.symlink_to("/dev/full")
    service = start(flood + logs(log) + CALM).started()
    until(lambda: told(service, "cannot write log file") == 1)
    with undisturbed(service):
        flows(tmp_path, 25)
        replaced(service)
    assert told(service, "cannot write log file") == 1
    log.unlink()
    until(lambda: told(service, "is written again"))
    flows(tmp_path, 10)
    assert service.stop() == 0
    assert gapless(numbers(log.with_name("worker.log.1"), log))


# What others do to the files


def test_files_that_are_renamed_and_made_anew_are_followed_without_losing_a_line(
    start: Start, ticker: str, tmp_path: Path
) -> None:
    """logrotate's `create`."""
    log, moved = tmp_path / "worker.log", tmp_path / "worker.log-20261122"
    service = start(ticker + logs(log)).started()
    until(lambda: log.exists() and log.stat().st_size > 100)
    log.rename(moved)
    log.touch()
    until(lambda: log.stat().st_size > 100)
    assert service.stop() == 0
    found = numbers(moved, log)
    assert found[0] == 0
    assert gapless(found)
    assert told(service, "log file") == 0


def test_files_that_are_copied_and_truncated_go_on_from_the_beginning(
    start: Start, ticker: str, tmp_path: Path
) -> None:
    """logrotate's `copytruncate`: what comes between the two is lost, but no hole is left in the file."""
    log, copy = tmp_path / "worker.log", tmp_path / "worker.log.copy"
    service = start(ticker + logs(log)).started()
    until(lambda: log.exists() and log.stat().st_size > 10_000)
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    until(lambda: log.stat().st_size > 100)
    assert service.stop() == 0
    assert gapless(numbers(log))
    assert numbers(log)[0] > numbers(copy)[-1]


def test_a_directory_that_is_removed_is_made_again(start: Start, flood: str, tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    service = start(flood + logs(directory / "log") + CALM).started()
    flows(tmp_path, 20)
    with undisturbed(service):
        directory.rename(tmp_path / "gone")
        shutil.rmtree(tmp_path / "gone")
        until((directory / "log.1").exists)
        flows(tmp_path, 20)
    assert service.stop() == 0
    assert gapless(numbers(directory / "log.1", directory / "log"))
    assert told(service, "log file") == 0
