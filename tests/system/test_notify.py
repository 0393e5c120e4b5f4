"""Notify sockets, spoken to by real processes."""

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.system.notify import NotifySockets
from chaperone_async.system.ports import (
    ExtendNotice,
    JobNotice,
    Notice,
    ReadyNotice,
    StoppingNotice,
    Telemetry,
)

REF = WorkerRef("mail", 0, 1)
START = "X_CHAPERONE_EVENT=start\nX_CHAPERONE_JOB={}"
END = "X_CHAPERONE_EVENT=end\nX_CHAPERONE_JOB={}"

# Sends each line of its input as a datagram, `|` for newlines, and echoes the line when it has been sent.
SPEAKER = """
import os, socket, sys
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for line in sys.stdin:
    said = line.rstrip("\\n").replace("|", "\\n").encode("utf-8", "surrogateescape")
    sender.sendto(said, os.environ["NOTIFY_SOCKET"])
    print(line, end="", flush=True)
"""


# Two children count three jobs each and leave one running; told to go on, they end, and the parent speaks, too.
PREFORK = """
import os, socket, sys
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
held, holding = os.pipe()
for child in range(2):
    if not os.fork():
        os.close(holding)
        for said in ("EVENT=end\\nX_CHAPERONE_JOB=1\\nX_CHAPERONE_DONE=3", "EVENT=start\\nX_CHAPERONE_JOB=left"):
            sender.sendto(b"X_CHAPERONE_" + said.encode(), os.environ["NOTIFY_SOCKET"])
        os.read(held, 1)
        os._exit(0)
print(os.read(0, 100).decode(), end="", flush=True)
os.close(holding)
for child in range(2):
    os.wait()
os.execv(sys.argv[1], sys.argv[1:])
"""

needs_systemd_notify = pytest.mark.skipif(not shutil.which("systemd-notify"), reason="systemd-notify is not installed")


async def until(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.001)


