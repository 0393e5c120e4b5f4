"""What a pool may want of one slot, and what the cells of the transition table have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from chaperone_async.core.actions import Action, Announce
from chaperone_async.core.events import CheckResult, WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Doom, Due, Hold, Life, Slot, State


@dataclass(frozen=True, slots=True)
class Rules:
    """What a cell may look at besides its slot. `kill_by`: the shutdown's deadline, bounding every grace."""

    spec: PoolSpec
    salt: int
    kill_by: float = inf


# Commands: what the pool wants of one slot


@dataclass(frozen=True, slots=True)
class Checked:
    result: CheckResult
    at: float


@dataclass(frozen=True, slots=True)
class Begin:
    ref: WorkerRef
    worker_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Halt:
    """End the worker gracefully. With `hold` the slot stays empty afterwards."""

    doom: Doom
    hold: Hold | None
    at: float


@dataclass(frozen=True, slots=True)
class KillNow:
    doom: Doom
    hold: Hold | None
    at: float


@dataclass(frozen=True, slots=True)
class Freeze:
    hold: Hold
    at: float


@dataclass(frozen=True, slots=True)
class Release:
    """No hold any more: thaw, or run again. `fresh`: forget the crashes, as after an operator's start."""

    fresh: bool
    at: float


@dataclass(frozen=True, slots=True)
class Retire:
    """Replace the worker when its replacement is ready."""

    due: Due
    at: float


@dataclass(frozen=True, slots=True)
class Pardon:
    """The specification this worker runs is in force again: no need to replace it for another."""

    at: float


@dataclass(frozen=True, slots=True)
class Adopt:
    """The specification has changed in what needs no new worker: derive anew what was derived from the one before."""

    before: PoolSpec
    at: float


@dataclass(frozen=True, slots=True)
class Park:
    """Wait until the breaker lets you go."""

    at: float


@dataclass(frozen=True, slots=True)
class Try:
    """Be the breaker's canary, from `until` on."""

    until: float
    at: float


Command = Checked | Begin | Halt | KillNow | Freeze | Release | Retire | Pardon | Adopt | Park | Try
Move = tuple[Slot, tuple[Action, ...]]
Cell = Callable[[Rules, Slot, Any, Any], Move]


def tell(kind: str, life: Life, at: float, reason: Reason | None = None, detail: str = "") -> Announce:
    return Announce(kind, at, life.ref, life.worker_id, life.pid or None, reason, detail)


def with_state(slot: Slot, state: State) -> Slot:
    return Slot(slot.index, state, slot.history, slot.hold, slot.restarts, slot.last_id, slot.last_error, slot.surplus)


def ignore(_rules: Rules, slot: Slot, _state: State, _event: object) -> Move:
    return slot, ()


def after(*parts: Any) -> Move:
    """Actions, then a move: the move, with those actions before its own."""
    *before, (slot, actions) = parts
    return slot, (*before, *actions)
