"""The one task that owns a pool: event → step() → perform(). Everyone else holds a frozen snapshot of it."""

import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from chaperone_async.core.actions import Action, Announce, Consult, Death, Kill, Signal, Spawn
from chaperone_async.core.events import (
    CallbackReturned,
    LimitReached,
    PoolEvent,
    ReadyTold,
    ReloadRequested,
    ScaleRequested,
    StoppingTold,
    StopRequested,
    TimeExtended,
    TimePassed,
    WorkerRef,
)
from chaperone_async.core.pool import Pool, new_pool
from chaperone_async.core.reasons import Reason
from chaperone_async.core.recycle import job_limit
from chaperone_async.core.scaling import ClampName, Decision
from chaperone_async.core.shutdown import LAST_RECLAIMS
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Hold
from chaperone_async.core.step import step
from chaperone_async.errors import ConfigError, StopPool
from chaperone_async.supervision.complaints import Complaints
from chaperone_async.supervision.custody import Custody
from chaperone_async.supervision.handle import Worker
from chaperone_async.supervision.hooks import CallbackRunner, Hooks, told
from chaperone_async.supervision.journal import OUTPUT_LINES_KEPT, Journal
from chaperone_async.supervision.leaving import in_order
from chaperone_async.supervision.ledger import Ledger
from chaperone_async.supervision.monitor import monitor_worker
from chaperone_async.supervision.readings import Demand, Readings
from chaperone_async.supervision.tally import Tally
from chaperone_async.supervision.terms import TermsBook
from chaperone_async.supervision.world import World
from chaperone_async.system.ports import (
    ExtendNotice,
    JobNotice,
    Notice,
    PoolQueue,
    Prober,
    ReadyNotice,
    StoppingNotice,
    Telemetry,
    Usage,
)

DECISIONS_KEPT = 500

ProberMaker = Callable[["PoolRunner", PoolSpec], tuple[Prober, ...]]


def no_probers(_runner: "PoolRunner", _spec: PoolSpec) -> tuple[Prober, ...]:
    return ()


