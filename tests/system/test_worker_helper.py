"""chaperone_async.worker.notify, in real processes, against a plain datagram socket."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORT = "from chaperone_async.worker import notify\n"


class Supervisor:
    """The other end of the socket: what it was told, one dict per message."""

    def __init__(self, address: str | None = None) -> None:
        self._directory = tempfile.mkdtemp()
        self.address = address or f"{self._directory}/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        self.socket.settimeout(60)

    def told(self) -> dict[str, str]:
        fields = dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))
        return {key.removeprefix("X_CHAPERONE_"): value for key, value in fields.items()}

    def told_nothing_more(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self.socket.close()
        Path(self.address).unlink(missing_ok=True)
        Path(self._directory).rmdir()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.close()


def launch(script: str, address: str = "", *options: str) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(ROOT), **({"NOTIFY_SOCKET": address} if address else {})}
    return subprocess.Popen(
        [sys.executable, *options, "-c", IMPORT + script],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(script: str, address: str = "", *options: str) -> str:
    """What the script printed; it must succeed."""
    process = launch(script, address, *options)
    printed, _ = process.communicate()
    assert process.returncode == 0
    return printed


def test_each_function_sends_its_field(supervisor: Supervisor) -> None:
    run(
        "notify.ready(); notify.heartbeat(); notify.status('two\\nlines'); notify.stopping(); "
        "notify.extend_timeout(1.5)",
        supervisor.address,
    )
    assert [supervisor.told() for _ in range(5)] == [
        {"READY": "1"},
        {"WATCHDOG": "1"},
        {"STATUS": "two lines"},
        {"STOPPING": "1"},
        {"EXTEND_TIMEOUT_USEC": "1500000"},
    ]


def test_abstract_sockets_are_reached() -> None:
    supervisor = Supervisor(f"@chaperone-test-{os.getpid()}")
    run("notify.ready()", supervisor.address)
    assert supervisor.told() == {"READY": "1"}
    supervisor.close()


def test_a_job_is_told_at_its_start_and_at_its_end(supervisor: Supervisor) -> None:
    run("with notify.job(7, name='send', queue='mail', wait=0.25): pass", supervisor.address)
    counts = {"DONE": "0", "FAILED": "0", "RUNNING": "1"}
    about = {"JOB": "7", "NAME": "send", "QUEUE": "mail"}
    assert supervisor.told() == {"EVENT": "start", "WAIT_MS": "250.0", **about, **counts}
    end = supervisor.told()
    assert 0 <= float(end.pop("MS")) < 60_000
    assert end == {"EVENT": "end", "OK": "1", **about, "DONE": "1", "FAILED": "0", "RUNNING": "0"}


def test_an_exception_fails_the_job_and_goes_on(supervisor: Supervisor) -> None:
    run(
        "try:\n with notify.job('a'): raise KeyError('b\\nc')\nexcept KeyError: pass\nelse: raise SystemExit(1)",
        supervisor.address,
    )
    supervisor.told()
    end = supervisor.told()
    assert (end["OK"], end["ERROR"], end["DONE"], end["FAILED"]) == ("0", r"KeyError: 'b\nc'", "0", "1")


def test_an_exception_that_cannot_be_printed_is_told_by_its_type(supervisor: Supervisor) -> None:
    run(
        "class Bad(Exception):\n def __str__(self): raise OSError\n"
        "try:\n with notify.job('a'): raise Bad\nexcept Bad: pass",
        supervisor.address,
    )
    supervisor.told()
    assert supervisor.told()["ERROR"] == "Bad"


def test_a_forked_child_counts_for_itself_even_while_another_thread_holds_the_lock(supervisor: Supervisor) -> None:
    run(
        "import os\nwith notify.job('a'): pass\nnotify._here()._lock.acquire()\n"
        "if os.fork() == 0:\n with notify.job('b'): pass\n os._exit(0)\nos.wait()",
        supervisor.address,
        "-Wignore",
    )
    ends = [supervisor.told() for _ in range(4)][1::2]
    assert [(end["JOB"], end["DONE"]) for end in ends] == [("a", "1"), ("b", "1")]


def test_threads_count_together(supervisor: Supervisor) -> None:
    script = """
