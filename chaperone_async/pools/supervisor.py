"""One pool: its description, and what may be asked of it while it runs."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import anyio

from chaperone_async import __version__
from chaperone_async.core import events as ev
from chaperone_async.core.pool import Pool
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import ChaperoneError
from chaperone_async.pools.effects import has_ended, has_rolled, has_scaled, has_stopped
from chaperone_async.service.compose import Composed
from chaperone_async.service.run import supervise
from chaperone_async.service.views import Views, Wall
from chaperone_async.supervision.hooks import Callback, Hooks, in_callback
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.supervision.supervisor import PoolView, new_pool_view
from chaperone_async.system.clock import WallClock
from chaperone_async.system.config.find import Document
from chaperone_async.system.config.load import interpret
from chaperone_async.system.config.problems import Place, Problems
from chaperone_async.system.notify import NotifySockets
from chaperone_async.system.ports import TelemetrySource
from chaperone_async.system.threads import LoopThread

BY = "the program"


class WorkerPoolSupervisor:
    """One pool. The methods that describe it return it, so that they chain; they have effect before it runs.

    >>> pool = WorkerPoolSupervisor("emails").workers(5).command(["python", "worker.py"])
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._table: dict[str, Any] = {}
        self._max_workers: int | None = None
        self._hooks = Hooks()
        self._composed: Composed | None = None
        self._runner: PoolRunner | None = None
        self._last_status: dict[str, Any] | None = None

    # Describing

    def workers(self, count: int | None = None, *, min: int | None = None, max: int | None = None) -> Self:  # noqa: A002  these names are the interface's
        """So many, or from `min` (what it starts with) to `max` (the most that `scale` accepts)."""
        start = min if count is None else count
        if start is None:
            raise ChaperoneError(
                "cannot set the number of workers: none was given; write .workers(5) or (min=1, max=10)"
            )
        if max is not None and max < start:
            raise ChaperoneError(f"cannot set the number of workers: min {start} is over max {max}")
        self._table["workers"], self._max_workers = start, max
        return self

    def queue(self, *names: str) -> Self:
        """In order of priority."""
        self._table["queue"] = list(names)
        return self

    def command(self, command: Sequence[str] | str) -> Self:
        """A string is split as a shell would; `{queue}` `{pool}` `{slot}` `{worker_id}` expand."""
        self._table["command"] = command if isinstance(command, str) else list(command)
        return self

    def with_health_check(self, check: Callback) -> Self:
        """`check(worker)` is called at every health interval; a falsy answer is a failure."""
        self._hooks = replace(self._hooks, check=check)
        return self

    def on_crash(self, callback: Callback) -> Self:
        """`callback(worker)` is called after an unexpected death and before the replacement."""
        self._hooks = replace(self._hooks, on_crash=callback)
        return self

    def on_unhealthy(self, callback: Callback) -> Self:
        """`callback(worker)` decides what becomes of an unhealthy worker, in place of the default restart."""
        self._hooks = replace(self._hooks, on_unhealthy=callback)
        return self

    def configure(self, **table: Any) -> Self:
        """Any key of a pool in the configuration file: `.configure(stop={"timeout": "5s"}, env={"A": "1"})`."""
        self._table.update(table)
        if "workers" in table:
            self._max_workers = None
        return self

    @property
    def spec(self) -> PoolSpec:
        """Checked as the configuration file is. Raises ConfigError."""
        return self._check(self._table)

    def _check(self, own: dict[str, Any]) -> PoolSpec:
        if self._max_workers is not None and "autoscale" in own:
            own = {**own, "workers": {"min": own["workers"], "max": self._max_workers}}
        problems = Problems()
        table = {"http": {"listen": []}, "pools": {self.name: own}}
        document = Document(Path(f"pool {self.name}"), Place(f"pool {self.name}"), table)
        config = interpret([document], {}, problems)
        problems.raise_if_any()
        spec, hooks = config.pools[0], self._hooks
        callbacks = replace(
            spec.callbacks, on_crash=hooks.on_crash is not None, on_unhealthy=hooks.on_unhealthy is not None
        )
        health = replace(spec.health, callback=hooks.check is not None)
        most = spec.max_workers if self._max_workers is None else self._max_workers
        return replace(spec, callbacks=callbacks, health=health, max_workers=most)

    # Running

    async def supervise(self) -> None:
        """Until the pool is stopped or given up. Cancelled, it kills its workers and leaves nothing behind."""
        await supervise(self)

    def status(self) -> dict[str, Any]:
        """As the HTTP API has it. Before supervise() `workers` is empty; after it, it is the last state."""
        if self._composed is None or self._runner is None:
            return self._last_status or self._not_running()
        return self._loop.call(self._running, self._composed, self._runner)

    def _running(self, composed: Composed, runner: PoolRunner) -> dict[str, Any]:
        world, view = composed.world, composed.supervisor.view(runner, self._loop.now())
        return self._view(world.wall, world.telemetry, view)

    def _not_running(self) -> dict[str, Any]:
        return self._view(WallClock().at, NotifySockets(), new_pool_view(self._unfinished()))

    def _unfinished(self) -> PoolSpec:
        """What does not run needs no command yet."""
        return self._check(self._table if "backend" in self._table else {"command": ["none yet"], **self._table})

    def _view(self, wall: Wall, telemetry: TelemetrySource, view: PoolView) -> dict[str, Any]:
        return dict(Views(self.name, __version__, os.getpid(), wall, telemetry).pool(view, time.monotonic()))

    def attach(self, composed: Composed) -> None:
        if self._runner is not None:
            raise ChaperoneError(f"cannot supervise pool {self.name!r}: it is supervised already; stop it first")
        self._loop = LoopThread()
        self._composed, self._runner = composed, composed.add(self.spec, self._hooks)

    def detach(self) -> None:
        if self._runner is not None:
            self._last_status = self.status()
            self._composed = self._runner = None

    @property
    def is_over(self) -> bool:
        """Stopped or given up."""
        return self._runner is None or self._runner.over or has_ended(self._runner.pool)

    async def over(self) -> None:
        """Wait until the pool is stopped or given up, and nobody has started it again since."""
        while self._runner is not None and not self.is_over:
            await self._runner.until(has_ended)

    async def stop(self) -> None:
        """Gracefully. Returns when nothing of the pool lives, or when somebody starts it again; inside a callback at
        once, and the pool is then fatal."""
        fatal = "stopped inside a callback" if in_callback.get() else None
        await self._ask(lambda now: ev.StopRequested(None, now, BY, fatal), has_stopped)

    async def scale(self, workers: int) -> None:
        """Returns when so many are ready or have given up, or when somebody wants another number. Before supervise() it
        sets the configured number."""
        if workers < 0:
            raise ChaperoneError(f"cannot scale {self.name!r} to {workers}: the least is 0")
        most = (self._unfinished() if self._runner is None else self._runner.pool.spec).max_workers
        if most is not None and workers > most:
            raise ChaperoneError(f"cannot scale {self.name!r} to {workers}: its max is {most}")
        if self._runner is None:
            self._table["workers"], self._max_workers = workers, most
        await self._ask(lambda now: ev.ScaleRequested(workers, now, BY), lambda pool: has_scaled(pool, workers))

    async def pause(self) -> None:
        await self._ask(lambda now: ev.PauseRequested(None, now, BY), lambda pool: pool.hold is not None)

    async def resume(self) -> None:
        """What is stopped stays stopped."""
        await self._ask(
            lambda now: ev.ResumeRequested(None, now, BY), lambda pool: pool.hold is None or pool.hold.why == "stop"
        )

    async def restart(self) -> None:
        """Rolling: each replacement is ready before the old one goes. Returns when all have been replaced, or when the
        replacements have given up: the old ones then stay."""
        await self._ask(lambda now: ev.RollRequested(None, now, BY), has_rolled)

    async def _ask(self, request: Callable[[float], ev.PoolEvent], effect: Callable[[Pool], bool]) -> None:
        """Inside a callback there is no waiting. A pool that does not run has nothing to be asked."""
        if self._runner is not None:
            event = request(anyio.current_time())
            if in_callback.get():
                self._runner.submit(event)
            else:
                await self._runner.ask(event, effect)
