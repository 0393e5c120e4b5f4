"""The configuration read anew: what would change, in words and as values, and the change itself, pool by pool.

A file that cannot be used changes nothing. Nothing is started before all of the new configuration has been checked.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from chaperone_async.core import goals
from chaperone_async.core.events import ReloadRequested
from chaperone_async.core.goals import Missed, Underway
from chaperone_async.core.plan import Kind, Plan, make_plan
from chaperone_async.core.pool import Pool
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import ConfigError, ConflictError, DuplicatePool, UnknownPool
from chaperone_async.service.compose import Composed
from chaperone_async.service.operations import (
    Follow,
    Operation,
    Operations,
    follow_goal,
    follow_removal,
    missed,
)
from chaperone_async.service.settings import Ready, SettingChange, setting_changes
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.system.config.lint import lint
from chaperone_async.system.config.load import Config

ALL = "all"
Load = Callable[[], Config]
Fingerprint = Callable[[], str]
"""Of the configuration's files: another one means that they hold something else."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the settings and the pools come from, how to read them anew, and what the files were when they were read.
    `seen` may be empty where nobody watches them."""

    config: Config
    load: Load
    fingerprint: Fingerprint
    seen: str = ""


class BusyError(ConflictError):
    """Something still goes on with pools that the reload would touch; it ends by itself."""

    def __init__(self, pools: Iterable[str], what: str) -> None:
        self.pools = tuple(pools)
        super().__init__(f"cannot reload: {', '.join(self.pools)} still being {what}")


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """`before`: the pools as they are. `hidden`: what to mask in anything that is shown of it."""

    config: Config
    pools: Plan
    settings: tuple[SettingChange, ...]
    warnings: tuple[str, ...]
    before: Mapping[str, PoolSpec] = field(repr=False)
    hidden: frozenset[str] = field(repr=False)
    adopt: Callable[[], None] = field(repr=False)

    @property
    def empty(self) -> bool:
        return not self.pools.pools and not self.settings


class Reloader:
    def __init__(
        self, composed: Composed, operations: Operations, tasks: TaskGroup, origin: Origin, ready: Ready
    ) -> None:
        self._composed = composed
        self._operations = operations
        self._tasks = tasks
        self._config = origin.config
        self._origin = origin
        self._ready = ready
        self._seen = origin.seen
        self._ours = {spec.name for spec in origin.config.pools}
        self._one_at_a_time = anyio.Lock()

    @property
    def config(self) -> Config:
        """The one that was accepted last."""
        return self._config

    @property
    def ours(self) -> frozenset[str]:
        """Pools that the configuration defines. Others were added since, by request, and no reload ends them."""
        return frozenset(self._ours)

    async def changed(self) -> bool:
        """Whether the files hold something else than what was applied, or refused, last."""
        return await to_thread.run_sync(self._origin.fingerprint) != self._seen

    async def plan(self) -> ReloadPlan:
        """What a reload would do now. Raises ConfigError."""
        config = await to_thread.run_sync(self._origin.load)
        readied = await to_thread.run_sync(self._ready, config)
        supervisor = self._composed.supervisor
        new = {spec.name: spec for spec in config.pools}
        concerned = [name for name in supervisor.names if name in self._ours or name in new]
        old = {name: supervisor.runner(name).pool.spec for name in concerned if name not in supervisor.leaving}
        plan = make_plan(old, new)
        self._composed.check(spec for spec in config.pools if spec.name not in plan.unchanged)
        settings = (*setting_changes(self._config, config), *readied.renewed)
        hidden = self._config.hidden | config.hidden
        return ReloadPlan(config, plan, settings, tuple(lint(config)), old, hidden, readied.adopt)

    async def reload(self, by: str, *, force: bool = False) -> tuple[ReloadPlan, Operation]:
        """Raises ConfigError and changes nothing; BusyError where a pool is still being removed, or, unless by force,
        changed."""
        async with self._one_at_a_time:
            seen = await to_thread.run_sync(self._origin.fingerprint)  # first, so that nothing is missed
            try:
                plan = await self.plan()
                self._refuse_conflicts(plan, force=force)
            except BusyError:
                raise  # what the files hold now is still to be applied
            except (ConfigError, ConflictError):
                self._seen = seen
                raise
            self._tell("supervisor.reloading", f"asked by {by}: {summary(plan)}")
            self._seen, self._config = seen, plan.config
            self._ours = {spec.name for spec in plan.config.pools}
            plan.adopt()
            specs = {spec.name: spec for spec in plan.config.pools}
            followed = {
                pool.name: await self._apply(pool.kind, pool.name, specs.get(pool.name), by)
                for pool in plan.pools.pools
            }
            operation = self._operations.begin("reload", ALL, by, followed)
        self._tasks.start_soon(self._tell_outcome, operation.id)
        return plan, operation

    async def reload_in_turn(self, by: str) -> None:
        """As a signal wants it: nobody waits for an answer, so it waits until it may, and what comes of it is told."""
        while True:
            try:
                await self.reload(by)
            except BusyError as busy:
                self._tell("supervisor.reloading", f"asked by {by}: waiting until {', '.join(busy.pools)} are through")
                await self._until_through(busy.pools)
            except (ConfigError, ConflictError) as error:
                self._tell("supervisor.reload_failed", f"nothing was changed: {error}")
                return
            else:
                return

    # How

    def _refuse_conflicts(self, plan: ReloadPlan, *, force: bool) -> None:
        supervisor = self._composed.supervisor
        if supervisor.deadline is not None:
            raise ConflictError("cannot reload: the supervisor is shutting down; start it again with the new file")
        rolling = [pool.name for pool in plan.pools.pools if pool.kind == "change" and pool.rolling]
        busy = [name for name in rolling if _is_under_way(supervisor.runner(name).pool)]
        if busy and not force:
            raise BusyError(busy, "changed by an earlier reload; wait for its end, or force")
        again = [pool.name for pool in plan.pools.pools if pool.kind == "add" and pool.name in supervisor.leaving]
        if again:
            raise BusyError(again, "removed; reload again when that is over")

    async def _apply(self, kind: Kind, name: str, spec: PoolSpec | None, by: str) -> Follow:
        """What has happened to this pool or its checks since the plan was made makes its part fail, and no other."""
        if spec is None:
            return follow_removal(self._composed.supervisor, name, by)
        try:
            if kind == "add":
                return follow_goal(self._composed.add(spec, Hooks()), goals.started(None))
            return await self._change(spec, by)
        except (DuplicatePool, UnknownPool, ConfigError) as error:
            return missed(str(error))

    async def _change(self, spec: PoolSpec, by: str) -> Follow:
        runner, now = self._composed.supervisor.runner(spec.name), anyio.current_time()
        await runner.ask(ReloadRequested(spec, now, by))
        return follow_goal(runner, goals.reloaded(spec, now))

    async def _until_through(self, pools: Iterable[str]) -> None:
        supervisor = self._composed.supervisor
        for name in pools:
            if name in supervisor.leaving:
                await supervisor.runner(name).until(lambda _: False)  # until it has ended
            elif name in supervisor.names:
                await supervisor.runner(name).until(lambda pool: not _is_under_way(pool))

    async def _tell_outcome(self, identifier: str) -> None:
        operation = await self._operations.wait(identifier, float("inf"))
        missed = [f"{pool}: {part.why}" for pool, part in operation.parts.items() if isinstance(part, Missed)]
        if missed:
            self._tell("supervisor.reload_failed", "; ".join(missed))
        else:
            self._tell("supervisor.reloaded", f"as {operation.by} asked")

    def _tell(self, kind: str, detail: str) -> None:
        self._composed.tell(kind, detail)


def _is_under_way(pool: Pool) -> bool:
    """A change is going through the pool, and does not just wait for it to be resumed."""
    return pool.change is not None and isinstance(goals.reloaded(pool.spec, pool.change.since)(pool), Underway)


def summary(plan: ReloadPlan) -> str:
    """In one line: `add reports; change emails (command, env.A: rolling); remove old; 3 pools unchanged`."""
    parts = []
    for pool in plan.pools.pools:
        keys = ", ".join(difference.key for difference in pool.differences)
        about = f" ({keys}{': rolling' if pool.rolling else ''})" if keys else ""
        parts.append(f"{pool.kind} {pool.name}{about}")
    parts.extend(f"{setting.key}{'' if setting.live else ' (at the next start)'}" for setting in plan.settings)
    unchanged = len(plan.pools.unchanged)
    parts.append(f"{unchanged} pool{'' if unchanged == 1 else 's'} unchanged")
    return "; ".join(parts)