import threading
def work():
    for number in range(1000):
        with notify.job(number): pass
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print('done')
input()
with notify.job('last'): pass
"""
    worker = launch(script, supervisor.address)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "done\n"  # with nobody reading: a sender never blocks
    while not supervisor.told_nothing_more():
        pass
    worker.communicate("\n")
    supervisor.socket.settimeout(60)
    supervisor.told()
    end = supervisor.told()
    assert (end["DONE"], end["RUNNING"]) == ("4001", "0")


def test_heartbeats_in_a_tight_loop_are_one(supervisor: Supervisor) -> None:
    frozen = "import time; time.monotonic = lambda: 1000.0\n"
    run(frozen + "notify.heartbeat(); notify.heartbeat(); notify.heartbeat()", supervisor.address)
    assert supervisor.told() == {"WATCHDOG": "1"}
    assert supervisor.told_nothing_more()


def test_overlong_and_odd_texts_still_fit_one_datagram(supervisor: Supervisor) -> None:
    run(
        "\nlong = '€\\udcff' * 5000\ntry:\n with notify.job(long, name=long, queue=long): raise ValueError(long)\n"
        "except ValueError: pass\nnotify.status(long)",
        supervisor.address,
    )
    start, end, status = (supervisor.socket.recv(1 << 16) for _ in range(3))
    assert max(map(len, (start, end, status))) < 4096
    assert start.decode().startswith("X_CHAPERONE_EVENT=start\nX_CHAPERONE_JOB=€?€?")


def test_a_socket_that_another_thread_gives_up_meanwhile_is_no_error(supervisor: Supervisor) -> None:
    run(
        "class Unlucky(notify._Process):\n"
        "    _socket = property(lambda self: None, lambda self, sender: None)\n"
        "assert Unlucky().send('STATUS=on')",
        supervisor.address,
    )
    assert supervisor.told() == {"STATUS": "on"}


def test_a_failed_job_that_nobody_could_hear_of_is_told_before_the_next_message(supervisor: Supervisor) -> None:
    process = launch(
        "while notify._here().send('STATUS=full'): pass\n"
        "for n in range(100): notify.job(n).start().end('broken', '[]')\n"
        "print('full', flush=True)\ninput()\n"
        "while not notify._here().send('STATUS=last'): pass",
        supervisor.address,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "full\n"
    while not supervisor.told_nothing_more():
        pass
    supervisor.socket.settimeout(60)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    ends = [supervisor.told() for _ in range(64)]
    assert [(end["JOB"], end["OK"], end["ARGS"]) for end in ends] == [(str(n), "0", "[]") for n in range(64)]
    assert supervisor.told() == {"STATUS": "last"}
    assert process.wait() == 0
    process.communicate()


@pytest.mark.parametrize("address", ["", "/nonexistent/socket", "x" * 200, "@"])
def test_without_a_supervisor_nothing_happens(address: str) -> None:
    script = "notify.ready(); notify.heartbeat(); notify.status('x')\nwith notify.job('a'): print(notify.should_stop())"
    assert run(script, address) == "False\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_is_seen_and_a_handler_from_before_is_still_called(number: signal.Signals) -> None:
    script = f"""
import os, signal, time
signal.signal({int(number)}, lambda *_: os.write(1, b'called'))
print(notify.should_stop(), flush=True)
while not notify.should_stop(): time.sleep(0.001)
"""
    worker = launch(script)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "False\n"
    worker.send_signal(number)
    assert worker.communicate()[0] == "called"
    assert worker.returncode == 0


def test_an_interrupt_without_a_handler_of_the_users_is_only_a_flag() -> None:
    worker = launch(
        "import time\nprint(notify.should_stop(), flush=True)\nwhile not notify.should_stop(): time.sleep(0.001)"
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.send_signal(signal.SIGINT)
    worker.communicate()
    assert worker.returncode == 0


def test_an_ignored_signal_stays_ignored_and_threads_only_read() -> None:
    printed = run(
        "import signal, threading\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "thread = threading.Thread(target=lambda: print(notify.should_stop())); thread.start(); thread.join()\n"
        "print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)\n"
        "notify.should_stop()\n"
        "print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    )
    assert printed == "False\nTrue\nTrue False\n"


def test_the_helper_imports_little_and_nothing_else_of_ours() -> None:
    modules = run("import sys; print(*sys.modules)", "", "-S").split()
    ours = {module for module in modules if module.startswith("chaperone_async.")}
    assert ours == {"chaperone_async.worker", "chaperone_async.worker.notify"}
    assert not {"socket", "asyncio", "dataclasses", "inspect", "logging"} & set(modules)
