"""The composition root: configuration → adapters → supervisor → HTTP server; signals → requests."""

import gc
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Protocol

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from chaperone_async import __version__
from chaperone_async.core.pool import Pool
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Spawning
from chaperone_async.errors import ConfigError, ListenError
from chaperone_async.service.compose import Composed, compose, embedded_log
from chaperone_async.service.control import Control
from chaperone_async.service.http.entrance import Entrance
from chaperone_async.service.http.face import Face
from chaperone_async.service.http.listen import Listener, bind
from chaperone_async.service.logs import LogFormat
from chaperone_async.service.operations import Operations
from chaperone_async.service.reload import Origin, Reloader
from chaperone_async.service.runtime_pools import RuntimePools
from chaperone_async.service.settings import Readied, SettingChange
from chaperone_async.service.signals import HEARD, SignalDesk
from chaperone_async.service.views import Views
from chaperone_async.service.watch import Watch
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.journal import Entry
from chaperone_async.supervision.supervisor import Supervisor
from chaperone_async.system.config.failed_jobs import FailedJobsPlace
from chaperone_async.system.config.load import DEFAULT_SOCKET_MODE, Config, Tls

DONE, NO, BAD_CONFIGURATION = 0, 1, 2
FIRST_SPAWNS = 3.0
"""Seconds, at most, that the HTTP server's imports leave the processor to the first workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the service itself wants to know, besides pools and addresses. `grace` in seconds."""

    name: str
    grace: float
    token: str | None = field(default=None, repr=False)
    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tls: Tls | None = None
    socket_mode: int = DEFAULT_SOCKET_MODE
    log_format: LogFormat = "text"
    log_level: str = "info"
    origin: Origin | None = None
    budget: int | None = None
    failed_jobs: FailedJobsPlace = FailedJobsPlace()  # noqa: RUF009  frozen


class Pools(Protocol):
    """What is to be supervised."""

    def attach(self, composed: Composed) -> None:
        """Add the pools; nothing runs yet. Raises ConfigError where one cannot be made."""

    async def over(self) -> None:
        """Wait until there is nothing left to supervise."""

    def detach(self) -> None:
        """It has ended."""


Main = Callable[[Settings, Pools, Sequence[Listener]], Awaitable[int]]


class ConfiguredPools:
    """Those of a configuration file: they end only with the supervisor."""

    def __init__(self, specs: Sequence[PoolSpec]) -> None:
        self._specs = specs

    def attach(self, composed: Composed) -> None:
        composed.check(self._specs)
        for spec in self._specs:
            composed.add(spec, Hooks())

    async def over(self) -> None:
        await anyio.sleep_forever()

    def detach(self) -> None:
        """Nothing holds on to it."""


def run_service(config: Config, origin: Origin | None = None, pools: Pools | None = None) -> int:
    """All pools of the configuration until a signal ends them. Returns the exit code of the process: 0 after a drain,
    1 where an address is taken or an essential pool with on_fatal = "exit" was given up, 2 for a check that cannot be
    loaded. `origin`: None where there is no file to reload. `pools`: the same, if they end sooner."""
    settings = Settings(
        name=config.name, grace=config.grace, token=config.token, users=config.users, tls=config.tls,
        socket_mode=config.socket_mode, log_format=config.log_format, log_level=config.log_level,
        origin=origin, budget=config.budget, failed_jobs=config.failed_jobs,
    )  # fmt: skip
    return run_blocking(settings, pools or ConfiguredPools(config.pools), config.listen, serve_to_the_end)


def run_blocking(settings: Settings, pools: Pools, addresses: Sequence[str], main: Main) -> int:
    """Nothing is started before all addresses are bound."""
    try:
        _entrance(settings)  # which the HTTP server would stumble over when the workers run already
        listeners = bind(addresses, settings.socket_mode)
    except ListenError as error:
        print(f"chaperone: {error}", file=sys.stderr)  # noqa: T201  there is no log yet
        return NO
    except ConfigError as error:
        return _bad_configuration(error)
    try:
        return anyio.run(partial(main, settings, pools, listeners), backend="asyncio")
    except ConfigError as error:
        return _bad_configuration(error)
    finally:
        for listener in listeners:
            listener.close()


def _bad_configuration(error: ConfigError) -> int:
    print("\n".join(f"chaperone: {problem}" for problem in error.problems), file=sys.stderr)  # noqa: T201  as above
    return BAD_CONFIGURATION


def _entrance(settings: Settings) -> Entrance:
    """Raises ConfigError."""
    return Entrance(settings.token, settings.users, settings.tls)


async def supervise(pools: Pools) -> None:
    """Inside another program: no signals, no HTTP, its own logging."""
    async with compose(listener=embedded_log()) as composed:
        pools.attach(composed)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(composed.supervisor.run)
                await pools.over()
                composed.supervisor.shut_down(anyio.current_time())
        finally:
            pools.detach()


@dataclass(slots=True)
class _Ending:
    """The exit code, which what happens may still change."""

    code: int = DONE


async def serve(settings: Settings, pools: Pools, listeners: Sequence[Listener]) -> int:
    """Signals are heard from before the first worker's start until after the last one's end."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _collect_garbage_seldom()
    with anyio.open_signal_receiver(*HEARD) as signals:
        return await _serve(settings, pools, listeners, signals)


def _collect_garbage_seldom() -> None:
    """The records are trees of frozen values, which reference counts free: looking for cycles among them finds nothing,
    and took a sixth of the time that a mass crash costs."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


