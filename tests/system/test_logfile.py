"""Log files on a real disk, under a clock of our own."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaperone_async.system.logfile import LogFile, LogFiles


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def log(tmp_path: Path, clock: Clock, told: list[str]) -> Iterator[LogFile]:
    log = LogFile(str(tmp_path / "a" / "b" / "log"), 100, 2, told.append, clock)
    yield log
    log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a" / "b" / "log"


def test_the_directory_is_made_and_lines_are_appended(log: LogFile, path: Path) -> None:
    log.write(b"one\n")
    log.write(b"two\n")
    assert path.read_text() == "one\ntwo\n"


def test_a_full_file_is_rotated_and_only_the_backups_asked_for_are_kept(log: LogFile, path: Path) -> None:
    for letter in (b"a", b"b", b"c", b"d"):
        log.write(letter * 79 + b"\n")
    assert {file.name: file.read_text()[0] for file in path.parent.iterdir()} == {
        "log": "d",
        "log.1": "c",
        "log.2": "b",
    }


def test_without_backups_a_full_file_starts_anew(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"), 10, 0, pytest.fail)
    log.write(b"12345678\n")
    log.write(b"9\n")
    assert os.listdir(tmp_path) == ["log"]
    assert (tmp_path / "log").read_text() == "9\n"
    log.close()


def test_no_size_means_no_rotation(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"), 0, 3, pytest.fail)
    for _ in range(100):
        log.write(b"x" * 99 + b"\n")
    assert os.listdir(tmp_path) == ["log"]
    log.close()


def test_a_file_that_logrotate_moved_is_reopened_within_a_second(log: LogFile, path: Path, clock: Clock) -> None:
    log.write(b"one\n")
    path.rename(path.with_name("moved"))
    log.write(b"two\n")
    clock.now = 1.0
    log.write(b"three\n")
    assert path.with_name("moved").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_a_file_that_was_deleted_is_made_again(log: LogFile, path: Path, clock: Clock) -> None:
    log.write(b"one\n")
    path.unlink()
    clock.now = 1.0
    log.write(b"two\n")
    assert path.read_text() == "two\n"


def test_trouble_is_told_once_counted_and_over_when_it_is_over(
    log: LogFile, path: Path, clock: Clock, told: list[str]
) -> None:
    path.mkdir(parents=True)
    for _ in range(5):
        log.write(b"lost\n")
    clock.now = 1.0
    log.write(b"lost\nlost\n")
    assert log.lost == 7
    assert told == [
        f"cannot write log file '{path}': Is a directory; lines are kept in memory only until it can be written again"
    ]
    path.rmdir()
    clock.now = 2.0
    log.write(b"back\n")
    assert path.read_text() == "back\n"
    assert told[1:] == [f"log file '{path}' is written again; 7 lines were lost in all"]


def test_a_pipe_that_nobody_reads_does_not_hold_us_up(tmp_path: Path, told: list[str], clock: Clock) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    log = LogFile(str(pipe), 100, 1, told.append, clock)
    log.write(b"lost\n")
    assert "No such device" in told[0]
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    clock.now = 1.0
    log.write(b"heard\n")
    assert os.read(reader, 100) == b"heard\n"
    log.write(b"x" * 1_000_000 + b"\n")
    assert log.lost == 2
    os.close(reader)
    log.close()


def test_a_line_cut_by_a_full_disk_is_ended_before_the_next_begins(
    tmp_path: Path, told: list[str], clock: Clock
) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), 0, 0, told.append, clock)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        log.write(b"x" * 150 + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    clock.now = 1.0
    log.write(b"next\n")
    assert path.read_text() == "x" * 100 + "\nnext\n"
    assert log.lost == 1
    assert "took only a part" in told[0]
    log.close()


def test_a_backup_that_cannot_be_made_lets_the_file_grow_and_is_told_once(
    log: LogFile, path: Path, clock: Clock, told: list[str]
) -> None:
    (path.with_name("log.1") / "in the way").mkdir(parents=True)
    path.with_name("log.2").write_text("a file cannot be replaced by a directory")
    for second in range(5):
        clock.now = second
        log.write(b"x" * 79 + b"\n")
    assert path.stat().st_size == 400
    assert len(told) == 1
    assert told[0].startswith(f"cannot rotate log file '{path}': ")
    assert log.lost == 0


def test_a_full_file_that_was_moved_away_is_not_rotated_over_its_successor(log: LogFile, path: Path) -> None:
    log.write(b"a" * 79 + b"\n")
    path.rename(path.with_name("moved"))
    path.write_text("made by logrotate\n")
    log.write(b"b" * 79 + b"\n")
    assert path.read_text() == "made by logrotate\n" + "b" * 79 + "\n"
    assert {file.name for file in path.parent.iterdir()} == {"log", "moved"}


def test_a_full_file_whose_directory_was_removed_is_made_again(log: LogFile, path: Path, told: list[str]) -> None:
    log.write(b"a" * 79 + b"\n")
    path.unlink()
    path.parent.rmdir()
    log.write(b"b" * 79 + b"\n")
    assert path.read_text() == "b" * 79 + "\n"
    assert not told


def test_a_file_that_is_moved_away_in_the_moment_of_its_rotation_is_no_trouble(
    log: LogFile, path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write(b"a" * 79 + b"\n")
    replace = Path.replace

    def somebody_was_quicker(own: Path, target: Path) -> Path:
        path.rename(path.parent.with_name("moved"))
        path.parent.rmdir()
        return replace(own, target)

    monkeypatch.setattr(Path, "replace", somebody_was_quicker)
    log.write(b"b" * 79 + b"\n")
    assert path.read_text() == "b" * 79 + "\n"
    assert not told
    assert log.lost == 0


def test_users_of_one_path_share_one_open_file(tmp_path: Path) -> None:
    files = LogFiles(pytest.fail)
    path = str(tmp_path / "log")
    first, second = files.open(path, 0, 0), files.open(path, 0, 0)
    assert first is second
    first.write(b"one\n")
    files.release(path)
    second.write(b"two\n")
    files.release(path)
    assert second._fd == -1
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
