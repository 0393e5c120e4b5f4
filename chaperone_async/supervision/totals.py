"""Running totals of one pool, for counters: crash records are dropped and slots removed, but what was counted stays."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from chaperone_async.core.actions import Death
from chaperone_async.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Totals:
    """So far. `restarts`: workers that came after another in their slot, and tries to start one. `cpu_micros`: of
    the dead, as last measured; whole, for a sum of fractions depends on their order and so might go down."""

    exits: Mapping[Reason, int] = field(default_factory=dict)
    restarts: int = 0
    cpu_micros: int = 0


def micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


class Tally:
    """Adds up what the journal hears. A slot is remembered only from a worker's end to its successor's start."""

    __slots__ = ("_cpu_micros", "_exits", "_restarts", "_vacated")

    def __init__(self) -> None:
        self._exits: Counter[Reason] = Counter()
        self._restarts = 0
        self._cpu_micros = 0
        self._vacated: set[int] = set()  # the next worker there is a restart

    def started(self, slot: int) -> None:
        if slot in self._vacated:
            self._vacated.remove(slot)
            self._restarts += 1

    def ended(self, death: Death, cpu_seconds: float) -> None:
        if death.pid is None:
            self.started(death.ref.slot)  # a try that failed
        self._exits[death.reason] += 1
        self._cpu_micros += micros(cpu_seconds)
        if death.reason is not Reason.SCALED_DOWN:  # that slot goes: the next of its number is a new one
            self._vacated.add(death.ref.slot)

    @property
    def so_far(self) -> Totals:
        return Totals(dict(self._exits), self._restarts, self._cpu_micros)
