"""Pools that come and go by request while the supervisor runs. They end with it: what is to stay belongs into the
configuration file, and what that defines is not removed here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from chaperone_async.core import goals
from chaperone_async.core.expand import words_in
from chaperone_async.core.spec import MB, PoolSpec
from chaperone_async.errors import ConfigError, ConflictError, UnknownQueue
from chaperone_async.service.control import Control, UnacceptableError
from chaperone_async.service.operations import Operation, follow_goal, follow_removal
from chaperone_async.service.reload import Reloader
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.system.config.find import Document
from chaperone_async.system.config.load import interpret
from chaperone_async.system.config.problems import Place, Problems
from chaperone_async.system.config.words import PoolName

Add = Callable[[PoolSpec, Hooks], PoolRunner]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What one more worker is to have; None: as the others. Seconds, and bytes of memory."""

    timeout: float | None = None
    sleep: float | None = None
    tries: int | None = None
    memory: int | None = None

    @property
    def told(self) -> list[str]:
        """Those that only the command line can tell a worker."""
        return [word for word in ("timeout", "sleep", "tries") if getattr(self, word) is not None]

    def change(self, spec: PoolSpec) -> PoolSpec:
        """The same pool with these options."""
        timeout = spec.job.timeout if self.timeout is None else self.timeout
        sleep = spec.job.sleep if self.sleep is None else self.sleep
        tries = spec.job.tries if self.tries is None else self.tries
        memory = spec.health.memory_limit if self.memory is None else self.memory
        return replace(
            spec, job=replace(spec.job, timeout=timeout, sleep=sleep, tries=tries),
            health=replace(spec.health, memory_limit=memory),
        )  # fmt: skip


class RuntimePools:
    """`grace`: the shutdown's budget, in seconds, which limits what a pool's stop may take. `reloader`: knows the pools
    that the configuration has come to define since they were added; None where there is no file."""

    def __init__(
        self, control: Control, add: Add, grace: Callable[[], float], reloader: Reloader | None = None
    ) -> None:
        self._control = control
        self._add = add
        self._grace = grace
        self._reloader = reloader
        self._added: set[str] = set()

    def add(self, name: str, table: Mapping[str, Any], by: str) -> Operation:
        """`table`: as in a configuration. Raises ConfigError with all that is wrong, DuplicatePool, ConflictError."""
        self._control.refuse_at_the_end()
        return self._begin(read_pool(name, table, self._grace()), Hooks(), by)

    def remove(self, name: str, by: str) -> Operation:
        """Stop gracefully, and forget. Raises UnknownPool, ConflictError."""
        self._control.runner(name)
        if name not in self._added or (self._reloader is not None and name in self._reloader.ours):
            why = "it was not added by request; remove it from the configuration and reload, or stop it"
            raise ConflictError(f"cannot remove pool {name!r}: {why}")
        self._added.discard(name)  # a second request comes too late
        return self._control.operations.begin(
            "remove", name, by, {name: follow_removal(self._control.supervisor, name, by)}
        )

    async def add_worker(self, queue: str, options: WorkerOptions, by: str) -> tuple[str, Operation]:
        """One more for this queue, and the pool that it is in: one that serves this queue alone comes before others,
        and of several that do, the first whose workers have these options. Where none has them, a pool of its own is
        derived from the first. Raises UnknownQueue, UnacceptableError, ConflictError."""
        candidates = self._serving(queue)
        fitting = next((each for each in candidates if options.change(each.pool.spec) == each.pool.spec), None)
        if fitting is not None:
            name = fitting.pool.name
            return name, await self._control.scale(name, 1, by, relative=True)
        model = candidates[0]
        spec = derive(model.pool.spec, self._free_name(model.pool.name), options)
        return spec.name, self._begin(spec, model.hooks, by)

    def _begin(self, spec: PoolSpec, hooks: Hooks, by: str) -> Operation:
        runner = self._add(spec, hooks)
        self._added.add(spec.name)
        return self._control.operations.begin(
            "add", spec.name, by, {spec.name: follow_goal(runner, goals.started(None))}
        )

    def _serving(self, queue: str) -> Sequence[PoolRunner]:
        """In the order of the configuration."""
        runners = self._control.runners("all")
        alone = [runner for runner in runners if runner.pool.spec.queues == (queue,)]
        candidates = alone or [runner for runner in runners if queue in runner.pool.spec.queues]
        if not candidates:
            raise UnknownQueue(queue, sorted({queue for runner in runners for queue in runner.pool.spec.queues}))
        return candidates

    def _free_name(self, model: str) -> str:
        taken = self._control.supervisor.names
        return next(name for number in count(1) if (name := f"{model}-{number}") not in taken)


def read_pool(name: str, table: Mapping[str, Any], grace: float) -> PoolSpec:
    """Checked as a configuration file is. Raises ConfigError with all that is wrong, by the keys of the table."""
    problems, place = Problems(), Place("")
    whole = {"http": {"listen": []}, "shutdown": {"grace": grace}, "pools": {name: dict(table)}}
    config = interpret([Document(Path(f"pool {name}"), place, whole)], {}, problems)
    try:
        problems.raise_if_any()
    except ConfigError as error:
        here = f"{(place / 'pools' / name).key}."
        raise ConfigError([problem.removeprefix(here) for problem in error.problems]) from error
    return config.pools[0]


def derive(model: PoolSpec, name: str, options: WorkerOptions) -> PoolSpec:
    """A pool of one worker, as those of the model but for the options. That it comes up, or does not, makes nobody
    unready. Raises UnacceptableError."""
    why = f"cannot give one worker of pool {model.name!r} its own"
    lacking = [f"{{{word}}}" for word in options.told if word not in words_in(model.command)]
    if lacking:
        words = " and ".join(lacking)
        raise UnacceptableError(
            f"{why} options: its command lacks {words}; write that into it, or leave the option out"
        )
    changed = options.change(model)
    if 0 < changed.health.memory_limit <= model.recycle.max_memory:
        least = model.recycle.max_memory / MB
        raise UnacceptableError(f"{why} memory limit: it is recycled at {least:g} MB; write more than that")
    try:
        PoolName.parse(name)
    except ValueError as error:
        raise UnacceptableError(f"{why} options: {name!r} {error}") from error
    return replace(changed, name=name, workers=1, max_workers=None, autoscale=None, min_ready=0, essential=False)
