"""The last measured figures of a pool's workers: replaced as a whole at each tick, never changed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from chaperone_async.core.backlog import Backlog
from chaperone_async.core.events import WorkerRef
from chaperone_async.core.flow import Flow
from chaperone_async.system.ports import Usage

_NOTHING: Mapping[WorkerRef, Usage] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Demand:
    """The last sample of a pool's queues. `at`, monotonic: when it was taken; None: there is none. `problem`: why not;
    `called`: the workers that a function of the operator's calls for; `flow`: how fast they fill and empty."""

    at: float | None = None
    backlog: Backlog = Backlog()  # noqa: RUF009  frozen
    problem: str | None = None
    called: float | None = None
    flow: Flow = Flow()  # noqa: RUF009  frozen


def queue_problem(why: str) -> str:
    """Why a pool is degraded whose queue cannot be read, for people."""
    return f"the queue cannot be read: {why}"


@dataclass(frozen=True, slots=True)
class Readings:
    """`at`: when (monotonic seconds); None before the first tick."""

    at: float | None = None
    usage: Mapping[WorkerRef, Usage] = field(default_factory=lambda: _NOTHING)

    def followed_by(self, at: float, usage: Mapping[WorkerRef, Usage], asked: Collection[WorkerRef]) -> "Readings":
        """A worker that could not be measured has just died: it keeps its last figures until it is buried with them."""
        if len(usage) == len(asked):
            return Readings(at, usage)
        kept = {ref: self.usage[ref] for ref in asked if ref in self.usage}
        return Readings(at, {**kept, **usage})
