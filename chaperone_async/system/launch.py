"""From a pool's specification to a running process: everything about one start that needs no bookkeeping."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from chaperone_async.core.expand import expand
from chaperone_async.core.spec import Launch
from chaperone_async.system.diagnosis import explain
from chaperone_async.system.environment import Identity
from chaperone_async.system.kin import unreaped
from chaperone_async.system.ports import SpawnError

_PYTHON_IGNORES = frozenset({signal.SIGPIPE, signal.SIGXFSZ})  # and subprocess restores in the child


def prepare_signals() -> tuple[Callable[[], None], bool]:
    """Let workers start with default dispositions whatever this process inherited (`&` and nohup ignore some signals).

    An ignored signal stays ignored through exec, one with a handler does not: so each gets a handler that does nothing.
    Returns what undoes it, and whether it could be done: only the main thread may.
    """
    ignored = [
        number
        for number in signal.valid_signals()
        if signal.getsignal(number) is signal.SIG_IGN and number not in _PYTHON_IGNORES
    ]
    try:
        for number in ignored:
            signal.signal(number, _do_nothing)
    except ValueError:
        return (lambda: None), False

    def undo() -> None:
        for number in ignored:
            if signal.getsignal(number) is _do_nothing:
                signal.signal(number, signal.SIG_IGN)

    return undo, True


def _do_nothing(_number: int, _frame: object) -> None:
    """A handler, so that it is reset by exec."""


class EmptyMask:
    """A process inherits the mask of blocked signals: none is blocked while any start is under way."""

    def __init__(self) -> None:
        self._depth = 0
        self._before: set[int] = set()

    @contextmanager
    def held(self) -> Iterator[None]:
        if self._depth == 0:
            self._before = set(signal.pthread_sigmask(signal.SIG_SETMASK, ()))
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0 and self._before:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


_mask = EmptyMask()


class Portions:
    """A few starts, or ends, per turn of the event loop. A start blocks it until the new program runs, an end has its
    consequences; what else there is to do, such as to answer a probe, must not wait for hundreds of them."""

    def __init__(self, size: int = 8) -> None:
        self._size = self._left = size
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        loop = asyncio.get_running_loop()
        if self._left == self._size:
            loop.call_soon(self._begin_next)
        if self._left:
            self._left -= 1
            return
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _begin_next(self) -> None:
        self._left = self._size
        while self._waiting and self._left:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._left -= 1
        if self._left < self._size:
            asyncio.get_running_loop().call_soon(self._begin_next)


def use_pidfds() -> bool:
    """Python 3.11 waits for every child with a thread unless told otherwise; later ones use pidfds by themselves."""
    if not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    if sys.version_info < (3, 12):
        policy = asyncio.get_event_loop_policy()
        watcher = policy.get_child_watcher()
        if isinstance(watcher, asyncio.ThreadedChildWatcher) or not watcher.is_active():
            pidfds = asyncio.PidfdChildWatcher()
            pidfds.attach_loop(asyncio.get_running_loop())
            policy.set_child_watcher(pidfds)
    return True


def find_argv(command: tuple[str, ...], words: Mapping[str, str]) -> list[str]:
    """Raises SpawnError for a command without a program."""
    argv = [expand(word, words) for word in command]
    if not argv or not argv[0]:
        raise SpawnError("cannot run a worker: the command is empty; name a program")
    return argv


async def start_process(
    argv: Sequence[str],
    launch: Launch,
    identity: Identity,
    environment: dict[bytes, bytes],
    output: int,
    passing: tuple[int, ...] = (),
) -> Process:
    """A session of its own, nothing to read, stdout and stderr both to `output`; it inherits the descriptors `passing`
    too. Raises SpawnError."""
    user: dict[str, Any] = {}
    if identity.switch:
        user = {"group": identity.gid}
        if launch.user is not None:
            user |= {"user": identity.uid, "extra_groups": identity.groups}
    if launch.umask is not None:
        user["umask"] = launch.umask
    try:
        with _mask.held():
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=launch.directory,
                pass_fds=passing,
                start_new_session=True,
                **user,
            )
    except (OSError, ValueError) as error:
        raise explain(error, argv[0], launch, environment) from error


def set_nice(pid: int, launch: Launch) -> None:
    """From outside: it matters little if a program's first moments run at another priority. Raises SpawnError."""
    if launch.nice is not None and unreaped(pid):
        try:
            os.setpriority(os.PRIO_PROCESS, pid, launch.nice)
        except ProcessLookupError:
            return  # a thread has reaped it, where there are no pidfds
        except PermissionError:
            raise nice_refused(launch) from None


def nice_refused(launch: Launch) -> SpawnError:
    return SpawnError(f"cannot set nice {launch.nice}: not permitted; use 0 to 19, or start the supervisor as root")
