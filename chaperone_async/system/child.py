"""Worker processes: spawned, signalled, killed, waited for and swept, all in one place.

async with OsProcesses(outputs, sockets) as processes:   # adopts orphans, starts the janitor
    child = await processes.spawn(ref, worker_id, spec)
    status = await child.wait()                          # reaped, and nothing of it is left
"""

import asyncio
import os
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from signal import SIGKILL, Signals
from types import TracebackType
from typing import Protocol, Self

import anyio

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import placeholders
from chaperone_async.core.spec import LogPolicy, PoolSpec, SignalTarget
from chaperone_async.system.diagnosis import explain_preparation
from chaperone_async.system.environment import Identity, build_environment, find_identity, inherited_environment
from chaperone_async.system.exits import OomLedger, exit_status, find_oom_counter
from chaperone_async.system.janitor import TOKEN_VARIABLE
from chaperone_async.system.janitor_link import JanitorLink
from chaperone_async.system.kin import become_subreaper, children_are_listed, send, unreaped
from chaperone_async.system.launch import (
    Portions,
    find_argv,
    prepare_signals,
    set_nice,
    start_process,
    use_pidfds,
)
from chaperone_async.system.limits import Errand, start_limited
from chaperone_async.system.ports import ExitStatus, OutputSink
from chaperone_async.system.reaper import Reaper
from chaperone_async.system.reserve import keep_reserve
from chaperone_async.system.sweep import Family, Life, Sweeper

ENDS_PER_TURN = (
    16  # deaths of the same moment, each with what follows from it, that may hold up the event loop together
)
REAP_INTERVAL = 1.0  # seconds between two looks for strangers' zombies and for OOM kills


