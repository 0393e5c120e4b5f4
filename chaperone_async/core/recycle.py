"""When a healthy worker has served long enough. Each limit is lowered per worker, so a pool never goes together."""

from math import inf

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import RecyclePolicy
from chaperone_async.core.spread import unit


def recycle_at(policy: RecyclePolicy, ref: WorkerRef, salt: int, spawned_at: float) -> float:
    return spawned_at + policy.max_time * _share(policy, ref, salt) if policy.max_time else inf


def job_limit(policy: RecyclePolicy, ref: WorkerRef, salt: int) -> int | None:
    return max(1, round(policy.max_jobs * _share(policy, ref, salt))) if policy.max_jobs else None


def memory_limit(policy: RecyclePolicy, ref: WorkerRef, salt: int) -> int | None:
    """In bytes."""
    return int(policy.max_memory * _share(policy, ref, salt)) if policy.max_memory else None


def _share(policy: RecyclePolicy, ref: WorkerRef, salt: int) -> float:
    return 1 - policy.jitter * unit(ref, salt)