class Speaker:
    """A process that says what it is told to say. As a worker it leads a session of its own."""

    def __init__(self, address: str, *prefix: str) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-c", SPEAKER],
            env={"NOTIFY_SOCKET": address},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
        )
        self.pid = self._process.pid

    def say(self, *fields: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("|".join(fields).replace("\n", "|") + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline()

    def end(self) -> None:
        self._process.communicate()


class World:
    """Sockets with a clock of our own, and what was noticed."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self.sockets = NotifySockets(parent, clock=lambda: self.now)
        self.notices: list[Notice] = []
        self.now = 100.0
        self._speakers: list[Speaker] = []
        self.sockets.listen("mail", self.notices.append)

    def address(self, ref: WorkerRef) -> str:
        return str(self.sockets._slots[ref.pool, ref.slot].path)

    def stranger(self, address: str, *prefix: str) -> Speaker:
        speaker = Speaker(address, *prefix)
        self._speakers.append(speaker)
        return speaker

    def worker(self, ref: WorkerRef = REF, *prefix: str) -> Speaker:
        speaker = self.stranger(self.sockets.open(ref, None, None), *prefix)
        self.sockets.started(ref, speaker.pid)
        return speaker

    async def hear(self, speaker: Speaker, *fields: str) -> Telemetry:
        """What is known of REF once this has been taken in."""
        speaker.say(*fields)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.sockets.telemetry(REF)

    def close(self) -> None:
        for speaker in self._speakers:
            speaker.end()
        self.sockets.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    # Not tmp_path: it may be too long for a socket's address.
    parent = Path(tempfile.mkdtemp())
    world = World(parent)
    yield world
    world.close()
    assert list(parent.iterdir()) == []
    parent.rmdir()


async def test_each_field_becomes_telemetry_or_a_notice(world: World) -> None:
    worker = world.worker()
    assert world.sockets.telemetry(REF) == Telemetry()
    told = await world.hear(worker, "READY=1", "STATUS=warm = up", "WATCHDOG=1", "SOMETHING_NEW=x")
    assert told == Telemetry(status="warm = up", heartbeat_at=100.0)
    await world.hear(worker, "RELOADING=1")
    await world.hear(worker, "EXTEND_TIMEOUT_USEC=1500000", "STOPPING=1", "MAINPID=1")
    assert world.notices == [ReadyNotice(REF), StoppingNotice(REF), ExtendNotice(REF, 1.5)]
    assert world.sockets.dropped == 0


async def test_a_job_is_current_from_its_start_to_its_end(world: World) -> None:
    worker = world.worker()
    told = await world.hear(worker, START.format("7"), "X_CHAPERONE_NAME=send")
    assert told == Telemetry(
        spoke=True, current_job="7", current_job_name="send", current_job_since=100.0, running=(("7", 100.0),)
    )
    world.now = 102.0
    told = await world.hear(worker, END.format("7"), "X_CHAPERONE_OK=1", "X_CHAPERONE_MS=1500.5")
    assert told == Telemetry(spoke=True, jobs_done=1, last_job_ended_at=102.0, busy_seconds=1.5005)
    assert world.notices == [JobNotice(REF, "7", None, None, True, 1.5005, None, None, None)]


async def test_the_end_of_a_failed_job_says_what_it_takes_to_send_it_again(world: World) -> None:
    worker = world.worker()
    await world.hear(worker, START.format("7"), "X_CHAPERONE_MARK=broker-1")
    told = await world.hear(
        worker, END.format("7"), "X_CHAPERONE_OK=0", "X_CHAPERONE_NAME=send", "X_CHAPERONE_QUEUE=mail",
        "X_CHAPERONE_WAIT_MS=250", "X_CHAPERONE_ERROR=ValueError: no", 'X_CHAPERONE_ARGS={"args": ["a=b"]}',
    )  # fmt: skip
    assert told.mark == "broker-1"
    assert world.notices == [
        JobNotice(REF, "7", "send", "mail", False, None, 0.25, "ValueError: no", '{"args": ["a=b"]}')
    ]


async def test_without_a_duration_the_time_between_start_and_end_counts(world: World) -> None:
    worker = world.worker()
    await world.hear(worker, START.format("7"))
    world.now = 103.0
    told = await world.hear(worker, END.format("7"), "X_CHAPERONE_OK=0")
    assert (told.jobs_done, told.jobs_failed, told.busy_seconds) == (0, 1, 3.0)


async def test_cumulative_counts_make_up_for_lost_messages(world: World) -> None:
    worker = world.worker()
    told = await world.hear(worker, END.format("7"), "X_CHAPERONE_DONE=40", "X_CHAPERONE_FAILED=2")
    assert (told.jobs_done, told.jobs_failed) == (40, 2)
    told = await world.hear(worker, END.format("6"), "X_CHAPERONE_DONE=39")  # overtaken on its way
    assert (told.jobs_done, told.jobs_failed) == (40, 2)


async def test_the_counts_of_all_processes_of_a_worker_are_summed(world: World) -> None:
    parent = world.worker(REF, sys.executable, "-c", PREFORK)
    await until(lambda: world.sockets.telemetry(REF).jobs_done == 6)
    parent.say("go on")
    told = await world.hear(parent, END.format("1"), "X_CHAPERONE_DONE=10", "X_CHAPERONE_FAILED=1")
    assert (told.jobs_done, told.jobs_failed) == (16, 1)


async def test_the_job_that_runs_longest_is_the_current_one(world: World) -> None:
    worker = world.worker()
    for job in ("1", "2", "3"):
        await world.hear(worker, START.format(job))
    assert world.sockets.telemetry(REF).current_job == "1"
    told = await world.hear(worker, END.format("1"))
    assert told.current_job == "2"


async def test_a_job_whose_end_was_lost_is_over_when_its_process_says_how_many_run(world: World) -> None:
    worker = world.worker()
    await world.hear(worker, START.format("1"), "X_CHAPERONE_RUNNING=1")
    told = await world.hear(worker, START.format("2"), "X_CHAPERONE_RUNNING=1")
    assert told.current_job == "2"
    told = await world.hear(worker, END.format("3"), "X_CHAPERONE_RUNNING=0")
    assert told.current_job is None


async def test_a_killed_child_runs_no_job_any_more_but_its_count_stays(world: World) -> None:
    parent = world.worker(REF, sys.executable, "-c", PREFORK)
    await until(lambda: world.sockets.telemetry(REF).current_job == "left")
    await until(lambda: world.sockets.telemetry(REF).jobs_done == 6)
    parent.say("go on")
    told = await world.hear(parent, "STATUS=on")  # which it does once its children are gone
    assert told.current_job == "left"
    for _ in range(5):
        told = world.sockets.telemetry(REF)  # nobody says anything any more
        assert told.current_job == "left", "it is the worker's, should that die of its child's end"
        world.now += 1.0
    world.now += 1.0
    told = world.sockets.telemetry(REF)
    assert (told.current_job, told.jobs_done) == (None, 6)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "READY",
        "READY=yes",
        "WATCHDOG=trigger",
        "READY=1|\udcff",
        "EXTEND_TIMEOUT_USEC=0",
        "EXTEND_TIMEOUT_USEC=-5",
        "EXTEND_TIMEOUT_USEC=3600000001",
        "EXTEND_TIMEOUT_USEC=\u0661",
        "READY=1|X_CHAPERONE_EVENT=pause|X_CHAPERONE_JOB=1",
        "X_CHAPERONE_EVENT=start",
        "X_CHAPERONE_EVENT=end|X_CHAPERONE_JOB=1|X_CHAPERONE_OK=maybe",
        "X_CHAPERONE_EVENT=end|X_CHAPERONE_JOB=1|X_CHAPERONE_MS=nan",
        "X_CHAPERONE_EVENT=end|X_CHAPERONE_JOB=1|X_CHAPERONE_MS=-1",
        "X_CHAPERONE_EVENT=end|X_CHAPERONE_JOB=1|X_CHAPERONE_MS=1e9",
        "X_CHAPERONE_EVENT=end|X_CHAPERONE_JOB=1|X_CHAPERONE_WAIT_MS=soon",
        "X_CHAPERONE_EVENT=end|X_CHAPERONE_JOB=1|X_CHAPERONE_DONE=1_000",
        "X_CHAPERONE_EVENT=end|X_CHAPERONE_JOB=1|X_CHAPERONE_FAILED=" + "9" * 400,
        "STATUS=" + "x" * 16_378,
    ],
)
async def test_a_malformed_message_changes_nothing_and_is_counted(world: World, message: str) -> None:
    told = await world.hear(world.worker(), message)
    assert told == Telemetry()
    assert world.notices == []
    assert world.sockets.dropped == 1


async def test_a_stranger_is_not_heard(world: World) -> None:
    world.worker()
    stranger = world.stranger(world.address(REF))
    assert await world.hear(stranger, "READY=1", "STATUS=I am it") == Telemetry()
    assert world.notices == []
    assert world.sockets.dropped == 1


async def test_a_descendant_in_a_session_of_its_own_is_heard(world: World) -> None:
    worker = world.worker(REF, "sh", "-c", 'setsid -w "$@"; exit 0', "-")
    assert (await world.hear(worker, "STATUS=grandchild")).status == "grandchild"


async def test_an_orphan_in_the_workers_session_is_heard(world: World) -> None:
    worker = world.worker(REF, "sh", "-c", 'exec 3<&0; ("$@" <&3 &); exec cat >/dev/null <&-', "-")
    assert (await world.hear(worker, "STATUS=orphan")).status == "orphan"


async def test_what_a_worker_says_before_its_pid_is_known_is_heard_then_and_bounded(world: World) -> None:
    early = world.stranger(world.sockets.open(REF, None, None))
    for number in range(20):
        await world.hear(early, f"STATUS={number}")
    assert world.sockets.telemetry(REF) == Telemetry()
    world.sockets.started(REF, early.pid)
    assert world.sockets.telemetry(REF).status == "15"
    assert world.sockets.dropped == 4


async def test_a_life_before_is_not_heard_in_the_next(world: World) -> None:
    old = world.worker()
    await world.hear(old, "STATUS=first")
    old.say("STATUS=last words")
    world.sockets.ended(REF)
    assert world.sockets.telemetry(REF).status == "last words"
    old.say("STATUS=ghost")
    successor = WorkerRef("mail", 0, 2)
    new = world.worker(successor)
    await world.hear(old, "STATUS=ghost")
    await world.hear(new, "READY=1")
    assert world.sockets.telemetry(REF).status == "last words"
    assert world.sockets.telemetry(successor) == Telemetry()
    assert world.notices == [ReadyNotice(successor)]
    assert world.sockets.dropped == 2


async def test_all_that_a_worker_had_said_by_its_end_is_heard(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaperone_async.system.notify._PER_TURN", 2)
    worker = world.worker()
    for number in range(7):
        worker.say(f"STATUS=word {number}")
    world.sockets.ended(REF)
    assert world.sockets.telemetry(REF).status == "word 6"


async def test_every_generation_of_a_slot_has_the_same_socket(world: World) -> None:
    first = world.sockets.open(REF, None, None)
    assert world.sockets.open(WorkerRef("mail", 0, 2), None, None) == first
    assert world.sockets.open(WorkerRef("mail", 1, 1), None, None) != first
    world.sockets.retire("mail", 1)
    assert not Path(first).with_name("1").exists()


async def test_descriptors_sent_along_are_closed(world: World) -> None:
    world.worker()
    before = len(os.listdir("/proc/self/fd"))
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.connect(world.address(REF))
    readable, writable = os.pipe()
    socket.send_fds(sender, [b"READY=1"], [writable] * 40)
    os.close(writable)
    await asyncio.to_thread(os.read, readable, 1)  # the end: nobody holds the other one any more
    os.close(readable)
    sender.close()
    assert len(os.listdir("/proc/self/fd")) == before


@needs_systemd_notify
async def test_systemd_notify_in_a_shell_script_is_heard_and_not_kept_waiting(world: World) -> None:
    address = world.sockets.open(REF, None, None)
    script = "systemd-notify --ready --status='from a shell' && echo fine; read end"
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", script, env={"NOTIFY_SOCKET": address}, stdin=-1, stdout=-1, start_new_session=True
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    assert await shell.stdout.readline() == b"fine\n"  # the program that spoke is gone by now
    world.sockets.started(REF, shell.pid)
    assert world.notices == [ReadyNotice(REF)]
    assert world.sockets.telemetry(REF).status == "from a shell"
    shell.stdin.close()
    await shell.wait()


@needs_systemd_notify
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a worker as somebody else")
async def test_a_worker_of_another_user_can_speak_and_others_cannot(world: World) -> None:
    nobody, somebody = 65534, 65533
    os.chmod(world.parent, 0o755)
    address = world.sockets.open(REF, nobody, nobody)
    about = os.stat(address)
    assert (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) == (nobody, nobody, 0o600)
    for user, succeeds in ((nobody, True), (somebody, False)):
        process = await asyncio.create_subprocess_exec(
            "systemd-notify", "--no-block", "READY=1", env={"NOTIFY_SOCKET": address}, user=user, stderr=-3
        )
        assert (await process.wait() == 0) == succeeds


async def test_our_files_are_closed_to_others(world: World) -> None:
    address = Path(world.sockets.open(REF, None, None))
    assert stat.S_IMODE(address.stat().st_mode) == 0o600
    assert stat.S_IMODE(address.parents[1].stat().st_mode) == 0o700


async def test_a_directory_too_deep_for_a_socket_is_refused_in_words(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    with pytest.raises(OSError, match=r"cannot make a directory for notify sockets: .*the path is too long"):
        NotifySockets(deep).open(REF, None, None)


async def test_a_place_that_cannot_be_used_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "none"))
    sockets = NotifySockets()
    address = sockets.open(REF, None, None)
    assert not address.startswith(str(tmp_path))
    sockets.close()
    assert not Path(address).parents[1].exists()


async def test_no_other_place_is_needed_than_the_one_that_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    sockets = NotifySockets()
    try:
        assert sockets.open(REF, None, None)
    finally:
        sockets.close()
