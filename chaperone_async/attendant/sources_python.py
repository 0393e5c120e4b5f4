"""A function of the user's, or a coroutine function: that tells a backlog, or how many workers one calls for.

It runs in a thread of its own. One that does not return keeps that thread, and there is an end to how many do.
Coroutines share one event loop, so that what they keep open between two calls stays usable.
"""

import asyncio
import importlib
import inspect
import math
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import Figures, Settings, figures

_MOST_HANGING = 8


def reader(settings: Settings, limit: float) -> Callable[[], Figures]:
    function = Function(str(settings["address"]), limit)
    return lambda: figures(function.call())


class Scaling:
    def __init__(self, path: str, limit: float) -> None:
        self._function = Function(path, limit)

    def call_for(self, sample: Mapping[str, Any]) -> float | None:
        """The function is given the sample as an object: `sample.backlog`, `.oldest_age`, `.busy`; None is unknown. It
        returns a number of workers, or None to leave things as they are."""
        called = self._function.call(SimpleNamespace(**sample))
        if called is None:
            return None
        if isinstance(called, bool) or not isinstance(called, int | float) or not 0 <= called < math.inf:
            raise Unavailable(f"it has returned {called!r:.60}, which is not a number of workers")
        return float(called)


class Function:
    """`path`: module:function, found from the directory that the pool's workers run in."""

    def __init__(self, path: str, limit: float) -> None:
        self._path, self._limit = path, limit
        self._hanging: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = threading.Lock()

    def call(self, *arguments: object) -> object:
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= _MOST_HANGING:
            raise Unavailable(f"{self._path} hangs: its last {_MOST_HANGING} calls have not returned")
        call = _Call(lambda: self._answer(arguments))
        thread = threading.Thread(target=call.run, daemon=True)
        thread.start()
        thread.join(self._limit)
        if thread.is_alive():
            self._hanging.append(thread)
        if thread.is_alive() or isinstance(call.error, _Late):
            raise Unavailable(f"{self._path} has not returned within {self._limit:g} s")
        if isinstance(call.error, Unavailable):
            raise call.error
        if call.error is not None:
            raise Unavailable(f"{self._path} raised {_told(call.error)}") from call.error
        return call.answer

    def _answer(self, arguments: tuple[object, ...]) -> object:
        answer = load(self._path)(*arguments)
        if not inspect.isawaitable(answer):
            return answer
        future = asyncio.run_coroutine_threadsafe(_wait_for(answer, self._limit), self._running_loop())
        return future.result()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._opening:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True).start()
            return self._loop


class _Call:
    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self.answer: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.answer = self._function()
        except BaseException as error:  # noqa: BLE001  a user's function may raise anything: it is told
            self.error = error


class _Late(Exception):
    """A coroutine was cut off."""


async def _wait_for(answer: Awaitable[object], limit: float) -> object:
    task = asyncio.ensure_future(answer)
    await asyncio.wait([task], timeout=limit)
    if not task.done():
        task.cancel()
        raise _Late
    return task.result()


def load(path: str) -> Callable[..., object]:
    """Raises Unavailable."""
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except BaseException as error:
        raise Unavailable(f"importing {module} raised {_told(error)}") from error
    for word in name.split("."):
        found = getattr(found, word, None)
    if not callable(found):
        raise Unavailable(f"there is no function {name!r} in {module}")
    function: Callable[..., object] = found
    return function


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
