"""The last descriptors are the supervisor's own: it needs them to answer probes, to look at its workers, to import."""

import os
import resource

from chaperone_async.system.ports import SpawnError

RESERVE = 32
"""Descriptors that no worker may have; where there are few at all, a quarter of them."""


def keep_reserve() -> None:
    """Before anything is opened for a worker. Raises SpawnError when only the reserve is left, OSError when nothing."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and _lowest_free() >= limit - min(RESERVE, limit // 4):
        few = f"of {limit} descriptors the last are the supervisor's; raise its limit (ulimit -n, LimitNOFILE=)"
        raise SpawnError(f"cannot start another worker: too many open files: {few}")


def _lowest_free() -> int:
    descriptor = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    os.close(descriptor)
    return descriptor
