"""The exec check: a program of the operator's, run in a session of its own; exit code 0 passes."""

import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Protocol

import anyio

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import placeholders
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.environment import build_environment, find_identity
from chaperone_async.system.last_words import LastWords
from chaperone_async.system.launch import find_argv, start_process
from chaperone_async.system.ports import SpawnError, Verdict
from chaperone_async.system.probers.connecting import no_answer
from chaperone_async.system.proc import sessions

_REAPING = 2.0  # seconds SIGKILL may take; a process on a dead disk must not hold up all checks


class Kin(Protocol):
    """The processes the supervisor has started itself: none of them is an orphan to be reaped."""

    mark: dict[str, str]
    """Variables by which what it starts is known when it has been killed."""

    def add(self, pid: int) -> None: ...
    def discard(self, pid: int) -> None: ...
    def spawning(self) -> AbstractContextManager[None]:
        """Around a spawn, until its pid has been added."""


class ExecProber:
    """The program runs as the worker does: the pool's user, directory and environment."""

    check = "exec"

    def __init__(self, spec: PoolSpec, words: tuple[str, ...], family: Kin) -> None:
        self._spec = spec
        self._words = words
        self._family = family

    async def probe(self, ref: WorkerRef, worker_id: str, pid: int) -> Verdict:
        values = placeholders(self._spec, ref, worker_id)
        given = {
            "CHAPERONE_POOL": self._spec.name,
            "CHAPERONE_QUEUE": self._spec.queue,
            "CHAPERONE_SLOT": str(ref.slot),
            "CHAPERONE_WORKER_ID": worker_id,
            "CHAPERONE_WORKER_PID": str(pid),
            **self._family.mark,
        }
        try:
            with LastWords() as tail:
                return await self._run(values, given, tail)
        except SpawnError as error:
            return Verdict(passed=None, detail=str(error))
        except OSError as error:  # no pipe to be had
            return Verdict(passed=None, detail=f"cannot run {self._words[0]!r}: {error.strerror}")

    async def _run(self, values: Mapping[str, str], given: Mapping[str, str], tail: LastWords) -> Verdict:
        launch = self._spec.launch
        identity = find_identity(launch)
        environment = build_environment(launch, identity, given)
        # shielded, so that there is no moment in which the process exists and nobody knows it
        with anyio.CancelScope(shield=True), self._family.spawning():
            argv = find_argv(self._words, values)
            process = await start_process(argv, launch, identity, environment, tail.writing_end)
            self._family.add(process.pid)
        timeout = self._spec.health.timeout
        verdict = no_answer(timeout)
        try:
            with anyio.move_on_after(timeout):
                verdict = _judge(await process.wait(), tail)
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(process)
        return verdict

    async def _end(self, process: Process) -> None:
        """Kill what is left of the session, and reap."""
        if process.returncode is None:
            for pid, session in sessions():
                if session == process.pid:
                    _kill(os.kill, pid)
        _kill(os.killpg, process.pid)  # also what was forked meanwhile, or stayed behind after a good end
        with anyio.move_on_after(_REAPING):
            await process.wait()
            self._family.discard(process.pid)


def _judge(code: int, tail: LastWords) -> Verdict:
    if code == 0:
        return Verdict(passed=True)
    ended = f"exit code {code}" if code > 0 else f"killed by {_signal_name(-code)}"
    said = tail.last_line()
    return Verdict(passed=False, detail=f"{ended}: {said}" if said else ended)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names of their own
        return f"signal {number}"


def _kill(send: Callable[[int, int], None], target: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # gone; or it has changed its user, and only root could
        send(target, signal.SIGKILL)
