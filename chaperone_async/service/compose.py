"""The composition root's one half: the world's adapters, put together and taken apart again."""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from chaperone_async.core.actions import Announce
from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import ConfigError
from chaperone_async.service.logs import LogFormat, LoggingLog, StdoutLog, json_notice
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.journal import Entry, Journal
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.supervision.supervisor import Supervisor
from chaperone_async.supervision.world import World
from chaperone_async.system.attendants import Attendants
from chaperone_async.system.child import OsProcesses
from chaperone_async.system.clock import WallClock
from chaperone_async.system.config.failed_jobs import FailedJobsPlace
from chaperone_async.system.failed_jobs import FailedJobs
from chaperone_async.system.notify import SUPPORTED, NotifySockets
from chaperone_async.system.output import Outputs
from chaperone_async.system.ports import PoolQueue, Prober
from chaperone_async.system.probers import make_probers
from chaperone_async.system.queues import Queue
from chaperone_async.system.stdout import StdoutWriter, text_notice
from chaperone_async.system.threads import DaemonThreads
from chaperone_async.system.usage import make_sampler

CALLBACK_THREADS = 16
"""Synchronous callbacks of one pool that may run, or hang, at the same time."""
LAST_WORDS = 2.0
"""Seconds that the end waits for whoever reads our stdout."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A supervisor over the real world, not yet running. `tell` writes a line of the supervisor's own log."""

    supervisor: Supervisor
    world: World
    processes: OsProcesses
    tell: Callable[[str, str], None]
    log: StdoutLog

    def add(self, spec: PoolSpec, hooks: Hooks) -> PoolRunner:
        """Raises DuplicatePool, or ConfigError where a check cannot be made."""
        return self.supervisor.add(spec, hooks, partial(self._probers, hooks))

    def check(self, specs: Iterable[PoolSpec]) -> None:
        """Raises ConfigError with all active checks of these pools that cannot be made."""
        problems: list[str] = []
        for spec in specs:
            try:
                make_probers(spec, self.processes.family, worker_of=_nobody)
            except ConfigError as error:
                problems.extend(error.problems)
        if problems:
            raise ConfigError(problems)

    def _probers(self, hooks: Hooks, runner: PoolRunner, spec: PoolSpec) -> tuple[Prober, ...]:
        def on_error(_ref: WorkerRef, error: BaseException) -> None:
            runner.check_raised(error)

        return make_probers(spec, self.processes.family, hooks.check, worker_of=runner.worker, on_error=on_error)


def _nobody(ref: WorkerRef) -> object:
    raise LookupError(f"cannot look at worker {ref.generation}: this check is only tried")


@asynccontextmanager
async def compose(
    log_format: LogFormat = "text",
    log_level: str = "info",
    listener: Callable[[Entry], None] | None = None,
    failed_jobs: FailedJobsPlace = FailedJobsPlace(),  # noqa: B008  frozen
) -> AsyncIterator[Composed]:
    """`listener` hears the journal instead of our stdout. On leaving, nothing that was spawned is alive."""
    clock = WallClock()
    writer = StdoutWriter(notice=json_notice if log_format == "json" else text_notice)
    journal = Journal(epoch=secrets.token_hex(3))
    log = StdoutLog(writer, log_format, log_level, clock.at)
    journal.listen(listener or log.write_entry)

    def tell(kind: str, detail: str) -> None:
        journal.add(None, Announce(kind, time.monotonic(), detail=detail))

    outputs = Outputs(writer, trouble=lambda what: tell("supervisor.trouble", what), log_format=log_format)
    sockets, sampler = NotifySockets(), make_sampler()
    try:
        async with OsProcesses(outputs, sockets if SUPPORTED else None) as processes:
            if not SUPPORTED:
                tell("supervisor.trouble", "workers cannot report here: this system does not tell who sent a datagram")
            for lacking in processes.degraded:
                tell("supervisor.trouble", lacking)
            recorded = FailedJobs(failed_jobs, lambda what: tell("supervisor.trouble", what))
            async with Attendants(processes.family) as attendants, recorded:

                def make_queue(spec: PoolSpec) -> PoolQueue | None:
                    known = spec.backlog.sources or spec.backend is not None
                    return Queue(spec, attendants, recorded) if known else None

                world = World(processes, sampler, sockets, clock.at, _callback_threads, make_queue)
                yield Composed(Supervisor(world, journal, secrets.randbits(48)), world, processes, tell, log)
    finally:
        sampler.close()
        sockets.close()
        outputs.close()
        writer.close(LAST_WORDS)


def _callback_threads() -> DaemonThreads:
    return DaemonThreads(CALLBACK_THREADS, "chaperone-callback")


def embedded_log() -> Callable[[Entry], None]:
    return LoggingLog().write_entry
