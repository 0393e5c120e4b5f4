"""Threads for users' functions: a call can be given up, and one that never returns does not keep the program alive.

Neither asyncio's executor nor anyio's worker threads will do: the interpreter waits for both at exit; and anyio counts
a thread as free once its call was given up, so that a function that hangs takes one more each time it is called.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Condition, Thread, get_ident
from typing import Any, TypeVar, cast

from anyio import from_thread
from anyio.lowlevel import current_token

T = TypeVar("T")

_KEPT_IDLE = 10.0  # seconds

_Outcome = tuple[Any, BaseException | None]
_Call = tuple[Future[_Outcome], Callable[[], object]]


class NoThreadError(RuntimeError):
    """Too many processes and threads already, or no memory."""


class DaemonThreads:
    """At most `limit` threads, started when needed. A call that was given up holds its thread until it returns.

    Where no more can be had, a call waits for one of those there are; NoThreadError when there is none.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._changed = Condition()
        self._calls: deque[_Call] = deque()  # not yet taken up
        self._threads = 0
        self._idle = 0

    def __len__(self) -> int:
        return self._threads

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """What the function returns or raises. Cancelled: a call that has not begun never will."""
        future: Future[_Outcome] = Future()
        entry = future, partial(copy_context().run, function, *arguments)
        with self._changed:
            self._calls.append(entry)
            if self._idle < len(self._calls) and self._threads < self._limit:
                self._start_thread()
            self._changed.notify()
        try:
            # an exception set in the future itself would not always arrive as the same object
            answer, error = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._give_up(entry)
            raise
        if error is not None:
            raise error
        return cast("T", answer)

    def _give_up(self, entry: _Call) -> None:
        """Where all threads hang, nobody would ever take it out."""
        with self._changed, suppress(ValueError):
            self._calls.remove(entry)

    def _start_thread(self) -> None:
        """For the last call."""
        try:
            Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as error:
            if not self._threads:
                self._calls.pop()
                raise NoThreadError("no thread can be started; raise the limit of processes") from error
        else:
            self._threads += 1

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            future, call = taken
            if future.set_running_or_notify_cancel():
                future.set_result(_outcome(call))
            del taken, future, call  # nothing of the user's is held while idle

    def _take(self) -> _Call | None:
        """None: there was nothing to do for long enough."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._calls, _KEPT_IDLE)
            self._idle -= 1
            if self._calls:
                return self._calls.popleft()
            self._threads -= 1
            return None


class LoopThread:
    """The thread of the event loop that is running here, as it is reached from any: also from a callback of the loop's
    own, which is no task, and from a thread that has a loop of its own."""

    def __init__(self) -> None:
        self._token = current_token()
        self._thread = get_ident()

    def now(self) -> float:
        """By the loop's clock."""
        return self.call(self._token.backend_class.current_time)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        if get_ident() == self._thread:
            return function(*arguments)
        return from_thread.run_sync(function, *arguments, token=self._token)


def _outcome(call: Callable[[], object]) -> _Outcome:
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001  it is raised where the call is awaited
        return None, error
