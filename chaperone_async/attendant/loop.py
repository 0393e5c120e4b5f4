"""An event loop in a thread of its own, where the clients of asynchronous libraries live; calls wait for it."""

import asyncio
import threading
from concurrent.futures import CancelledError

from chaperone_async.attendant import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    T = TypeVar("T")

QUICK = 4.0
"""Seconds for what the supervisor asks often, and does not wait for much longer."""


class Loop:
    """`expected`: errors of the library's clients, which are told in one line."""

    def __init__(self, *expected: type[BaseException]) -> None:
        self._expected: tuple[type[BaseException], ...] = (OSError, *expected)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()

    def run(self, coroutine: "Coroutine[Any, Any, T]", seconds: float = QUICK) -> "T":
        """Raises Unavailable."""

        async def limited() -> "T":
            return await asyncio.wait_for(coroutine, seconds)

        try:
            return asyncio.run_coroutine_threadsafe(limited(), self._loop).result()
        except (TimeoutError, CancelledError):
            raise Unavailable(f"no answer within {seconds:g} s") from None
        except self._expected as error:
            raise Unavailable(" ".join(_words(error).split())) from error


def _words(error: BaseException) -> str:
    """What it comes from says more than a wrapping without a word."""
    while not str(error) and error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def load(path: str) -> "Any":
    """What `module.name` or `module:name` is."""
    from importlib import import_module

    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # an application may raise anything
        raise Unavailable(f"cannot load {path}: {type(error).__name__}: {error}") from error


def check_queue(named: str, own: str) -> None:
    """A pool that calls its queue nothing has "default"."""
    if named not in {own, "default"}:
        raise Unavailable(f"the application has the queue {own!r}, not {named!r}; write that as the pool's queue")
