"""Tell the supervisor how the work goes, and hear from it when to stop.

    from chaperone_async.worker import notify

    notify.ready()
    while not notify.should_stop():
        task = take_next()
        with notify.job(task.id, name=task.name):
            task.run()

Messages go to `$NOTIFY_SOCKET` in systemd's sd_notify protocol. They never block and never raise: without a supervisor,
or when it cannot keep up, they are dropped, which counts, being cumulative, survive; failed jobs are kept for a while,
and told before the next message. All functions may be called from any thread, and from forked children, which count for
themselves.
"""

import os
import signal
import threading
import time
from types import FrameType, TracebackType

TYPE_CHECKING = False  # as in typing, which workers need not import for it
if TYPE_CHECKING:
    import socket
    from typing import Self

__all__ = ["Job", "extend_timeout", "heartbeat", "job", "mark", "ready", "should_stop", "status", "stopping"]

_MAX_TEXT = 256  # bytes of an id or a name
_MAX_ARGUMENTS = 12_288  # bytes; a datagram holds 16,384
_MAX_UNSENT = 64  # failed jobs that wait until the supervisor can hear of them
_MAX_STATUS = 1024
_BEAT = 0.1  # seconds between heartbeats: more often tells nothing


def ready() -> None:
    """Started, and able to take jobs."""
    _here().send("READY=1")


def heartbeat() -> None:
    """Still alive. The first call arms the supervisor's check, where `health.heartbeat` is configured: from then on
    it must be called more often than that. Calls within a tenth of a second are one."""
    process, now = _here(), time.monotonic()
    if now - process.beat_at >= _BEAT and process.send("WATCHDOG=1"):
        process.beat_at = now


def status(text: str) -> None:
    """One line for people to read."""
    _here().send(f"STATUS={_clean(text, _MAX_STATUS)}")


def stopping() -> None:
    """Going by itself: no new jobs are taken."""
    _here().send("STOPPING=1")


def mark(text: str) -> None:
    """What the queue system knows this worker by, if that is not its `CHAPERONE_WORKER_ID`: so its jobs can be put back
    when it dies."""
    _here().send(f"X_CHAPERONE_MARK={_clean(text)}")


def extend_timeout(seconds: float) -> None:
    """Starting or stopping takes longer: `seconds` more from now, at most 3600. To be repeated in time."""
    _here().send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")


def job(job_id: object, *, name: str = "", queue: str = "", wait: float | None = None) -> "Job":
    """Report the block as one job, failed if it is left by an exception, which goes on. `wait`: the seconds it had been
    in the queue. Where there is no block, call the job's `start()` and `end()`."""
    return Job(str(job_id), name, queue, wait)


class Job:
    """One run of one job; see `job`."""

    __slots__ = ("_fields", "_since", "_wait")

    def __init__(self, job_id: str, name: str, queue: str, wait: float | None) -> None:
        self._fields = f"X_CHAPERONE_JOB={_clean(job_id)}"
        if name:
            self._fields += f"\nX_CHAPERONE_NAME={_clean(name)}"
        if queue:
            self._fields += f"\nX_CHAPERONE_QUEUE={_clean(queue)}"
        self._wait = wait
        self._since: float | None = None

    def start(self) -> "Self":
        self._since = time.monotonic()
        wait = "" if self._wait is None else f"\nX_CHAPERONE_WAIT_MS={max(0.0, self._wait) * 1000:.1f}"
        _here().started(self._fields + wait)
        return self

    def end(self, error: BaseException | str | None = None, arguments: str | None = None) -> None:
        """Failed, if there was an error. Nothing happens for a job that is not running. `arguments`: JSON that it takes
        to send a failed job again, where the queue system does not keep it; left out if it is too long."""
        if self._since is None:
            return
        milliseconds, self._since = (time.monotonic() - self._since) * 1000, None
        fields = f"{self._fields}\nX_CHAPERONE_MS={milliseconds:.1f}"
        if error is not None:
            fields += f"\nX_CHAPERONE_ERROR={_clean(_describe(error), _MAX_STATUS)}"
            if arguments is not None and _fits(arguments):
                fields += f"\nX_CHAPERONE_ARGS={arguments}"
        _here().ended(fields, "1" if error is None else "0")

    def __enter__(self) -> "Self":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error)


