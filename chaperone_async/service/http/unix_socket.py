"""A listening unix socket at a path: never in a stranger's directory, never in place of a living server or of a file.

PATH.lock is held for the socket's whole life: it decides between two starters who both find a dead socket, and shows a
living supervisor even while its socket's backlog is full.
"""

import errno
import fcntl
import os
import socket
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from chaperone_async.errors import ListenError

_STICKY_FOR_ALL = stat.S_ISVTX | stat.S_IWOTH
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
CONNECT_TIMEOUT = 1.0

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a bound socket, and the lock that keeps it ours."""

    path: Path
    inode: Inode
    lock: "_Lock"

    def remove(self) -> None:
        """Unless somebody has put another socket there. To be called while ours is open: its inode cannot be reused."""
        if _inode(self.path) == self.inode:
            _unlink(self.path)

    def unlock(self) -> None:
        self.lock.release()


def bind_unix(text: str, mode: int, backlog: int) -> tuple[socket.socket, UnixAddress]:
    """Raises ListenError."""
    path = Path(text)
    with ExitStack() as undo:
        try:
            _make_directory(path.parent, mode)
            lock = _Lock.take(path)
            undo.callback(lock.release)
            _make_room(path)
            bound = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            bound.settimeout(0)
            bound.bind(text)
            place = UnixAddress(path, _inode(path) or (0, 0), lock)
            undo.callback(place.remove)
            path.chmod(mode)  # before listen: until then nobody can connect
            bound.listen(backlog)
        except OSError as error:
            raise _refusal(path, error) from error
        undo.pop_all()
    return bound, place


def _make_directory(directory: Path, mode: int) -> None:
    """Whoever may use the socket may pass through the directory that we make for it, and nobody else."""
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # somebody was faster: it is not ours to change
            directory.mkdir(mode=0o700)
            directory.chmod(0o700 | (mode & 0o022) >> 1)  # write → search, whatever the umask
    for place in (directory, *directory.parents):
        _check_owner(place)


def _check_owner(directory: Path) -> None:
    """Where everyone may make directories, such as in /tmp, one that we did not make may be a trap."""
    if directory.parent.stat().st_mode & _STICKY_FOR_ALL != _STICKY_FOR_ALL:
        return
    seen = directory.lstat()
    if not stat.S_ISDIR(seen.st_mode):
        raise _refused(directory, "it is not a directory", "remove it, or choose another path in http.listen")
    if seen.st_uid not in (os.geteuid(), 0):
        owner = f"it belongs to another user (uid {seen.st_uid})"
        raise _refused(directory, owner, "choose a path in a directory of your own in http.listen")
    if seen.st_mode & _WRITABLE_BY_OTHERS and not seen.st_mode & stat.S_ISVTX:
        raise _refused(directory, "other users may write in it", f"run: chmod go-w {directory}")


def _make_room(path: Path) -> None:
    """Remove a socket that nobody serves any more."""
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(seen.st_mode):
        raise _refused(path, "there is something that is not a socket", "remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_TIMEOUT)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except (BlockingIOError, TimeoutError):
            pass  # its backlog is full: somebody lives there, and is busy
    raise _refused(path, "another program serves it", "stop that one, or choose another path in http.listen")


@dataclass(frozen=True, slots=True)
class _Lock:
    path: Path
    file: FileIO

    @classmethod
    def take(cls, socket_path: Path) -> "_Lock":
        path = socket_path.with_name(f"{socket_path.name}.lock")
        while True:
            file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = file.read(32).decode("ascii", "replace").strip()
                file.close()
                who = f"another supervisor is there (process {holder or 'unknown'})"
                raise _refused(socket_path, who, "stop that one, or choose another path in http.listen") from None
            if _inode(path) == _inode_of(os.fstat(file.fileno())):
                file.truncate(0)
                file.write(f"{os.getpid()}\n".encode())
                return cls(path, file)
            file.close()  # its holder has just removed it: it is no longer the file at that path

    def release(self) -> None:
        """Removed while it is still held: see `take`, which then looks again."""
        with self.file:
            if _inode(self.path) == _inode_of(os.fstat(self.file.fileno())):
                _unlink(self.path)


def _unlink(path: Path) -> None:
    with suppress(OSError):  # what cannot be removed is harmless: the next starter sees that nobody holds it
        path.unlink()


def _inode(path: Path) -> Inode | None:
    try:
        return _inode_of(path.lstat())
    except OSError:
        return None


def _inode_of(seen: os.stat_result) -> Inode:
    return seen.st_dev, seen.st_ino


def _refused(path: Path, why: str, help_: str) -> ListenError:
    return ListenError(f"cannot listen on unix:{path}: {why}; {help_}")


def _refusal(path: Path, error: OSError) -> ListenError:
    what = error.filename or path
    match error.errno:
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return _refused(path, f"no permission to write at {what}", "choose another path in http.listen")
        case errno.ENOTDIR | errno.EEXIST:
            return _refused(path, f"a part of the path is not a directory ({what})", "choose another path")
        case _:
            return _refused(path, f"{what}: {os.strerror(error.errno or 0).lower()}", "choose another path")