class WorkerOutputs(Protocol):
    """Where workers write to."""

    def open(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> int:
        """The writing end of a new pipe, the caller's to close. Raises OSError."""

    def finish(self, ref: WorkerRef) -> None:
        """The worker is gone: read what is left, without blocking, and close. Nothing for one never opened."""

    def tail(self, ref: WorkerRef, lines: int) -> Sequence[str]: ...

    def follow(self, pool: str | None, sink: OutputSink) -> Callable[[], None]: ...

    def adopt(self, pool: str, logs: LogPolicy) -> None: ...

    def forget(self, ref: WorkerRef) -> None: ...


class WorkerSockets(Protocol):
    """Where workers speak to."""

    def open(self, ref: WorkerRef, uid: int, gid: int) -> str:
        """The value of NOTIFY_SOCKET for a worker of this user. Raises OSError."""

    def started(self, ref: WorkerRef, pid: int) -> None: ...

    def ended(self, ref: WorkerRef) -> None:
        """Nothing for one never opened."""


class OsChild:
    """One life, for who waits for its end."""

    __slots__ = ("_life", "_owner", "_process", "_status")

    def __init__(self, owner: "OsProcesses", life: Life, process: Process) -> None:
        self._owner = owner
        self._life = life
        self._process = process
        self._status: ExitStatus | None = None

    @property
    def pid(self) -> int:
        return self._life.pid

    async def wait(self) -> ExitStatus:
        returncode = await self._process.wait()
        if self._status is None:
            await self._owner.sweep(self._life)
        if self._status is None:  # another task may have waited too
            self._status = self._owner.conclude(self._life, returncode)
        return self._status

    async def aclose(self) -> None:
        if self._status is None:
            with anyio.CancelScope(shield=True):
                self._owner.kill(self._life.ref)
                await self.wait()


class OsProcesses:
    """The port `Processes` on this system. `degraded` says what it cannot give, for the log at start."""

    def __init__(
        self, outputs: WorkerOutputs, sockets: WorkerSockets | None = None, *, family: Family | None = None
    ) -> None:
        self.family = Family() if family is None else family
        token = os.urandom(16).hex()
        self.family.mark = {TOKEN_VARIABLE: token}
        self.degraded: list[str] = []
        self._outputs = outputs
        self._sockets = sockets
        self._starts = Portions()
        self._ends = Portions(ENDS_PER_TURN)
        self._janitor = JanitorLink(token, self.family)
        self._sweeper = Sweeper(self.family, subreaper=False)
        self._oom = OomLedger(None)
        self._inherited: dict[bytes, bytes] = {}
        self._lives: dict[WorkerRef, Life] = {}
        self._children: dict[WorkerRef, OsChild] = {}
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._prepare(stack)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._janitor.keep)
            reaper = Reaper(self.family)
            tasks.start_soon(reaper.run, REAP_INTERVAL, self._look_for_oom)
            stack.push_async_callback(self._kill_everything, reaper)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._closing.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if group.exceptions == (error,):
                return False  # the body's own error, which the task group inside has wrapped: let it out as it is
            raise

    async def spawn(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> OsChild:
        await self._starts.turn()
        try:
            with anyio.CancelScope(shield=True), self.family.spawning():
                child, errand = await self._start(ref, worker_id, spec)
        except BaseException:
            self._let_go(ref)
            self._outputs.forget(ref)
            raise
        try:
            if errand is None:
                set_nice(child.pid, spec.launch)
            else:
                await errand.carry_out()
        except BaseException:
            await child.aclose()
            self._outputs.forget(ref)
            raise
        if self._sockets is not None:
            self._sockets.started(ref, child.pid)
        return child

    def signal(self, ref: WorkerRef, signal: str, to: SignalTarget) -> None:
        number = Signals[signal]
        life = self._lives.get(ref)
        if life is None or not unreaped(life.pid):
            return
        life.killed |= number == SIGKILL
        match to:
            case "worker":
                send(life.pid, number)
            case "group":
                send(-life.pid, number)
            case "session":
                for pid in self._sweeper.session(life):
                    send(pid, number)

    def kill(self, ref: WorkerRef) -> None:
        life = self._lives.get(ref)
        if life is not None and unreaped(life.pid):  # once reaped, what it left is being swept
            life.killed = True
            self._sweeper.kill(life)

    def output(self, ref: WorkerRef, lines: int) -> Sequence[str]:
        return self._outputs.tail(ref, lines)

    def follow(self, pool: str | None, sink: OutputSink) -> Callable[[], None]:
        return self._outputs.follow(pool, sink)

    def adopt(self, spec: PoolSpec) -> None:
        self._outputs.adopt(spec.name, spec.logs)

    def forget(self, ref: WorkerRef) -> None:
        self._outputs.forget(ref)

    async def sweep(self, life: Life) -> None:
        """After the main process was reaped: end what it left."""
        await self._sweeper.clear(life)
        await self._ends.turn()

    def conclude(self, life: Life, returncode: int) -> ExitStatus:
        """Nothing of this life is left: take it off every list."""
        if self._lives.get(life.ref) is life:
            del self._lives[life.ref], self._children[life.ref]
            self.family.discard(life.pid)
            self._sweeper.gone(life)
            self._janitor.discard(life.pid)
            self._let_go(life.ref)
        by_another = returncode == -SIGKILL and not life.killed
        return exit_status(returncode, oom=by_another and self._oom.claim(asyncio.get_running_loop().time()))

    async def _start(self, ref: WorkerRef, worker_id: str, spec: PoolSpec) -> tuple[OsChild, Errand | None]:
        """Shielded: between the fork and its entry here nothing may be lost."""
        identity = find_identity(spec.launch)
        environment, output = self._prepare_start(ref, worker_id, spec, identity)
        errand = None
        try:
            argv = find_argv(spec.command, placeholders(spec, ref, worker_id))
            if spec.launch.rlimits:
                process, errand = await start_limited(argv, spec.launch, identity, environment, output)
            else:
                process = await start_process(argv, spec.launch, identity, environment, output)
        finally:
            os.close(output)
        return self._born(ref, worker_id, process), errand

    def _prepare_start(
        self, ref: WorkerRef, worker_id: str, spec: PoolSpec, identity: Identity
    ) -> tuple[dict[bytes, bytes], int]:
        """The environment, and where it writes to."""
        given = {
            "CHAPERONE_POOL": spec.name,
            "CHAPERONE_QUEUE": spec.queue,
            "CHAPERONE_SLOT": str(ref.slot),
            "CHAPERONE_WORKER_ID": worker_id,
            **self.family.mark,
        }
        if spec.health.heartbeat > 0:
            given["WATCHDOG_USEC"] = str(round(spec.health.heartbeat * 1_000_000))
        try:
            keep_reserve()
            if self._sockets is not None:
                given["NOTIFY_SOCKET"] = self._sockets.open(ref, identity.uid, identity.gid)
            environment = build_environment(spec.launch, identity, given, self._inherited)
            return environment, self._outputs.open(ref, worker_id, spec)
        except OSError as error:
            raise explain_preparation(error, worker_id, spec.launch) from error

    def _born(self, ref: WorkerRef, worker_id: str, process: Process) -> OsChild:
        life = Life(ref, worker_id, process.pid)
        self.family.add(life.pid)
        self._janitor.add(life.pid)
        self._sweeper.born(life)
        self._lives[ref] = life
        self._children[ref] = child = OsChild(self, life, process)
        return child

    def _let_go(self, ref: WorkerRef) -> None:
        self._outputs.finish(ref)
        if self._sockets is not None:
            self._sockets.ended(ref)

    def _prepare(self, stack: AsyncExitStack) -> None:
        undo_signals, prepared = prepare_signals()
        stack.callback(undo_signals)
        if not prepared:
            self.degraded.append("not in the main thread: workers inherit ignored signals")
        if not use_pidfds():
            self.degraded.append("no pidfds: a thread waits for each worker")
        subreaper = True
        try:
            stack.callback(become_subreaper())
        except OSError as error:
            subreaper = False
            self.degraded.append(f"no child subreaper ({error}): what leaves a worker's session may outlive it")
        if subreaper and not children_are_listed():
            self.degraded.append("no /proc/PID/task/TID/children: the process table is scanned at each exit")
        self._sweeper = Sweeper(self.family, subreaper=subreaper)
        self._inherited = inherited_environment()
        self._oom = OomLedger(find_oom_counter())
        stack.callback(self._oom.close)
        stack.callback(self._janitor.close)
        try:
            self._janitor.start()
        except OSError as error:
            self.degraded.append(f"no janitor yet ({error}): workers would outlive a killed supervisor")

    def _look_for_oom(self) -> None:
        self._oom.look(asyncio.get_running_loop().time())

    async def _kill_everything(self, reaper: Reaper) -> None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for child in self._children.values():
                    tasks.start_soon(child.aclose)
            await reaper.reap_the_last()
