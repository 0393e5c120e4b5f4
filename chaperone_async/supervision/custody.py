"""In whose custody a pool's jobs are: its queue, the one before for workers that took from that, and the way back from
a dead worker to its queue."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from weakref import WeakKeyDictionary

import anyio

from chaperone_async.core.actions import Death
from chaperone_async.core.plan import rolls
from chaperone_async.core.pool import Pool
from chaperone_async.core.reasons import UNBLAMED
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import QueueError, QueueUnavailable
from chaperone_async.system.ports import DeadWorker, PoolQueue, Telemetry

QueueMaker = Callable[[PoolSpec], PoolQueue | None]
Page = tuple[int, PoolQueue | None]
"""A queue, and the first generation of workers that take from it."""

_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds, before it is tried once more to put jobs back
_LOYALTY = 86_400.0  # seconds, to a queue that is the pool's no more
_MOST_WAITING = 1000  # dead workers whose jobs are yet to be put back


class Custody:
    """`make_queue` returns None where nothing is known of a pool's queues."""

    def __init__(self, make_queue: QueueMaker, spec: PoolSpec) -> None:
        self._make_queue = make_queue
        self._queues: list[Page] = [(0, make_queue(spec))]
        self._turns: WeakKeyDictionary[PoolQueue, anyio.Lock] = WeakKeyDictionary()
        self._waiting = 0

    @property
    def queue(self) -> PoolQueue | None:
        """That of the workers to come."""
        return self._queues[-1][1]

    def change(self, before: Pool, spec: PoolSpec) -> bool:
        """The pool is to be as `spec` says; whether its queue is another now."""
        if _ingredients(before.spec) == _ingredients(spec):
            return False
        queue = self._make_queue(spec)
        if rolls(before.spec, spec):
            self._queues = _still_needed([*self._queues, (before.next_generation, queue)], before)
        else:
            self._queues[-1] = (self._queues[-1][0], queue)
        return True

    def forget(self, pool: Pool) -> None:
        """The queues that only the dead took from."""
        if len(self._queues) > 1:
            self._queues = _still_needed(self._queues, pool)

    def taker_back(self, death: Death) -> PoolQueue | None:
        """The queue that this worker took from, if it takes jobs of the dead back."""
        pages = (queue for first, queue in reversed(self._queues) if first <= death.ref.generation)
        queue = next(pages, self._queues[0][1])
        return queue if queue is not None and "reclaim" in queue.can else None

    async def put_back(self, queue: PoolQueue, death: Death, said: Telemetry, tell: Callable[[str, str], None]) -> None:
        """Nothing of this worker lives any more: what it had taken goes back, however long that takes. `tell`: a kind
        of event, and the detail."""
        if death.pid is None:
            return
        jobs = tuple(job for job, _ in said.running)
        blamed = death.reason not in UNBLAMED
        dead = DeadWorker(death.worker_id, death.ref.slot, death.pid, jobs, said.mark, blamed)

        def failed(why: object) -> None:
            tell("queue.reclaim_failed", f"{death.worker_id}: {why}")

        try:
            try:
                many = await queue.reclaim(dead)
            except QueueUnavailable as error:
                failed(error)
                many = await self._put_back_later(queue, replace(dead, blamed=False))
        except (QueueError, OSError) as error:
            failed(error)
        except anyio.get_cancelled_exc_class():
            failed("its pool has ended before that was answered")
            raise
        else:
            if many:
                tell("queue.reclaimed", f"{many} job{'' if many == 1 else 's'} of {death.worker_id}")

    async def _put_back_later(self, queue: PoolQueue, dead: DeadWorker) -> int:
        """One dead worker after another: many may have died of the outage. Their jobs are not blamed, or it would be
        for each time that it is tried."""
        if self._waiting == _MOST_WAITING:
            raise QueueError(f"it is not tried again: the jobs of {_MOST_WAITING} others wait for that")
        self._waiting += 1
        try:
            given_up_at = anyio.current_time() + _LOYALTY
            await anyio.sleep(_PAUSE)
            async with self._turns.setdefault(queue, anyio.Lock()):
                return await self._insist(queue, dead, given_up_at)
        finally:
            self._waiting -= 1

    async def _insist(self, queue: PoolQueue, dead: DeadWorker, given_up_at: float) -> int:
        """Jobs put back, once the queue can be reached again."""
        pause = _PAUSE
        while True:
            try:
                return await queue.reclaim(dead)
            except QueueUnavailable:
                if queue is not self.queue and anyio.current_time() >= given_up_at:
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE)
                await anyio.sleep(pause)


def _still_needed(pages: list[Page], before: Pool) -> list[Page]:
    """Those of the living, and that of the workers to come."""
    oldest = min((slot.life.ref.generation for slot in before.slots if slot.life is not None), default=inf)
    ends = [first for first, _ in pages[1:]]
    return [page for page, end in zip(pages, ends, strict=False) if end > oldest] + pages[-1:]


def _ingredients(spec: PoolSpec) -> tuple[object, ...]:
    """What a pool's queue is made of."""
    return spec.backend, spec.backlog, spec.queues, spec.launch, spec.autoscale
