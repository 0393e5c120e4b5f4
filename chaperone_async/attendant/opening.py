"""The opening of attendants, each by the call that asks for it first. That may import an application, which takes its
time, fails or hangs: for long only those wait who want the same one."""

import json
import threading
import time
from importlib import import_module

from chaperone_async.attendant import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PAUSE = 1.0  # seconds between two tries to open one
_TURN = 3.0  # seconds that an import waits for another to end
_PATIENCE = 90.0  # seconds; longer than the supervisor lets a process live that answers nobody


class Openings:
    """`get` is called by several threads at a time."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, str], _Opening] = {}
        self._importing = threading.Lock()

    def get(self, module: str, settings: "dict[str, Any]") -> "Any":
        key = (module, json.dumps(settings, sort_keys=True))
        return self._all.setdefault(key, _Opening()).result(lambda: self._open(module, settings))

    def _open(self, module: str, settings: "dict[str, Any]") -> "Any":
        """In turns: modules that import each other, and what looks for them, need not bear to be imported by two
        threads. That is no reason to wait for one that hangs."""
        has_turn = self._importing.acquire(timeout=_TURN)
        try:
            return import_module(module).attend(settings)
        finally:
            if has_turn:
                self._importing.release()


class _Opening:
    """Of one attendant, once. What went wrong is told again for a moment: many may have waited for it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._opened: Any = None
        self._error: BaseException | None = None
        self._not_before = 0.0

    def result(self, open_it: "Callable[[], Any]") -> "Any":
        if self._opened is None:
            if not self._turn.acquire(timeout=_PATIENCE):
                raise Unavailable("the application is still being imported")
            try:
                self._try(open_it)
            finally:
                self._turn.release()
        return self._opened

    def _try(self, open_it: "Callable[[], Any]") -> None:
        if self._opened is not None:
            return
        if self._error is not None and time.monotonic() < self._not_before:
            raise self._error
        try:
            self._opened = open_it()
        except BaseException as error:
            self._error, self._not_before = error, time.monotonic() + _PAUSE
            raise
