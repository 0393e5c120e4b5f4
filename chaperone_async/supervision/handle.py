"""What a callback sees of one worker: a view that is always of the same incarnation, living or dead."""

from collections.abc import Awaitable, Callable, Generator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from chaperone_async.core import events as ev
from chaperone_async.core.actions import Death
from chaperone_async.core.events import PoolEvent, WorkerRef
from chaperone_async.core.health import PASSIVE
from chaperone_async.core.pool import Pool
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import MB, PoolSpec
from chaperone_async.core.states import Frozen, Killing, Life, Running, Slot, Starting, Stopping
from chaperone_async.core.status import Activity, Status, status_of
from chaperone_async.supervision.hooks import in_callback
from chaperone_async.supervision.readings import Readings
from chaperone_async.system.ports import Processes, Telemetry, TelemetrySource, Usage
from chaperone_async.system.threads import LoopThread

_SILENT = Telemetry()


class Keeper(Protocol):
    """What a worker's view needs of the runner that owns its pool."""

    pool: Pool
    readings: Readings
    telemetry: TelemetrySource
    processes: Processes

    def submit(self, event: PoolEvent) -> None: ...
    async def until(self, condition: Callable[[Pool], bool]) -> None: ...
    def death(self, ref: WorkerRef) -> Death | None: ...
    def wall(self, at: float) -> datetime: ...


class Requested:
    """An order that has been given. Awaiting it waits for its effect; not awaiting it is fine too.

    Inside a callback awaiting returns at once: a callback has less time than a worker has for its stop.
    """

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._effect().__await__()

    async def _effect(self) -> None:
        if not in_callback.get():
            await self._wait()


def activity_of(said: Telemetry, spec: PoolSpec) -> Activity:
    """A worker whose backend reports is idle before its first job; another may be one that never tells."""
    if not said.spoke and not (spec.backend is not None and spec.backend.reports):
        return "unknown"
    return "busy" if said.current_job is not None else "idle"


class Worker:
    """One worker process, as callbacks and health checks get it. Usable from synchronous callbacks too."""

    def __init__(self, keeper: Keeper, ref: WorkerRef) -> None:
        self._keeper = keeper
        self._ref = ref
        self._loop = LoopThread()
        slot = self._slot
        if slot is None or slot.life is None:
            raise LookupError(f"cannot look at worker {ref.generation} of slot {ref.slot}: its life is over")
        self._last_life = slot.life
        self._last_usage = keeper.readings.usage.get(ref, Usage())
        self._last_said = keeper.telemetry.telemetry(ref)
        self._last_death = keeper.death(ref)

    def __repr__(self) -> str:
        return f"<Worker {self.id} pid={self.pid} {self.status}>"

    @property
    def _slot(self) -> Slot | None:
        """The slot, while this worker is the one in it."""
        slots = self._keeper.pool.slots
        slot = slots[self._ref.slot] if self._ref.slot < len(slots) else None
        return slot if slot is not None and slot.life is not None and slot.life.ref == self._ref else None

    @property
    def _life(self) -> Life:
        slot = self._slot
        if slot is not None and slot.life is not None:
            self._last_life = slot.life
        return self._last_life

    @property
    def _death(self) -> Death | None:
        self._last_death = self._keeper.death(self._ref) or self._last_death
        return self._last_death

    @property
    def id(self) -> str:
        return self._life.worker_id

    @property
    def pid(self) -> int | None:
        """None for a worker that could not be started."""
        return self._life.pid or None

    @property
    def queue(self) -> str:
        return self._keeper.pool.spec.queue

    @property
    def slot(self) -> int:
        return self._ref.slot

    @property
    def status(self) -> Status:
        slot, death = self._slot, self._death
        if death is not None:
            return "crashed" if death.crashed else "stopped"
        return "stopped" if slot is None else status_of(slot)

    @property
    def activity(self) -> Activity:
        return activity_of(self._telemetry, self._keeper.pool.spec)

    @property
    def started_at(self) -> datetime:
        """Aware, UTC."""
        return self._keeper.wall(self._life.spawned_at)

    @property
    def uptime(self) -> timedelta:
        """Of a dead worker: how long it lived."""
        death = self._death
        if death is not None:
            return timedelta(seconds=death.uptime)
        return timedelta(seconds=self._loop.now() - self._life.spawned_at)

    @property
    def last_health_check(self) -> datetime | None:
        at = self._keeper.readings.at
        return None if at is None or at < self._life.spawned_at else self._keeper.wall(at)

    @property
    def jobs_processed(self) -> int:
        return self._telemetry.jobs_done

    @property
    def current_job(self) -> str | None:
        """The id of the job it is working on; of a dead one, the job it died with."""
        return self._telemetry.current_job

    @property
    def exit_code(self) -> int | None:
        return None if self._death is None else self._death.exit_code

    @property
    def exit_signal(self) -> int | None:
        return None if self._death is None else self._death.exit_signal

    @property
    def exit_reason(self) -> Reason | None:
        return None if self._death is None else self._death.reason

    @property
    def _telemetry(self) -> Telemetry:
        said = self._keeper.telemetry.telemetry(self._ref)
        if said != _SILENT:
            self._last_said = said
        return self._last_said

    @property
    def _usage(self) -> Usage:
        self._last_usage = self._keeper.readings.usage.get(self._ref, self._last_usage)
        return self._last_usage

    def memory_usage(self) -> float:
        """MB (10^6 bytes) resident, of the whole process tree, at the last health tick."""
        return self._usage.memory / MB

    def cpu_percent(self) -> float:
        """Of one core, of the whole process tree, over the last health tick."""
        return self._usage.cpu_percent

    def is_responsive(self) -> bool:
        """It runs, nobody has stopped it, and its heartbeat (if it sends one) is not late."""
        slot = self._slot
        if slot is None or not isinstance(slot.state, Starting | Running):
            return False
        return not any(failing.check in PASSIVE and failing.check != "memory" for failing in slot.state.life.failing)

    def logs(self, lines: int = 100) -> list[str]:
        """The last lines it wrote, oldest first."""
        return list(self._loop.call(self._keeper.processes.output, self._ref, lines))

    def restart(self) -> Requested:
        """Stop it gracefully; another takes its slot. A callback's order comes late: it undoes no stop and no
        pause."""
        self._ask(partial(ev.RestartRequested, wakes=not in_callback.get()))
        return Requested(self._gone)

    def stop(self) -> Requested:
        """Stop it gracefully; its slot stays empty until it is started again."""
        self._ask(ev.StopRequested)
        return Requested(self._gone)

    def kill(self) -> Requested:
        """SIGKILL; another takes its slot."""
        self._ask(ev.KillRequested)
        return Requested(self._gone)

    def pause(self) -> Requested:
        self._ask(ev.PauseRequested)
        return Requested(lambda: self._keeper.until(lambda _: self._is_not(Starting, Running)))

    def resume(self) -> Requested:
        self._ask(ev.ResumeRequested)
        return Requested(lambda: self._keeper.until(lambda _: self._is_not(Frozen)))

    def _ask(self, request: Callable[[ev.WorkerRef, float, str], ev.Request]) -> None:
        by = "a callback" if in_callback.get() else "the program"
        self._loop.call(lambda: self._keeper.submit(request(self._ref, self._loop.now(), by)))

    async def _gone(self) -> None:
        await self._keeper.until(lambda _: self._is_not(Starting, Running, Frozen, Stopping, Killing))

    def _is_not(self, *states: type) -> bool:
        slot = self._slot
        return slot is None or not isinstance(slot.state, states)
