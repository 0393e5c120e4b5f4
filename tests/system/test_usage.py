"""Real processes, looked at through /proc."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.system import proc
from chaperone_async.system.ports import Usage
from chaperone_async.system.usage import ProcSampler, make_sampler
from chaperone_async.system.usage_psutil import PsutilSampler

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MB = 1_000_000
REF = WorkerRef("p", 0, 1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A Python process in a session of its own that tells pids on a pipe and takes single orders on its stdin."""

    def __init__(self, script: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", textwrap.dedent(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def told(self) -> int:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], 20)
        assert readable, "the script said nothing"
        return int(self.process.stdout.readline())

    def order(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")


@contextmanager
def running(script: str) -> Iterator[Scripted]:
    """Leaves no process of the session behind, and checks that."""
    scripted = Scripted(script)
    try:
        yield scripted
    finally:
        for pid, session in list(proc.sessions()):
            if session == scripted.pid:
                os.kill(pid, signal.SIGKILL)
        scripted.process.wait()
        for stream in (scripted.process.stdin, scripted.process.stdout):
            if stream is not None:
                stream.close()
        until(lambda: not alive_in_session(scripted.pid))


def alive_in_session(session: int) -> list[int]:
    """Without zombies: those are their new parent's to reap."""
    found = []
    for pid, of in list(proc.sessions()):
        if of == session:
            process = proc.Process(pid, proc.Descriptors())
            process.refresh()
            if process.state not in ("", "Z"):
                found.append(pid)
            process.close()
    return found


def until(fact: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sampler(clock: Clock) -> Iterator[ProcSampler]:
    sampler = ProcSampler(clock)
    yield sampler
    sampler.close()
    assert not descriptors_of_others(), "a descriptor was left open"


def descriptors_of_others() -> list[str]:
    """What this process has open of other processes' entries in /proc."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that listed them
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    own = f"/proc/{os.getpid()}/"
    return [path for path in found if path.startswith("/proc/") and not path.startswith(own)]


def one(sampler: ProcSampler | PsutilSampler, clock: Clock, pid: int, after: float = 1.0) -> Usage:
    clock.now += after
    return sampler.sample([(REF, pid)])[REF]


SLEEPER = """
    import sys
    print(0)
    sys.stdin.readline()
"""

FAMILY = """
    import os, sys
    def hold(megabytes):
        return bytearray(os.urandom(1) * (megabytes * 1_000_000))
    mine = hold(20)
    if os.fork() == 0:
        childs = hold(30)
        if os.fork() == 0:
            os.setsid()                    # it leaves the session, as some libraries' children do
            grandchilds = hold(40)
            print(os.getpid(), flush=True)
            sys.stdin.readline()
        os.wait()
    os.wait()
"""

SPINNING_CHILD = """
    import os, sys, time
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        while time.process_time() < 0.3: pass
        print(os.getpid(), flush=True)
        os.read(r, 1)
        os._exit(0)
    sys.stdin.readline()
    os.write(w, b"x")
    {reap}
    print(0, flush=True)
    sys.stdin.readline()
"""

THREAD_THAT_FORKS = """
    import os, sys, threading, time
    def fork():
        if os.fork() == 0:
            held = bytearray(b"x" * 50_000_000)
            print(os.getpid(), flush=True)
            time.sleep(100)
        time.sleep(100)
    threading.Thread(target=fork, daemon=True).start()
    sys.stdin.readline()
"""

DOUBLE_FORK = """
    import os, sys, time
    if os.fork() == 0:
        between = os.getpid()
        if os.fork() == 0:
            while os.getppid() == between: time.sleep(0.001)
            held = bytearray(b"x" * 50_000_000)
            print(os.getpid(), flush=True)
            time.sleep(100)
        os._exit(0)
    os.wait()
    sys.stdin.readline()
"""


def test_memory_is_that_of_the_whole_tree(sampler: ProcSampler, clock: Clock) -> None:
    with running(FAMILY) as worker:
        try:
            grandchild = worker.told()
            usage = one(sampler, clock, worker.pid)
            assert usage.processes == 3
            assert 90 * MB < usage.memory - 3 * 5 * MB < 170 * MB  # the blocks, and three small interpreters
            assert usage.peak_memory == usage.memory
        finally:
            os.kill(grandchild, signal.SIGKILL)


def test_memory_agrees_with_psutil(sampler: ProcSampler, clock: Clock) -> None:
    with running(FAMILY) as worker:
        try:
            grandchild = worker.told()
            ours, theirs = one(sampler, clock, worker.pid), one(PsutilSampler(clock), clock, worker.pid)
            assert ours.processes == theirs.processes == 3
            assert ours.memory == pytest.approx(theirs.memory, rel=0.05)
            assert ours.cpu_seconds == pytest.approx(theirs.cpu_seconds, abs=0.1)
        finally:
            os.kill(grandchild, signal.SIGKILL)


def test_the_peak_outlives_the_child_that_caused_it(sampler: ProcSampler, clock: Clock) -> None:
    with running(FAMILY) as worker:
        grandchild = worker.told()
        before = one(sampler, clock, worker.pid)
        os.kill(grandchild, signal.SIGKILL)
        until(lambda: one(sampler, clock, worker.pid).memory < before.memory - 30 * MB)
        assert one(sampler, clock, worker.pid).peak_memory == before.memory


@pytest.mark.parametrize("reap", ["os.wait()", "import signal"], ids=["waited for", "left a zombie"])
def test_cpu_does_not_fall_when_a_child_dies(sampler: ProcSampler, clock: Clock, reap: str) -> None:
    with running(SPINNING_CHILD.replace("{reap}", reap)) as worker:
        worker.told()
        before = one(sampler, clock, worker.pid)
        assert before.cpu_seconds >= 0.28
        worker.order()
        worker.told()
        until(lambda: one(sampler, clock, worker.pid).processes == 1)
        after = one(sampler, clock, worker.pid)
        assert before.cpu_seconds <= after.cpu_seconds < before.cpu_seconds + 0.2


def test_cpu_of_a_child_nobody_waited_for_is_kept(sampler: ProcSampler, clock: Clock) -> None:
    with running(
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
        + textwrap.dedent(SPINNING_CHILD).replace("{reap}", "")
    ) as worker:
        child = worker.told()
        before = one(sampler, clock, worker.pid)
        worker.order()
        until(lambda: not os.path.exists(f"/proc/{child}"))
        after = one(sampler, clock, worker.pid)
        assert after.processes == 1
        assert before.cpu_seconds <= after.cpu_seconds < before.cpu_seconds + 0.2


def test_cpu_percent_is_of_the_time_since_the_last_sample(sampler: ProcSampler, clock: Clock) -> None:
    script = """
        import sys, time
        print(0, flush=True)
        sys.stdin.readline()
        until = time.process_time() + 0.5
        while time.process_time() < until: pass
        print(0, flush=True)
        sys.stdin.readline()
    """
    with running(script) as worker:
        worker.told()
        assert one(sampler, clock, worker.pid).cpu_percent == 0  # nothing to compare with
        worker.order()
        worker.told()
        assert one(sampler, clock, worker.pid, after=2.0).cpu_percent == pytest.approx(25, abs=5)
        until(lambda: one(sampler, clock, worker.pid).cpu_percent == 0)


def test_the_past_of_a_process_found_late_is_no_burst_of_cpu(sampler: ProcSampler, clock: Clock) -> None:
    with running(SPINNING_CHILD.replace("{reap}", "os.wait()")) as worker:
        sampler.sample([(REF, worker.pid)])
        descendants = sampler._trees[REF]._descendants
        while descendants:  # it may have been found already
            descendants.popitem()[1].close()
        worker.told()
        assert one(sampler, clock, worker.pid, after=0.1).cpu_percent < 100
        assert one(sampler, clock, worker.pid).cpu_seconds >= 0.28


def test_a_child_forked_by_a_thread_is_found(sampler: ProcSampler, clock: Clock) -> None:
    with running(THREAD_THAT_FORKS) as worker:
        worker.told()
        usage = one(sampler, clock, worker.pid)
        assert usage.processes == 2
        assert usage.memory > 50 * MB


def test_a_double_forked_process_is_found_by_its_session(sampler: ProcSampler, clock: Clock) -> None:
    with running(DOUBLE_FORK) as worker:
        worker.told()
        one(sampler, clock, worker.pid, after=11)  # the look for strays follows the sample
        usage = one(sampler, clock, worker.pid)
        assert usage.processes == 2
        assert usage.memory > 50 * MB


def test_a_worker_that_exits_between_samples_is_left_out_and_its_descriptors_closed(
    sampler: ProcSampler, clock: Clock
) -> None:
    with running(SLEEPER) as worker:
        one(sampler, clock, worker.pid)
        assert sampler._descriptors.kept == 2
        worker.process.kill()
        worker.process.wait()
        assert sampler.sample([(REF, worker.pid)]) == {}
        assert sampler._descriptors.kept == 0


def test_a_worker_nobody_asks_for_any_more_is_forgotten(sampler: ProcSampler, clock: Clock) -> None:
    with running(SLEEPER) as worker:
        one(sampler, clock, worker.pid)
        clock.now += 20
        sampler.sample([])
        assert sampler._descriptors.kept == 2  # alive, and perhaps sampled rarely
        worker.process.kill()
        worker.process.wait()
        clock.now += 20
        sampler.sample([])
        assert sampler._descriptors.kept == 0


def test_the_main_process_s_state_is_told(sampler: ProcSampler, clock: Clock) -> None:
    with running(SLEEPER) as worker:
        until(lambda: one(sampler, clock, worker.pid).state == "S")
        os.kill(worker.pid, signal.SIGSTOP)
        until(lambda: one(sampler, clock, worker.pid).state == "T")
        os.kill(worker.pid, signal.SIGKILL)
        until(lambda: one(sampler, clock, worker.pid).state == "Z")


def test_a_pid_that_means_another_process_is_not_taken_for_the_old_one() -> None:
    descriptors = proc.Descriptors()
    descriptors.limit = 0  # opened by path each time, which is where a pid could be mistaken
    process = proc.Process(os.getpid(), descriptors)
    assert process.refresh() is proc.Look.CHANGED
    process.started = b"1"
    until(lambda: process.refresh() is not proc.Look.SAME)
    assert process.refresh() is proc.Look.GONE


def test_without_descriptors_to_keep_everything_is_still_measured(
    sampler: ProcSampler, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc, "_SHARE_KEPT", 1 << 40)
    with running(THREAD_THAT_FORKS) as worker:
        worker.told()
        usage = one(sampler, clock, worker.pid)
        assert (usage.processes, usage.state, sampler._descriptors.kept) == (2, "S", 0)


def test_with_no_descriptor_left_at_all_the_last_figures_stand(sampler: ProcSampler, clock: Clock) -> None:
    import resource

    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(SLEEPER) as known, running(SLEEPER) as fresh:
        known.told()
        before = one(sampler, clock, known.pid)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (8, hard))
            clock.now += 20  # the look for strays falls into it as well
            other = WorkerRef("p", 1, 1)
            found = sampler.sample([(REF, known.pid), (other, fresh.pid)])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert found[REF].memory == before.memory
        assert other not in found  # nothing is known of it yet


def test_a_name_with_brackets_and_spaces_does_not_confuse(sampler: ProcSampler, clock: Clock) -> None:
    script = """
        import sys
        open("/proc/self/comm", "w").write(") R 1 (")
        print(0, flush=True)
        sys.stdin.readline()
    """
    with running(script) as worker:
        worker.told()
        until(lambda: one(sampler, clock, worker.pid).state == "S")


def test_each_of_many_workers_has_its_turn_within_ten_calls(sampler: ProcSampler, clock: Clock) -> None:
    with running(THREAD_THAT_FORKS) as worker:
        worker.told()
        crowd = [(REF, worker.pid), *((WorkerRef("p", slot, 1), os.getpid()) for slot in range(1, 700))]
        clock.now += 1
        processes = [sampler.sample(crowd)[REF].processes for _ in range(11)]
        assert processes[-1] == 2


def test_what_another_pools_sample_has_seen_of_a_worker_is_not_lost(sampler: ProcSampler, clock: Clock) -> None:
    others = [(WorkerRef("q", slot, 1), os.getpid()) for slot in range(700)]
    with running(SLEEPER) as worker:
        until(lambda: one(sampler, clock, worker.pid).state == "S")
        for _ in range(11):  # nobody's turn comes soon
            clock.now += 0.1
            sampler.sample([(REF, worker.pid), *others])
        os.kill(worker.pid, signal.SIGSTOP)
        until(lambda: Path(f"/proc/{worker.pid}/stat").read_text().rpartition(") ")[2][0] == "T")
        clock.now += 6
        sampler.sample(others)
        assert one(sampler, clock, worker.pid).state == "T"


def test_linux_gets_the_sampler_made_for_it() -> None:
    assert isinstance(make_sampler(), ProcSampler)


def test_psutil_leaves_out_a_worker_that_is_gone() -> None:
    clock = Clock()
    sampler = PsutilSampler(clock)
    with running(FAMILY) as worker:
        grandchild = worker.told()
        assert one(sampler, clock, worker.pid).processes == 3
        os.kill(grandchild, signal.SIGKILL)
        until(lambda: sampler.sample([(REF, worker.pid)]) == {} if worker.process.poll() is not None else False)
    sampler.close()
