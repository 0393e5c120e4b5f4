"""Contradictions in what is said of queues: sources, scaling, and the budget that pools share."""

from collections.abc import Iterator, Sequence
from typing import get_args

from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.backends.registry import NO_BACKEND
from chaperone_async.system.config.layers import Layer, stated
from chaperone_async.system.config.model import PoolTable
from chaperone_async.system.config.problems import Place, Problems
from chaperone_async.system.config.sources import NEEDED, ONE_QUEUE, OPTIONS, BudgetTable, SourceKind, SourceTable


def check_budget(budget: BudgetTable | None, pools: tuple[PoolSpec, ...], at: Place, problems: Problems) -> None:
    here = at.below("budget.max_workers")
    if budget is None or budget.max_workers is None or problems.touch(here):
        return
    scaled = [pool for pool in pools if pool.autoscale is not None]
    least = sum(pool.workers for pool in scaled)
    if not scaled:
        problems.add(here, "is for autoscaled pools, and there are none; add [pools.X.autoscale], or remove it")
    elif least > budget.max_workers:
        why = f"{budget.max_workers} is less than the least of all autoscaled pools together, {least}"
        problems.add(here, f"{why}; write at least that, or lower a workers.min")


def scaling(spec: PoolSpec, written: PoolTable) -> Iterator[tuple[tuple[str, ...], str]]:
    policy, told = spec.autoscale, knows_backlog(spec) or is_unfit(spec, written)
    if spec.health.stall and not told:
        why = "needs to know the backlog, and nobody tells; name a backlog.source, or a backend that can, or write 0"
        yield ("health.stall", "backlog.source", "backend"), why
    if policy is None:
        if spec.max_workers is not None and written.workers is not None:
            why = "{ min, max } is for [autoscale], which this pool has not; write a count, or add that table"
            yield ("workers",), why
        return
    if spec.max_workers is None:
        yield ("workers", "autoscale"), "are to be scaled, between which bounds? write workers = { min = 1, max = 10 }"
    if spec.restart.mode != "always":
        why = f'"{spec.restart.mode}" may leave a slot empty for good, and the scaler counts on it; write "always"'
        yield ("restart.policy", "autoscale"), why
    if (policy.strategy == "python") != (policy.python is not None):
        why = 'strategy "python" and the function go together; write python = "myapp.scaling:workers"'
        yield ("autoscale.strategy", "autoscale.python"), why
    elif not told:
        why = "needs to know the backlog, and nobody tells; name a source = { … }, or a backend that can"
        yield ("autoscale.source", "autoscale", "backlog.source", "backend"), why


def is_unfit(spec: PoolSpec, written: PoolTable) -> bool:
    """Whether its backend was refused, which has been told of: nothing follows from its absence."""
    return spec.backend is None and str(written.backend or NO_BACKEND) != NO_BACKEND


def knows_backlog(spec: PoolSpec) -> bool:
    return bool(spec.backlog.sources) or (spec.backend is not None and "backlog" in spec.backend.can)


def check_sources(written: PoolTable, layers: tuple[Layer, ...], problems: Problems) -> None:
    """Each has one kind, with what belongs to it."""
    scaled, own = written.autoscale, written.backlog
    queues = written.queue or ()
    tables = {"autoscale.source": scaled.source if scaled else None, "backlog.source": own.source if own else None}
    if all(tables.values()):
        why = "is the same as backlog.source, which is given too; keep one of them"
        problems.add(_place("autoscale.source", layers), why)
    for key, sources in tables.items():
        here = _place(key, layers)
        wrong = [found for source in sources or () if (found := _wrong_source(source, queues)) is not None]
        if wrong and not problems.touch(here):
            problems.add(here, wrong[0])


def _wrong_source(source: SourceTable, queues: Sequence[str]) -> str | None:
    kinds = [kind for kind in get_args(SourceKind) if getattr(source, kind)]
    if len(kinds) != 1:
        named = " and ".join(kinds) or "none"
        return f"has to be of one kind, and names {named}; valid are {', '.join(get_args(SourceKind))}"
    kind = kinds[0]
    if kind in ONE_QUEUE and len(queues) > 1 and "{queue}" in getattr(source, kind):
        return f"{kind} reads one queue, and {{queue}} stands for {len(queues)}; write a source for each, by its name"
    needed = NEEDED.get(kind)
    if needed is not None and not getattr(source, needed):
        return f"{kind} needs a {needed}, too; write {{ {kind} = …, {needed} = … }}"
    stray = [key for key in ("group", "query", "pointer") if getattr(source, key) and key not in OPTIONS.get(kind, ())]
    return f"{stray[0]} does not belong to {kind}; remove it" if stray else None


def _place(key: str, layers: tuple[Layer, ...]) -> Place:
    return stated(layers, key) or layers[0].at.below(key)
