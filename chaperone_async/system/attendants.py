"""Attendants: processes that do for us what needs a queue library; see `chaperone_async/attendant`. One for each
interpreter and surroundings, started by the first call, and by the next one after it has died.

async with Attendants(family) as attendants:
    value = await attendants.call(launch, python, Call(module, settings, "backlog", {"queues": ["a"]}), timeout=5)
"""

import asyncio
import json
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import anyio
import orjson
from anyio.abc import TaskGroup

from chaperone_async.core.spec import Launch
from chaperone_async.errors import QueueError, QueueUnavailable
from chaperone_async.system.environment import build_environment, find_identity
from chaperone_async.system.janitor import kill
from chaperone_async.system.kin import unreaped
from chaperone_async.system.last_words import LastWords
from chaperone_async.system.launch import start_process
from chaperone_async.system.ports import SpawnError
from chaperone_async.system.probers.command import Kin
from chaperone_async.system.proc import sessions

_LONGEST_ANSWER = 16 << 20  # bytes
_HOPELESS = 8  # calls in a row without an answer: such a process is given up,
_SILENT = 60.0  # seconds after it said something last: it may be importing an application, for many pools
_PAUSE = 1.0  # seconds between two starts of an attendant that does not live
_REAPING = 2.0
_IDLE = 120.0  # seconds after which one that nobody asks is let go, where nobody that has asked exists any more


@dataclass(frozen=True, slots=True)
class Call:
    """`settings` is a JSON object."""

    module: str
    settings: str
    name: str
    arguments: Mapping[str, Any]


class Attendants:
    """`family`: who has started them is not to take them for strays."""

    def __init__(self, family: Kin) -> None:
        self._family = family
        self._given = {"PYTHONUNBUFFERED": "1", **family.mark}
        self._tasks: TaskGroup | None = None
        self._processes: dict[tuple[Launch, str], _Attendant] = {}

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)

    async def call(
        self, launch: Launch, python: str | None, call: Call, *,
        timeout: float,  # noqa: ASYNC109  told to people
        user: object = None,
    ) -> Any:  # fmt: skip
        """What the attendant's method returned. `launch`: the surroundings of the pool's workers, which are its own.
        `user`: for as long as it exists, the process is kept, with what it remembers. Raises QueueUnavailable and
        QueueError."""
        if self._tasks is None:
            raise QueueUnavailable(f"cannot ask for {call.name}: the supervisor does not run")
        key = (launch, python or sys.executable)
        attendant = self._processes.get(key)
        if attendant is None:
            attendant = self._processes[key] = _Attendant(launch, key[1], self._family, self._tasks, self._given)
        if user is not None:
            attendant.users.add(user)
        return await attendant.call(call, timeout)


class _Attendant:
    """One process at a time."""

    def __init__(self, launch: Launch, python: str, family: Kin, tasks: TaskGroup, given: Mapping[str, str]) -> None:
        self._launch, self._python, self._family, self._tasks, self._given = launch, python, family, tasks, given
        self.users: WeakSet[object] = WeakSet()
        self._connection: _Connection | None = None
        self._starting = anyio.Lock()
        self._not_before = 0.0
        self._why = ""

    async def call(self, call: Call, seconds: float) -> Any:
        connection: _Connection | None = None
        with anyio.move_on_after(seconds):
            async with self._starting:
                connection = await self._connected()
            return await connection.ask(call)
        if connection is not None:
            connection.missed()
        raise QueueUnavailable(f"no answer within {seconds:g} s")

    async def _connected(self) -> "_Connection":
        if self._connection is not None and self._connection.alive:
            return self._connection
        if time.monotonic() < self._not_before:
            raise QueueUnavailable(self._why)
        self._not_before = time.monotonic() + _PAUSE
        try:
            self._connection = await self._start()
        except (SpawnError, OSError) as error:  # an OSError: no socket, or no pipe, to be had
            self._why = str(error) if isinstance(error, SpawnError) else f"cannot start its attendant: {error.strerror}"
            raise QueueUnavailable(self._why) from error
        return self._connection

    async def _start(self) -> "_Connection":
        ours, theirs = socket.socketpair()
        tail = LastWords()
        try:
            with theirs:
                identity = find_identity(self._launch)
                environment = build_environment(self._launch, identity, self._given)
                argv = [self._python, "-m", "chaperone_async.attendant", str(theirs.fileno())]
                with anyio.CancelScope(shield=True), self._family.spawning():
                    process = await start_process(
                        argv, self._launch, identity, environment, tail.writing_end, (theirs.fileno(),)
                    )
                    self._family.add(process.pid)
        except BaseException:
            ours.close()
            tail.close()
            raise
        connection = _Connection(process, ours, tail, self._family, self.users, self._ended)
        self._tasks.start_soon(connection.run)
        return connection

    def _ended(self, why: str) -> None:
        self._why = why


