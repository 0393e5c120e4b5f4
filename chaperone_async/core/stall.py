"""Workers that live and get nowhere: jobs wait, and for a long time none was finished, none is in work, and no work
loop has given a sign of life. No exit code tells of it; only the backlog does."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is seen of a pool at one moment. `moved`: a number that grows with every job that ends, as far as workers
    tell of theirs. `beat_at`: the latest heartbeat of any; None: there are none."""

    at: float
    ready: int | None
    running: int
    moved: int
    beat_at: float | None = None


@dataclass(frozen=True, slots=True)
class StallState:
    """`since`: when there was progress last. `recycled`: how many have been recycled since; the next ones at `next_at`,
    twice as many each time."""

    since: float = -inf
    least: int | None = None  # of the backlog since then: where it falls, somebody works
    moved: int = 0
    recycled: int = 0
    next_at: float = inf


def watch(stall: float, state: StallState, progress: Progress) -> tuple[StallState, int]:
    """How many workers to recycle now. An unknown backlog proves nothing, in either way."""
    if progress.ready is None:
        return state, 0
    if _gets_on(stall, state, progress):
        return StallState(progress.at, progress.ready, progress.moved, 0, progress.at + stall), 0
    least = progress.ready if state.least is None else min(state.least, progress.ready)
    if progress.at < state.next_at:
        return StallState(state.since, least, state.moved, state.recycled, state.next_at), 0
    many = max(1, state.recycled)
    return StallState(state.since, least, state.moved, state.recycled + many, progress.at + stall), many


def _gets_on(stall: float, state: StallState, progress: Progress) -> bool:
    """Those that were recycled have shrunk nothing: only work does."""
    beats = progress.beat_at is not None and progress.at - progress.beat_at < stall
    shrinks = state.least is None or progress.ready is None or progress.ready < state.least
    return progress.ready == 0 or progress.running > 0 or progress.moved != state.moved or beats or shrinks
