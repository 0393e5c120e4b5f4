"""What supervision needs of the outside."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chaperone_async.supervision.custody import QueueMaker
from chaperone_async.supervision.hooks import Threads
from chaperone_async.system.ports import Processes, TelemetrySource, UsageSampler


@dataclass(frozen=True, slots=True)
class World:
    """The ports, as one argument. `wall` turns monotonic seconds into an aware UTC time; `make_threads` gives each pool
    its own, so that one pool's hanging callbacks leave the others theirs."""

    processes: Processes
    sampler: UsageSampler
    telemetry: TelemetrySource
    wall: Callable[[float], datetime]
    make_threads: Callable[[], Threads]
    make_queue: QueueMaker = lambda _: None
