"""Variety without randomness: workers differ, replays agree, the core stays pure."""

from chaperone_async.core.events import WorkerRef

_MASK = (1 << 64) - 1
_ID_BITS = 24


def unit(ref: WorkerRef, salt: int) -> float:
    """A number in [0, 1) that looks random over generations and is always the same for one (splitmix64's finish)."""
    z = (ref.generation * 0x9E3779B97F4A7C15 + salt) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def worker_id(ref: WorkerRef, salt: int) -> str:
    """`<pool>-<6 hex>`. An odd factor makes this a permutation: no id comes twice within 16 million generations."""
    return f"{ref.pool}-{(ref.generation * 0x9E3779 + salt) % (1 << _ID_BITS):06x}"
