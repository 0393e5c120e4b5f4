"""Whose lines are asked for, where the old ones are kept, and when no more can come."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import anyio

from chaperone_async.core.actions import Death
from chaperone_async.core.events import WorkerRef
from chaperone_async.core.pool import Pool
from chaperone_async.core.spread import worker_id
from chaperone_async.core.states import Slot
from chaperone_async.errors import UnknownPool
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.supervision.supervisor import Supervisor
from chaperone_async.system.ports import Processes

MOST_LINES = 10_000
"""Of all workers together."""

Line = tuple[str | None, str]
"""A worker's id, and what it wrote. None: we ourselves, of lines that are lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`kept`: the last lines of each worker, at most so many. `over`: waits until no more can come, and says why; None
    where the supervisor ends. `named`: there may be several workers."""

    processes: Processes
    pool: str | None
    wants: Callable[[WorkerRef], bool]
    kept: Callable[[int], list[Line]]
    over: Callable[[], Awaitable[str | None]]
    named: bool = False


def of_life(runner: PoolRunner, ref: WorkerRef) -> Source:
    """One worker, to its end."""
    return Source(
        processes=runner.processes,
        pool=ref.pool,
        wants=lambda other: other == ref,
        kept=lambda lines: _lines(name_of(runner, ref), runner.processes.output(ref, lines)),
        over=partial(_end_of_life, runner, ref),
    )


def of_dead(runner: PoolRunner, death: Death, recorded: Sequence[str] = ()) -> Source:
    living = of_life(runner, death.ref)
    return replace(living, kept=lambda lines: _last_words(runner, death, recorded, lines))


def of_slot(supervisor: Supervisor, runner: PoolRunner, index: int) -> Source:
    """Whoever works there. Nothing is kept of one that has gone."""
    return Source(
        processes=runner.processes,
        pool=runner.pool.name,
        wants=lambda ref: ref.slot == index,
        kept=lambda lines: _of_slots(supervisor, runner, list(runner.pool.slots)[index : index + 1], lines),
        over=partial(_end_of_pool, supervisor, runner),
    )


def of_pool(supervisor: Supervisor, runner: PoolRunner) -> Source:
    return Source(
        processes=runner.processes,
        pool=runner.pool.name,
        wants=lambda _: True,
        kept=lambda lines: _of_slots(supervisor, runner, list(runner.pool.slots), _share([runner], lines)),
        over=partial(_end_of_pool, supervisor, runner),
        named=True,
    )


def of_all(supervisor: Supervisor, runners: Sequence[PoolRunner]) -> Source:
    """All pools, at least one: also those that come later."""

    def kept(lines: int) -> list[Line]:
        share = _share(runners, lines)
        return [line for runner in runners for line in _of_slots(supervisor, runner, list(runner.pool.slots), share)]

    return Source(
        processes=runners[0].processes, pool=None, wants=lambda _: True, kept=kept, over=anyio.sleep_forever, named=True
    )


def name_of(runner: PoolRunner, ref: WorkerRef) -> str:
    return worker_id(ref, runner.pool.salt)


def find_name(supervisor: Supervisor, ref: WorkerRef) -> str:
    """Also where the pool has just been removed."""
    try:
        return name_of(supervisor.runner(ref.pool), ref)
    except UnknownPool:
        return f"{ref.pool}:{ref.slot}"


def _of_slots(supervisor: Supervisor, runner: PoolRunner, slots: Sequence[Slot], lines: int) -> list[Line]:
    """Of each slot what the last dead worker left, and after it what the living one has written: of a worker that
    crashes again and again, the living one has not said yet why."""
    records = reversed(supervisor.journal.crashes(runner.pool.name))
    recorded = {record.death.ref.slot: record for record in records}  # the newest wins
    found: list[Line] = []
    for slot in slots:
        living = [] if slot.life is None else of_life(runner, slot.life.ref).kept(lines)
        record = recorded.get(slot.index)
        dead = runner.last_deaths.get(slot.index) if record is None else record.death  # more die than are recorded
        if dead is not None and (slot.life is None or slot.life.ref != dead.ref):
            found += _last_words(runner, dead, () if record is None else record.output, lines - len(living))
        found += living
    return found


def _last_words(runner: PoolRunner, death: Death, recorded: Sequence[str], lines: int) -> list[Line]:
    if lines <= 0:
        return []
    return _lines(death.worker_id, runner.processes.output(death.ref, lines) or recorded[-lines:])


def _lines(name: str, lines: Sequence[str]) -> list[Line]:
    return [(name, line) for line in lines]


def _share(runners: Sequence[PoolRunner], lines: int) -> int:
    slots = sum(len(runner.pool.slots) for runner in runners)
    return min(lines, max(1, MOST_LINES // max(1, slots)))


async def _end_of_life(runner: PoolRunner, ref: WorkerRef) -> str:
    """All that it wrote has been read when its death is known."""
    await runner.until(lambda pool: runner.death(ref) is not None or not _lives(pool, ref))
    return f"{name_of(runner, ref)} has ended"


def _lives(pool: Pool, ref: WorkerRef) -> bool:
    life = pool.slots[ref.slot].life if ref.slot < len(pool.slots) else None
    return life is not None and life.ref == ref


async def _end_of_pool(supervisor: Supervisor, runner: PoolRunner) -> str | None:
    await runner.until(lambda _: False)
    return None if supervisor.deadline is not None else f"pool {runner.pool.name} is no more"
