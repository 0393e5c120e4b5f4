"""The thread behind standard output, on real pipes."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from chaperone_async.system.stdout import StdoutWriter


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    """Asks the kernel, not /proc by thread: the writers' threads come and go."""
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def until(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.001)


def read_all(fd: int) -> bytes:
    text = b""
    while chunk := os.read(fd, 1 << 16):
        text += chunk
    return text


def test_lines_are_written_in_order_and_closing_flushes() -> None:
    readable, writable = os.pipe()
    writer = StdoutWriter(writable)
    for number in range(100):
        writer.write(b"%d\n" % number)
    assert writer.close(10)
    os.close(writable)
    assert read_all(readable) == b"".join(b"%d\n" % number for number in range(100))
    os.close(readable)


def test_a_full_queue_drops_whole_chunks_and_owns_up_when_it_flows_again() -> None:
    readable, writable = os.pipe()
    writer = StdoutWriter(writable, capacity=1 << 20)
    chunk = b"x" * 1023 + b"\n"
    before = time.monotonic()
    for _ in range(4096):
        writer.write(chunk)
    assert time.monotonic() - before < 10
    dropped = writer.dropped
    assert dropped >= 3000

    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(readable)))
    reader.start()
    until(lambda: writer._pending == 0)
    writer.write(b"after\n")
    assert writer.close(10)
    os.close(writable)
    reader.join()
    os.close(readable)
    *kept, notice, after = received[0].splitlines(keepends=True)
    assert set(kept) == {chunk}
    assert len(kept) + dropped == 4096
    assert notice == b"chaperone: %d lines dropped, stdout is not being read fast enough\n" % dropped
    assert after == b"after\n"


def test_closing_a_writer_that_nobody_reads_takes_no_longer_than_it_may() -> None:
    readable, writable = os.pipe()
    writer = StdoutWriter(writable)
    writer.write(b"x\n" * 500_000)
    before = time.monotonic()
    assert not writer.close(0.05)
    assert time.monotonic() - before < 10
    os.close(readable)  # the thread's write fails, and it ends
    assert writer.close(10)
    os.close(writable)


def test_a_reader_that_went_away_breaks_nothing() -> None:
    readable, writable = os.pipe()
    writer = StdoutWriter(writable)
    os.close(readable)
    for number in range(1, 4):
        writer.write(b"lost\n")
        until(lambda number=number: writer.dropped == number)  # type: ignore[misc]  # a value of the loop
    assert writer.close(10)
    os.close(writable)


def test_a_descriptor_that_was_closed_breaks_nothing() -> None:
    readable, writable = os.pipe()
    os.close(readable)
    spare = os.dup(writable)
    os.close(writable)
    os.close(spare)
    writer = StdoutWriter(spare)
    writer.write(b"lost\n")
    assert writer.close(10)
    assert writer.dropped == 1


def test_what_was_lost_to_a_failing_sink_is_told_with_its_cause_when_it_works_again() -> None:
    readable, writable = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    target = os.dup(full)
    writer = StdoutWriter(target)
    writer.write(b"one\ntwo\n")
    until(lambda: writer.dropped == 2)
    os.dup2(writable, target)
    writer.write(b"three\n")
    assert writer.close(10)
    for fd in (writable, full, target):
        os.close(fd)
    cause = os.strerror(errno.ENOSPC).encode()
    assert read_all(readable) == b"chaperone: 2 lines dropped, stdout could not be written: " + cause + b"\nthree\n"
    os.close(readable)


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing() -> None:
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    writer = StdoutWriter(writable)
    writer.write(b"x\n" * 500_000)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(readable)))
    reader.start()
    assert writer.close(10)
    os.close(writable)
    reader.join()
    os.close(readable)
    assert received == [b"x\n" * 500_000]