class PoolRunner:
    """Raises ConfigError where the pool's active checks cannot be made."""

    def __init__(
        self,
        spec: PoolSpec,
        world: World,
        journal: Journal,
        hooks: Hooks,
        salt: int,
        make_probers: ProberMaker = no_probers,
    ) -> None:
        self.pool: Pool = new_pool(spec, salt)
        self.readings = Readings()
        self.sampler = world.sampler
        self.telemetry = world.telemetry
        self.processes = world.processes
        self.wall = world.wall
        self._journal = journal
        self.hooks = hooks
        self._callbacks = CallbackRunner(world.make_threads())
        self._inbox: deque[PoolEvent] = deque()
        self._submitted = self._taken = 0
        self._arrived = anyio.Event()
        self._waiting: list[tuple[Callable[[Pool], bool], anyio.Event]] = []
        self._over = False
        self._last_dead: dict[int, Death] = {}
        self._reclaims: TaskGroup | None = None
        self._custody = Custody(world.make_queue, spec)
        self.demand = Demand()
        self.decisions: deque[Decision] = deque(maxlen=DECISIONS_KEPT)
        self.clamps: Counter[ClampName] = Counter()  # in how many decisions, kept or not, each had a say
        self.ledger = Ledger()
        self.tally = Tally(self.said)
        self.complaints = Complaints(self.tell)
        self.terms = TermsBook(spec, lambda wanted: make_probers(self, wanted))

    # What others may do

    def submit(self, event: PoolEvent) -> None:
        """Never blocks. An event after the end of the pool is dropped: nothing is left that it could concern."""
        if not self._over:
            self._inbox.append(event)
            self._submitted += 1
            self._arrived.set()

    async def ask(self, event: PoolEvent, effect: Callable[[Pool], bool] = lambda _: True) -> Pool:
        """Submit, and wait until it has been dealt with, and then for its effect: the pool as it was right then. What
        else follows from it takes its time."""
        self.submit(event)
        mine = self._submitted
        await self.until(lambda pool: self._taken >= mine and effect(pool))
        return self.pool

    async def until(self, condition: Callable[[Pool], bool]) -> None:
        """Wait until the pool is as `condition` wants it, or has ended: then nothing changes any more."""
        if self._over or condition(self.pool):
            return
        waiter = (condition, anyio.Event())
        self._waiting.append(waiter)
        try:
            await waiter[1].wait()
        finally:
            self._waiting.remove(waiter)

    def worker(self, ref: WorkerRef) -> Worker:
        """Raises LookupError for a life that is over."""
        return Worker(self, ref)

    def death(self, ref: WorkerRef) -> Death | None:
        """How this life ended; known until the next death in its slot."""
        death = self._last_dead.get(ref.slot)
        return death if death is not None and death.ref == ref else None

    @property
    def last_deaths(self) -> Mapping[int, Death]:
        """The last one in each slot."""
        return self._last_dead

    def notice(self, notice: Notice) -> None:
        """What a worker said that cannot wait for the next tick."""
        now = anyio.current_time()
        match notice:
            case ReadyNotice(ref):
                self.submit(ReadyTold(ref, now))
            case StoppingNotice(ref):
                self.submit(StoppingTold(ref, now))
            case ExtendNotice(ref, seconds):
                self.submit(TimeExtended(ref, seconds, now))
            case JobNotice():
                self.ledger.add(notice, now)
                if not notice.ok and self.queue is not None:
                    self.queue.note_failed(notice)
                if self.pool.spec.recycle.max_jobs:
                    self.check_jobs(notice.ref, self.telemetry.telemetry(notice.ref))

    def check_jobs(self, ref: WorkerRef, said: Telemetry) -> None:
        most = job_limit(self.pool.spec.recycle, ref, self.pool.salt)
        if most is not None and said.jobs_done >= most:
            detail = f"{said.jobs_done} jobs of at most {most}"
            self.submit(LimitReached(ref, Reason.MAX_JOBS, detail, anyio.current_time()))

    def check_raised(self, error: BaseException) -> None:
        """A health check written in Python raised."""
        if isinstance(error, StopPool):
            self.stop_pool("health check", error.reason)
        else:
            self.complaints.callback_failed("health check", "".join(traceback.format_exception(error)))

    def stop_pool(self, what: str, reason: str) -> None:
        """A callback raised StopPool."""
        self.submit(StopRequested(None, anyio.current_time(), by=what, fatal=told(reason)))

    def said(self) -> Iterator[Telemetry]:
        """By each of the living."""
        for slot in self.pool.slots:
            if slot.live and slot.life is not None:
                yield self.telemetry.telemetry(slot.life.ref)

    @property
    def queue(self) -> PoolQueue | None:
        """That of the workers to come. None: nothing is known of it."""
        return self._custody.queue

    # The loop

    @property
    def over(self) -> bool:
        """Nothing of it lives, and what its last workers had has been put back."""
        return self._over

    async def run(self) -> None:
        """Until the pool has been shut down and nothing of it lives."""
        try:
            async with anyio.create_task_group() as tasks:
                async with anyio.create_task_group() as self._reclaims:
                    self._advance(TimePassed(anyio.current_time()), tasks)
                    while not (self.pool.shutting and not self.pool.live):
                        self._advance(await self._next_event(), tasks)
                    self._reclaims.cancel_scope.deadline = anyio.current_time() + LAST_RECLAIMS
                tasks.cancel_scope.cancel()
        finally:
            if self.pool.state not in {"stopped", "fatal"}:  # cancelled: its workers have been killed
                hold = Hold("stop", "the end of its supervision", anyio.current_time())
                self.pool = replace(self._emptied(), hold=hold, stopped=True)
            self._over = True
            for _, happened in self._waiting:
                happened.set()

    def give_up(self, why: str) -> None:
        """Its supervision has failed, and nothing of the pool lives any more: let the record say so."""
        self.pool = replace(self._emptied(), fatal=why)

    def _emptied(self) -> Pool:
        return replace(new_pool(self.pool.spec, self.pool.salt), desired=self.pool.desired, fatal=self.pool.fatal)

    def forget(self) -> None:
        """Nobody will ask about this pool's dead, or hear from its workers, again."""
        for death in self._last_dead.values():
            self.processes.forget(death.ref)
            self.telemetry.retire(self.pool.name, death.ref.slot)

    async def _next_event(self) -> PoolEvent:
        if not self._inbox:
            late = self.pool.next_deadline <= anyio.current_time()
            self._arrived = anyio.Event()
            with anyio.CancelScope(deadline=self.pool.next_deadline):
                await self._arrived.wait()
            if late or not self._inbox:  # late: however much comes meanwhile, time passes
                return TimePassed(anyio.current_time())
        self._taken += 1
        return self._inbox.popleft()

    def _advance(self, event: PoolEvent, tasks: TaskGroup) -> None:
        before = self.pool
        if isinstance(event, ScaleRequested) and event.workers < before.desired:
            event = replace(event, leavers=in_order(before, self.telemetry, patient=event.patient))
        elif isinstance(event, ReloadRequested):
            patient = event.spec.autoscale is not None
            event = replace(event, leavers=in_order(before, self.telemetry, patient=patient))
        self.pool, actions = step(before, event)
        if self.pool.spec is not before.spec:
            self._change_terms(before)
        for action in actions:
            self._perform(action, tasks)
        for slot in range(len(self.pool.slots), len(before.slots)):
            self.telemetry.retire(self.pool.name, slot)
        for condition, happened in self._waiting:
            if not happened.is_set() and condition(self.pool):
                happened.set()

    def _change_terms(self, before: Pool) -> None:
        self.complaints.forget_checks()
        if self._custody.change(before, self.pool.spec):
            self.demand = Demand()
        self.processes.adopt(self.pool.spec)
        try:
            self.terms.change(before, self.pool)
        except ConfigError as error:  # it could be made before, when the change was accepted
            self.complaints.check_broken("health", str(error))

    def _perform(self, action: Action, tasks: TaskGroup) -> None:
        match action:
            case Spawn(ref, worker_id):
                tasks.start_soon(
                    monitor_worker, ref, worker_id, self.pool.spec, self.processes, self.submit, name=worker_id
                )
            case Signal(ref, signal, to):
                self.processes.signal(ref, signal, to)
            case Kill(ref):
                self.processes.kill(ref)
            case Consult():
                tasks.start_soon(self._consult, action, self.worker(action.ref))
            case Announce(death=death):
                if death is not None:
                    self._mourn(death)
                self._journal.add(self.pool.name, action)

    def tell(self, kind: str, detail: str) -> None:
        self._journal.add(self.pool.name, Announce(kind, anyio.current_time(), detail=detail))

    async def _consult(self, action: Consult, worker: Worker) -> None:
        function = self.hooks.named(action.hook)
        if function is not None:
            outcome = await self._callbacks.call(function, worker, self.pool.spec.callbacks.timeout)
            if outcome.error is not None:
                self.complaints.callback_failed(action.hook, outcome.error)
            if outcome.stop is not None:
                self.stop_pool(action.hook, outcome.stop)
        if action.hook == "on_crash":
            self.submit(CallbackReturned(action.ref, anyio.current_time()))

    def _mourn(self, death: Death) -> None:
        said, queue = self._bury(death), self._custody.taker_back(death)
        if self._reclaims is not None and queue is not None:
            self._reclaims.start_soon(self._custody.put_back, queue, death, said, self.tell)
        self._custody.forget(self.pool)

    def _bury(self, death: Death) -> Telemetry:
        """Keep what is known of a life that is over. Its output stays readable until the next death in its slot."""
        usage = self.readings.usage.get(death.ref, Usage())
        said = self.telemetry.telemetry(death.ref)
        self._journal.record(
            self.pool.name, death, kept=self.pool.spec.crash_records, peak_memory=usage.peak_memory,
            cpu_seconds=usage.cpu_seconds, job=said.current_job,
            output=self.processes.output(death.ref, OUTPUT_LINES_KEPT),
        )  # fmt: skip
        self.tally.bury(said)
        self.complaints.forget(death.ref)
        before = self._last_dead.get(death.ref.slot)
        if before is not None:
            self.processes.forget(before.ref)
        self._last_dead[death.ref.slot] = death
        return said
