"""When what a program asked of a pool has had its effect, or will have none: somebody wants something else by now."""

from chaperone_async.core.pool import Pool
from chaperone_async.core.slots import Lane


def has_ended(pool: Pool) -> bool:
    return pool.state in {"stopped", "fatal"}


def has_stopped(pool: Pool) -> bool:
    return pool.stopped or pool.hold is None or pool.hold.why != "stop"


def has_scaled(pool: Pool, workers: int) -> bool:
    return pool.desired != workers or _is_held(pool) or _is_at_rest(pool)


def has_rolled(pool: Pool) -> bool:
    """A worker that was paused by hand is replaced when it is resumed."""
    return _is_held(pool) or _is_at_rest(pool)


def _is_held(pool: Pool) -> bool:
    """Nothing will start by itself."""
    return pool.hold is not None or pool.fatal is not None


def _is_at_rest(pool: Pool) -> bool:
    """All who live are ready or paused by hand, and nobody is to come. Where slots have given up that is as far as it
    goes: what waits for one of them, as a roll does for its surge, waits for good."""
    count = pool.slots.count
    living = count(Lane.READY) + count(Lane.FROZEN)
    empty = count(Lane.HELD) + count(Lane.FINISHED) + count(Lane.FATAL) + count(Lane.SURPLUS)
    return living == pool.live and living + empty == len(pool.slots)