async def serve_to_the_end(settings: Settings, pools: Pools, listeners: Sequence[Listener]) -> int:
    """For a process that has nothing else to do: a signal that comes after the last worker's end changes nothing."""
    code = await serve(settings, pools, listeners)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return code


async def _serve(settings: Settings, pools: Pools, listeners: Sequence[Listener], signals: AsyncIterator[int]) -> int:
    ending = _Ending()
    async with compose(settings.log_format, settings.log_level, failed_jobs=settings.failed_jobs) as composed:
        pools.attach(composed)
        supervisor, world = composed.supervisor, composed.world
        supervisor.scaler.total = settings.budget
        views = Views(settings.name, __version__, os.getpid(), world.wall, world.telemetry)
        desk = SignalDesk(supervisor, views, composed.tell, settings.grace)
        supervisor.journal.listen(lambda entry: _perhaps_exit(entry, supervisor, desk, ending))
        where = ", ".join(listener.address for listener in listeners) or "nowhere"
        about = f"chaperone {__version__} (pid {os.getpid()}), {settings.name}: {_count(len(supervisor.names))}"
        composed.tell("supervisor.started", f"{about}, listening on {where}")
        begun = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            operations = Operations()
            tasks.start_soon(operations.run)
            reloader, entrance = None, _entrance(settings)
            if settings.origin is not None:
                reloader = _reload(settings.origin, composed, operations, tasks, desk, entrance)
            tasks.start_soon(desk.run, signals)
            tasks.start_soon(desk.tell_progress)
            tasks.start_soon(_end_when_over, pools, supervisor, desk)
            if listeners:
                control = Control(supervisor, operations)
                face = Face(
                    supervisor=supervisor, views=views, control=control, entrance=entrance, reloader=reloader,
                    runtime=RuntimePools(control, composed.add, lambda: desk.grace, reloader),
                )  # fmt: skip
                tasks.start_soon(_serve_http, face, composed, listeners)
            await supervisor.run()
            tasks.cancel_scope.cancel()
        pools.detach()
        served = anyio.current_time() - begun
        composed.tell("supervisor.stopped", f"all workers are gone; served for {served:.1f} s")
    return ending.code


def _count(pools: int) -> str:
    return f"{pools} pool{'' if pools == 1 else 's'}"


async def _end_when_over(pools: Pools, supervisor: Supervisor, desk: SignalDesk) -> None:
    """Pools that were added by request may still work: they have the whole grace."""
    await pools.over()
    supervisor.shut_down(anyio.current_time() + desk.grace)


def _reload(
    origin: Origin,
    composed: Composed,
    operations: Operations,
    tasks: TaskGroup,
    desk: SignalDesk,
    entrance: Entrance,
) -> Reloader:
    def ready(config: Config) -> Readied:
        admission = entrance.ready(config)

        def adopt() -> None:
            desk.grace = config.grace
            composed.supervisor.scaler.total = config.budget
            composed.log.set_level(config.log_level)
            admission.admit()

        if admission.renewed is None:
            return Readied(adopt)
        return Readied(adopt, (SettingChange("http.tls (its contents)", *admission.renewed, live=True),))

    reloader = Reloader(composed, operations, tasks, origin, ready)
    watch = Watch(reloader, composed.tell)
    desk.reload = watch.ask
    tasks.start_soon(watch.serve)
    tasks.start_soon(watch.look)
    return reloader


async def _serve_http(face: Face, composed: Composed, listeners: Sequence[Listener]) -> None:
    """The sockets listen already. Importing the server takes longer than starting a hundred workers: they go first."""
    supervisor = composed.supervisor
    with anyio.move_on_after(FIRST_SPAWNS):
        for runner in [supervisor.runner(name) for name in supervisor.names]:  # a reload may remove one meanwhile
            await runner.until(_has_spawned)
    try:
        with suppress(RuntimeError):  # no thread is to be had, so the loop has to wait
            await to_thread.run_sync(import_module, "chaperone_async.service.http.server")
        from chaperone_async.service.http.server import serve as serve_http

        await serve_http(face, listeners)
    except Exception:  # noqa: BLE001  whatever it is: a server that failed must not take the workers with it
        composed.tell("supervisor.broken", f"the HTTP server failed: {traceback.format_exc()}")


def _has_spawned(pool: Pool) -> bool:
    """Spawns go in the order of slots, so the last one tells; before its first event a pool has none."""
    last = len(pool.slots) - 1
    return not isinstance(pool.slots[last].state, Spawning) if last >= 0 else not pool.desired


def _perhaps_exit(entry: Entry, supervisor: Supervisor, desk: SignalDesk, ending: _Ending) -> None:
    """An essential pool that was given up ends the supervisor, where it is configured so."""
    if entry.news.kind != "pool.fatal" or entry.pool is None or entry.pool not in supervisor.names:
        return  # it may have been removed since
    spec = supervisor.runner(entry.pool).pool.spec
    if spec.essential and spec.on_fatal == "exit" and ending.code == DONE:
        ending.code = NO
        desk.shut_down(f"pool {spec.name} is fatal")
