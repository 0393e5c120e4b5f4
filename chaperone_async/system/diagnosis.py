"""Why a program could not be started, in words. The operating system's own answer fits several causes."""

import errno
import os
from pathlib import Path
from stat import S_ISDIR

from chaperone_async.core.spec import Launch
from chaperone_async.system.ports import SpawnError

_OF_THE_SYSTEM = {
    errno.EMFILE: "too many open files; raise the supervisor's limit (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "too many open files on this machine; raise fs.file-max",
    errno.EAGAIN: "no more processes may be created; raise the limit (ulimit -u, the container's pids limit)",
    errno.ENOMEM: "out of memory; give this machine or container more, or run fewer workers",
    errno.E2BIG: "arguments and environment are too long; shorten env or the command",
}


def explain(error: OSError | ValueError, program: str, launch: Launch, environment: dict[bytes, bytes]) -> SpawnError:
    """What a failed spawn's exception means. subprocess names the directory where it fails before the exec."""
    if isinstance(error, ValueError):
        return SpawnError(f"cannot run {program!r}: {error}; use no zero bytes, and no = in the names of env")
    if error.errno in _OF_THE_SYSTEM:
        return SpawnError(f"cannot run {program!r}: {_OF_THE_SYSTEM[error.errno]}")
    if error.errno == errno.EPERM and (launch.user or launch.group) and error.filename != program:
        return _switch_refused(launch)
    if launch.directory is not None and error.filename == launch.directory and error.filename != program:
        return _directory_unusable(error, launch.directory)
    return _program_unusable(error, program, launch.directory, environment)


def explain_preparation(error: OSError, worker_id: str, launch: Launch) -> SpawnError:
    """What a failure before the start itself means: of the worker's notify socket, or of the pipe for its output."""
    if error.errno == errno.EPERM and (launch.user or launch.group):  # the socket could not be given away
        return _switch_refused(launch)
    return SpawnError(f"cannot prepare the start of {worker_id}: {_OF_THE_SYSTEM.get(error.errno or 0, error)}")


def _switch_refused(launch: Launch) -> SpawnError:
    whom = f"user {launch.user!r}" if launch.user else f"group {launch.group!r}"
    return SpawnError(f"cannot run as {whom}: not permitted to switch; start the supervisor as root, or leave it out")


def _directory_unusable(error: OSError, directory: str) -> SpawnError:
    cause = {
        errno.ENOENT: "no such directory; create it",
        errno.ENOTDIR: "not a directory; name one",
        errno.EACCES: "not accessible; let the worker's user enter it",
    }.get(error.errno or 0, f"{error.strerror}; name an existing directory")
    return SpawnError(f"cannot start in directory {directory!r}: {cause}")


def _program_unusable(
    error: OSError, program: str, directory: str | None, environment: dict[bytes, bytes]
) -> SpawnError:
    def cannot(why: str) -> SpawnError:
        return SpawnError(f"cannot run {program!r}: {why}")

    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if "/" not in program:
            places = environment.get(b"PATH", os.defpath.encode()).split(b":")
            if not any(_mode(Path(os.fsdecode(place), program)) for place in places):
                return cannot("no such program on PATH; install it, or give its full path")
            return cannot("the interpreter in its first line is missing; correct that line")
        if _mode(Path(directory or ".", program)):
            return cannot("the interpreter in its first line is missing; correct that line")
        if program.startswith("/"):
            return cannot("no such file; correct the path")
        place = directory or _here()
        if place is None:
            return cannot("the supervisor's own directory is no more; set directory, or give the full path")
        return cannot(f"no such file in {place!r}; correct the path")
    if error.errno == errno.EACCES:
        if "/" in program and S_ISDIR(_mode(Path(directory or ".", program))):
            return cannot("it is a directory; name a program")
        return cannot("not executable, or not reachable, for the worker's user; set its permissions (chmod +x)")
    if error.errno == errno.ENOEXEC:
        return cannot("exec format error; begin a script with #!, or build the program for this machine")
    return cannot(f"{error.strerror or error}; correct the command")


def _here() -> str | None:
    """None: it has been removed."""
    try:
        return str(Path.cwd())
    except OSError:
        return None


def _mode(path: Path) -> int:
    """0 where there is nothing, or nothing that we may look at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
