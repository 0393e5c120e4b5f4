"""The notify sockets: one for each slot, speaking systemd's sd_notify protocol and a few fields of ours.

The socket says which slot is meant, the kernel's credentials say which process speaks: only the worker's main process,
its descendants and the members of its session are heard. Everything else is counted in `dropped`.
"""

import asyncio
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaperone_async.core.events import WorkerRef
from chaperone_async.system.conversation import EMPTY, Conversation
from chaperone_async.system.janitor import read_stat
from chaperone_async.system.message import Malformed
from chaperone_async.system.ports import NoticeSink, Telemetry

SUPPORTED = hasattr(socket, "SO_PASSCRED")  # elsewhere a sender cannot be told from an impostor
MAX_DATAGRAM = 16_384
_PER_TURN = 32  # datagrams read from one socket in one turn of the loop
_LAST_TURNS = 32  # such turns for what a worker that has ended had said by then
_MAX_PENDING = 16  # datagrams kept until the worker's pid is known
_LONGEST_PATH = 107  # sun_path without its final zero
_FAR_ENOUGH = 64  # generations of processes; no worker nests deeper
_OURSELVES = (-1, -1)
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid
_ANCILLARY = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(16 * 4)


@dataclass(slots=True)
class _Life:
    """One incarnation. Before its pid is known nobody can be verified: messages wait, with their senders' families,
    because a sender such as systemd-notify may be gone by then."""

    ref: WorkerRef
    conversation: Conversation | None = None
    pending: list[tuple[int, frozenset[int], bytes, float]] = field(default_factory=list)
    pid: int = 0


@dataclass(slots=True)
class _Slot:
    socket: socket.socket
    path: Path
    owner: tuple[int, int]
    life: _Life | None = None  # None: nobody lives here
    telemetry: dict[WorkerRef, Telemetry] = field(default_factory=dict)  # of the dead: the last one


