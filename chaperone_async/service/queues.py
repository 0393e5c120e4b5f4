"""Queues by name: which pools serve them, how fast they fill and empty, and who is asked about their failed jobs.

Pools that take the same queues from the same queue system see the same jobs: what they tell is told once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import anyio

from chaperone_async.core.actions import Announce
from chaperone_async.core.flow import arrivals, time_to_clear
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import ConflictError, QueueUnavailable, UnknownQueue
from chaperone_async.supervision.readings import Demand
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.supervision.supervisor import PoolView, Supervisor
from chaperone_async.system.ports import FailedPage, PoolQueue

LONGEST = 75.0
"""Seconds that a question about failed jobs may take, whoever answers."""
Ability = Literal["failed", "retry", "flush"]
_DOES: dict[Ability, str] = {"failed": "list", "retry": "retry", "flush": "throw away"}
Tells = Callable[[PoolView], bool]
"""Whether a pool's workers tell of their jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """`queues`: one, or all that are read together, whose numbers nobody knows apart. Rates are a minute; None is
    unknown. `lists`: for each list of failed jobs there is, the pool to ask."""

    queues: tuple[str, ...]
    pools: tuple[str, ...]
    demand: Demand
    completions: float | None
    lists: tuple[str, ...]

    @property
    def arrivals(self) -> float | None:
        return arrivals(self.demand.flow.growth, self.completions)

    @property
    def time_to_clear(self) -> float | None:
        return time_to_clear(self.demand.backlog.ready, self.completions)


class _System(NamedTuple):
    """What decides which queue system it is; with the same words, it is the same."""

    backend: str
    settings: str
    surroundings: str

    @classmethod
    def of(cls, spec: PoolSpec) -> "_System | None":
        """None: nothing is known of it."""
        if spec.backend is None:
            return None
        launch = spec.launch
        surroundings = repr((launch.env, launch.env_file, launch.env_file_digest, launch.directory))
        return cls(spec.backend.name, spec.backend.settings, surroundings)


def overview(views: Sequence[PoolView], tells: Tells) -> list[QueueView]:
    """In the order of the pools."""
    groups: dict[str, list[PoolView]] = {}
    for view in views:
        spec = view.pool.spec
        groups.setdefault(repr((spec.queues, _System.of(spec), spec.backlog.sources)), []).append(view)
    return [_together(group, views, tells) for group in groups.values()]


def _together(group: Sequence[PoolView], views: Sequence[PoolView], tells: Tells) -> QueueView:
    queues, names = group[0].pool.spec.queues, tuple(view.pool.name for view in group)
    done = [_completions(view, tells) for view in group]
    if len(queues) == 1:
        done += _elsewhere(queues[0], names, _System.of(group[0].pool.spec), views, tells)
    lists = tuple(_lists([view.pool.spec for view in group if "failed" in view.can]).values())
    return QueueView(
        queues=queues,
        pools=names,
        demand=_demand(group, lists),
        completions=sum(filter(None, done)) if None not in done else None,
        lists=lists,
    )


def _demand(group: Sequence[PoolView], lists: Sequence[str]) -> Demand:
    """The newest; failed jobs of all lists together, where each is a pool's own."""
    newest = max((view.demand for view in group), key=_freshness)
    if len(lists) < 2:
        return newest
    failed = [view.demand.backlog.failed for view in group if view.pool.name in lists]
    total = sum(filter(None, failed)) if None not in failed else None
    return replace(newest, backlog=replace(newest.backlog, failed=total))


def _completions(view: PoolView, tells: Tells) -> float | None:
    known = view.demand.flow.completions
    return known if known is not None else view.figures.per_minute if tells(view) else None


def _elsewhere(
    queue: str, names: tuple[str, ...], system: _System | None, views: Sequence[PoolView], tells: Tells
) -> Iterator[float | None]:
    """By pools that take from this queue among others."""
    for view in views:
        spec = view.pool.spec
        if system is None or spec.name in names or queue not in spec.queues or _System.of(spec) != system:
            continue
        figures = view.queue_figures.get(queue)
        yield None if not tells(view) else 0.0 if figures is None else figures.per_minute


def _freshness(demand: Demand) -> tuple[float, bool]:
    """What is known comes before why nothing is."""
    return -1.0 if demand.at is None else demand.at, demand.problem is not None


def _lists(specs: Sequence[PoolSpec]) -> dict[object, str]:
    """The first pool for each list of failed jobs: the queue system's own, or what we keep of each pool's."""
    found: dict[object, str] = {}
    for spec in specs:
        own = spec.name if spec.backend is None or not spec.backend.keeps_failed else None
        found.setdefault((_System.of(spec), own), spec.name)
    return found


class FailedJobs:
    """All raise UnknownQueue, UnknownPool, ConflictError where nobody can, and QueueError. `pool`: which one's, where
    several take a queue of that name from different places. `by`: who asks, for the journal."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def page(self, queue: str, pool: str | None, limit: int, after: str | None) -> tuple[str, FailedPage]:
        """The newest first, and of which pool."""
        name, source = self._find("failed", queue, pool)
        with _in_time():
            return name, await source.failed(queue, limit, after)

    async def retry(self, queue: str, pool: str | None, ids: Sequence[str] | None, by: str) -> int:
        """How many; `ids` None: all."""
        name, source = self._find("retry", queue, pool)
        with _in_time():
            many = await source.retry(queue, ids)
        return self._told("queue.retried", name, queue, many, by)

    async def flush(self, queue: str, pool: str | None, ids: Sequence[str] | None, by: str) -> int:
        name, source = self._find("flush", queue, pool)
        with _in_time():
            many = await source.flush(queue, ids)
        return self._told("queue.flushed", name, queue, many, by)

    def _find(self, ability: Ability, queue: str, pool: str | None) -> tuple[str, PoolQueue]:
        supervisor = self._supervisor
        runners = [supervisor.runner(name) for name in (supervisor.names if pool is None else (pool,))]
        serving = [runner for runner in runners if queue in runner.pool.spec.queues]
        if not serving:
            raise UnknownQueue(queue, sorted({name for runner in runners for name in runner.pool.spec.queues}))
        able = {runner.pool.name: runner.queue for runner in serving if _can(runner, ability)}
        cannot = f"cannot {_DOES[ability]} failed jobs of the queue {queue!r}"
        lists = list(_lists([runner.pool.spec for runner in serving if runner.pool.name in able]).values())
        if len(lists) > 1:
            raise ConflictError(f"{cannot}: there are several lists; name a pool, one of {', '.join(lists)}")
        chosen = able[lists[0]] if lists else None
        if chosen is None:
            raise ConflictError(f"{cannot}: {'; '.join(_why_not(runner.pool.spec) for runner in serving)}")
        return lists[0], chosen

    def _told(self, kind: str, pool: str, queue: str, many: int, by: str) -> int:
        if many:
            detail = f"{many} failed job{'' if many == 1 else 's'} of the queue {queue}"
            self._supervisor.journal.add(pool, Announce(kind, anyio.current_time(), detail=detail, by=by))
        return many


def _can(runner: PoolRunner, ability: Ability) -> bool:
    return runner.queue is not None and ability in runner.queue.can


def _why_not(spec: PoolSpec) -> str:
    if spec.backend is None:
        return f"pool {spec.name!r} runs a command of its own, and only a backend knows them"
    return f"the backend {spec.backend.name!r} of pool {spec.name!r} is not able to"


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        with anyio.fail_after(LONGEST):
            yield
    except TimeoutError as error:
        raise QueueUnavailable(f"no answer within {LONGEST:g} s") from error
