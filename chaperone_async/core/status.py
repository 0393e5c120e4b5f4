"""The public words for internal states: what status, API and metrics show."""

from typing import Literal

from chaperone_async.core.states import (
    Backoff,
    Consulting,
    Fatal,
    Finished,
    Frozen,
    Held,
    Killing,
    Life,
    Running,
    Slot,
    Spawning,
    Starting,
    State,
    Stopping,
    Vacant,
    Waiting,
)

Status = Literal[
    "starting", "running", "degraded", "unhealthy", "paused", "stopping", "stopped", "crashed", "backoff", "fatal"
]
Activity = Literal["busy", "idle", "unknown"]

_WORDS: dict[type[State], Status] = {
    Vacant: "stopped",
    Held: "stopped",
    Spawning: "starting",
    Starting: "starting",
    Running: "running",
    Frozen: "paused",
    Stopping: "stopping",
    Killing: "stopping",
    Consulting: "crashed",
    Backoff: "backoff",
    Waiting: "backoff",
    Finished: "stopped",
    Fatal: "fatal",
}


def status_of(slot: Slot) -> Status:
    state = slot.state
    if isinstance(state, Starting | Running) and state.life.failing:
        return _failing(state.life)
    return _WORDS[type(state)]


def _failing(life: Life) -> Status:
    return "unhealthy" if life.unhealthy else "degraded"
