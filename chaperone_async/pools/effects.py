"""When what a program asked of a pool has had its effect, or will have none: somebody wants something else by now."""

from chaperone_async.core.goals import is_settled
from chaperone_async.core.pool import Pool
from chaperone_async.core.states import Frozen


def has_ended(pool: Pool) -> bool:
    return pool.state in {"stopped", "fatal"}


def has_stopped(pool: Pool) -> bool:
    return pool.stopped or pool.hold is None or pool.hold.why != "stop"


def has_scaled(pool: Pool, workers: int) -> bool:
    return pool.desired != workers or _is_held(pool) or is_settled(pool)


def _is_held(pool: Pool) -> bool:
    """Nothing will start by itself."""
    return pool.hold is not None or pool.fatal is not None


def generations(pool: Pool) -> frozenset[int]:
    """A worker that was paused by hand is replaced when it is resumed."""
    lives = (slot.life for slot in pool.slots if not isinstance(slot.state, Frozen))
    return frozenset(life.ref.generation for life in lives if life is not None)


def has_rolled(pool: Pool, old: frozenset[int]) -> bool:
    return _is_held(pool) or (not old & generations(pool) and is_settled(pool))
