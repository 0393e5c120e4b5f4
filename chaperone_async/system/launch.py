"""From a pool's specification to a running process: everything about one start that needs no bookkeeping."""

import asyncio
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chaperone_async.core.expand import expand
from chaperone_async.core.spec import Launch
from chaperone_async.system.diagnosis import explain
from chaperone_async.system.environment import Identity
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
    """A process inherits the mask of blocked signals: none is blocked while any spawn is under way."""

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


class Portions:
    """A few starts per turn of the event loop: each blocks it until the new program runs, and what else there is to
    do, such as to answer a probe, must not wait for hundreds of them."""

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


async def start_process(
    command: tuple[str, ...],
    words: Mapping[str, str],
    launch: Launch,
    identity: Identity,
    environment: dict[bytes, bytes],
    output: int,
) -> Process:
    """A session of its own, nothing to read, stdout and stderr both to `output`. Raises SpawnError."""
    argv = [expand(word, words) for word in command]
    if not argv or not argv[0]:
        raise SpawnError("cannot run a worker: the command is empty; name a program")
    user: dict[str, Any] = {}
    if identity.switch:
        user = {"group": identity.gid}
        if launch.user is not None:
            user |= {"user": identity.uid, "extra_groups": identity.groups}
    if launch.umask is not None:
        user["umask"] = launch.umask
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=launch.directory,
            start_new_session=True,
            **user,
        )
    except (OSError, ValueError) as error:
        raise explain(error, argv[0], launch, environment) from error


def apply_limits(pid: int, launch: Launch) -> None:
    """From outside, right after the start: a hook between fork and exec is unsafe beside threads. Raises SpawnError."""
    if launch.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, launch.nice)
        except PermissionError:
            raise SpawnError(
                f"cannot set nice {launch.nice}: not permitted; use 0 to 19, or start the supervisor as root"
            ) from None
    for name, value in launch.rlimits:
        _limit(pid, name, value)


def _limit(pid: int, name: str, value: int) -> None:
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if number is None:
        known = ", ".join(sorted(word[7:].lower() for word in dir(resource) if word.startswith("RLIMIT_")))
        raise SpawnError(f"cannot set rlimit {name!r}: no such limit; valid are {known}")
    if not hasattr(resource, "prlimit"):
        raise SpawnError(f"cannot set rlimit {name!r}: this system cannot limit another process; use ulimit")
    try:
        resource.prlimit(pid, number, (value, value))
    except ProcessLookupError:
        return  # it has ended already: the exit tells
    except (OSError, ValueError) as error:
        raise SpawnError(
            f"cannot set rlimit {name!r} to {value}: {error}; stay within the supervisor's own limits"
        ) from error
