"""The last measured figures of a pool's workers: replaced as a whole at each tick, never changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from chaperone_async.core.events import WorkerRef
from chaperone_async.system.ports import Usage

_NOTHING: Mapping[WorkerRef, Usage] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Readings:
    """`at`: when (monotonic seconds); None before the first tick."""

    at: float | None = None
    usage: Mapping[WorkerRef, Usage] = field(default_factory=lambda: _NOTHING)
