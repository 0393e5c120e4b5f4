"""The user's functions: called with a bound on time, never able to break supervision."""

import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import isawaitable, iscoroutinefunction
from math import inf
from typing import Any, Protocol

import anyio

from chaperone_async.core.actions import Hook
from chaperone_async.errors import StopPool

Callback = Callable[[Any], Any]
in_callback: ContextVar[bool] = ContextVar("in_callback", default=False)


class Threads(Protocol):
    """Where synchronous callbacks of one pool run. One that was given up must not keep the program from ending."""

    async def run(self, function: Callable[..., Any], *arguments: object) -> Any: ...


@dataclass(frozen=True, slots=True)
class Hooks:
    on_crash: Callback | None = None
    on_unhealthy: Callback | None = None
    check: Callback | None = None

    def named(self, hook: Hook) -> Callback | None:
        return self.on_crash if hook == "on_crash" else self.on_unhealthy


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call. `stop`: the callback raised StopPool, with this reason. `error`: it failed, and how."""

    value: Any = None
    stop: str | None = None
    error: str | None = None


def told(text: str) -> str:
    """What a user's function said. A lone surrogate, as in the name of a file that is not UTF-8, is none for JSON."""
    return text.encode(errors="backslashreplace").decode()


def we_are_cancelled() -> bool:
    """Whether a cancellation that arrives is meant for us. A user's function may raise that of a task of its own, and
    a task group that sees it would end, without a word."""
    return anyio.current_effective_deadline() == -inf


class CallbackRunner:
    """Calls sync functions in a thread and async ones in the loop."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def call(self, function: Callback, worker: object, seconds: float) -> Outcome:
        """In a task of its own: what the function calls can see that it is inside a callback. Cut off after so many
        seconds."""
        in_callback.set(True)
        with anyio.move_on_after(seconds) as scope:
            try:
                return Outcome(await self._run(function, worker))
            except StopPool as stop:
                return Outcome(stop=stop.reason)
            except anyio.get_cancelled_exc_class():
                if we_are_cancelled():
                    raise
                return Outcome(error=traceback.format_exc())
            except (Exception, SystemExit):  # noqa: BLE001  whatever a user's function raises, supervision goes on
                return Outcome(error=traceback.format_exc())
        if scope.cancelled_caught:
            return Outcome(error=f"cut off: it did not return within {seconds:g} s")
        return Outcome()

    async def _run(self, function: Callback, worker: object) -> Any:
        if iscoroutinefunction(function):
            return await function(worker)
        result = await self._threads.run(function, worker)
        return await result if isawaitable(result) else result
