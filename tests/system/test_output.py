"""Output of real worker processes, through real pipes."""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import termios
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import LogPolicy, PoolSpec
from chaperone_async.system.lines import FOLD, MAX_LINE
from chaperone_async.system.output import CHUNK, LAST_WORDS, LEAST, TURN, Outputs
from chaperone_async.system.stdout import StdoutWriter
from chaperone_async.system.tail import MAX_BYTES

REF = WorkerRef("mail", 3, 1)
SPEC = PoolSpec(name="mail", command=("worker",))


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    """Asks the kernel, not /proc by thread: the writers' threads come and go."""
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class Terminal:
    """A file as standard output."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.writer = StdoutWriter(self._fd)

    def text(self) -> str:
        """All that was written. Closes the writer."""
        assert self.writer.close(10)
        return self._path.read_text()

    def close(self) -> None:
        self.writer.close(10)
        os.close(self._fd)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "stdout")
    yield terminal
    terminal.close()


@pytest.fixture
def outputs(terminal: Terminal) -> Outputs:
    return Outputs(terminal.writer, trouble=pytest.fail)


def start(outputs: Outputs, script: str, *, spec: PoolSpec = SPEC, ref: WorkerRef = REF) -> subprocess.Popen[bytes]:
    fd = outputs.open(ref, f"{ref.pool}-{ref.generation:06x}", spec)
    try:
        return subprocess.Popen(["sh", "-c", script], stdout=fd, stderr=fd, start_new_session=True)
    finally:
        os.close(fd)


async def until_exit(process: subprocess.Popen[bytes]) -> None:
    """Without blocking the loop, which must go on reading."""
    exited = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    asyncio.get_running_loop().add_reader(pidfd, exited.set)
    await exited.wait()
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    process.wait()


async def say(outputs: Outputs, script: str, *, spec: PoolSpec = SPEC, ref: WorkerRef = REF) -> None:
    await until_exit(start(outputs, script, spec=spec, ref=ref))
    outputs.finish(ref)


async def test_stdout_and_stderr_arrive_in_order_with_the_workers_name(outputs: Outputs, terminal: Terminal) -> None:
    await say(outputs, "echo one; echo two >&2; echo; echo three")
    assert outputs.tail(REF, 10) == ["one", "two", "", "three"]
    assert terminal.text() == "mail-000001 | one\nmail-000001 | two\nmail-000001 | \nmail-000001 | three\n"


async def test_the_last_words_of_a_dead_worker_need_no_newline_and_stay_until_forgotten(outputs: Outputs) -> None:
    await say(outputs, "printf 'first\\nout of mem'")
    assert outputs.tail(REF, 10) == ["first", "out of mem"]
    assert outputs.tail(REF, 1) == ["out of mem"]
    outputs.forget(REF)
    assert outputs.tail(REF, 10) == []


async def test_invalid_utf8_is_replaced_and_carriage_returns_at_line_ends_vanish(
    outputs: Outputs, terminal: Terminal
) -> None:
    await say(outputs, r"printf 'caf\351 \342\202\254\r\n'")
    assert outputs.tail(REF, 1) == ["caf\ufffd €"]
    assert terminal.text() == "mail-000001 | caf\ufffd €\n"


async def test_a_descendant_that_keeps_the_pipe_open_does_not_hold_up_the_end(outputs: Outputs) -> None:
    worker = start(outputs, "echo bye; sleep 60 & echo $!")
    await until_exit(worker)
    outputs.finish(REF)
    said, sleeper = outputs.tail(REF, 2)
    assert said == "bye"
    os.kill(int(sleeper), 9)


async def test_a_worker_that_closes_its_output_costs_nothing_from_then_on(outputs: Outputs) -> None:
    worker = start(outputs, "printf quiet; exec >&- 2>&-; exec sleep 60")
    while not outputs.tail(REF, 1):
        await asyncio.sleep(0.001)
    assert outputs.tail(REF, 1) == ["quiet"]
    assert REF not in outputs._open
    worker.kill()
    await until_exit(worker)
    outputs.finish(REF)


async def test_only_the_last_lines_are_kept(outputs: Outputs) -> None:
    await say(outputs, "seq 1 100000", spec=replace(SPEC, logs=LogPolicy(keep=7)))
    assert outputs.tail(REF, 100) == [str(number) for number in range(99994, 100001)]


async def test_long_lines_are_folded_with_a_mark_and_lose_nothing(outputs: Outputs, terminal: Terminal) -> None:
    await say(outputs, f"""{sys.executable} -c 'print("é" * 20000); print("end")'""")
    *parts, end = terminal.text().removesuffix("\n").split("\n")
    assert end == "mail-000001 | end"
    assert len(parts) == 3
    assert all(len(part.encode()) < MAX_LINE + 64 for part in parts)
    assert parts[0].endswith("é …")
    assert parts[1].startswith("mail-000001 | … é")
    assert sum(part.count("é") for part in parts) == 20000


async def test_a_flood_is_read_to_its_end_while_the_loop_stays_free_and_memory_small(tmp_path: Path) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)
    writer = StdoutWriter(sink)
    outputs = Outputs(writer, trouble=pytest.fail)
    tracemalloc.start()
    worker = start(outputs, "yes 'a line of an ordinary length, as logs have them' | head -c 50000000; echo; echo last")
    gone = asyncio.ensure_future(until_exit(worker))
    turns = 0
    while not gone.done():
        await asyncio.sleep(0)
        turns += 1
    outputs.finish(REF)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outputs.tail(REF, 1) == ["last"]
    assert peak < 8 << 20
    assert turns > 40_000_000 // CHUNK  # the rest may still have been in the pipe
    writer.close(10)
    os.close(sink)


async def test_an_endless_line_grows_nothing(outputs: Outputs, terminal: Terminal) -> None:
    await say(outputs, "head -c 5000000 /dev/zero | tr '\\0' x")
    kept = outputs.tail(REF, 1000)
    assert sum(map(len, kept)) <= MAX_BYTES
    assert terminal.text().count("x") == 5_000_000


async def test_what_is_read_from_the_dead_is_bounded(outputs: Outputs) -> None:
    fd = outputs.open(REF, "mail-1", SPEC)
    writer = subprocess.Popen(["yes"], stdout=fd)  # a descendant that floods on, were it not swept
    os.close(fd)
    outputs.finish(REF)
    assert len(outputs.tail(REF, 10_000)) <= LAST_WORDS // 2
    writer.wait()  # of SIGPIPE


async def test_nobody_reading_stdout_neither_blocks_a_worker_nor_its_log_in_memory() -> None:
    readable, full = os.pipe()
    writer = StdoutWriter(full, capacity=100_000)
    outputs = Outputs(writer, trouble=pytest.fail)
    await say(outputs, "seq 1 200000")
    assert outputs.tail(REF, 1) == ["200000"]
    assert writer.dropped > 0
    os.close(readable)
    assert writer.close(10)
    os.close(full)


async def test_json_lines_name_pool_worker_and_slot(terminal: Terminal) -> None:
    outputs = Outputs(terminal.writer, trouble=pytest.fail, log_format="json")
    await say(outputs, r"""printf 'say "hi"\377\n'""")
    line = json.loads(terminal.text())
    assert line.pop("time").endswith("Z")
    assert line == {"pool": "mail", "worker": "mail-000001", "slot": 3, "message": 'say "hi"\ufffd'}


async def test_a_worker_that_writes_json_keeps_its_own_fields(terminal: Terminal) -> None:
    outputs = Outputs(terminal.writer, trouble=pytest.fail, log_format="json")
    own = '{"time": "then", "level": "info", "message": "m", "worker": "me", "big": 12345678901234567890123}'
    await say(outputs, f"echo '{own}'; echo '{{}}'; echo '[1]'; echo '{{oops}}'")
    first, empty, listed, broken = terminal.text().splitlines()
    assert '"big": 12345678901234567890123' in first
    assert json.loads(first) == {**json.loads(own), "pool": "mail", "slot": 3}
    assert json.loads(empty).keys() == {"time", "pool", "worker", "slot"}
    assert json.loads(listed)["message"] == "[1]"
    assert json.loads(broken)["message"] == "{oops}"


async def test_workers_share_a_log_file_without_prefixes(tmp_path: Path, terminal: Terminal, outputs: Outputs) -> None:
    spec = replace(SPEC, logs=LogPolicy(mode="file", path=str(tmp_path / "logs" / "{pool}.log")))
    other = WorkerRef("mail", 4, 1)
    first = start(outputs, "echo one; exec sleep 60", spec=spec)
    await say(outputs, "echo two", spec=spec, ref=other)
    while not outputs.tail(REF, 1):
        await asyncio.sleep(0.001)
    first.kill()
    await until_exit(first)
    outputs.finish(REF)
    assert sorted((tmp_path / "logs" / "mail.log").read_text().splitlines()) == ["one", "two"]
    assert terminal.text() == ""


async def test_a_start_where_we_are_no_more_costs_no_descriptor(
    tmp_path: Path, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "released").mkdir()
    monkeypatch.chdir(tmp_path / "released")
    (tmp_path / "released").rmdir()
    spec = replace(SPEC, logs=LogPolicy(mode="file", path="logs/{pool}.log"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        outputs.open(REF, "mail-a", spec)
    assert os.listdir("/proc/self/fd") == before


async def test_a_full_disk_is_told_once_and_the_worker_goes_on(terminal: Terminal) -> None:
    told: list[str] = []
    outputs = Outputs(terminal.writer, trouble=told.append)
    await say(outputs, "seq 1 200000", spec=replace(SPEC, logs=LogPolicy(mode="file", path="/dev/full", max_size=1000)))
    assert outputs.tail(REF, 1) == ["200000"]
    (sentence,) = told
    assert sentence.startswith("cannot write log file '/dev/full': No space left on device; ")


async def test_a_silent_worker_costs_less_than_three_kilobytes(outputs: Outputs) -> None:
    refs = [WorkerRef("mail", slot, 1) for slot in range(300)]
    tracemalloc.start()
    writers = [outputs.open(ref, "mail-aaaaaa", SPEC) for ref in refs]
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert current / len(refs) < 3072
    for writer in writers:
        os.close(writer)
    outputs.close()


def test_a_fold_never_cuts_a_character() -> None:
    from chaperone_async.system.lines import fold

    for shift in range(4):
        text = "a" * shift + "€" * 20000
        folded = fold(text.encode())
        assert folded.decode().replace(FOLD.decode(), "") == text


def follow(outputs: Outputs, pool: str | None) -> tuple[list[tuple[int, bytes]], Callable[[], None]]:
    """What is heard, by generation; and how to stop hearing."""
    heard: list[tuple[int, bytes]] = []
    return heard, outputs.follow(pool, lambda ref, block: heard.append((ref.generation, block)))


async def test_a_follower_gets_whole_lines_of_its_pool_and_at_a_workers_end_the_unfinished_one(
    outputs: Outputs,
) -> None:
    mails, _ = follow(outputs, "mail")
    everything, _ = follow(outputs, None)
    others, _ = follow(outputs, "other")
    await say(outputs, "printf 'one\\ntw'; printf 'o\\nthree'")
    await say(outputs, "echo next", ref=replace(REF, generation=2))
    for heard in (mails, everything):
        assert b"".join(block for generation, block in heard if generation == 1) == b"one\ntwo\nthree\n"
        assert all(block.endswith(b"\n") for _, block in heard)
        assert heard[-1] == (2, b"next\n")
    assert not others


async def test_whoever_follows_no_more_hears_no_more(outputs: Outputs) -> None:
    heard, leave = follow(outputs, None)
    await say(outputs, "echo one")
    leave()
    await say(outputs, "echo two", ref=replace(REF, generation=2))
    assert heard == [(1, b"one\n")]


async def test_what_was_written_before_and_what_is_written_after_make_a_whole(outputs: Outputs) -> None:
    worker = start(outputs, "seq 1 2000", spec=replace(SPEC, logs=LogPolicy(keep=2000)))
    while not outputs.tail(REF, 1):
        await asyncio.sleep(0)
    before = outputs.tail(REF, 5000)
    heard, _ = follow(outputs, "mail")
    await until_exit(worker)
    outputs.finish(REF)
    after = b"".join(block for _, block in heard).decode().split()
    assert [*before, *after] == [str(number) for number in range(1, 2001)]


async def test_a_turn_of_the_loop_reads_no_more_however_many_workers_flood(outputs: Outputs) -> None:
    refs = [WorkerRef("mail", slot, slot + 1) for slot in range(64)]
    pipes = [outputs.open(ref, f"mail-{ref.generation:06x}", SPEC) for ref in refs]
    full = (b"x" * 63 + b"\n") * 1024
    for pipe in pipes:
        os.write(pipe, full)
    for _ in range(2):  # the readers' first turn lies between
        await asyncio.sleep(0)
    taken = [
        len(full) - int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder) for pipe in pipes
    ]
    assert min(taken) >= LEAST
    assert 0 < sum(taken) <= TURN
    for pipe, ref in zip(pipes, refs, strict=True):
        os.close(pipe)
        outputs.finish(ref)