async def _line_of(reader: asyncio.StreamReader) -> bytes | None:
    """Empty: there will be none. None: there was none for long."""
    with anyio.move_on_after(_IDLE):
        return await reader.readline()
    return None


class _Connection:
    """One process, from start to end."""

    def __init__(
        self, process: Process, ours: socket.socket, tail: LastWords, family: Kin, users: WeakSet[object],
        ended: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.alive = True
        self._process, self._socket, self._tail, self._family = process, ours, tail, family
        self._users, self._ended = users, ended
        self._last_words: str | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._open = anyio.Event()
        self._last_id = self._missed = 0
        self._heard_at = time.monotonic()

    async def ask(self, call: Call) -> Any:
        await self._open.wait()
        if self._writer is None or not self.alive:
            raise QueueUnavailable(self._why())
        self._last_id += 1
        number, future = self._last_id, asyncio.get_running_loop().create_future()
        self._answers[number] = future
        try:
            self._writer.write(
                b'{"id":%d,"module":%s,"settings":%s,"call":%s,"with":%s}\n'
                % (
                    number, orjson.dumps(call.module), call.settings.encode(), orjson.dumps(call.name),
                    json.dumps(dict(call.arguments)).encode(),  # numbers of any size, and those that are none
                )
            )  # fmt: skip
            return await future
        finally:
            del self._answers[number]

    def missed(self) -> None:
        """A call had no answer in time. Where none has for long, the next ones begin with another process."""
        self._missed += 1
        if self._missed >= _HOPELESS and time.monotonic() - self._heard_at >= _SILENT:
            self._kill()

    async def run(self) -> None:
        try:
            reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=_LONGEST_ANSWER)
            self._open.set()
            with suppress(ConnectionError, ValueError):  # ValueError: longer than any answer may be
                while (line := await _line_of(reader)) or (line is None and (self._users or self._answers)):
                    if line:
                        self._missed, self._heard_at = 0, time.monotonic()
                        self._take(json.loads(line))
        finally:
            self.alive = False
            self._open.set()
            with anyio.CancelScope(shield=True):
                await self._end()

    def _take(self, answer: dict[str, Any]) -> None:
        future = self._answers.get(answer["id"])
        if future is None or future.done():
            return  # it came too late
        if "value" in answer:
            future.set_result(answer["value"])
        else:
            future.set_exception((QueueUnavailable if answer["unavailable"] else QueueError)(answer["error"]))

    async def _end(self) -> None:
        self._kill()
        for pid, session in sessions():  # a program that it has run, to be told a number, ends with it
            if session == self._process.pid:
                kill(pid)
        if self._writer is not None:
            self._writer.close()
        with anyio.move_on_after(_REAPING):
            await self._process.wait()
            self._family.discard(self._process.pid)
        why = self._last_words = self._why()
        self._ended(why)
        self._tail.close()
        for future in self._answers.values():
            if not future.done():
                future.set_exception(QueueUnavailable(why))

    def _kill(self) -> None:
        self.alive = False
        if unreaped(self._process.pid):
            with suppress(ProcessLookupError):
                self._process.kill()

    def _why(self) -> str:
        if self._last_words is not None:
            return self._last_words
        said = self._tail.last_line()
        return f"its attendant has died: {said}" if said else "its attendant has died"
