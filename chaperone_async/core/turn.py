"""One event's work in progress: it lives as long as one `step`, whose parts build on each other through it."""

from dataclasses import replace
from typing import Any

from chaperone_async.core.actions import Action, Announce
from chaperone_async.core.commands import Begin, Rules
from chaperone_async.core.events import Target, WorkerRef
from chaperone_async.core.pool import Pool
from chaperone_async.core.spread import worker_id
from chaperone_async.core.states import Slot
from chaperone_async.core.worker import transition


class Turn:
    __slots__ = ("actions", "at", "pool", "rules")

    def __init__(self, pool: Pool, at: float) -> None:
        self.pool = pool
        self.at = at
        self.actions: list[Action] = []
        self.rules = Rules(pool.spec, pool.salt, pool.kill_by)

    def change(self, **fields: Any) -> None:
        self.pool = replace(self.pool, **fields)
        self.rules = Rules(self.pool.spec, self.pool.salt, self.pool.kill_by)

    def apply(self, index: int, event: object) -> None:
        """Let one slot take an event."""
        slots = self.pool.slots
        before = slots[index]
        after, actions = transition(self.rules, before, event)
        if after is not before:
            self.pool = self.pool.with_slots(slots.put(index, after), self.pool.next_generation)
        self.actions += actions

    def begin(self, index: int) -> None:
        pool = self.pool
        ref = WorkerRef(pool.spec.name, index, pool.next_generation)
        after, actions = transition(self.rules, pool.slots[index], Begin(ref, worker_id(ref, pool.salt), self.at))
        self.pool = pool.with_slots(pool.slots.put(index, after), pool.next_generation + 1)
        self.actions += actions

    def tell(self, kind: str, detail: str = "", by: str | None = None) -> None:
        self.actions.append(Announce(kind, self.at, detail=detail, by=by))

    def current(self, ref: WorkerRef) -> Slot | None:
        """The slot whose present incarnation this is; None when that life is over."""
        if ref.slot >= len(self.pool.slots):
            return None
        slot = self.pool.slots[ref.slot]
        return slot if slot.life is not None and slot.life.ref.generation == ref.generation else None

    def targets(self, target: Target) -> range:
        """The slots that a request means; none where it means a life that is over."""
        if target is None:
            return range(len(self.pool.slots))
        if isinstance(target, int):
            return range(target, target + 1) if 0 <= target < len(self.pool.slots) else range(0)
        return range(0) if self.current(target) is None else range(target.slot, target.slot + 1)
