"""What somebody asked for, followed to its end: an operation can be polled, or waited for, and its end is the truth."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from chaperone_async.core.goals import Goal, Missed, Reached, Standing, Underway
from chaperone_async.core.pool import Pool
from chaperone_async.errors import UnknownOperation, UnknownPool
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

OPERATIONS_KEPT = 200
OVER = Missed("the pool, or the supervisor, ended before")

OperationState = Literal["running", "done", "failed"]
Report = Callable[[Standing], None]
Follow = Callable[[Report], Awaitable[Standing]]
"""Reports how things stand whenever that changes, and returns how they ended."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`parts`: one standing for each pool it concerns. Times are monotonic seconds."""

    id: str
    action: str
    target: str
    by: str
    started_at: float
    parts: Mapping[str, Standing]
    ended_at: float | None = None

    @property
    def state(self) -> OperationState:
        if self.ended_at is None:
            return "running"
        return "failed" if any(isinstance(standing, Missed) for standing in self.parts.values()) else "done"


class Operations:
    """Those under way, and the latest that ended. While `run` runs, they can be begun."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None
        self._known: dict[str, Operation] = {}
        self._ended: dict[str, anyio.Event] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            await anyio.sleep_forever()

    def begin(self, action: str, target: str, by: str, followed: Mapping[str, Follow]) -> Operation:
        """Its events have been dealt with; `followed` says for each pool how to follow what comes of it."""
        if self._tasks is None:
            raise RuntimeError("cannot begin an operation: nobody follows operations yet")
        parts: dict[str, Standing] = dict.fromkeys(followed, Underway(""))
        operation = Operation(secrets.token_hex(4), action, target, by, anyio.current_time(), parts)
        self._known[operation.id] = operation
        self._ended[operation.id] = anyio.Event()
        self._forget_oldest()
        self._tasks.start_soon(self._follow, operation.id, followed)
        return operation

    def get(self, identifier: str) -> Operation:
        """Raises UnknownOperation."""
        try:
            return self._known[identifier]
        except KeyError:
            raise UnknownOperation(identifier) from None

    def latest(self) -> Sequence[Operation]:
        """Newest first."""
        return list(reversed(self._known.values()))

    async def wait(self, identifier: str, seconds: float) -> Operation:
        """Until it has ended, or so long. Raises UnknownOperation."""
        operation = self.get(identifier)
        if operation.ended_at is None:
            with anyio.move_on_after(seconds):
                await self._ended[identifier].wait()
        return self._known.get(identifier, operation)

    async def _follow(self, identifier: str, followed: Mapping[str, Follow]) -> None:
        async def follow_one(pool: str, follow: Follow) -> None:
            try:
                standing = await follow(lambda standing: self._note(identifier, pool, standing))
            except Exception as error:  # whatever it is: it must not end the others, and the supervisor with them
                log.exception("operation %s cannot be followed in pool %s", identifier, pool)
                standing = Missed(f"following it failed: {error!r}")
            self._note(identifier, pool, standing)

        try:
            async with anyio.create_task_group() as tasks:
                for pool, follow in followed.items():
                    tasks.start_soon(follow_one, pool, follow)
        finally:
            self._end(identifier)

    def _note(self, identifier: str, pool: str, standing: Standing) -> None:
        operation = self._known.get(identifier)
        if operation is not None and operation.parts[pool] != standing:
            self._known[identifier] = replace(operation, parts={**operation.parts, pool: standing})

    def _end(self, identifier: str) -> None:
        operation = self._known.get(identifier)
        if operation is not None:
            parts = {
                pool: OVER if isinstance(standing, Underway) else standing for pool, standing in operation.parts.items()
            }
            self._known[identifier] = replace(operation, parts=parts, ended_at=anyio.current_time())
        self._ended.pop(identifier, anyio.Event()).set()

    def _forget_oldest(self) -> None:
        """Only what has ended."""
        for identifier, operation in list(self._known.items()):
            if len(self._known) <= OPERATIONS_KEPT:
                return
            if operation.ended_at is not None:
                del self._known[identifier]


def follow_goal(runner: PoolRunner, goal: Goal) -> Follow:
    async def follow(report: Report) -> Standing:
        latest: list[Standing] = [OVER]

        def has_ended(pool: Pool) -> bool:
            latest[0] = goal(pool)
            report(latest[0])
            return not isinstance(latest[0], Underway)

        await runner.until(has_ended)
        return OVER if isinstance(latest[0], Underway) else latest[0]

    return follow


def missed(why: str) -> Follow:
    """It has failed already."""

    async def follow(_: Report) -> Standing:
        return Missed(why)

    return follow


def follow_removal(supervisor: Supervisor, pool: str, by: str) -> Follow:
    """Stops the pool and forgets it, on the way."""

    async def follow(report: Report) -> Standing:
        report(Underway("its workers are stopping"))
        try:
            await supervisor.remove(pool, by)
        except UnknownPool:
            return Reached("somebody else has removed it")
        return Reached("removed")

    return follow


def reached(detail: str = "") -> Follow:
    """Nothing to wait for."""

    async def follow(_: Report) -> Standing:
        return Reached(detail)

    return follow
