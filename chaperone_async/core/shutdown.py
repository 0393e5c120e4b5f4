"""The end of the supervisor: one absolute deadline shared by all pools and all phases."""

LAST_RECLAIMS = 5.0
"""Seconds that the end of a pool, beyond that deadline, waits for its last workers' jobs to be put back."""


def kill_time(deadline: float, at: float) -> float:
    """When what still lives must be killed so that everything is gone by `deadline`: a tenth of the time is kept for
    that, one second at most."""
    return deadline - min(1.0, max(0.0, deadline - at) / 10)
