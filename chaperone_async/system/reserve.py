"""Descriptors: our limit grows with the workers, and the last ones are the supervisor's own: it needs them to answer
probes, to look at its workers, to import."""

import os
import resource
from contextlib import suppress

from chaperone_async.system.ports import SpawnError

RESERVE = 32
"""Descriptors that no worker may have; where there are few at all, a quarter of them."""


def keep_reserve() -> None:
    """Before anything is opened for a worker. Raises SpawnError when only the reserve is left, OSError when nothing."""
    limit = grow()
    if limit != resource.RLIM_INFINITY and _lowest_free() >= limit - min(RESERVE, limit // 4):
        few = f"of {limit} descriptors the last are the supervisor's; raise its limit (ulimit -n, LimitNOFILE=)"
        raise SpawnError(f"cannot start another worker: too many open files: {few}")


def grow() -> int:
    """The soft limit is doubled, up to the hard one, when half of it is in use. One that is enough is left alone,
    because workers inherit it, and programs that use select() rely on a low one. Returns what it is now."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return limit
    while _half_is_used(limit) and (limit < hard or hard == resource.RLIM_INFINITY):
        raised = 2 * limit if hard == resource.RLIM_INFINITY else min(2 * limit, hard)
        with suppress(ValueError, OSError):  # some systems allow less than their hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limit:
            break
        limit = raised
    return limit


def _half_is_used(limit: int) -> bool:
    """Counting them would cost more than a start. They are given out from the lowest on, so it tells that some of the
    upper half are open."""
    return any(_is_open(number) for number in range(limit // 2, limit, max(1, limit // 8)))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _lowest_free() -> int:
    descriptor = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    os.close(descriptor)
    return descriptor