class _Process:
    """This process as a sender: its socket and its counts."""

    def __init__(self) -> None:
        self.beat_at = float("-inf")
        self._lock = threading.RLock()  # re-entrant: a signal handler may report, too
        self._done = 0
        self._failed = 0
        self._running = 0
        self._unsent: list[str] = []
        self._socket: socket.socket | None = None
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path

    def started(self, fields: str) -> None:
        with self._lock:
            self._running += 1
            self.send(f"X_CHAPERONE_EVENT=start\n{fields}\n{self._counts()}")

    def ended(self, fields: str, ok: str) -> None:
        with self._lock:  # held while sending: counts arrive in order
            self._running = max(0, self._running - 1)  # started before a fork, perhaps
            self._done += ok == "1"
            self._failed += ok == "0"
            message = f"X_CHAPERONE_EVENT=end\nX_CHAPERONE_OK={ok}\n{fields}\n{self._counts()}"
            if not self.send(message) and ok == "0" and len(self._unsent) < _MAX_UNSENT:
                self._unsent.append(message)

    def send(self, message: str) -> bool:
        """False: it was dropped."""
        if not self._address:
            return False
        try:
            sender = self._socket  # another thread may give that one up meanwhile
            if sender is None:
                sender = self._socket = _connect(self._address)
            if self._unsent:
                self._send_the_unsent(sender)
            sender.send(message.encode())
        except BlockingIOError:  # it is too busy to hear: the work is more important
            return False
        except OSError:  # nobody there: perhaps there will be, another time
            self._socket = None
            return False
        return True

    def _send_the_unsent(self, sender: "socket.socket") -> None:
        """First: what is told later is about the time after them. Raises OSError."""
        with self._lock:
            while self._unsent:
                sender.send(self._unsent[0].encode())
                del self._unsent[:1]

    def _counts(self) -> str:
        return f"X_CHAPERONE_DONE={self._done}\nX_CHAPERONE_FAILED={self._failed}\nX_CHAPERONE_RUNNING={self._running}"


_processes: dict[int, _Process] = {}


def _here() -> _Process:
    """By pid: a forked child starts afresh, with a lock that nobody holds."""
    pid = os.getpid()
    return _processes.get(pid) or _processes.setdefault(pid, _Process())


def _connect(address: str) -> "socket.socket":
    """To send without looking the address up each time costs half as much. Raises OSError."""
    import socket  # only where there is a supervisor

    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.settimeout(0.0)  # non-blocking
    try:
        sender.connect(address)
    except OSError:
        sender.close()
        raise
    return sender


def _fits(arguments: str) -> bool:
    try:
        return len(arguments.encode()) <= _MAX_ARGUMENTS and "\n" not in arguments
    except UnicodeEncodeError:
        return False


def _clean(text: str, limit: int = _MAX_TEXT) -> str:
    """On one line, and not too long."""
    one_line = " ".join(text[:limit].splitlines())
    return one_line.encode(errors="replace")[:limit].decode(errors="ignore")


def _describe(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  the user's own __str__ is broken, and must not hide the user's own error
        return type(error).__name__


class _Stop:
    """Whether a stop signal has come."""

    requested = False
    listening = False


def should_stop() -> bool:
    """Whether the supervisor (SIGTERM) or a terminal (SIGINT) asked this worker to stop.

    The first call in the main thread installs the handlers: make it early, before that a signal simply kills. In other
    threads this only reads. A handler that was set in Python is still called, afterwards; an ignored signal stays so.
    """
    if not _Stop.listening and threading.current_thread() is threading.main_thread():
        _Stop.listening = True
        for number in (signal.SIGTERM, signal.SIGINT):
            _listen(number)
    return _Stop.requested


def _listen(number: signal.Signals) -> None:
    previous = signal.getsignal(number)
    if previous is signal.SIG_IGN:
        return

    def request(signum: int, frame: FrameType | None) -> None:
        _Stop.requested = True
        if callable(previous) and previous is not signal.default_int_handler:
            previous(signum, frame)

    signal.signal(number, request)
