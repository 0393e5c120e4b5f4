"""The python check: a function of the user's, called with the Worker; whatever counts as true passes."""

import importlib
import inspect
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

import anyio

from chaperone_async.core.events import WorkerRef
from chaperone_async.errors import ConfigError
from chaperone_async.system.ports import Verdict
from chaperone_async.system.probers.connecting import no_answer
from chaperone_async.system.threads import DaemonThreads

Check = Callable[..., object]
"""Called with a Worker; sync or async."""

WorkerOf = Callable[[WorkerRef], object]
"""Makes the Worker a check is called with. LookupError: that life is over."""

OnError = Callable[[WorkerRef, BaseException], None]
"""Told, in the event loop, what a check has raised: StopPool included."""

_THREADS = 16  # for one pool's sync checks; one that hangs keeps its thread until it ends


class PythonProber:
    """Passes when all its functions do. They share one time-out."""

    check = "python"

    def __init__(self, checks: tuple[Check, ...], timeout: float, worker_of: WorkerOf, on_error: OnError) -> None:
        self._checks = checks
        self._timeout = timeout
        self._worker_of = worker_of
        self._on_error = on_error
        self._threads = DaemonThreads(_THREADS, "check")  # its own: hanging checks must not use up everyone's

    async def probe(self, ref: WorkerRef, worker_id: str, pid: int) -> Verdict:  # noqa: ARG002  the port's signature
        call = _Call(self._threads)
        with anyio.move_on_after(self._timeout):
            try:
                worker = self._worker_of(ref)
            except LookupError:
                return Verdict(passed=None, detail="the worker is gone")
            for check in self._checks:
                try:
                    answer = await call.ask(check, worker)
                    passed, told = bool(answer), _short(answer)
                except (Exception, SystemExit) as error:  # noqa: BLE001  a user's function may raise anything
                    self._on_error(ref, error)
                    return Verdict(passed=None, detail=f"{_name(check)} raised {type(error).__name__}: {error}")
                if not passed:
                    return Verdict(passed=False, detail=f"{_name(check)} returned {told}")
            return Verdict(passed=True)
        if call.waiting:
            return Verdict(passed=None, detail=f"no thread was free within {self._timeout:g} s: earlier checks hang")
        return no_answer(self._timeout)


class _Call:
    """Calling a function of either colour; `waiting` while a sync one has not found a thread yet."""

    def __init__(self, threads: DaemonThreads) -> None:
        self._threads = threads
        self.waiting = False

    async def ask(self, check: Check, worker: object) -> object:
        if _is_async(check):
            answer = check(worker)
        else:
            self.waiting = True
            answer = await self._threads.run(self._begin, check, worker)
        return await answer if inspect.isawaitable(answer) else answer

    def _begin(self, check: Check, worker: object) -> object:
        self.waiting = False
        return check(worker)


def load_check(name: str) -> Check:
    """From `module:function`; modules in the current directory are found too. Raises ConfigError."""
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise _refusal(name, "it names no function; write module:function, such as myapp.checks:healthy")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # behind all others: a file lying about must not stand in for a library
    try:
        found: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise _refusal(name, f"importing {module_name} raised {type(error).__name__}: {error}") from error
    for word in function_name.split("."):
        if not hasattr(found, word):
            near = get_close_matches(word, dir(found), n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise _refusal(name, f"there is no {word!r} in {module_name}{meant}")
        found = getattr(found, word)
    if not callable(found):
        raise _refusal(name, f"{function_name!r} is a {type(found).__name__}; name a function that takes the worker")
    return found


def _refusal(name: str, why: str) -> ConfigError:
    return ConfigError([f"cannot use health check {name!r}: {why}"])


def _is_async(check: Check) -> bool:
    return inspect.iscoroutinefunction(check) or inspect.iscoroutinefunction(getattr(check, "__call__", None))  # noqa: B004  looked at, not called


def _name(check: Check) -> str:
    return getattr(check, "__name__", None) or type(check).__name__


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