class NotifySockets:
    """A TelemetrySource. `directory`: where ours is made; by default the first of the usual places that can be used."""

    def __init__(self, directory: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.dropped = 0
        self._clock = clock
        self._parents = _usual_places() if directory is None else (directory,)
        self._directory: Path | None = None
        self._pools: dict[str, int] = {}
        self._slots: dict[tuple[str, int], _Slot] = {}
        self._sinks: dict[str, NoticeSink] = {}

    def listen(self, pool: str, sink: NoticeSink) -> Callable[[], None]:
        self._sinks[pool] = sink
        return lambda: self._leave(pool, sink)

    def _leave(self, pool: str, sink: NoticeSink) -> None:
        if self._sinks.get(pool) == sink:  # else a pool of this name has been added again
            del self._sinks[pool]

    def telemetry(self, ref: WorkerRef) -> Telemetry:
        """Of the living, and of each slot's last dead."""
        slot = self._slots.get((ref.pool, ref.slot))
        if slot is None:
            return EMPTY
        if slot.life is not None and slot.life.ref == ref:
            if slot.life.conversation is None:
                return EMPTY
            slot.life.conversation.look(self._clock())
            return slot.life.conversation.telemetry
        return slot.telemetry.get(ref, EMPTY)

    def open(self, ref: WorkerRef, uid: int | None, gid: int | None) -> str:
        """A new life in this slot is about to start, as this user (None: ours). The answer is its NOTIFY_SOCKET.
        Raises OSError."""
        key, owner = (ref.pool, ref.slot), _owner(uid, gid)
        slot = self._slots.get(key)
        # A worker may remove its socket, and so may whoever tidies up /tmp: its successor is to be heard again.
        if slot is not None and (slot.owner != owner or not slot.path.is_socket()):
            self.retire(*key)
            slot = None
        if slot is None:
            slot = self._slots[key] = self._bind(ref, owner)
        else:
            self._end(slot)
        slot.life = _Life(ref)
        return str(slot.path)

    def started(self, ref: WorkerRef, pid: int) -> None:
        """The worker's main process is known: now its messages can be told from others'."""
        slot = self._slots.get((ref.pool, ref.slot))
        if slot is None or slot.life is None or slot.life.ref != ref:
            return
        life = slot.life
        life.pid = pid
        life.conversation = Conversation(ref, pid)
        pending, life.pending = life.pending, []
        for sender, family, data, at in pending:
            self._hear(life, life.conversation, sender, family, data, at)

    def ended(self, ref: WorkerRef) -> None:
        """The worker has exited: what it had said by then still counts."""
        slot = self._slots.get((ref.pool, ref.slot))
        if slot is not None and slot.life is not None and slot.life.ref == ref:
            self._end(slot)

    def retire(self, pool: str, slot: int) -> None:
        """The slot is no more."""
        gone = self._slots.pop((pool, slot), None)
        if gone is not None:
            asyncio.get_running_loop().remove_reader(gone.socket)
            gone.socket.close()
            gone.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove everything."""
        for pool, slot in tuple(self._slots):
            self.retire(pool, slot)
        if self._directory is not None:
            for index in self._pools.values():
                _remove(self._directory / str(index))
            _remove(self._directory)
        self._directory = None
        self._pools.clear()

    def _bind(self, ref: WorkerRef, owner: tuple[int, int]) -> _Slot:
        directory = self._home()
        if owner != _OURSELVES:
            directory.chmod(0o711)  # to be passed through, not listed
        directory /= str(self._pools.setdefault(ref.pool, len(self._pools)))
        # Ours, not the pool's user's: whoever may write here could have us chown what he likes.
        directory.mkdir(mode=0o711, exist_ok=True)
        path = directory / str(ref.slot)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            os.fchmod(listener.fileno(), 0o600)  # before bind: the file is born with it
            listener.bind(str(path))
            if owner != _OURSELVES:
                os.chown(path, *owner, follow_symlinks=False)
        except OSError:
            listener.close()
            path.unlink(missing_ok=True)
            raise
        slot = _Slot(listener, path, owner)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._read, slot)
        return slot

    def _home(self) -> Path:
        if self._directory is None or not self._directory.is_dir():
            self._directory = _make_home(self._parents)
        return self._directory

    def _end(self, slot: _Slot) -> None:
        for _ in range(_LAST_TURNS):
            if not self._read(slot):
                break
        if slot.life is not None and slot.life.conversation is not None:
            slot.telemetry = {slot.life.ref: slot.life.conversation.telemetry}
        if slot.life is not None:
            self.dropped += len(slot.life.pending)
        slot.life = None

    def _read(self, slot: _Slot) -> bool:
        """Called by the loop, again and again while there is more. Whether there may be."""
        for _ in range(_PER_TURN):
            try:
                data, ancillary, flags, _ = slot.socket.recvmsg(MAX_DATAGRAM, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return False
            sender = _sender(ancillary)
            life = slot.life
            if life is None or not sender or flags & socket.MSG_TRUNC:
                self.dropped += 1
            elif life.conversation is not None:
                family = () if life.conversation.knows(sender) else lineage(sender)
                self._hear(life, life.conversation, sender, family, data, self._clock())
            elif len(life.pending) < _MAX_PENDING:
                life.pending.append((sender, frozenset(lineage(sender)), data, self._clock()))
            else:
                self.dropped += 1
        return True

    def _hear(
        self, life: _Life, conversation: Conversation, sender: int, family: Iterable[int], data: bytes, at: float
    ) -> None:
        """A sender heard before needs no family."""
        if not conversation.knows(sender) and life.pid not in family:
            self.dropped += 1
            return
        try:
            notices = conversation.hear(sender, data, at)
        except Malformed:
            self.dropped += 1
            return
        sink = self._sinks.get(life.ref.pool)
        if sink is None:
            return
        for notice in notices:
            sink(notice)


def _sender(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """The sender's pid as the kernel says, 0 for none; descriptors sent along are closed (which is all
    that systemd-notify's BARRIER=1 waits for)."""
    pid = 0
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            pid = _CREDENTIALS.unpack_from(data)[0]
        elif kind == socket.SCM_RIGHTS:
            for (descriptor,) in struct.iter_unpack("i", data[: len(data) // 4 * 4]):
                os.close(descriptor)
    return pid


def lineage(pid: int) -> Iterator[int]:
    """The pid, its session's leader, then its ancestors, nearest first, up to but without this process itself.

    Lazy, because the session mostly settles it: each worker leads one. A process that is gone has only its own pid.
    """
    yield pid
    stop = os.getpid()
    for distance in range(_FAR_ENOUGH):
        stat = read_stat(pid)
        if stat is None:
            return
        pid, session, _ = stat
        if not distance:
            yield session
        if pid in {0, 1, stop}:
            return
        yield pid


def _owner(uid: int | None, gid: int | None) -> tuple[int, int]:
    """For chown, where -1 changes nothing."""
    return (
        -1 if uid is None or uid == os.geteuid() else uid,
        -1 if gid is None or gid == os.getegid() else gid,
    )


def _usual_places() -> tuple[Path, ...]:
    own = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    # A user's own runtime directory would be closed to workers that run as somebody else, as only root's can.
    runtime = os.environ.get("XDG_RUNTIME_DIR", "") if os.geteuid() else "/run"
    # Shared memory is the one place that is always writable and never a disk, where each socket costs 0.4 ms.
    # Not tempfile.gettempdir(), which raises where nothing else can be written.
    temporary = os.environ.get("TMPDIR", "")
    places = (own, "/dev/shm", runtime, temporary, "/tmp")  # noqa: S108  a directory of ours, by mkdtemp
    return tuple(Path(place) for place in places if place)


def _make_home(parents: Iterable[Path]) -> Path:
    refused: list[str] = []
    for parent in parents:
        if len(os.fsencode(parent.absolute() / "chaperone-12345678/999/99999")) > _LONGEST_PATH:
            refused.append(f"{parent}: the path is too long for a socket")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix="chaperone-", dir=parent.absolute()))
        except OSError as error:
            refused.append(f"{parent}: {error.strerror}")
    raise OSError(
        f"cannot make a directory for notify sockets: {', '.join(refused)}; "
        f"give a short, writable one in RUNTIME_DIRECTORY"
    )


def _remove(directory: Path) -> None:
    with suppress(OSError):  # somebody else's file in it, or already gone: nothing of ours is left there
        directory.rmdir()
